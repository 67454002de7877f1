"""The kinds of [calendars.NAME] and [phones.NAME]. A new kind is one class and one line in its table."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, PrivateAttr, ValidationInfo, model_validator

from gateway.config.values import (
    AuthorityPath,
    Duration,
    ExchangeUrl,
    PasswordFile,
    Secret,
    Surroundings,
    VariableSecret,
    Zone,
    read_file,
    secret_of,
)


class Section(BaseModel):
    """One table of the file: unknown keys are refused, nothing is converted silently, nothing changes afterwards.

    Two sections are equal only if the files they name had the same contents, so that a renewed certificate is a change.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    _contents: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _note_contents(self, info: ValidationInfo) -> Self:
        if Surroundings.of(info).check_files:
            named = (getattr(self, name) for name in type(self).model_fields)
            self._contents = tuple(sha256(read_file(path)).hexdigest() for path in named if isinstance(path, Path))
        return self


class EwsCalendar(Section):
    """Exchange over Exchange Web Services (Exchange 2007 SP1 and later)."""

    kind: Literal["ews"] = Field(description="Exchange over Exchange Web Services (2007 SP1 and later).")
    url: ExchangeUrl = Field(
        description="The service's address; https only. No credential ever goes to another host.",
        examples=["https://mail.example.com/EWS/Exchange.asmx"],
    )
    username: str = Field(
        min_length=1,
        description="The service account, in the form the server wants: DOMAIN\\user or user@domain. "
        "Single quotes keep the backslash.",
        examples=["CORP\\svc-presence"],
    )
    password_file: PasswordFile | None = Field(
        default=None,
        description="File that holds the password alone; a relative name is looked up in $CREDENTIALS_DIRECTORY "
        "first, then beside this file.",
        examples=["/run/credentials/ews-password"],
    )
    password_variable: VariableSecret | None = Field(
        default=None,
        alias="password",
        description="Instead of password_file: an environment variable that holds it. Never the password itself.",
        examples=["${EWS_PASSWORD}"],
    )
    auth: Literal["basic", "ntlm", "negotiate"] = Field(
        default="ntlm", description="The logon scheme; no other one is ever used, whatever the server offers."
    )
    ca_file: AuthorityPath | None = Field(
        default=None,
        description="Certificates (PEM) of the authorities to trust for this server, instead of the system's. "
        "Authorities only, never the server's own certificate.",
        examples=["/etc/presence-gateway/corp-ca.pem"],
    )
    access: Literal["free_busy", "impersonation"] = Field(
        default="free_busy",
        description="free_busy: least privilege. impersonation: the account acts as the mailbox owners; needs the "
        "ApplicationImpersonation role, and edits arrive by streaming notifications instead of by polling.",
    )
    transport: Literal["native", "exchangelib"] = Field(
        default="native",
        description="exchangelib: slower; a way out for logons the native client does not know.",
    )
    refresh: Duration = Field(
        default=60.0, ge=10, le=3600, description="How often the calendar of a person somebody watches is read."
    )
    background: Duration = Field(
        default=300.0, ge=10, le=86400, description="How often everybody else's calendar is read."
    )
    zone: Zone = Field(
        default=ZoneInfo("UTC"),
        description="IANA time zone that decides what a whole day is, for mailboxes that do not tell theirs.",
        examples=["Europe/Berlin"],
    )
    lanes: int = Field(default=4, ge=1, le=20, description="Calls at the same time; Exchange's usual ceiling is 27.")
    batch: int = Field(default=100, ge=1, le=100, description="Mailboxes per call; Exchange allows 100.")
    request_version: Literal[
        "Exchange2007_SP1",
        "Exchange2010",
        "Exchange2010_SP1",
        "Exchange2010_SP2",
        "Exchange2013",
        "Exchange2013_SP1",
        "Exchange2016",
    ] = Field(default="Exchange2013", description="The oldest schema the requests ask for; lower it for older servers.")
    call_timeout: Duration = Field(
        default=70.0, ge=5, le=600, description="The longest a call may take; Exchange itself gives up after 60 s."
    )

    @property
    def password(self) -> Secret:
        """The service account's password, from the file or the variable."""
        return secret_of(self.password_variable, self.password_file)


CALENDARS: Final[Mapping[str, type[Section]]] = {"ews": EwsCalendar}
"""Kind of [calendars.NAME] → its model."""

PHONES: Final[Mapping[str, type[Section]]] = {}
"""Kind of [phones.NAME] → its model."""


def _of_kind(value: object, info: ValidationInfo, kinds: Mapping[str, type[Section]]) -> Section:
    available = ", ".join(kinds) or "none in this version"
    if not isinstance(value, dict):
        raise ValueError(f"must be a table; available kinds: {available}")
    kind = value.get("kind")
    if kind is None:
        raise ValueError(f'has no kind; add kind = "…", available: {available}')
    model = kinds.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise ValueError(f"kind {str(kind)[:40]!r} is not available; available: {available}")
    return model.model_validate(value, context=info.context)


def _calendar(value: object, info: ValidationInfo) -> Section:
    return _of_kind(value, info, CALENDARS)


def _phone(value: object, info: ValidationInfo) -> Section:
    return _of_kind(value, info, PHONES)


CalendarSection = Annotated[EwsCalendar, PlainValidator(_calendar)]
"""One [calendars.NAME], by its kind; the type grows to a union with the second kind."""

PhoneSection = Annotated[Any, PlainValidator(_phone)]
"""One [phones.NAME], by its kind."""
