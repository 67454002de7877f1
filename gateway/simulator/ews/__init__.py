"""The EWS face: answers SOAP requests out of a World, the way Exchange does.

`EwsFace.answer` takes the body of a POST and the authenticated caller and returns what to send. It does no
I/O. Operations are one table; each lives in the file of its group.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.simulator.ews import availability, directory, folders, reading, style, writing
from gateway.simulator.ews.asked import Asked, describe
from gateway.simulator.ews.options import SERVERS, EwsOptions, Reply, Server
from gateway.simulator.ews.soap import CONTENT_TYPE, Fault, NotXml, Request, SchemaFault, envelope, fault, parse
from gateway.simulator.world import World

__all__ = ["OPERATIONS", "SERVERS", "Asked", "EwsFace", "EwsOptions", "Reply", "describe"]

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


class EwsFace:
    """One Exchange server as its EWS clients see it."""

    def __init__(self, world: World, options: EwsOptions | None = None) -> None:
        self.world = world
        self.options = options or EwsOptions()

    @property
    def server(self) -> Server:
        """The release being simulated."""
        return SERVERS[self.options.server]

    def answer(self, body: bytes, caller: str) -> Reply:
        """Answer one request body for an authenticated caller (an address or an account name)."""
        try:
            reply = self._answer(body, caller)
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

    def _answer(self, body: bytes, caller: str) -> Reply:
        request = parse(body)
        if not self.server.accepts(request.version):
            raise Fault("ErrorInvalidServerVersion")
        handler = OPERATIONS.get(request.operation)
        if handler is None:
            raise SchemaFault(f"The element 'Body' has invalid child element '{request.operation}'.")
        caller = self._effective(request, self.world.identify(caller))
        content = handler(self.world, self.options, request, caller)
        xml = style.apply(envelope(content, self.options, self.server), self.options.prefixes)
        return Reply(200, xml.encode(), {"Content-Type": CONTENT_TYPE}, chunked=self.server.build[0] >= 14)

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
