"""Conditional requests and the wish to wait."""

import pytest

from gateway.web.negotiate import matches, wait_wish


@pytest.mark.parametrize("header", ['"a"', 'W/"a"', ' "a" ', '"b", "a"', '"b","c" , W/"a"', "*", " * ", '"x,y", "a"'])
def test_a_named_tag_matches(header: str) -> None:
    """Weak or strong, alone or in a list, and by the star (RFC 9110 13.1.2)."""
    assert matches(header, '"a"')


@pytest.mark.parametrize("header", ["", "a", '"A"', '"b"', '"b", "c"', '"*"', 'w/"b"', '"a', '"b,a"', '"", "ab"'])
def test_another_tag_does_not(header: str) -> None:
    """Tags are opaque, quoted and compared byte for byte."""
    assert not matches(header, '"a"')


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["wait=10"], 10),
        (["WAIT=10"], 10),
        (['wait="10"'], 10),
        (["wait = 10"], 10),
        (["respond-async, wait=10"], 10),
        (["return=minimal; foo=bar, wait=7; x"], 7),
        (["handling=lenient", "wait=5"], 5),
        (["wait=3, wait=9"], 3),
        (["wait=0"], 0),
        (["wait=61"], 60),
        (["wait=999999999"], 60),
        ([], None),
        ([""], None),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=soon"], None),
        (["wait=٣"], None),
        (["await=5"], None),
        (['x="wait=5"'], None),
        (['x="a, wait=5"'], None),
        (["wait=9999999999999"], None),
    ],
)
def test_the_wish_to_wait(headers: list[str], seconds: float | None) -> None:
    """`wait` counts in whole seconds up to a minute; what is malformed is ignored (RFC 7240 2)."""
    assert wait_wish(headers) == seconds
