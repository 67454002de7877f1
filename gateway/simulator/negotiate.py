"""The little of SPNEGO (RFC 4178) that carries NTLM: unwrap a client's token, wrap the server's.

IIS takes NTLM under the `Negotiate` scheme both raw and wrapped; so does the simulator. There is no Kerberos
here: a client that offers it first is answered with NTLM all the same.
"""

from __future__ import annotations

from gateway.simulator.ntlm import SIGNATURE, Refused

_SEQUENCE, _OCTETS, _ENUMERATED = 0x30, 0x04, 0x0A
_INITIAL, _INIT, _RESPONSE = 0x60, 0xA0, 0xA1
_NTLM_OID = bytes.fromhex("060a2b06010401823702020a")  # 1.3.6.1.4.1.311.2.2.10
_ACCEPT_COMPLETED, _ACCEPT_INCOMPLETE = b"\x00", b"\x01"


def unwrap(token: bytes) -> tuple[bytes, bool]:
    """The NTLM message in a token, and whether it was wrapped; Refused if there is none."""
    if token.startswith(SIGNATURE):
        return token, False
    tag, inside, _ = _element(token)
    if tag == _INITIAL:  # RFC 2743 3.1: the mechanism's OID, then NegTokenInit
        _, _, inside = _element(inside)
        tag, inside, _ = _element(inside)
    if tag not in (_INIT, _RESPONSE):
        raise Refused("this is no SPNEGO token")
    _, fields, _ = _element(inside)
    while fields:
        tag, value, fields = _element(fields)
        if tag == 0xA2:  # mechToken in NegTokenInit, responseToken in NegTokenResp
            _, message, _ = _element(value)
            if message.startswith(SIGNATURE):
                return message, True
    raise Refused("the token holds no NTLM message")


def wrap_challenge(message: bytes) -> bytes:
    """A NegTokenResp that chooses NTLM and asks for more."""
    chosen = _tagged(0xA1, _NTLM_OID)
    return _response(_ACCEPT_INCOMPLETE, chosen + _tagged(0xA2, _tagged(_OCTETS, message)))


def completed() -> bytes:
    """The NegTokenResp that ends a successful logon."""
    return _response(_ACCEPT_COMPLETED, b"")


def _response(state: bytes, rest: bytes) -> bytes:
    return _tagged(_RESPONSE, _tagged(_SEQUENCE, _tagged(0xA0, _tagged(_ENUMERATED, state)) + rest))


def _tagged(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 0x80:
        return bytes([tag, size]) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag, value and what follows the first DER element (X.690); Refused if it is cut."""
    if len(data) < 2:
        raise Refused("the token is cut")
    tag, size, start = data[0], data[1], 2
    if size >= 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if start + size > len(data):
        raise Refused("the token is cut")
    return tag, data[start : start + size], data[start + size :]
