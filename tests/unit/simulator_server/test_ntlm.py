"""NTLM arithmetic against published vectors: MD4 of RFC 1320 A.5, everything else of MS-NLMP 4.2."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest

from gateway.simulator import ntlm
from gateway.simulator.ntlm import Av, Flag, Refused

SERVER_CHALLENGE = bytes.fromhex("0123456789abcdef")
CLIENT_CHALLENGE = bytes.fromhex("aa" * 8)
# MS-NLMP 4.2.4: domain "Domain", server "Server", time zero
TARGET_INFO = ntlm.build_pairs(
    {Av.NB_DOMAIN: "Domain".encode("utf-16-le"), Av.NB_COMPUTER: "Server".encode("utf-16-le")}
)
BLOB = b"\x01\x01" + bytes(6) + bytes(8) + CLIENT_CHALLENGE + bytes(4) + TARGET_INFO + bytes(4)
PROOF = bytes.fromhex("68cd0ab851e51c96aabc927bebef6a1c")
ENCRYPTED_SESSION_KEY = bytes.fromhex("c5dad2544fc9799094ce1ce90bc9d03e")
FLAGS = Flag(0xE28A8233)


def message(
    *,
    user: str = "User",
    domain: str = "Domain",
    response: bytes = PROOF + BLOB,
    session_key: bytes = ENCRYPTED_SESSION_KEY,
) -> bytes:
    """An AUTHENTICATE_MESSAGE as MS-NLMP 4.2.4.3 shows one, with other values where asked."""
    payload, fields = b"", b""
    names = [each.encode("utf-16-le") for each in (domain, user, "COMPUTER")]
    for part in (bytes(24), response, *names, session_key):
        fields += struct.pack("<HHI", len(part), len(part), 72 + len(payload))
        payload += part
    return ntlm.SIGNATURE + struct.pack("<I", 3) + fields + struct.pack("<I", FLAGS) + bytes(8) + payload


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        ("a", "bde52cb31de33e46245e05fbdbd6fb24"),
        ("abc", "a448017aaf21d8525fc10ae87aa6729d"),
        ("message digest", "d9130a8164549fe818874806e1c7014b"),
        ("abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "043f8582f241db351ce627e153e7f0e4",
        ),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "e33b4ddc9c38f2199c3e7b164fcc0536",
        ),
    ],
)
def test_md4_gives_the_digests_of_its_test_suite(text: str, digest: str) -> None:
    """RFC 1320 A.5."""
    assert ntlm.md4(text.encode()).hex() == digest


def test_password_hashes_are_those_of_the_specification() -> None:
    """MS-NLMP 4.2.2.1.2 and 4.2.4.1.1."""
    assert ntlm.ntowf_v1("Password").hex() == "a4f49c406510bdcab6824ee7c30fd852"
    assert ntlm.ntowf_v2("Password", "User", "Domain").hex() == "0c868a403bfd7a93a3001ef22ef02e3f"


def test_rc4_wraps_the_session_key_of_the_specification() -> None:
    """MS-NLMP 4.2.4.2.3: RC4K of 16 bytes 0x55 under the session base key."""
    base = bytes.fromhex("8de40ccadbc14a82f15cb0ad0de95ca3")
    assert ntlm.rc4(base, b"\x55" * 16) == ENCRYPTED_SESSION_KEY


def test_the_answer_of_the_specification_is_accepted() -> None:
    """The NTLMv2 answer of MS-NLMP 4.2.4 verifies, and yields the random session key 0x55…"""
    answer = ntlm.parse_authenticate(message())
    assert (answer.user, answer.domain, answer.workstation) == ("User", "Domain", "COMPUTER")
    assert ntlm.verify_v2(answer, "Password", SERVER_CHALLENGE) == b"\x55" * 16


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"response": PROOF[:-1] + b"\0" + BLOB}, "password"),
        ({"user": "Other"}, "password"),
        ({"domain": "domain"}, "password"),
        ({"response": bytes(24)}, "version 1"),
        ({"response": b""}, "anonymous"),
        ({"user": ""}, "anonymous"),
        ({"response": PROOF + b"\x02" + BLOB[1:]}, "malformed"),
        ({"session_key": b""}, "session key"),
    ],
)
def test_an_answer_with_one_thing_wrong_is_refused(changes: dict[str, object], why: str) -> None:
    """Wrong proof, name or domain, version 1, anonymous and malformed answers never verify."""
    answer = ntlm.parse_authenticate(message(**changes))  # type: ignore[arg-type]
    with pytest.raises(Refused, match=why):
        ntlm.verify_v2(answer, "Password", SERVER_CHALLENGE)


def test_the_wrong_password_is_refused() -> None:
    """Another password does not verify."""
    with pytest.raises(Refused, match="password"):
        ntlm.verify_v2(ntlm.parse_authenticate(message()), "password", SERVER_CHALLENGE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"NTLMSSP\0",
        message()[:60],
        b"X" + message()[1:],
        message()[:12] + struct.pack("<HHI", 9, 9, 9000) + message()[20:20] + message()[20:],
        message()[:28] + struct.pack("<HHI", 9, 9, 90_000) + message()[36:],
        ntlm.SIGNATURE + struct.pack("<I", 1) + bytes(60),
    ],
)
def test_broken_messages_are_refused_not_crashed_on(data: bytes) -> None:
    """Short, foreign or inconsistent messages give Refused, at the latest when verified."""
    with pytest.raises(Refused):
        ntlm.verify_v2(ntlm.parse_authenticate(data), "password", SERVER_CHALLENGE)


def test_a_challenge_says_who_asks_and_when() -> None:
    """The CHALLENGE_MESSAGE has our challenge, the domain, its AV pairs and the time (MS-NLMP 2.2.1.2)."""
    now = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    data = ntlm.build_challenge(FLAGS, SERVER_CHALLENGE, now, domain="CORP", computer="EXCHANGE")
    length, _, offset = struct.unpack_from("<HHI", data, 40)
    pairs = ntlm.parse_pairs(data[offset : offset + length])
    assert data[:12] == b"NTLMSSP\0\x02\0\0\0"
    assert data[24:32] == SERVER_CHALLENGE
    assert pairs[Av.NB_DOMAIN].decode("utf-16-le") == "CORP"
    assert pairs[Av.TIMESTAMP] == ntlm.filetime(now)


def test_file_times_count_from_1601() -> None:
    """1970 is 116444736000000000 steps of 100 ns after 1601 (MS-DTYP 2.3.3)."""
    assert ntlm.filetime(datetime(1970, 1, 1, tzinfo=UTC)) == (116444736000000000).to_bytes(8, "little")


def test_a_list_of_av_pairs_without_end_is_refused() -> None:
    """A cut list is malformed, not shorter."""
    with pytest.raises(Refused):
        ntlm.parse_pairs(TARGET_INFO[:-4])


def test_channel_bindings_are_compared_as_the_mode_says() -> None:
    """Absent or zero passes unless required; present and other is always refused."""
    expected = ntlm.binding_hash(b"certificate")
    ntlm.check_binding(expected, expected, required=True)
    ntlm.check_binding(None, expected, required=False)
    ntlm.check_binding(bytes(16), expected, required=False)
    for sent in (None, bytes(16), b"x" * 16):
        with pytest.raises(Refused):
            ntlm.check_binding(sent, expected, required=True)
    with pytest.raises(Refused):
        ntlm.check_binding(b"x" * 16, expected, required=False)


def test_old_signature_digests_bind_by_sha256() -> None:
    """RFC 5929 4.1: certificates signed with MD5 or SHA-1 are hashed with SHA-256."""
    assert ntlm.binding_hash(b"x", "sha1") == ntlm.binding_hash(b"x", "md5") == ntlm.binding_hash(b"x")
    assert ntlm.binding_hash(b"x", "sha384") != ntlm.binding_hash(b"x")
