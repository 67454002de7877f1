"""What goes over the wire to Exchange."""

from __future__ import annotations

from gateway.sources.ews.build import availability_request, older
from gateway.sources.ews.soap import MESSAGES, SOAP, TYPES
from gateway.sources.xml import parse
from tests.unit.ews.wire import WINDOW

ASKED = f"{{{SOAP}}}Body/{{{MESSAGES}}}GetUserAvailabilityRequest"


def test_the_request_asks_for_blocks_in_utc_and_nothing_else() -> None:
    """Children in the schema's order, a zone of no bias, naive times, the plain FreeBusy view."""
    root, _ = parse(availability_request(["ann@example.com", "bob@example.com"], WINDOW, "Exchange2013"))
    asked = root.find(ASKED)
    assert asked is not None
    assert [child.tag for child in asked] == [
        f"{{{TYPES}}}TimeZone",
        f"{{{MESSAGES}}}MailboxDataArray",
        f"{{{TYPES}}}FreeBusyViewOptions",
    ]
    assert [bias.text for bias in asked.iter(f"{{{TYPES}}}Bias")] == ["0", "0", "0"]
    assert [found.text for found in asked.iter(f"{{{TYPES}}}Address")] == ["ann@example.com", "bob@example.com"]
    options = {child.tag.rpartition("}")[2]: (child.text or "") for child in asked[2].iter()}
    assert options["StartTime"] == "2026-11-19T00:00:00"
    assert options["EndTime"] == "2026-11-22T00:00:00"
    assert options["RequestedView"] == "FreeBusy"
    version = root.find(f".//{{{TYPES}}}RequestServerVersion")
    assert version is not None
    assert version.get("Version") == "Exchange2013"


def test_a_hostile_address_stays_an_address() -> None:
    """Markup and illegal characters in an address change nothing but the address."""
    root, _ = parse(availability_request(["</t:Address><x/>\x01@example.com"], WINDOW, "Exchange2013"))
    addresses = [found.text for found in root.iter(f"{{{TYPES}}}Address")]
    assert addresses == ["</t:Address><x/>\ufffd@example.com"]
    assert root.find(".//x") is None


def test_versions_step_down_to_2007_and_end_there() -> None:
    """From any configured version there is a way down."""
    steps, version = [], older("Exchange2016")
    while version is not None:
        steps.append(version)
        version = older(version)
    assert steps == ["Exchange2013", "Exchange2010_SP2", "Exchange2010_SP1", "Exchange2007_SP1"]
    assert older("Exchange2010") == "Exchange2007_SP1"
    assert older("Exchange2013_SP1") == "Exchange2013"
