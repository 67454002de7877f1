"""The command presence-gateway. One module per command, imported only when that command is asked for.

A command module has `add_arguments(parser)` and `run(args) -> int`. Exit codes of all commands: 0 done, 1 it failed
(the reason is on standard error), 2 the command line or the configuration is invalid, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

from gateway import __version__
from gateway.errors import ConfigError, GatewayError

COMMANDS: Final = {
    "demo": ("gateway.cli.demo", "the whole product on loopback, with a simulated Exchange"),
    "serve": ("gateway.cli.serve", "the daemon"),
    "why": ("gateway.cli.why", "explain what a person's presence follows from"),
    "watch": ("gateway.cli.watch", "live presence in the terminal"),
    "token": ("gateway.cli.token", "make tokens for the API"),
    "simulate": ("gateway.cli.simulate", "the Exchange simulator alone"),
    "config": ("gateway.cli.config", "check the configuration, or print its reference"),
}
"""Command → its module and what it does."""

_CODES: Final = (
    "exit codes: 0 done; 1 it failed, the reason is on standard error; 2 the command line or the configuration is "
    "invalid; 130 interrupted"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. `argv` defaults to the process's arguments."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(arguments).parse_args(arguments)
        return int(args.run(args))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    except GatewayError as error:
        hint = f"; {error.hint}" if error.hint else ""
        print(f"presence-gateway: {error} [{error.code}]{hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `presence-gateway watch | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the command that is asked for brings its own arguments."""
    parser = argparse.ArgumentParser(
        prog="presence-gateway", description="What is this person doing right now?", epilog=_CODES
    )
    parser.add_argument("--version", action="version", version=f"presence-gateway {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=_CODES)
        if name == wanted:
            importlib.import_module(module).add_arguments(command)
            command.set_defaults(run=importlib.import_module(module).run)
    return parser
