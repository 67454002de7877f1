"""The EWS face: answers SOAP requests out of a World, the way Exchange does.

`EwsFace.answer` takes the body of a POST and the authenticated caller and returns what to send. It does no
I/O. Operations are one table; each lives in the file of its group. Subscriptions are in `streams`: the answer
to GetStreamingEvents is the beginning of a `Stream`, which whoever sends it opens and goes on with.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gateway.simulator.ews import availability, backends, directory, folders, reading, style, subscribing, writing
from gateway.simulator.ews.asked import Asked, describe
from gateway.simulator.ews.backends import Affinity
from gateway.simulator.ews.options import SERVERS, EwsOptions, Reply, Server
from gateway.simulator.ews.soap import CONTENT_TYPE, Fault, NotXml, Request, SchemaFault, envelope, fault, parse
from gateway.simulator.ews.stream_options import StreamOptions
from gateway.simulator.ews.streams import Envelope, Stream, Subscription, Subscriptions
from gateway.simulator.world import World

__all__ = [
    "OPERATIONS",
    "SERVERS",
    "Affinity",
    "Asked",
    "Envelope",
    "EwsFace",
    "EwsOptions",
    "Reply",
    "Stream",
    "StreamOptions",
    "Subscription",
    "Subscriptions",
    "describe",
]

Handler = Callable[[World, EwsOptions, Request, str], str]

OPERATIONS: dict[str, Handler] = {
    "GetUserAvailabilityRequest": availability.answer,
    "FindItem": reading.find_item,
    "GetItem": reading.get_item,
    "CreateItem": writing.create_item,
    "UpdateItem": writing.update_item,
    "DeleteItem": writing.delete_item,
    "MoveItem": writing.move_item,
    "GetFolder": folders.get_folder,
    "FindFolder": folders.find_folder,
    "ResolveNames": directory.resolve_names,
    "ConvertId": directory.convert_id,
    "GetServerTimeZones": directory.get_server_time_zones,
}
"""Body element of the request to what answers it: (world, options, request, effective caller) -> response
element.
"""


_STREAMING = "GetStreamingEvents"
_ANYWHERE = Affinity()


class EwsFace:
    """One Exchange server as its EWS clients see it."""

    def __init__(
        self, world: World, options: EwsOptions | None = None, *, now: Callable[[], datetime] | None = None
    ) -> None:
        """`now` is what subscriptions age by; the world's own time by default."""
        self.world = world
        self.options = options or EwsOptions()
        self.subscriptions = Subscriptions(world, lambda: self.options, now or world.now)

    @property
    def server(self) -> Server:
        """The release being simulated."""
        return SERVERS[self.options.server]

    def answer(self, body: bytes, caller: str, affinity: Affinity = _ANYWHERE) -> Reply:
        """Answer one request body for an authenticated caller (an address or an account name)."""
        try:
            reply = self._answer(body, caller, affinity)
        except NotXml as error:
            if self.options.malformed == "bad_request":
                return Reply(400, b"", {})
            reply = fault(SchemaFault(str(error), error.line, error.position), self.options, self.server)
        except Fault as problem:
            reply = fault(problem, self.options, self.server)
        if self.options.headers:
            reply.headers.update(self.options.headers)
        return reply

    def describe(self, body: bytes) -> Asked:
        """What a request body asks, for a journal. Raises NotXml, SchemaFault."""
        return describe(body)

    def _answer(self, body: bytes, caller: str, affinity: Affinity) -> Reply:
        request = parse(body)
        if not self.server.accepts(request.version):
            raise Fault("ErrorInvalidServerVersion")
        creator = self.world.identify(caller)
        handler, subscribes = OPERATIONS.get(request.operation), request.operation == "Subscribe"
        if handler is None and not self._knows(request.operation):
            raise SchemaFault(f"The element 'Body' has invalid child element '{request.operation}'.")
        acting = self._effective(request, creator)
        server = backends.route(self.world, self.options, affinity, acting, subscribes=subscribes)
        cookies = backends.cookies(self.options, affinity, server, subscribes=subscribes)
        call = subscribing.Call(request, creator, acting, server)
        if request.operation == _STREAMING:
            return self._stream(call, cookies)
        if handler is not None:
            content = handler(self.world, self.options, request, acting)
        else:
            content = subscribing.OPERATIONS[request.operation](self.subscriptions, call)
        xml = style.apply(envelope(content, self.options, self.server), self.options.prefixes)
        headers = {"Content-Type": CONTENT_TYPE, **self._names(server)}
        return Reply(200, xml.encode(), headers, chunked=self.server.build[0] >= 14, cookies=cookies)

    def _knows(self, operation: str) -> bool:
        return operation in subscribing.OPERATIONS or (operation == _STREAMING and self.server.build >= (14, 1))

    def _stream(self, call: subscribing.Call, cookies: tuple[str, ...]) -> Reply:
        stream = subscribing.get_streaming_events(self.subscriptions, call)
        headers = {"X-NoBuffering": "1", **self._names(call.server)}
        if self.options.streams.content_type:
            headers["Content-Type"] = CONTENT_TYPE
        return Reply(200, stream.hello().body, headers, cookies=cookies, stream=stream)

    def _names(self, server: int) -> dict[str, str]:
        """The diagnostic headers of the server that answered, where there are several."""
        if self.options.streams.backends < 2:
            return {}
        name = backends.server_name(server)
        return {"X-CalculatedBETarget": name, "X-BEServer": name.partition(".")[0].upper()}

    def _effective(self, request: Request, caller: str) -> str:
        """The address a request acts as: the caller, or whom it may impersonate."""
        if request.impersonated is None:
            return caller
        target = self.world.identify(request.impersonated[1])
        if target not in self.world.mailboxes:
            raise Fault("ErrorNonExistentMailbox")
        if not self.world.may_impersonate(caller, target):
            raise Fault("ErrorImpersonateUserDenied")
        return target
