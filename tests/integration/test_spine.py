"""The spine."""

from __future__ import annotations

from tests.story.office import Office
from tests.story.product import Product


async def test_founding_example(office: Office, gateway: Product) -> None:
    """Calls outrank meetings, meetings outrank what clients declare, and all three stay visible."""
    await office.books("ann", "08:30", "10:00")
    api = gateway.api()
    async with gateway.screen() as screen:
        await api.session("ann", "available")
        await office.clock.advance(60)
        await screen.shows("ann", "In a meeting")
