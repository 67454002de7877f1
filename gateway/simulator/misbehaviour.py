"""How each fault looks on the wire: one small coroutine per action of `faults.ACTIONS`.

A performer gets the request, the rule, and the answer a healthy server would have given (made on demand).
It returns a response, or None when there is nothing more to say on this connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from xml.sax.saxutils import escape

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from gateway.simulator.faults import Rule

ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES = "http://schemas.microsoft.com/exchange/services/2006/types"
ERRORS = "http://schemas.microsoft.com/exchange/services/2006/errors"
XML = "text/xml; charset=utf-8"
_BUSY_TEXT = "The server cannot service this request right now. Try again later."
_BLANKS = b" " * 65536


@dataclass(frozen=True, slots=True)
class Scene:
    """What a performer works with."""

    request: web.BaseRequest
    rule: Rule
    operation: str
    batch: int
    """How many mailboxes the request names; availability answers have one message for each."""
    healthy: Callable[[], bytes]
    """The body a healthy server would send."""
    headers: Mapping[str, str]
    """What every answer of this server carries."""
    sleep: Callable[[float], Awaitable[None]]
    stop_listening: Callable[[], None]


Performer = Callable[[Scene], Awaitable[web.StreamResponse | None]]


class Gone(web.StreamResponse):
    """Stands for no response: whatever was to be said on this connection has been said."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Tell aiohttp that the connection is gone, which it takes quietly."""
        raise ConnectionResetError("the simulator ended this connection on purpose")


async def perform(scene: Scene) -> web.StreamResponse:
    """Do what the scene's rule says, after its delay."""
    if scene.rule.delay:
        await scene.sleep(scene.rule.delay)
    return await PERFORMERS[scene.rule.action](scene) or Gone()


def html(status: int, title: str, text: str = "") -> web.Response:
    """An answer with an HTML body, as IIS gives for whatever it decides itself."""
    body = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h2>{title}</h2>{text}</body></html>"
    return web.Response(status=status, text=body, content_type="text/html", charset="utf-8")


def disconnect(request: web.BaseRequest, *, reset: bool) -> None:
    """End the connection under the request: by TCP reset, or in good order."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    plain = transport.get_extra_info("socket")
    # An SO_LINGER of zero seconds makes close() send RST instead of FIN
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _status(scene: Scene) -> web.StreamResponse:
    status = scene.rule.whole("status")
    response = html(status, f"{status} - the simulator was told to say so")
    if (seconds := scene.rule.whole("retry_after")) >= 0:
        response.headers["Retry-After"] = str(seconds)
    return response


async def _soap_fault(scene: Scene) -> web.StreamResponse:
    code = escape(scene.rule.text("code"))
    values = _values(scene.rule)
    xml = f'<t:MessageXml xmlns:t="{TYPES}">{values}</t:MessageXml>' if values else ""
    body = (
        f'<s:Envelope xmlns:s="{ENVELOPE}"><s:Body><s:Fault>'
        f'<faultcode xmlns:a="{TYPES}">a:{code}</faultcode>'
        f'<faultstring xml:lang="en-US">{_BUSY_TEXT}</faultstring>'
        f'<detail><e:ResponseCode xmlns:e="{ERRORS}">{code}</e:ResponseCode>'
        f'<e:Message xmlns:e="{ERRORS}">{_BUSY_TEXT}</e:Message>'
        f"{xml}</detail>"
        "</s:Fault></s:Body></s:Envelope>"
    )
    return _xml(body.encode(), 500)


async def _message_error(scene: Scene) -> web.StreamResponse:
    return _xml(_failed_messages(scene, scene.rule.text("code"), _values(scene.rule)))


async def _inner_busy(scene: Scene) -> web.StreamResponse:
    inner = (
        f'<t:Value Name="InnerErrorMessageText">{_BUSY_TEXT}</t:Value>'
        '<t:Value Name="InnerErrorResponseCode">ErrorServerBusy</t:Value>'
        '<t:Value Name="InnerErrorDescriptiveLinkKey">0</t:Value>'
    )
    return _xml(_failed_messages(scene, "ErrorInternalServerError", inner + _values(scene.rule)))


def _values(rule: Rule) -> str:
    milliseconds = rule.whole("backoff_ms")
    return f'<t:Value Name="BackOffMilliseconds">{milliseconds}</t:Value>' if milliseconds >= 0 else ""


def _failed_messages(scene: Scene, code: str, values: str) -> bytes:
    xml = f"<m:MessageXml>{values}</m:MessageXml>" if values else ""
    inside = (
        f"<m:MessageText>{_BUSY_TEXT}</m:MessageText><m:ResponseCode>{escape(code)}</m:ResponseCode>"
        f"<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>{xml}"
    )
    name = escape(scene.operation or "Unknown")
    if name == "GetUserAvailability":
        one = (
            f'<m:FreeBusyResponse><m:ResponseMessage ResponseClass="Error">{inside}</m:ResponseMessage>'
            "<m:FreeBusyView><t:FreeBusyViewType>None</t:FreeBusyViewType></m:FreeBusyView></m:FreeBusyResponse>"
        )
        messages = f"<m:FreeBusyResponseArray>{one * scene.batch}</m:FreeBusyResponseArray>"
    else:
        one = f'<m:{name}ResponseMessage ResponseClass="Error">{inside}</m:{name}ResponseMessage>'
        messages = f"<m:ResponseMessages>{one}</m:ResponseMessages>"
    return (
        f'<s:Envelope xmlns:s="{ENVELOPE}"><s:Body>'
        f'<m:{name}Response xmlns:m="{MESSAGES}" xmlns:t="{TYPES}">{messages}</m:{name}Response>'
        "</s:Body></s:Envelope>"
    ).encode()


async def _truncated(scene: Scene) -> None:
    body = scene.healthy()
    chunked = scene.rule.text("framing") == "chunked"
    response = await _begin(scene, None if chunked else len(body))
    await response.write(body[: int(len(body) * scene.rule.number_of("part"))])
    await response.drain()
    disconnect(scene.request, reset=False)


async def _oversized(scene: Scene) -> web.StreamResponse:
    packed = scene.rule.flag("gzip")
    response = await _begin(scene, None, {"Content-Encoding": "gzip"} if packed else {})
    async for piece in _padded(scene.healthy(), scene.rule.whole("size"), packed=packed):
        await response.write(piece)
    await response.write_eof()
    return response


async def _padded(body: bytes, size: int, *, packed: bool) -> AsyncIterator[bytes]:
    squeeze = zlib.compressobj(wbits=31)
    pieces = size - len(body)
    yield squeeze.compress(body) if packed else body
    while pieces > 0:
        blanks = _BLANKS[:pieces]
        pieces -= len(blanks)
        yield squeeze.compress(blanks) if packed else blanks
        await asyncio.sleep(0)
    yield squeeze.flush() if packed else b""


async def _slow_first_byte(scene: Scene) -> web.StreamResponse:
    await scene.sleep(scene.rule.number_of("seconds"))
    return _xml(scene.healthy())


async def _slow_trickle(scene: Scene) -> web.StreamResponse:
    body, size = scene.healthy(), max(1, scene.rule.whole("size"))
    response = await _begin(scene, len(body))
    for start in range(0, len(body), size):
        await response.write(body[start : start + size])
        await scene.sleep(scene.rule.number_of("seconds"))
    await response.write_eof()
    return response


async def _reset(scene: Scene) -> None:
    if after := scene.rule.whole("after"):
        body = scene.healthy()
        response = await _begin(scene, len(body))
        await response.write(body[:after])
        await response.drain()
    disconnect(scene.request, reset=True)


async def _close(scene: Scene) -> None:
    disconnect(scene.request, reset=False)


async def _hang(scene: Scene) -> None:
    await scene.rule.cleared.wait()
    disconnect(scene.request, reset=False)


async def _login_page(scene: Scene) -> web.StreamResponse:
    fields = '<input name="username"><input name="password" type="password">'
    return html(200, "Sign in", f'<form action="/owa/auth.owa" method="POST">{fields}</form>')


async def _redirect(scene: Scene) -> web.StreamResponse:
    response = html(scene.rule.whole("status"), "Object moved")
    response.headers["Location"] = scene.rule.text("location")
    return response


async def _dtd(scene: Scene) -> web.StreamResponse:
    body = scene.healthy()
    start = body.index(b"?>") + 2 if body.startswith(b"<?xml") else 0
    document_type = b'<!DOCTYPE Envelope [<!ENTITY who "nobody">]>'
    return _xml(body[:start] + document_type + body[start:])


async def _malformed(scene: Scene) -> web.StreamResponse:
    body = scene.healthy()
    cut = body.rindex(b"</", 0, body.rindex(b"</"))  # the last end tag but one
    return _xml(body[:cut] + body[body.index(b">", cut) + 1 :])


async def _illegal_reference(scene: Scene) -> web.StreamResponse:
    body = scene.healthy()
    end = body.rindex(b"</")
    return _xml(body[:end] + b"&#x0;" + body[end:])


async def _empty(scene: Scene) -> web.StreamResponse:
    return _xml(b"")


async def _stop_listening(scene: Scene) -> None:
    disconnect(scene.request, reset=True)
    scene.stop_listening()


PERFORMERS: Mapping[str, Performer] = MappingProxyType(
    {
        "status": _status,
        "soap_fault": _soap_fault,
        "message_error": _message_error,
        "inner_busy": _inner_busy,
        "truncated": _truncated,
        "oversized": _oversized,
        "slow_first_byte": _slow_first_byte,
        "slow_trickle": _slow_trickle,
        "reset": _reset,
        "close": _close,
        "hang": _hang,
        "login_page": _login_page,
        "redirect": _redirect,
        "dtd": _dtd,
        "malformed": _malformed,
        "illegal_reference": _illegal_reference,
        "empty": _empty,
        "stop_listening": _stop_listening,
    }
)


def _xml(body: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": XML})


async def _begin(scene: Scene, length: int | None, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
    response = web.StreamResponse(headers={**scene.headers, "Content-Type": XML, **(headers or {})})
    if length is None:
        response.enable_chunked_encoding()
    else:
        response.content_length = length
    await response.prepare(scene.request)
    return response
