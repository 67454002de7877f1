"""Subscribe, Unsubscribe and GetStreamingEvents: who may, how many, how long, and on which server."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.simulator.ews import Affinity, EwsFace, EwsOptions, Reply, Stream, StreamOptions
from gateway.simulator.world import Right, World
from tests.unit.simulator.wire import (
    ANN,
    BOB,
    SERVICE,
    fault_code,
    office,
    soap,
    streaming,
    subscribe,
    tree,
    unsubscribe,
    utc,
    values,
)

HOUR = timedelta(hours=1)


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.moment = utc(20, 9)

    def __call__(self) -> datetime:
        return self.moment


class Site:
    """A server with Ann, Bob and a service account that may act as either."""

    def __init__(self, server: str = "2019", **switches: Any) -> None:
        self.clock = Clock()
        self.world: World = office()
        self.world.allow_impersonation(SERVICE)
        self.options = EwsOptions(server=server, streams=StreamOptions(**switches))
        self.face = EwsFace(self.world, self.options, now=self.clock)

    def ask(self, body: bytes, caller: str = SERVICE, affinity: Affinity | None = None) -> Reply:
        """One request."""
        return self.face.answer(body, caller, affinity or Affinity())

    def code(self, body: bytes, caller: str = SERVICE, affinity: Affinity | None = None) -> str:
        """The only response code of an answer, fault or message."""
        (code,) = values(tree(self.ask(body, caller, affinity)), "ResponseCode")
        return code

    def subscribed(self, address: str = ANN, affinity: Affinity | None = None) -> str:
        """The id of a new subscription."""
        reply = self.ask(subscribe(impersonate=address), affinity=affinity)
        (token,) = values(tree(reply), "SubscriptionId")
        return token

    def stream(self, *tokens: str, affinity: Affinity | None = None, acting: str = ANN) -> Stream:
        """The stream that answers GetStreamingEvents."""
        stream = self.ask(streaming(*tokens, impersonate=acting), affinity=affinity).stream
        assert stream is not None
        return stream

    def opened(self, *tokens: str, acting: str = ANN) -> Stream:
        """The same, connected."""
        stream = self.stream(*tokens, acting=acting)
        stream.open(lambda signal: None)
        return stream


@pytest.fixture
def site() -> Site:
    """The usual one."""
    return Site()


def test_an_id_names_its_server_and_its_mailbox_inside_base64(site: Site) -> None:
    """Length and name, 16 and a GUID, a FILETIME, and since 2016 another GUID (recorded)."""
    raw = base64.b64decode(site.subscribed(), validate=True)
    name = b"exchange01.corp.example.com"
    assert raw[:2] == len(name).to_bytes(2, "little")
    assert raw[2:].startswith(name + b"\x10\x00\x00\x00")
    assert len(raw) == 2 + len(name) + 20 + 8 + 20
    assert len(base64.b64decode(Site("2013").subscribed())) == 2 + len(name) + 20 + 8


def test_the_owner_or_who_acts_as_the_owner_may_subscribe(site: Site) -> None:
    """By the distinguished folder, with the mailbox or without it, by id, and to all folders."""
    folder = site.ask(
        soap(
            "<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape><m:FolderIds>"
            '<t:DistinguishedFolderId Id="calendar"/></m:FolderIds></m:GetFolder>'
        ),
        ANN,
    )
    (folder_id,) = [str(found.get("Id")) for found in tree(folder).iter("{*}FolderId")]
    by_id = subscribe().replace(
        b'<t:DistinguishedFolderId Id="calendar"></t:DistinguishedFolderId>', f'<t:FolderId Id="{folder_id}"/>'.encode()
    )
    assert site.code(subscribe(), ANN) == "NoError"
    assert site.code(subscribe(ANN, impersonate=ANN)) == "NoError"
    assert site.code(by_id, ANN) == "NoError"
    assert site.code(subscribe(attributes='SubscribeToAllFolders="true"'), ANN) == "NoError"
    assert {each.address for each in site.face.subscriptions.live} == {ANN}


@pytest.mark.parametrize("right", [Right.NONE, Right.AVAILABILITY_ONLY, Right.REVIEWER])
def test_a_delegate_may_not(site: Site, right: Right) -> None:
    """Whatever the calendar shows, only owner-level access makes a subscriber."""
    site.world.grant(ANN, SERVICE, right)
    assert site.code(subscribe(ANN)) == "ErrorSubscriptionDelegateAccessNotSupported"
    site.world.grant(ANN, SERVICE, Right.OWNER)
    assert site.code(subscribe(ANN)) == "NoError"


def test_what_cannot_be_subscribed_to_is_refused_with_its_code(site: Site) -> None:
    """Two mailboxes, no mailbox, another kind, impersonation out of scope, a mailbox on the move."""
    assert site.code(subscribe(ANN, BOB), ANN) == "ErrorInvalidSubscriptionRequest"
    assert site.code(subscribe()) == "ErrorMissingEmailAddress"
    for kind in ("Pull", "Push"):
        assert site.code(subscribe(kind=kind), ANN) == "ErrorInvalidSubscriptionRequest"
    assert site.code(subscribe(types=("RippedEvent",)), ANN) == "ErrorSchemaValidation"
    assert site.code(subscribe(types=()), ANN) == "ErrorSchemaValidation"
    site.world.add_person("moved@example.com")
    assert site.code(subscribe(impersonate="moved@example.com")) == "ErrorMailboxMoveInProgress"
    site.world.exempt(ANN)
    assert site.code(subscribe(impersonate=ANN)) == "ErrorImpersonateUserDenied"
    site.world.exempt(ANN, exempt=False)
    assert site.code(subscribe(impersonate=ANN)) == "NoError"


def test_there_are_no_pull_subscriptions_to_ask(site: Site) -> None:
    """GetEvents on a streaming subscription has its own code."""
    token = site.subscribed()
    asked = soap(f"<m:GetEvents><m:SubscriptionId>{token}</m:SubscriptionId><m:Watermark>x</m:Watermark></m:GetEvents>")
    assert site.code(asked) == "ErrorInvalidPullSubscriptionId"


def test_streams_came_with_2010_sp1() -> None:
    """Older requests are refused for their version; 2007 does not know the operation."""
    site = Site()
    assert fault_code(site.ask(subscribe(version="Exchange2010"), ANN)) == "ErrorInvalidServerVersion"
    assert fault_code(site.ask(streaming("x", version="Exchange2007_SP1"), ANN)) == "ErrorInvalidServerVersion"
    assert site.code(subscribe(version="Exchange2010_SP1"), ANN) == "NoError"
    old = Site("2007").ask(streaming("x", version="Exchange2007_SP1"), ANN)
    assert fault_code(old) == "ErrorSchemaValidation"


def test_a_subscription_is_its_creators(site: Site) -> None:
    """Not the owner's, and not another account's that may impersonate as well."""
    token = site.subscribed()
    site.world.allow_impersonation("other")
    for caller in (ANN, "other"):
        assert site.code(streaming(token, impersonate=ANN), caller) == "ErrorSubscriptionAccessDenied"
        assert site.code(unsubscribe(token, impersonate=ANN), caller) == "ErrorSubscriptionAccessDenied"
    assert site.code(unsubscribe(token)) == "NoError"


def test_unsubscribing_ends_it_once(site: Site) -> None:
    """Afterwards the id is unknown; something that is no id is invalid."""
    token = site.subscribed()
    assert site.code(unsubscribe(token)) == "NoError"
    assert site.code(unsubscribe(token)) == "ErrorSubscriptionNotFound"
    assert site.code(unsubscribe("bogus")) == "ErrorInvalidSubscription"
    site.options.streams.unknown_id = "ErrorInvalidSubscription"
    assert site.code(unsubscribe(token)) == "ErrorInvalidSubscription"


def test_one_bad_id_spoils_the_stream_and_is_named(site: Site) -> None:
    """An error, the bad ids, Closed; the good subscription lives on."""
    good, bad = site.subscribed(), site.subscribed(BOB)
    site.ask(unsubscribe(bad))
    stream = site.stream(good, bad)
    answer = tree(Reply(200, stream.hello().body, {}))
    assert not stream.lasting
    assert values(answer, "ResponseCode") == ["ErrorSubscriptionNotFound"]
    assert values(answer, "SubscriptionId") == [bad]
    assert values(answer, "ConnectionStatus") == ["Closed"]
    assert [each.id for each in site.face.subscriptions.live] == [good]
    site.options.streams.error_status = "OK"
    deaf = site.stream(good, bad)
    assert deaf.lasting
    assert values(tree(Reply(200, deaf.hello().body, {})), "ConnectionStatus") == ["OK"]


def test_at_most_200_ids_and_30_minutes(site: Site) -> None:
    """The 201st id is refused, and so is a time outside 1 to 30 minutes."""
    tokens = [site.subscribed() for _ in range(201)]
    assert site.stream(*tokens[:200]).timeout_s == 1800
    assert fault_code(site.ask(streaming(*tokens, impersonate=ANN))) == "ErrorInvalidRequest"
    for minutes in (0, 31, "", "soon"):
        reply = site.ask(streaming(tokens[0], minutes=minutes, impersonate=ANN))
        assert fault_code(reply) == "ErrorSchemaValidation"
    assert fault_code(site.ask(streaming(impersonate=ANN))) == "ErrorSchemaValidation"


@pytest.mark.parametrize(("lifetime_s", "server"), [(1800.0, "2019"), (300.0, "2019")])
def test_a_subscription_dies_without_a_connection(lifetime_s: float, server: str) -> None:
    """Its time runs from its making, or from the end of its last stream; a stream keeps it alive."""
    site = Site(server, lifetime_s=lifetime_s)
    token = site.subscribed()
    site.clock.moment += timedelta(seconds=lifetime_s - 1)
    stream = site.opened(token)
    site.clock.moment += 2 * HOUR
    assert len(site.face.subscriptions.live) == 1
    stream.close()
    site.clock.moment += timedelta(seconds=lifetime_s - 1)
    assert site.stream(token).lasting
    site.clock.moment += timedelta(seconds=1)
    assert not site.stream(token).lasting
    assert not site.face.subscriptions.live


@pytest.mark.parametrize(("server", "limit"), [("Online", 20), ("2013", None), ("2019", 2)])
def test_a_mailbox_has_room_for_so_many_subscriptions(server: str, limit: int | None) -> None:
    """20 Online, thousands elsewhere; an ended one makes room."""
    site = Site(server, subscriptions_per_mailbox=None if server != "2019" else limit)
    tokens = [site.subscribed() for _ in range(limit or 50)]
    refused = site.code(subscribe(impersonate=ANN))
    assert refused == ("NoError" if limit is None else "ErrorExceededSubscriptionCount")
    assert site.code(subscribe(impersonate=BOB)) == "NoError"
    site.ask(unsubscribe(tokens[0]))
    assert site.code(subscribe(impersonate=ANN)) == "NoError"


@pytest.mark.parametrize(("server", "limit"), [("2013", 3), ("2016", 10), ("2019", 10)])
def test_streams_are_charged_to_the_impersonated_mailbox(server: str, limit: int) -> None:
    """One too many is a fault without a back-off time; another mailbox has its own allowance."""
    site = Site(server)
    tokens = [site.subscribed() for _ in range(limit + 1)]
    streams = [site.opened(token) for token in tokens[:limit]]
    reply = site.ask(streaming(tokens[-1], impersonate=ANN))
    assert fault_code(reply) == "ErrorExceededConnectionCount"
    assert str(limit) in values(tree(reply), "Value")
    assert b"BackOffMilliseconds" not in reply.body
    assert site.opened(tokens[-1], acting=BOB).lasting
    streams[0].close()
    assert site.stream(tokens[0]).lasting


def test_one_stream_too_many_can_be_refused_inside_the_stream() -> None:
    """As an error message and Closed."""
    site = Site(streams_per_mailbox=0, exceeded_connections="message")
    stream = site.stream(site.subscribed())
    answer = tree(Reply(200, stream.hello().body, {}))
    assert not stream.lasting
    assert values(answer, "ResponseCode") == ["ErrorExceededConnectionCount"]
    assert values(answer, "ConnectionStatus") == ["Closed"]


def test_reconnecting_takes_the_place_of_the_old_stream() -> None:
    """A stream that is not known to be dead yet does not count against its successor."""
    site = Site(streams_per_mailbox=1)
    token = site.subscribed()
    heard: list[str] = []
    first = site.stream(token)
    first.open(heard.append)
    second = site.opened(token)
    assert second.lasting
    assert heard == ["taken"]
    first.close()
    assert [each.stream for each in site.face.subscriptions.live] == [second]


def test_a_restart_forgets_everything_and_may_give_the_same_ids_again() -> None:
    """Counting ids begin anew, so that an old id can mean another mailbox."""
    site = Site(ids="counting")
    before = [site.subscribed(ANN), site.subscribed(BOB)]
    site.face.subscriptions.forget_all()
    assert site.code(unsubscribe(before[0])) == "ErrorSubscriptionNotFound"
    after = [site.subscribed(BOB), site.subscribed(ANN)]
    assert after == before
    random = Site()
    first = random.subscribed()
    random.face.subscriptions.forget_all()
    assert random.subscribed() != first


# --- several mailbox servers


def together(anchor: str = ANN, cookie: str | None = None) -> Affinity:
    """What a well-behaved client sends."""
    return Affinity(anchor, prefer=True, cookie=cookie)


def cookie_of(reply: Reply) -> str:
    """The value of the override cookie an answer sets."""
    (cookie,) = reply.cookies
    name, _, rest = cookie.partition("=")
    value, _, attributes = rest.partition(";")
    assert name == "X-BackEndOverrideCookie"
    assert attributes == " path=/; secure; HttpOnly"
    return value


def test_a_group_stays_together_on_the_server_of_its_anchor() -> None:
    """Anchor, preference and cookie: then one stream carries mailboxes of different servers."""
    site = Site(backends=2)
    first = site.ask(subscribe(impersonate=ANN), affinity=together())
    cookie = cookie_of(first)
    assert cookie.partition("~")[0] == base64.b64decode(values(tree(first), "SubscriptionId")[0])[2:29].decode()
    (ann,) = values(tree(first), "SubscriptionId")
    second = site.ask(subscribe(impersonate=BOB), affinity=together(cookie=cookie))
    assert second.cookies == ()
    (bob,) = values(tree(second), "SubscriptionId")
    assert site.stream(ann, bob, affinity=together(cookie=cookie)).lasting
    assert first.headers["X-BEServer"] == second.headers["X-BEServer"]
    assert site.code(unsubscribe(bob, impersonate=BOB), affinity=together(cookie=cookie)) == "NoError"


@pytest.mark.parametrize(
    "broken",
    [
        {"cookie": None},
        {"cookie": "exchange09.corp.example.com~1"},
        {"cookie": "other"},
        {"anchor": ""},
        {"anchor": BOB},
        {"prefer": False},
    ],
    ids=str,
)
def test_whoever_lets_go_of_the_group_finds_no_subscription(broken: dict[str, Any]) -> None:
    """Without all three the stream ends up elsewhere, and so does a member's Subscribe."""
    site = Site(backends=2)
    first = site.ask(subscribe(impersonate=ANN), affinity=together())
    (ann,) = values(tree(first), "SubscriptionId")
    right: dict[str, Any] = {"anchor": ANN, "prefer": True, "cookie": cookie_of(first)}
    if broken.get("cookie") == "other":
        other = cookie_of(site.ask(subscribe(impersonate=BOB), affinity=together(BOB)))
        assert other != right["cookie"]
        broken = {"cookie": other}
    wrong = Affinity(**(right | broken))
    refused = site.stream(ann, affinity=wrong)
    assert values(tree(Reply(200, refused.hello().body, {})), "ResponseCode") == ["ErrorSubscriptionNotFound"]
    strayed = site.subscribed(BOB, affinity=wrong)
    group = site.stream(ann, strayed, affinity=Affinity(**right))
    assert values(tree(Reply(200, group.hello().body, {})), "SubscriptionId") == [strayed]
    assert site.stream(ann, affinity=Affinity(**right)).lasting


def test_one_server_asks_for_nothing() -> None:
    """Headers and cookie make no difference where there is nothing to choose."""
    site = Site()
    token = site.subscribed()
    assert site.stream(token, affinity=Affinity(BOB, prefer=False, cookie="nonsense")).lasting
    assert "X-BEServer" not in site.ask(unsubscribe(token)).headers


def test_servers_that_route_are_kinder() -> None:
    """The cookie if it is preferred, else the anchor, else the mailbox."""
    site = Site(backends=2, affinity="routed")
    token = site.subscribed()
    assert site.stream(token).lasting
    assert site.stream(token, affinity=Affinity(ANN)).lasting
    assert not site.stream(token, affinity=Affinity(BOB)).lasting
    cookie = cookie_of(site.ask(subscribe(impersonate=ANN), affinity=together()))
    assert site.stream(token, affinity=Affinity(BOB, prefer=True, cookie=cookie)).lasting
    assert not site.stream(token, affinity=Affinity(BOB, prefer=False, cookie=cookie)).lasting


def test_the_cookie_comes_with_the_first_answer_with_every_one_or_never() -> None:
    """Servers differ; where there is none, none is asked for."""
    every = Site(affinity_cookie="every", more_cookies=True)
    for body in (subscribe(impersonate=ANN), unsubscribe("x")):
        names = [cookie.partition("=")[0] for cookie in every.ask(body).cookies]
        assert names == ["X-BackEndOverrideCookie", "X-BackEndCookie", "exchangecookie"]
    never = Site(affinity_cookie="none", backends=2)
    reply = never.ask(subscribe(impersonate=ANN), affinity=together())
    assert reply.cookies == ()
    (ann,) = values(tree(reply), "SubscriptionId")
    bob = never.subscribed(BOB, affinity=together())
    assert never.stream(ann, bob, affinity=together()).lasting
    assert Site("2010").ask(subscribe(impersonate=ANN), affinity=together()).cookies == ()
