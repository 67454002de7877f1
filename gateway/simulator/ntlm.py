"""NTLM version 2, the server's side, written from MS-NLMP alone.

The front door is `Dance`: one challenge on one connection. The rest is the arithmetic of the protocol, public
because its published test vectors (MS-NLMP 4.2) are worth running. Version 1 answers, anonymous logons and
wrong message integrity codes are refused. RFC 1320's MD4 is here because OpenSSL 3 no longer offers it.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum, IntFlag

SIGNATURE = b"NTLMSSP\x00"
_MASK = 0xFFFFFFFF


class Refused(Exception):
    """A message that cannot be accepted; the text says which rule it broke and holds no secret."""


class Flag(IntFlag):
    """NegotiateFlags (MS-NLMP 2.2.2.5), those this server looks at or answers with."""

    UNICODE = 0x00000001
    REQUEST_TARGET = 0x00000004
    SIGN = 0x00000010
    SEAL = 0x00000020
    NTLM = 0x00000200
    ALWAYS_SIGN = 0x00008000
    TARGET_TYPE_DOMAIN = 0x00010000
    EXTENDED_SESSIONSECURITY = 0x00080000
    TARGET_INFO = 0x00800000
    VERSION = 0x02000000
    KEY_128 = 0x20000000
    KEY_EXCH = 0x40000000
    KEY_56 = 0x80000000


# Granted when the client asks for them; the server adds the target type and target info itself.
_GRANTED = (
    Flag.UNICODE | Flag.REQUEST_TARGET | Flag.SIGN | Flag.SEAL | Flag.NTLM | Flag.ALWAYS_SIGN
    | Flag.EXTENDED_SESSIONSECURITY | Flag.VERSION | Flag.KEY_128 | Flag.KEY_EXCH | Flag.KEY_56
)  # fmt: skip


class Av(IntEnum):
    """AvId of an AV_PAIR (MS-NLMP 2.2.2.1)."""

    EOL = 0
    NB_COMPUTER = 1
    NB_DOMAIN = 2
    DNS_COMPUTER = 3
    DNS_DOMAIN = 4
    FLAGS = 6
    TIMESTAMP = 7
    TARGET_NAME = 9
    CHANNEL_BINDINGS = 10


_AV_HAS_MIC = 0x2


@dataclass(frozen=True, slots=True)
class Authenticate:
    """An AUTHENTICATE_MESSAGE (MS-NLMP 2.2.1.3), fields in the order this server needs them."""

    user: str
    domain: str
    workstation: str
    nt_response: bytes
    encrypted_session_key: bytes
    flags: Flag
    raw: bytes

    @property
    def client_blob(self) -> bytes:
        """NTLMv2_CLIENT_CHALLENGE (2.2.2.7), the response after its 16-byte proof."""
        return self.nt_response[16:]

    @property
    def pairs(self) -> dict[int, bytes]:
        """The AV pairs the client sent back inside its response."""
        return parse_pairs(self.client_blob[28:])

    @property
    def has_mic(self) -> bool:
        """Whether the client says that a message integrity code is present (MsvAvFlags bit 0x2)."""
        flags = self.pairs.get(Av.FLAGS, b"\0\0\0\0")
        return bool(int.from_bytes(flags, "little") & _AV_HAS_MIC)


class Dance:
    """One logon on one connection: from the client's NEGOTIATE_MESSAGE to the verdict.

    A challenge is good for one answer. `answer` returns the exported session key.
    """

    def __init__(self, negotiate: bytes, server_challenge: bytes, now: datetime, *, domain: str, computer: str) -> None:
        self._negotiate = negotiate
        self._server_challenge = server_challenge
        asked = parse_negotiate(negotiate)
        self.challenge = build_challenge(asked, server_challenge, now, domain=domain, computer=computer)
        """The CHALLENGE_MESSAGE to send."""

    def answer(self, message: Authenticate, password: str, binding: bytes | None, *, required: bool) -> bytes:
        """Verify the client's answer; raises Refused.

        `binding` is the hash expected in MsvAvChannelBindings, None to look at none; a client that sends no
        binding passes unless `required`.
        """
        key = verify_v2(message, password, self._server_challenge)
        if message.has_mic:
            self._check_mic(message, key)
        if binding is not None:
            check_binding(message.pairs.get(Av.CHANNEL_BINDINGS), binding, required=required)
        return key

    def _check_mic(self, message: Authenticate, key: bytes) -> None:
        # MS-NLMP 3.1.5.1.2: over all three messages, the third with a zeroed MIC field
        if len(message.raw) < 88:
            raise Refused("the message announces an integrity code and is too short for it")
        zeroed = message.raw[:72] + bytes(16) + message.raw[88:]
        mic = _hmac_md5(key, self._negotiate + self.challenge + zeroed)
        if not hmac.compare_digest(mic, message.raw[72:88]):
            raise Refused("the message integrity code is wrong")


def parse_negotiate(data: bytes) -> Flag:
    """The flags of a NEGOTIATE_MESSAGE (2.2.1.1); raises Refused."""
    _expect(data, 1, 16)
    return Flag(struct.unpack_from("<I", data, 12)[0])


def parse_authenticate(data: bytes) -> Authenticate:
    """An AUTHENTICATE_MESSAGE (2.2.1.3); raises Refused if a field points outside."""
    _expect(data, 3, 64)
    flags = Flag(struct.unpack_from("<I", data, 60)[0])
    encoding = "utf-16-le" if Flag.UNICODE in flags else "cp437"
    try:
        domain, user, workstation = (_payload(data, at).decode(encoding) for at in (28, 36, 44))
    except UnicodeDecodeError:
        raise Refused("a name is not in the negotiated character set") from None
    return Authenticate(user, domain, workstation, _payload(data, 20), _payload(data, 52), flags, data)


def build_challenge(asked: Flag, server_challenge: bytes, now: datetime, *, domain: str, computer: str) -> bytes:
    """A CHALLENGE_MESSAGE (2.2.1.2) of the domain `domain` for a client that asked with the flags `asked`."""
    if Flag.UNICODE not in asked:
        raise Refused("only Unicode clients are served")
    flags = (asked & _GRANTED) | Flag.TARGET_TYPE_DOMAIN | Flag.TARGET_INFO | Flag.REQUEST_TARGET | Flag.NTLM
    target = domain.encode("utf-16-le")
    info = build_pairs(
        {
            Av.NB_DOMAIN: target,
            Av.NB_COMPUTER: computer.encode("utf-16-le"),
            Av.DNS_DOMAIN: f"{domain.lower()}.example.com".encode("utf-16-le"),
            Av.DNS_COMPUTER: f"{computer.lower()}.{domain.lower()}.example.com".encode("utf-16-le"),
            Av.TIMESTAMP: filetime(now),
        }
    )
    version = bytes([10, 0]) + (20348).to_bytes(2, "little") + bytes([0, 0, 0, 15])  # 2.2.2.10
    head = SIGNATURE + struct.pack("<I", 2) + _field(len(target), 56) + struct.pack("<I", flags)
    head += server_challenge + bytes(8) + _field(len(info), 56 + len(target)) + version
    return head + target + info


def verify_v2(message: Authenticate, password: str, server_challenge: bytes) -> bytes:
    """Check an NTLMv2 response (3.3.2) and return the exported session key; raises Refused."""
    if not message.user or not message.nt_response:
        raise Refused("anonymous logon")
    if len(message.nt_response) <= 24:
        raise Refused("NTLM version 1 is switched off")
    if len(message.nt_response) < 16 + 32 or message.client_blob[:2] != b"\x01\x01":
        raise Refused("the response is malformed")
    key = ntowf_v2(password, message.user, message.domain)
    proof = _hmac_md5(key, server_challenge + message.client_blob)
    if not hmac.compare_digest(proof, message.nt_response[:16]):
        raise Refused("the password is wrong")
    session_base_key = _hmac_md5(key, proof)
    if Flag.KEY_EXCH not in message.flags:
        return session_base_key
    if len(message.encrypted_session_key) != 16:
        raise Refused("the session key is missing")
    return rc4(session_base_key, message.encrypted_session_key)  # 3.2.5.1.2


def check_binding(sent: bytes | None, expected: bytes, *, required: bool) -> None:
    """Compare a client's channel binding hash with ours; all zeroes means it sent none (2.2.2.1)."""
    if sent is None or sent == bytes(16):
        if required:
            raise Refused("the channel binding is missing")
        return
    if not hmac.compare_digest(sent, expected):
        raise Refused("the channel binding is for another certificate")


def binding_hash(certificate_der: bytes, algorithm: str = "sha256") -> bytes:
    """MsvAvChannelBindings for a TLS server certificate signed with the digest `algorithm`.

    The MD5 of a gss_channel_bindings_struct without addresses (RFC 4121 4.1.1.2) whose application data is
    `tls-server-end-point:` and the certificate's hash (RFC 5929 4.1: MD5 and SHA-1 become SHA-256).
    """
    stronger = "sha256" if algorithm in ("md5", "sha1") else algorithm
    data = b"tls-server-end-point:" + hashlib.new(stronger, certificate_der).digest()
    return hashlib.md5(bytes(16) + struct.pack("<I", len(data)) + data, usedforsecurity=False).digest()


def ntowf_v1(password: str) -> bytes:
    """NTOWFv1 (3.3.1): MD4 of the password in UTF-16."""
    return md4(password.encode("utf-16-le"))


def ntowf_v2(password: str, user: str, domain: str) -> bytes:
    """NTOWFv2 (3.3.2); the domain's letters count as the client sent them."""
    return _hmac_md5(ntowf_v1(password), (user.upper() + domain).encode("utf-16-le"))


def build_pairs(pairs: Mapping[Av, bytes]) -> bytes:
    """AV_PAIRs (2.2.2.1) in the given order, closed by MsvAvEOL."""
    body = b"".join(struct.pack("<HH", av, len(value)) + value for av, value in pairs.items())
    return body + struct.pack("<HH", Av.EOL, 0)


def parse_pairs(data: bytes) -> dict[int, bytes]:
    """AV_PAIRs up to MsvAvEOL; raises Refused if the list is cut."""
    pairs: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        av, length = struct.unpack_from("<HH", data, at)
        if av == Av.EOL:
            return pairs
        pairs[av] = data[at + 4 : at + 4 + length]
        at += 4 + length
    raise Refused("the list of AV pairs has no end")


def filetime(moment: datetime) -> bytes:
    """A FILETIME: 100 ns steps since 1601, little-endian (MS-DTYP 2.3.3)."""
    since = moment - datetime(1601, 1, 1, tzinfo=UTC)
    return (since // timedelta(microseconds=1) * 10).to_bytes(8, "little")


def rc4(key: bytes, data: bytes) -> bytes:
    """RC4K (6.1 of MS-NLMP names it); OpenSSL 3 has it only in its legacy provider."""
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) & 0xFF
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) & 0xFF
        j = (j + state[i]) & 0xFF
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) & 0xFF])
    return bytes(out)


# RFC 1320 3.4: per round the function, the constant, the order of words and the shifts.
_Round = tuple[Callable[[int, int, int], int], int, tuple[int, ...], tuple[int, ...]]
_ROUNDS: tuple[_Round, ...] = (
    (lambda x, y, z: (x & y) | (~x & z), 0x00000000, tuple(range(16)), (3, 7, 11, 19)),
    (
        lambda x, y, z: (x & y) | (x & z) | (y & z),
        0x5A827999,
        (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
        (3, 5, 9, 13),
    ),
    (
        lambda x, y, z: x ^ y ^ z,
        0x6ED9EBA1,
        (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15),
        (3, 9, 11, 15),
    ),
)


def md4(data: bytes) -> bytes:
    """The MD4 digest (RFC 1320)."""
    registers = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
    padded = data + b"\x80" + bytes((55 - len(data)) % 64) + struct.pack("<Q", len(data) * 8 % 2**64)
    for start in range(0, len(padded), 64):
        words = struct.unpack_from("<16I", padded, start)
        a, b, c, d = registers
        for function, constant, order, shifts in _ROUNDS:
            for step, word in enumerate(order):
                mixed = (a + function(b, c, d) + words[word] + constant) & _MASK
                shift = shifts[step % 4]
                a, b, c, d = d, ((mixed << shift) | (mixed >> (32 - shift))) & _MASK, b, c
        pairs = zip(registers, (a, b, c, d), strict=True)
        registers = tuple((old + new) & _MASK for old, new in pairs)  # type: ignore[assignment]
    return struct.pack("<4I", *registers)


def _hmac_md5(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, "md5").digest()


def _expect(data: bytes, kind: int, least: int) -> None:
    if len(data) < least or data[:8] != SIGNATURE or struct.unpack_from("<I", data, 8)[0] != kind:
        raise Refused(f"this is no NTLM message of type {kind}")


def _payload(data: bytes, at: int) -> bytes:
    length, _, offset = struct.unpack_from("<HHI", data, at)
    if length and offset + length > len(data):
        raise Refused("a field points outside its message")
    return data[offset : offset + length] if length else b""


def _field(length: int, offset: int) -> bytes:
    return struct.pack("<HHI", length, length, offset)
