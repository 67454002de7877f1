"""An independent Exchange for tests, demonstrations and other people's clients.

It imports nothing from the rest of `gateway`, and shares no parser or builder with the adapters, so that a
shared misreading cannot hide. `World` is what is true (people, appointments, rights); the EWS face translates
it; `Simulator` serves it over TLS with its own authority, checks passwords (Basic, NTLM), misbehaves by
script (`faults`) and writes down what it saw (`journal`).

    async with Simulator(world) as exchange:
        client.connect(exchange.ews_url, trust=exchange.ca_file)
        exchange.faults.add("status", status=503, retry_after=1, count=1)
        assert not exchange.journal.writes(by=exchange.service_account)
"""

from gateway.simulator.certificates import Authority, Issued
from gateway.simulator.ews import EwsFace, EwsOptions
from gateway.simulator.faults import ACTIONS, BadRule, Faults, Rule
from gateway.simulator.journal import Entry, Journal
from gateway.simulator.server import Simulator
from gateway.simulator.world import Appointment, Busy, Mailbox, Right, World

__all__ = [
    "ACTIONS",
    "Appointment",
    "Authority",
    "BadRule",
    "Busy",
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
    "World",
]
