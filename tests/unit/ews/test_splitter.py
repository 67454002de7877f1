"""Envelopes out of a stream of bytes, wherever the pieces begin and end."""

from __future__ import annotations

import pytest

from gateway.sources.ews.soap import SOAP
from gateway.sources.ews.splitter import EnvelopeSplitter, TooLarge

FORMS = {
    "unprefixed": f'<Envelope xmlns="{SOAP}"><Body>one</Body></Envelope>',
    "s": f'<s:Envelope xmlns:s="{SOAP}"><s:Body>one</s:Body></s:Envelope>',
    "soap11": f'<soap11:Envelope xmlns:soap11="{SOAP}"\n><soap11:Body/></soap11:Envelope \r\n>',
    "odd prefix": f'<_a.b-1:Envelope\txmlns:_a.b-1="{SOAP}"><_a.b-1:EnvelopeX/></_a.b-1:Envelope>',
    "mixed": f'<Envelope xmlns="{SOAP}"><soap11:Body xmlns:soap11="{SOAP}">&lt;/Envelope&gt;</soap11:Body></Envelope>',
}
BETWEEN = {
    "nothing": "",
    "declaration": '<?xml version="1.0" encoding="utf-8"?>',
    "blanks": "\r\n   \n",
    "declaration and blanks": '\ufeff<?xml version="1.0"?>\r\n',
    "padding": " " * 400 + "<!-- </nothing> -->",
}


def fed(*pieces: bytes) -> list[bytes]:
    """What a splitter makes of these pieces."""
    splitter = EnvelopeSplitter()
    return [envelope for piece in pieces for envelope in splitter.feed(piece)]


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("form", FORMS)
def test_envelopes_come_out_whole_wherever_a_stream_is_cut(form: str, between: str) -> None:
    """Two envelopes, cut in two pieces at every byte and fed byte by byte: the same two, without what lies between."""
    envelope = FORMS[form].encode()
    stream = 2 * (BETWEEN[between].encode() + envelope)
    for cut in range(len(stream) + 1):
        assert fed(stream[:cut], stream[cut:]) == [envelope, envelope], cut
    assert fed(*(stream[at : at + 1] for at in range(len(stream)))) == [envelope, envelope]


def test_three_pieces_at_every_pair_of_bytes_around_the_seam() -> None:
    """However two short pieces fall across the end of one envelope and the beginning of the next."""
    first, second = FORMS["s"].encode(), FORMS["unprefixed"].encode()
    stream, seam = first + second, len(first)
    for start in range(seam - 20, seam + 20):
        for end in range(start, seam + 20):
            assert fed(stream[:start], stream[start:end], stream[end:]) == [first, second]


def test_many_envelopes_in_one_piece_come_out_in_order() -> None:
    """A burst is one piece and many envelopes."""
    envelopes = [f"<Envelope xmlns='{SOAP}'>{n}</Envelope>".encode() for n in range(500)]
    assert fed(b"".join(envelopes)) == envelopes


def test_an_unfinished_envelope_is_kept_and_counted() -> None:
    """`pending` says how much of an envelope has come; padding between envelopes is not kept."""
    splitter = EnvelopeSplitter()
    assert splitter.feed(b"<Envelope >" + b"x" * 1000) == []
    assert splitter.pending == 1011
    assert len(splitter.feed(b"</Envelope>")) == 1
    for _ in range(100):
        splitter.feed(b"\n" * 10_000)
    assert splitter.pending < 200


def test_an_endless_envelope_is_refused() -> None:
    """Beyond the limit nothing more is collected, whether the envelope would end one day or not."""
    splitter = EnvelopeSplitter(largest=10_000)
    for _ in range(90):
        splitter.feed(b"<Envelope>" + b"y" * 100)
    with pytest.raises(TooLarge):
        splitter.feed(b"y" * 101)
    with pytest.raises(TooLarge):
        EnvelopeSplitter(largest=10_000).feed(b"<Envelope>" + b"z" * 20_000 + b"</Envelope>")
    assert EnvelopeSplitter(largest=10_000).feed(b"<Envelope>" + b"z" * 9_900 + b"</Envelope>")


def test_a_long_envelope_in_small_pieces_takes_no_quadratic_time() -> None:
    """A megabyte in pieces of 16 bytes looks at every byte a bounded number of times."""
    splitter = EnvelopeSplitter()
    looked = 0
    splitter.feed(b"<Envelope>")
    for _ in range(1 << 16):
        splitter.feed(b"0123456789abcdef")
        looked += splitter.pending - splitter._looked_until
    assert looked <= (1 << 16) * 200
    (envelope,) = splitter.feed(b"</Envelope>")
    assert len(envelope) == (1 << 20) + 21
