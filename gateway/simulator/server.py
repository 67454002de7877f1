"""The simulated Exchange as a server: HTTPS with its own authority, the control endpoint, start and stop."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from gateway.simulator.certificates import Authority, Issued, server_context
from gateway.simulator.control import Control
from gateway.simulator.ews import EwsFace, EwsOptions
from gateway.simulator.faults import Faults
from gateway.simulator.front import EWS_PATH, Front
from gateway.simulator.journal import Journal
from gateway.simulator.logon import Binding, Directory, Gate, NameForm
from gateway.simulator.streaming import End, Restart, Streams
from gateway.simulator.world import World

SCHEMES = frozenset({"basic", "ntlm", "negotiate"})
_SERVER_NAMES = ("localhost", "127.0.0.1")


class Simulator:
    """An Exchange server around a `World`, on loopback.

    `async with Simulator(world) as exchange:` or `start()` and `stop()`. Each start issues a new server
    certificate of the simulator's own authority; `ca_file` is what clients trust. Passwords are random unless
    given. `world`, `ews`, `faults`, `journal` and `accounts` may be used at any time, also while it runs.
    """

    def __init__(
        self,
        world: World,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        directory: Path | None = None,
        auth: frozenset[str] = frozenset({"basic", "ntlm"}),
        channel_binding: Binding = "allow",
        ews: EwsOptions | None = None,
        service_account: str = "CORP\\svc-presence",
        service_password: str | None = None,
        mailbox_password: str | None = None,
        now: Callable[[], datetime] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        compress: bool = True,
        name_form: NameForm = "any",
        lock_out_after: int | None = None,
    ) -> None:
        """Prepare a simulator; nothing listens yet.

        `directory` receives `ca.pem` (a temporary one if None). `auth` is what the server offers, out of
        `SCHEMES`. `channel_binding` is Extended Protection for NTLM: none, allow (a wrong binding is refused)
        or require. `now` is the time it goes by (the world's by default), also for the age of subscriptions;
        `sleep` paces streams and scripted delays; `monotonic` stamps the journal. `name_form` and
        `lock_out_after`: see `Directory`.
        """
        if not auth or auth - SCHEMES:
            raise ValueError(f"auth must be some of {', '.join(sorted(SCHEMES))}")
        self.world = world
        clock = now or world.now
        self.ews = EwsFace(world, ews, now=clock)
        self.faults = Faults()
        self.journal = Journal()
        self.authority = Authority.root()
        self.host = host
        self.service_account = service_account
        self.service_password = service_password or secrets.token_urlsafe(12)
        self.mailbox_password = mailbox_password or secrets.token_urlsafe(12)
        self.accounts = Directory(
            service_account,
            self.service_password,
            self.mailbox_password,
            lambda address: address in world.mailboxes,
            self.journal,
            name_form=name_form,
            lock_out_after=lock_out_after,
        )
        self._port = port
        self._directory = directory
        self._directory_in_use = directory or Path()
        self._own_directory: tempfile.TemporaryDirectory[str] | None = None
        self._issued: Issued | None = None
        self._listener: asyncio.Server | None = None
        gate = Gate(self.accounts, auth, channel_binding, clock, lambda: self.certificate.der())
        self._streams = Streams(self.ews, self.faults, self.journal, clock, monotonic, sleep, {})
        self._front = Front(
            self.ews,
            gate,
            self.faults,
            self.journal,
            self._streams,
            clock,
            monotonic,
            sleep,
            self.stop_listening,
            compress,
        )
        self._http: web.Server | None = None
        self._control = Control(self)

    async def start(self) -> None:
        """Write the CA file, listen on the HTTPS port and on the control port; OSError if a port is taken."""
        await asyncio.to_thread(self._write_ca_file)
        self._http = web.Server(self._front.handle, handler_cancellation=True, keepalive_timeout=120)
        try:
            await self.present(self.authority.issue(*_SERVER_NAMES))
            await self._control.start()
        except OSError:
            await self.stop()
            raise

    def _write_ca_file(self) -> None:
        folder = self._directory
        if folder is None:
            self._own_directory = tempfile.TemporaryDirectory(prefix="exchange-simulator-")
            folder = Path(self._own_directory.name)
        self._directory_in_use = folder
        self.ca_file.write_bytes(self.authority.pem())

    async def stop(self) -> None:
        """Close every connection and listener, and remove the temporary directory; harmless twice."""
        self.faults.clear()
        self.stop_listening()
        await self._control.stop()
        if self._http is not None:
            await self._http.shutdown(timeout=1)
            self._http = None
        if self._own_directory is not None:
            await asyncio.to_thread(self._own_directory.cleanup)
            self._own_directory = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def present(self, issued: Issued) -> None:
        """Serve this certificate from now on: connections are closed, the port stays."""
        self.stop_listening()
        self._issued = issued
        await self.resume_listening()

    def end_streams(self, how: End = "closed", mailbox: str = "") -> int:
        """End all streams, or those that carry a mailbox, from the server's side; returns how many."""
        return self._streams.end(how, mailbox)

    def restart_subscriptions(self, streams: Restart = "close") -> None:
        """Forget every subscription, as a restarted server does; `streams` says what becomes of open streams."""
        self._streams.restart(streams)

    def stop_listening(self) -> None:
        """The outage: connections that are open end, new ones are refused. Harmless twice."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for protocol in self._http.connections if self._http else ():
            if protocol.transport is not None:
                protocol.transport.abort()

    async def resume_listening(self) -> None:
        """Take connections again, on the same port; nothing happens if it already does."""
        if self._listener is not None or self._http is None:
            return
        self._listener = await asyncio.get_running_loop().create_server(
            self._accept,
            self.host,
            self._port,
            ssl=await asyncio.to_thread(server_context, self.certificate),
            ssl_handshake_timeout=10,
            ssl_shutdown_timeout=1,  # seconds a peer gets to answer our close_notify
            reuse_address=True,
        )
        self._port = self._listener.sockets[0].getsockname()[1]

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""
        return self._listener is not None

    @property
    def port(self) -> int:
        """The HTTPS port; 0 before the first start unless one was asked for."""
        return self._port

    @property
    def certificate(self) -> Issued:
        """What the server presents now."""
        if self._issued is None:
            raise RuntimeError("the simulator has not been started")
        return self._issued

    @property
    def ca_file(self) -> Path:
        """PEM file with the certificate of the simulator's authority."""
        return self._directory_in_use / "ca.pem"

    @property
    def ews_url(self) -> str:
        """Where the EWS face answers."""
        return f"https://{self.host}:{self._port}{EWS_PATH}"

    @property
    def webdav_url(self) -> str | None:
        """Where the WebDAV face answers, None while there is none."""
        return None

    @property
    def control_url(self) -> str:
        """Base of the control endpoint, with its secret token."""
        return self._control.url

    @property
    def ami(self) -> str | None:
        """`host:port` of the telephone face, None while there is none."""
        return None

    def as_json(self) -> dict[str, str | None]:
        """What somebody needs to connect, as one JSON object; passwords included."""
        return {
            "ews_url": self.ews_url,
            "webdav_url": self.webdav_url,
            "control_url": self.control_url,
            "ami": self.ami,
            "ca_file": str(self.ca_file),
            "service_account": self.service_account,
            "service_password": self.service_password,
            "mailbox_password": self.mailbox_password,
        }

    def _accept(self) -> asyncio.BaseProtocol:
        assert self._http is not None
        self.journal.connections += 1
        return self._http()
