"""The control endpoint: the simulated world over plain HTTP and JSON, for tests and demonstrations.

It listens on loopback, on its own port, under a random token: `http://127.0.0.1:PORT/control/TOKEN`. Anything
that carries an `Origin` header is refused (403), so that no web page can drive it; a wrong token is 404.
Below that base:

- GET `/state`: people, their appointments (no subjects), faults, locked accounts, counters
- GET `/journal`: the newest requests, `?limit=100`
- GET `/streams`: live subscriptions, and the newest streams (`?limit=100`; those with `ended_s` null are open)
- POST `/book` `{"person", "start", "end", "busy"?, "subject"?, "location"?, "all_day"?, "sensitivity"?}`:
  201 and `{"item_id"}`
- POST `/move` `{"item_id", "start", "end"}`; POST `/change` `{"item_id", …fields as in book}`;
  POST `/delete` `{"item_id"}`
- POST `/people` `{"person", "name"?, "zone"?, "calendar_name"?}`: a new mailbox
- POST `/mailbox` `{"person", "fault"}`: an EWS error code makes the mailbox fail, null makes it healthy
- POST `/rights` `{"person", "caller", "right"}` with a right from `NONE` to `OWNER`, or `{"impersonation": caller}`,
  or `{"person", "exempt"}`: true, and nobody may act as the owner of that mailbox
- POST `/account` `{"account", "locked"?, "password"?}`: locks, unlocks, changes a password
- POST `/faults` `{"action", …}`: adds a rule (see `faults.ACTIONS`); `{"clear": true}` removes all, a number one
- POST `/options` `{"streams": {"heartbeat": "status", …}, "times": "utc", …}`: switches of the EWS face
- POST `/streams` `{"end", "mailbox"?}`: ends streams, all or of one mailbox: `closed`, `not_found`, `close` or `reset`
- POST `/restart` `{"streams"?}`: every subscription is forgotten; open streams `close`, `reset`, `not_found` or `deaf`
- POST `/listening` `{"on"}`: false is an outage (connections end, new ones are refused), true its end

Times are RFC 3339 with an offset. Faulty input is 400 (404 for people, items and accounts that are not
there) with `{"error"}`.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

from aiohttp import web

from gateway.simulator.ews import SERVERS
from gateway.simulator.logon import UnknownAccount
from gateway.simulator.streaming import End, Restart
from gateway.simulator.switches import set_switches
from gateway.simulator.world import Busy, Mailbox, NoSuchItem, NoSuchMailbox, Right

if TYPE_CHECKING:
    from gateway.simulator.server import Simulator

_BODY_LIMIT = 1 << 20
Body = dict[str, Any]
Answer = tuple[int, object]
_DONE: Answer = (200, {})


class Control:
    """The control endpoint of one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._token = secrets.token_urlsafe(24)
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._posts: dict[str, Callable[[Body], Answer]] = {
            "book": self._book,
            "move": self._move,
            "change": self._change,
            "delete": self._delete,
            "people": self._people,
            "mailbox": self._mailbox,
            "rights": self._rights,
            "account": self._account,
            "faults": self._faults,
            "options": self._options,
            "streams": self._end_streams,
            "restart": self._restart,
        }

    @property
    def url(self) -> str:
        """The base address, token included, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}/control/{self._token}"

    async def start(self) -> None:
        """Listen on a free loopback port."""
        application = web.Application(client_max_size=_BODY_LIMIT)
        application.router.add_route("*", "/control/{token}", self._handle)
        application.router.add_route("*", "/control/{token}/{what:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the listener; harmless twice."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.Response:
        if "Origin" in request.headers:  # only browsers send it, and no web page has business here
            return _json(403, {"error": "requests from web pages are refused"})
        if not hmac.compare_digest(request.match_info["token"].encode(), self._token.encode()):
            return _json(404, {"error": "not found"})
        what = request.match_info.get("what", "").strip("/") or "state"
        try:
            status, answer = await self._do(request, what)
        except (NoSuchItem, NoSuchMailbox, UnknownAccount) as missing:
            return _json(404, {"error": f"not found: {missing}"})
        except KeyError as missing:
            return _json(400, {"error": f"{missing} is missing"})
        except (ValueError, TypeError) as wrong:  # BadRule and UnknownZone among them
            return _json(400, {"error": str(wrong)})
        return _json(status, answer)

    async def _do(self, request: web.Request, what: str) -> Answer:
        if request.method == "GET":
            if what == "state":
                return 200, self._state()
            if what == "journal":
                return 200, self._journal(int(request.query.get("limit", "100")))
            if what == "streams":
                return 200, self._streams(int(request.query.get("limit", "100")))
            return 404, {"error": "not found"}
        if request.method != "POST" or what not in (*self._posts, "listening"):
            return 404, {"error": "not found"}
        body = json.loads(await request.read() or b"{}")
        if not isinstance(body, dict):
            raise ValueError("the body must be a JSON object")
        if what == "listening":
            return await self._listening(body)
        return self._posts[what](body)

    def _state(self) -> dict[str, object]:
        simulator, world = self._simulator, self._simulator.world
        return {
            "people": [_person(mailbox, world.fault(mailbox.address)) for mailbox in world.mailboxes.values()],
            "faults": simulator.faults.as_json(),
            "listening": simulator.listening,
            "locked": simulator.accounts.locked(),
            "counters": simulator.journal.summary(),
        }

    def _journal(self, limit: int) -> list[dict[str, object]]:
        newest = list(self._simulator.journal)[-limit:] if limit > 0 else []
        return [{**asdict(entry), "at": _stamp(entry.at), "properties": sorted(entry.properties)} for entry in newest]

    def _streams(self, limit: int) -> dict[str, object]:
        newest = list(self._simulator.journal.streams)[-limit:] if limit > 0 else []
        live = self._simulator.ews.subscriptions.live
        return {
            "subscriptions": [{"id": each.id, "mailbox": each.address, "waiting": len(each.queue)} for each in live],
            "streams": [asdict(record) for record in newest],
        }

    def _book(self, body: Body) -> Answer:
        fields = _only(body, "busy", "subject", "location", "all_day", "sensitivity", also=_BOOKED)
        item = self._simulator.world.book(
            str(body["person"]), _moment(body, "start"), _moment(body, "end"), **_typed(fields)
        )
        return 201, {"item_id": item.item_id}

    def _move(self, body: Body) -> Answer:
        self._simulator.world.move(str(body["item_id"]), _moment(body, "start"), _moment(body, "end"))
        return _DONE

    def _change(self, body: Body) -> Answer:
        names = ("start", "end", "busy", "subject", "location", "all_day", "sensitivity")
        fields = _only(body, *names, also=("item_id",))
        self._simulator.world.change(str(body["item_id"]), **_typed(fields))
        return _DONE

    def _delete(self, body: Body) -> Answer:
        self._simulator.world.delete(str(body["item_id"]))
        return _DONE

    def _people(self, body: Body) -> Answer:
        fields = _only(body, "name", "zone", "calendar_name", also=("person",))
        self._simulator.world.add_person(str(body["person"]), **fields)
        return 201, {}

    def _mailbox(self, body: Body) -> Answer:
        self._simulator.world.mailbox(str(body["person"]))
        self._simulator.world.set_fault(str(body["person"]), body["fault"])
        return _DONE

    def _rights(self, body: Body) -> Answer:
        if "impersonation" in body:
            self._simulator.world.allow_impersonation(str(body["impersonation"]))
            return _DONE
        if "exempt" in body:
            self._simulator.world.exempt(str(body["person"]), exempt=bool(body["exempt"]))
            return _DONE
        right = str(body["right"]).upper()
        if right not in Right.__members__:
            raise ValueError(f"'right' may be {', '.join(Right.__members__)}")
        self._simulator.world.grant(str(body["person"]), str(body["caller"]), Right[right])
        return _DONE

    def _account(self, body: Body) -> Answer:
        accounts, name = self._simulator.accounts, str(body["account"])
        changes = _only(body, "locked", "password", also=("account",))
        if "locked" in changes:
            accounts.lock(name, locked=bool(changes["locked"]))
        if "password" in changes:
            accounts.change_password(name, str(changes["password"]))
        return _DONE

    def _faults(self, body: Body) -> Answer:
        if "clear" in body:
            number = body["clear"]
            self._simulator.faults.clear(None if number is True else int(number))
            return _DONE
        action = str(body.pop("action"))
        return 201, self._simulator.faults.add(action, **body).as_json()

    def _options(self, body: Body) -> Answer:
        _choice(body.get("server", self._simulator.ews.options.server), tuple(SERVERS))
        set_switches(self._simulator.ews.options, body)
        return _DONE

    def _end_streams(self, body: Body) -> Answer:
        how = _choice(body["end"], get_args(End))
        return 200, {"ended": self._simulator.end_streams(how, str(body.get("mailbox", "")))}

    def _restart(self, body: Body) -> Answer:
        self._simulator.restart_subscriptions(_choice(body.get("streams", "close"), get_args(Restart)))
        return _DONE

    async def _listening(self, body: Body) -> Answer:
        if body["on"]:
            await self._simulator.resume_listening()
        else:
            self._simulator.stop_listening()
        return _DONE


_BOOKED = ("person", "start", "end")


def _person(mailbox: Mailbox, fault: str | None) -> dict[str, object]:
    appointments = [
        {
            "item_id": item.item_id,
            "start": _stamp(item.start),
            "end": _stamp(item.end),
            "busy": item.busy.value,
            "all_day": item.all_day,
            "recurring": item.recurrence is not None,
        }
        for item in sorted(mailbox.items.values(), key=lambda item: item.start)
    ]
    return {
        "person": mailbox.address,
        "name": mailbox.name,
        "zone": mailbox.zone,
        "fault": fault,
        "appointments": appointments,
    }


def _choice(value: object, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{value!r} is none of {', '.join(choices)}")
    return value


def _only(body: Body, *names: str, also: tuple[str, ...]) -> Body:
    """The fields of `body` out of `names`; ValueError for any that are neither there nor in `also`."""
    if unknown := body.keys() - {*names, *also}:
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}; known are {', '.join((*also, *names))}")
    return {name: body[name] for name in names if name in body}


def _typed(fields: Body) -> Body:
    """Fields of an appointment as the world wants them."""
    typed = dict(fields)
    for name in typed.keys() & {"start", "end"}:
        typed[name] = _moment(fields, name)
    if "busy" in typed:
        typed["busy"] = Busy(typed["busy"])
    return typed


def _moment(body: Body, name: str) -> datetime:
    moment = datetime.fromisoformat(str(body[name]))
    if moment.tzinfo is None:
        raise ValueError(f"{name!r} needs an offset from UTC")
    return moment


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(status: int, answer: object) -> web.Response:
    return web.json_response(answer, status=status)
