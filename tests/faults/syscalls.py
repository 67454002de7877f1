"""A very small strace: runs a command and prints its successful syncs and its writes, in order, one per line.

`python -m tests.faults.syscalls COMMAND...` prints `sync PATH` when an fsync or fdatasync has returned 0, and
`write PATH` when a write begins, for every thread of the command. Its own output goes to standard output, the
command's to standard error. Needs Linux 5.3 or later, and the right to trace a child (Docker grants it).
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys

# ptrace(2), linux/ptrace.h
TRACEME, SYSCALL, SETOPTIONS, GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
TRACESYSGOOD, TRACECLONE, EXITKILL = 1, 8, 0x100000
ENTRY, EXIT = 1, 2
WALL = 0x40000000
# asm/unistd.h
SYNCS, WRITE = {"x86_64": ({74, 75}, 1), "aarch64": ({82, 83}, 64)}[platform.machine()]

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class SyscallInfo(ctypes.Structure):
    """struct ptrace_syscall_info, with the entry and exit members of its union laid over each other."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("number_or_result", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    )


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    """The system call; raises OSError, with a hint for containers that forbid it."""
    if libc.ptrace(request, pid, address, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace: {os.strerror(code)}; this test must be allowed to trace its child")


def start(command: list[str]) -> int:
    """The command, stopped before its first instruction."""
    pid = os.fork()
    if pid == 0:
        os.dup2(2, 1)
        ptrace(TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execv(command[0], command)
    os.waitpid(pid, 0)
    ptrace(SETOPTIONS, pid, 0, TRACESYSGOOD | TRACECLONE | EXITKILL)
    ptrace(SYSCALL, pid)
    return pid


class Tracer:
    """Remembers for each thread the sync it is in."""

    def __init__(self) -> None:
        self.syncing: dict[int, str] = {}
        self.info = SyscallInfo()

    def observe(self, thread: int) -> None:
        """Look at one system call that begins or ends."""
        info = self.info
        ptrace(GET_SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.addressof(info))
        if info.op == ENTRY and info.number_or_result in SYNCS:
            self.syncing[thread] = os.readlink(f"/proc/{thread}/fd/{info.arguments[0]}")
        elif info.op == ENTRY and info.number_or_result == WRITE:
            self.say("write", os.readlink(f"/proc/{thread}/fd/{info.arguments[0]}"))
        elif info.op == EXIT and thread in self.syncing:
            path = self.syncing.pop(thread)
            if info.number_or_result == 0:
                self.say("sync", path)

    def say(self, what: str, path: str) -> None:
        sys.stdout.write(f"{what} {path}\n")


def main(command: list[str]) -> int:
    """Trace the command to its end and return its exit status."""
    child, tracer = start(command), Tracer()
    while True:
        thread, status = os.waitpid(-1, WALL)
        if not os.WIFSTOPPED(status):
            if thread == child:
                return os.waitstatus_to_exitcode(status)
            continue
        stop, deliver = os.WSTOPSIG(status), 0
        if stop == signal.SIGTRAP | 0x80:
            tracer.observe(thread)
        elif stop not in (signal.SIGTRAP, signal.SIGSTOP):
            deliver = stop
        ptrace(SYSCALL, thread, 0, deliver)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
