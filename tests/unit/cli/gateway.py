"""A gateway of a few lines for the client commands: it answers what it is told to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Gateway:
    """`answers` are given in turn, the last one again and again."""

    answers: list[tuple[int, str, list[bytes]]]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def serving(*answers: tuple[int, str, list[bytes]]) -> Iterator[Gateway]:
    """A gateway on loopback for the time of the block."""
    gateway = Gateway(list(answers))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(gateway))
    gateway.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def stream(*events: str) -> tuple[int, str, list[bytes]]:
    """An event stream that ends after these events."""
    return 200, "text/event-stream", [event.encode() for event in events]


def answer(value: object, status: int = 200) -> tuple[int, str, list[bytes]]:
    """One JSON answer."""
    return status, "application/json", [json.dumps(value).encode()]


def _handler(gateway: Gateway) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length", "0"))
            body = json.loads(self.rfile.read(size)) if size else None
            gateway.asked.append(Asked(self.command, self.path, dict(self.headers.items()), body))
            status, kind, parts = gateway.answers.pop(0) if len(gateway.answers) > 1 else gateway.answers[0]
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (*parts, b""):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    return Handler
