"""An independent Exchange for tests, demonstrations and other people's clients.

It imports nothing from the rest of `gateway`, and shares no parser or builder with the adapters, so that a
shared misreading cannot hide. `World` is what is true (people, appointments, rights); the EWS face translates
it; `Simulator` serves it over TLS with its own authority, checks passwords (Basic, NTLM), misbehaves by
script (`faults`) and writes down what it saw (`journal`).

    async with Simulator(world) as exchange:
        client.connect(exchange.ews_url, trust=exchange.ca_file)
        exchange.faults.add("status", status=503, retry_after=1, count=1)
        assert not exchange.journal.writes(by=exchange.service_account)

Streaming notifications: `exchange.ews.options.streams` has the switches, `exchange.ews.subscriptions.live` what
is subscribed, `exchange.journal.streams` what went out and when; `end_streams` and `restart_subscriptions` are
the outages of that side.
"""

from gateway.simulator.certificates import Authority, Issued
from gateway.simulator.ews import EwsFace, EwsOptions, StreamOptions
from gateway.simulator.faults import ACTIONS, BadRule, Faults, Rule
from gateway.simulator.journal import Entry, Journal
from gateway.simulator.server import Simulator
from gateway.simulator.stream_journal import Emission, StreamJournal, StreamRecord
from gateway.simulator.world import Appointment, Busy, Mailbox, Right, World

__all__ = [
    "ACTIONS",
    "Appointment",
    "Authority",
    "BadRule",
    "Busy",
    "Emission",
    "Entry",
    "EwsFace",
    "EwsOptions",
    "Faults",
    "Issued",
    "Journal",
    "Mailbox",
    "Right",
    "Rule",
    "Simulator",
    "StreamJournal",
    "StreamOptions",
    "StreamRecord",
    "World",
]
