"""The kinds of values gateway.toml holds: durations, addresses, networks, URLs, files and secrets.

Each is an annotated type for the models. A faulty value raises ValueError with a text `fault; remedy` for people.
Files are found relative to the configuration file; what a validator needs of its surroundings comes in by the
validation context, so that nothing here reads a global.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, PlainValidator, ValidationInfo

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a file is read against: its folder, the environment, and whether named files must be there."""

    folder: Path
    environ: Mapping[str, str] = field(repr=False)
    check_files: bool = True

    @staticmethod
    def of(info: ValidationInfo) -> Surroundings:
        """The surroundings given to the validation; without any, the working folder and no variable."""
        if isinstance(info.context, Surroundings):
            return info.context
        return Surroundings(Path.cwd(), {}, check_files=False)


class Secret:
    """A text that never shows itself: only `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A secret and the file it was read from."""

    path: Path
    secret: Secret


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost is taken for the network."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class DurationMark:
    """Marks a number of seconds that is written with a unit."""


def show_duration(seconds: float) -> str:
    """The shortest text `Duration` reads back as that many seconds."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _UNITS[unit] == 0 and (unit == "s" or seconds >= 2 * _UNITS[unit]):
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:g}s"


def _duration(value: object) -> float:
    """Seconds; a bare number is refused: sixty what?"""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a duration; write a number with a unit in quotes, such as "60s", "5m" or "1h"')
    return float(match[1]) * _UNITS[match[2]]


Duration = Annotated[float, DurationMark(), BeforeValidator(_duration)]
"""Seconds as float, written "60s", "5m", "1h", "1d" or "500ms"."""


def parse_address(value: object) -> Address:
    remedy = 'write "127.0.0.1:8080", or "[::1]:8080" for IPv6'
    if not isinstance(value, str):
        raise ValueError(f"must be an address and a port in quotes; {remedy}")
    host, colon, port = value.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{value!r} has no address and port; {remedy}")
    if host.startswith("[") != host.endswith("]") or (":" in host and not host.startswith("[")):
        raise ValueError(f"{value!r} is ambiguous; {remedy}")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{port!r} is no port; choose one from 1 to 65535 (0: any free one)")
    return Address(host.strip("[]"), int(port))


ListenAddress = Annotated[Address, PlainValidator(parse_address)]


def _network(value: object) -> Network:
    if not isinstance(value, str):
        raise ValueError('must be a network in quotes; write "10.0.0.0/8" or one address')
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        wider = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f'{value!r} is no network; write "10.0.0.0/8" or one address') from None
    raise ValueError(f'{value!r} has bits beyond its prefix; write "{wider}"')


NetworkRange = Annotated[Network, PlainValidator(_network)]


def split_url(value: object, example: str) -> SplitResult:
    """An absolute http(s) URL without credentials, query and fragment; ValueError otherwise."""
    if not isinstance(value, str):
        raise ValueError(f'must be a URL in quotes; write "{example}"')
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f'is no URL with a scheme and a host; write "{example}"')
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds credentials; use username and password_file instead")
    if parts.query or parts.fragment:
        raise ValueError(f'has a part after ? or #; write "{example}"')
    return parts


def _exchange_url(value: object) -> str:
    parts = split_url(value, "https://mail.example.com/EWS/Exchange.asmx")
    if parts.scheme != "https":
        raise ValueError("plain http would show the password to the network; write https://")
    return parts.geturl()


def _public_url(value: object) -> str:
    return split_url(value, "https://presence.example.com").geturl().rstrip("/")


ExchangeUrl = Annotated[str, PlainValidator(_exchange_url)]
PublicUrl = Annotated[str, PlainValidator(_public_url)]


def _zone(value: object) -> ZoneInfo:
    remedy = "use a name of the IANA database such as Europe/Berlin (not a Windows name)"
    if not isinstance(value, str):
        raise ValueError(f"must be a time zone in quotes; {remedy}")
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is no known time zone; {remedy}") from None


Zone = Annotated[ZoneInfo, PlainValidator(_zone)]


def _named_file(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError('must be the name of a file in quotes; write "name" or "/path/name"')
    return Surroundings.of(info).folder / value


def _existing_file(value: object, info: ValidationInfo) -> Path:
    path = _named_file(value, info)
    if Surroundings.of(info).check_files:
        read_file(path)
    return path


FilePath = Annotated[Path, PlainValidator(_existing_file)]
"""A readable file; relative names start at the configuration file's folder."""


def read_file(path: Path) -> bytes:
    """The file's bytes (at most 1 MiB for what is read whole); ValueError with a remedy if it cannot be had."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; create it, or correct the name") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder; name a file") from None
    except PermissionError:
        raise ValueError(f"{path} may not be read; let the service's user read it") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); check the disk and the name") from None


def _secret_file(value: object, info: ValidationInfo) -> SecretFile:
    near = Surroundings.of(info)
    path = _named_file(value, info)
    credentials = near.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and not Path(str(value)).is_absolute():  # systemd.exec(5), LoadCredential=
        candidate = Path(credentials) / str(value)
        path = candidate if candidate.exists() else path
    if not near.check_files:
        return SecretFile(path, Secret(""))
    try:
        text = read_file(path).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    if not text:
        raise ValueError(f"{path} is empty; write the password into it")
    if "\n" in text:
        raise ValueError(f"{path} has more than one line; it must hold the password alone")
    return SecretFile(path, Secret(text))


def _variable_secret(value: object, info: ValidationInfo) -> Secret:
    match = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            "a password does not belong into this file; put it into a file only the service can read and name that "
            'as password_file, or write password = "${NAME}" for an environment variable'
        )
    near = Surroundings.of(info)
    text = near.environ.get(match[1], "")
    if not text and near.check_files:
        raise ValueError(f"the environment variable {match[1]} is not set; set it, or use password_file")
    return Secret(text)


PasswordFile = Annotated[SecretFile, PlainValidator(_secret_file)]
VariableSecret = Annotated[Secret, PlainValidator(_variable_secret)]


def _pem_file(value: object, info: ValidationInfo) -> Path:
    path = _named_file(value, info)
    if Surroundings.of(info).check_files and b"-----BEGIN " not in read_file(path):
        raise ValueError(f"{path} is not PEM text; convert it with: openssl x509 -inform der -in FILE")
    return path


def _authorities(value: object, info: ValidationInfo) -> Path:
    from gateway.config.certificates import check_authorities

    path = _pem_file(value, info)
    if Surroundings.of(info).check_files:
        check_authorities(read_file(path), str(path))
    return path


PemPath = Annotated[Path, PlainValidator(_pem_file)]
AuthorityPath = Annotated[Path, PlainValidator(_authorities)]


def _store_url(value: object, info: ValidationInfo) -> str:
    remedy = 'write "sqlite:///var/lib/presence-gateway/state.db"'
    if not isinstance(value, str):
        raise ValueError(f"must be a URL in quotes; {remedy}")
    scheme, colon, rest = value.partition(":")
    if not colon or scheme != "sqlite":
        raise ValueError(f"store {scheme!r} is not available; available: sqlite; {remedy}")
    if rest == ":memory:":
        return value
    if rest.startswith("//"):
        rest = rest[2:]
        if not rest.startswith("/"):
            raise ValueError(f"{value!r} names a host; {remedy}")
    if not rest or rest.endswith("/") or "?" in rest or "#" in rest:
        raise ValueError(f"{value!r} names no file; {remedy}")
    return f"sqlite://{(Surroundings.of(info).folder / rest).absolute()}"


StoreUrl = Annotated[str, PlainValidator(_store_url)]
"""`sqlite:///absolute/path`, `sqlite:relative/path` or `sqlite::memory:`; relative ones come out absolute."""


def secret_of(reference: Secret | None, file: SecretFile | None) -> Secret:
    """The one secret that was given either way."""
    if file is not None:
        return file.secret
    return reference if reference is not None else Secret("")


def plain(value: Any) -> Any:
    """A value as TOML would hold it (for the reference)."""
    if isinstance(value, Address | ipaddress.IPv4Network | ipaddress.IPv6Network | ZoneInfo | Path):
        return str(value)
    return value
