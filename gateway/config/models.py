"""The sections of gateway.toml. Field names are the keys, descriptions are the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, StringConstraints

from gateway.config.calendars import CalendarSection, PhoneSection, Section
from gateway.config.limits import LimitsField
from gateway.config.values import (
    Address,
    FilePath,
    ListenAddress,
    NetworkRange,
    PemPath,
    PublicUrl,
    Secret,
    SecretFile,
    StoreUrl,
)
from gateway.core.model import (
    AllDayBusy,
    Availability,
    OutOfOffice,
    Override,
    Policy,
    Tentative,
    WorkingElsewhere,
)
from gateway.web.ports import Limits

SectionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
"""What NAME in [calendars.NAME] and [phones.NAME] may be."""


class ServerSection(Section):
    """Where the gateway listens and whom it believes."""

    listen: ListenAddress = Field(
        default=Address("127.0.0.1", 8080),
        description="Address and port of the API and the page. Off loopback it needs a certificate, or behind_proxy.",
    )
    tls_certificate: PemPath | None = Field(
        default=None,
        description="Certificate chain (PEM) to serve HTTPS with.",
        examples=["/etc/presence-gateway/server.pem"],
    )
    tls_key: PemPath | None = Field(
        default=None, description="The certificate's private key (PEM).", examples=["/run/credentials/server-key"]
    )
    public_url: PublicUrl | None = Field(
        default=None, description="How browsers reach the gateway.", examples=["https://presence.example.com"]
    )
    behind_proxy: bool = Field(
        default=False, description="A proxy that speaks TLS stands in front; plain HTTP off loopback is then accepted."
    )
    trusted_proxies: list[NetworkRange] = Field(
        default=[],
        description="Networks whose X-Forwarded-* headers are believed.",
        examples=[["10.0.0.0/8"]],
    )
    identity_header: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$",
        description="Header in which a trusted proxy names the user; believed from trusted_proxies only.",
        examples=["X-Forwarded-Email"],
    )
    operations_listen: ListenAddress | None = Field(
        default=None,
        description="A second address for /livez, /readyz and /metrics; they then leave the first one.",
        examples=["127.0.0.1:8081"],
    )


class StoreSection(Section):
    """Where facts and preferences are kept."""

    url: StoreUrl = Field(
        default="sqlite:///var/lib/presence-gateway/state.db",
        description="sqlite:///absolute/path, or sqlite:path relative to this file.",
    )


class PresenceSection(Section):
    """What people see when they have not chosen otherwise."""

    calendar_opt_in: bool = Field(
        default=False,
        description="Whether calendars count for people who have not chosen; a person's own no always wins.",
    )
    override: Override = Field(
        default=Override.NONE, strict=False, description="Which declared availability may outrank phone or calendar."
    )
    no_session: Literal["offline", "unknown", "available"] = Field(
        default="offline", description="What having no client session means; available suits calendar-only sites."
    )
    show_until: bool = Field(
        default=False, description="Whether colleagues see when something ends and what comes next."
    )
    tentative: Tentative = Field(
        default=Tentative.IGNORE, strict=False, description="What a tentative appointment does."
    )
    out_of_office: OutOfOffice = Field(
        default=OutOfOffice.SHOW, strict=False, description="What an out-of-office appointment does."
    )
    all_day_busy: AllDayBusy = Field(
        default=AllDayBusy.MEETING, strict=False, description="What a busy appointment from midnight to midnight does."
    )
    working_elsewhere: WorkingElsewhere = Field(
        default=WorkingElsewhere.IGNORE, strict=False, description="What a working-elsewhere appointment does."
    )
    ringing_counts: bool = Field(default=False, description="Whether a ringing phone is already on the phone.")
    ringing_tooltip: bool = Field(default=False, description="Whether a ringing phone appears in the tooltip.")
    hold_tooltip: bool = Field(default=False, description="Whether a held call is told apart in the tooltip.")


class PeopleSection(Section):
    """The directory."""

    file: FilePath = Field(default="people.toml", validate_default=True, description="The people there are.")


class TokensSection(Section):
    """Who may use the API."""

    file: FilePath = Field(
        default="tokens.toml", validate_default=True, description="The tokens that open the API (hashes only)."
    )


class LogSection(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="info is what an operator reads daily; error needs a person."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: coloured lines on a terminal, JSON lines otherwise."
    )


class Config(Section):
    """All of gateway.toml, valid: every file it names was read, every secret is at hand."""

    server: ServerSection = ServerSection()
    store: StoreSection = StoreSection()
    presence: PresenceSection = PresenceSection()
    people: PeopleSection = Field(default_factory=dict, validate_default=True)
    tokens: TokensSection = Field(default_factory=dict, validate_default=True)
    calendars: dict[SectionName, CalendarSection] = Field(default={})
    phones: dict[SectionName, PhoneSection] = Field(default={})
    limits: LimitsField = Limits()
    log: LogSection = LogSection()

    _path: Path = PrivateAttr(Path("gateway.toml"))
    _warnings: tuple[str, ...] = PrivateAttr(())

    @property
    def path(self) -> Path:
        """The file this was read from."""
        return self._path

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is accepted but unwise, as lines `file: key.path: fault; remedy`."""
        return self._warnings

    @property
    def files(self) -> frozenset[Path]:
        """Every file this depends on, itself included: when one changes, it is to be read again."""
        named = {file_of(value) for _, value in leaves(self)}
        return frozenset({self._path, *(path for path in named if path is not None)})

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret in force, for the redaction of logs."""
        found = {value.reveal() for _, value in leaves(self) if isinstance(value, Secret)}
        found |= {value.secret.reveal() for _, value in leaves(self) if isinstance(value, SecretFile)}
        return tuple(sorted(found - {""}))

    def policy(self) -> Policy:
        """[presence] as the composer takes it."""
        chosen = {name: getattr(self.presence, name) for name in PresenceSection.model_fields}
        return Policy(**{**chosen, "no_session": Availability(self.presence.no_session)})


def leaves(section: Section, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every value below a section with its key path as the file spells it."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        path = (*prefix, field.alias or name)
        if isinstance(value, Section):
            yield from leaves(value, path)
        elif isinstance(value, dict):
            for key, table in value.items():
                yield from leaves(table, (*path, key))
        else:
            yield path, value


def file_of(value: object) -> Path | None:
    """The file a value stands for, if any."""
    if isinstance(value, SecretFile):
        return value.path
    return value if isinstance(value, Path) else None
