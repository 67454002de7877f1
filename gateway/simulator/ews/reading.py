"""GetItem and FindItem: looking at calendar items one by one, in a window, or page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lxml import etree

from gateway.simulator.ews import ids, shape
from gateway.simulator.ews.folders import Folder, locate, may_open, named
from gateway.simulator.ews.messages import collect
from gateway.simulator.ews.options import REQUEST_VERSIONS, EwsOptions
from gateway.simulator.ews.soap import Fault, M, Refused, Request, SchemaFault, number
from gateway.simulator.world import CALENDAR, Occurrence, Right, World
from gateway.simulator.zones import UnknownZone, zone_info

_TWO_YEARS = timedelta(days=731)


def get_item(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer GetItem."""
    wanted = shape.read(request.element)

    def one(element: etree._Element) -> str:
        found = ids.find(world, element)
        right = may_open(world, found.item.address, caller)
        if right < Right.REVIEWER:
            raise Refused("ErrorAccessDenied")
        sight = shape.Sight(world, found, right, shows_elsewhere(options, request))
        return f"<m:Items>{shape.calendar_item(sight, wanted)}</m:Items>"

    return collect("GetItem", named(request.element, "ItemIds"), one)


def find_item(world: World, options: EwsOptions, request: Request, caller: str) -> str:
    """Answer FindItem. With CalendarView series come expanded; without it masters come as they are stored."""
    folders = list(named(request.element, "ParentFolderIds"))
    if options.find_folders and len(folders) > options.find_folders:
        raise Fault("ErrorExceededConnectionCount", "You have exceeded the available concurrent connections.")
    wanted = shape.read(request.element, flat_only=True)
    view = request.element.find(f"{{{M}}}CalendarView")

    def one(element: etree._Element) -> str:
        folder = locate(world, element, caller)
        if any(request.element.find(f"{{{M}}}{name}") is not None for name in ("Restriction", "QueryString")):
            raise Refused("ErrorUnsupportedPathForQuery", "This server does not search.")
        found, page = _viewed(world, folder, view, request) if view is not None else _paged(world, folder, request)
        sights = [shape.Sight(world, item, folder.right, shows_elsewhere(options, request)) for item in found]
        items = "".join(shape.calendar_item(sight, wanted) for sight in sights)
        return f"<m:RootFolder {page}><t:Items>{items}</t:Items></m:RootFolder>"

    return collect("FindItem", folders, one)


def shows_elsewhere(options: EwsOptions, request: Request) -> bool:
    """Whether this request may see the status WorkingElsewhere."""
    if options.working_elsewhere != "since_2013":
        return options.working_elsewhere == "always"
    return REQUEST_VERSIONS.index(request.version) >= REQUEST_VERSIONS.index("Exchange2013")


def moment(value: str, zone: str | None) -> datetime:
    """A dateTime of a request; naive ones are wall time of the given zone, or UTC. Raises SchemaFault."""
    try:
        found = datetime.fromisoformat(value)
        tz = zone_info(zone) if zone else UTC
    except (ValueError, UnknownZone):
        raise SchemaFault(f"The value '{value}' is not a dateTime of a known zone.") from None
    return found if found.tzinfo else found.replace(tzinfo=tz)


def _viewed(world: World, folder: Folder, view: etree._Element, request: Request) -> tuple[list[Occurrence], str]:
    start = moment(view.get("StartDate") or "", request.zone)
    end = moment(view.get("EndDate") or "", request.zone)
    if end < start:
        raise Refused("ErrorCalendarEndDateIsEarlierThanStartDate", "EndDate is earlier than StartDate.")
    if end - start > _TWO_YEARS:
        raise Refused("ErrorCalendarViewRangeTooBig")
    if folder.name != CALENDAR:
        raise Refused("ErrorCalendarFolderIsInvalidForCalendarView", "Only calendars have a calendar view.")
    found = world.occurrences(folder.address, start, end)
    limit = number(view, "MaxEntriesReturned", len(found))
    whole = "true" if len(found) <= limit else "false"
    return found[:limit], f'TotalItemsInView="{len(found)}" IncludesLastItemInRange="{whole}"'


def _paged(world: World, folder: Folder, request: Request) -> tuple[list[Occurrence], str]:
    items = [item for item in world.mailbox(folder.address).items.values() if item.folder == folder.name]
    items.sort(key=lambda item: (item.start, item.item_id))
    page = request.element.find(f"{{{M}}}IndexedPageItemView")
    first = number(page, "Offset", 0) if page is not None else 0
    size = number(page, "MaxEntriesReturned", 1000) if page is not None else 1000
    beyond = min(first + size, len(items))
    last = "true" if beyond == len(items) else "false"
    attributes = f'IndexedPagingOffset="{beyond}" TotalItemsInView="{len(items)}" IncludesLastItemInRange="{last}"'
    return [world.find(item.item_id) for item in items[first:beyond]], attributes
