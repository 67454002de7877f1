"""What must never be written: known secrets in every disguise, credentials in headers and URLs."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from xml.sax.saxutils import escape

HIDDEN: Final = "***"
_SHORTEST: Final = 4
"""A shorter secret would blank half of every line, and protects nothing."""

_NAMES: Final = frozenset(
    {
        "authorization",
        "cookie",
        "password",
        "passwd",
        "proxy-authenticate",
        "proxy-authorization",
        "secret",
        "set-cookie",
        "token",
        "www-authenticate",
    }
)
_URL_FIELDS: Final = frozenset({"url", "path", "location", "referer"})
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_PATTERNS: Final = (
    (re.compile(r"\bpgw_[A-Za-z0-9_-]{16,}"), f"pgw_{HIDDEN}"),
    (re.compile(r"\b(Basic|Bearer|NTLM|Negotiate|Digest)(\s+)[A-Za-z0-9+/=._~-]{8,}", re.I), rf"\1\2{HIDDEN}"),
    (
        re.compile(
            r"\b((?:proxy-)?authorization|(?:set-)?cookie|www-authenticate|proxy-authenticate)"
            r"(['\"]?\s*[:=]\s*)[^\r\n]+",
            re.I,
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"\b((?:password|passwd|secret|token)=)[^\s&;,]+", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@'\"]*@", re.I), rf"\1{HIDDEN}@"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?'\"<>]+\?)[^\s'\"<>]+", re.I), rf"\1{HIDDEN}"),
)


class Redactor:
    """Takes secrets out of texts and fields. `learn` replaces what it knows, at every reload."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Know these secrets, and no others, from now on."""
        long_enough = [secret for secret in secrets if len(secret) >= _SHORTEST]
        forms = {form for secret in long_enough for form in disguises(secret)}
        patterns = [re.escape(form) for form in sorted(forms, key=len, reverse=True)]
        patterns += [_percent_encoded(secret) for secret in long_enough]
        self._known = re.compile("|".join(patterns)) if patterns else None

    def text(self, text: str) -> str:
        """The text without secrets, and without control characters that could forge a line."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A cleaned copy of an event's fields; whatever is no JSON value becomes text first."""
        return {str(name): self._value(str(name), value) for name, value in fields.items()}

    def _value(self, name: str, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if name.lower().replace("_", "-") in _NAMES:
            return HIDDEN
        if isinstance(value, Mapping):
            return self.fields(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value(name, item) for item in value]
        if isinstance(value, datetime):
            return value.isoformat(timespec="milliseconds")
        text = self.text(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))
        if name in _URL_FIELDS and "?" in text:
            text = text.partition("?")[0] + "?" + HIDDEN
        if name == "exception":
            return text
        return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text).replace("\n", "\\n")


def disguises(secret: str) -> Collection[str]:
    """The fixed forms in which a secret turns up: as it is, in XML, as repr, in base64 at any offset, in UTF-16."""
    forms = {secret, escape(secret), escape(secret, {'"': "&quot;"}), repr(secret)[1:-1]}
    for raw in (secret.encode("utf-8", "surrogatepass"), secret.encode("utf-16-le", "surrogatepass")):
        forms |= set(_base64_forms(raw))
        forms |= {raw.hex(), raw.hex().upper(), repr(raw)[2:-1]}
    forms.add(secret.encode("utf-16-le", "surrogatepass").decode("latin-1"))
    return {form for form in forms if len(form) >= _SHORTEST}


def _percent_encoded(secret: str) -> str:
    """A pattern for the secret with any of its characters percent-encoded (RFC 3986 2.1), or + for a space."""
    parts = []
    for character in secret:
        encoded = "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
        choices = [re.escape(character), f"(?i:{encoded})", *([r"\+"] if character == " " else [])]
        parts.append(f"(?:{'|'.join(choices)})")
    return "".join(parts)


def _base64_forms(raw: bytes) -> Iterable[str]:
    """What of the base64 of any text around it depends on the secret alone, for the three offsets it may stand at."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        start = (0, 2, 3)[offset]
        whole = (len(raw) + offset) * 8 // 6  # a last character that holds bits of what follows is left out
        form = encoded[start:whole]
        if len(form) >= 6:
            yield form
            yield form.replace("+", "-").replace("/", "_")
