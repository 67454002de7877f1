"""The ResponseMessages of an answer: one message per thing asked, each good or failed by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from gateway.simulator.ews.soap import M, Refused, T, text

Thing = TypeVar("Thing")


def collect(operation: str, things: Iterable[Thing], answer: Callable[[Thing], str]) -> str:
    """The response element: `answer` gives what follows ResponseCode for each thing, or raises Refused."""
    name = f"m:{operation}ResponseMessage"
    parts = []
    for thing in things:
        try:
            content = answer(thing)
        except Refused as refused:
            parts.append(failed(operation, refused))
        else:
            parts.append(f'<{name} ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>{content}</{name}>')
    return response(operation, "".join(parts))


def response(operation: str, messages: str) -> str:
    """The response element around its messages."""
    return (
        f'<m:{operation}Response xmlns:m="{M}" xmlns:t="{T}"><m:ResponseMessages>{messages}</m:ResponseMessages>'
        f"</m:{operation}Response>"
    )


def failed(operation: str, refused: Refused) -> str:
    """One failed message."""
    xml = f"<m:MessageXml>{refused.xml}</m:MessageXml>" if refused.xml else ""
    name = f"m:{operation}ResponseMessage"
    return (
        f'<{name} ResponseClass="Error"><m:MessageText>{text(refused.message)}</m:MessageText>'
        f"<m:ResponseCode>{refused.code}</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>{xml}</{name}>"
    )
