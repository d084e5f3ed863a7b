"""A message in quarantine as a form, and back. A field that nobody has touched stays as it came, byte for byte."""

import re
from dataclasses import dataclass
from typing import Final

from adapters.records.quarantine import Edit, Headers, QuarantinedMessage

MAX_EDITED_BYTES: Final = 1024 * 1024
"""Of a value; for a larger one there is the command line."""
_HIDDEN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Fields:
    """As a form shows them."""

    key: str
    value: str | None
    """None if it is too large for a form."""
    headers: str | None
    """A line each; None if they can't be written so."""
    is_exact: bool
    """False if some bytes aren't text, and stand there as �."""


@dataclass(frozen=True, slots=True)
class Written:
    """What came back."""

    fields: Fields
    edit: Edit
    fault: str | None = None


def fields_of(message: QuarantinedMessage) -> Fields:
    octets = message.value or b""
    key, value = _text(message.key or b""), _text(octets[:MAX_EDITED_BYTES])
    is_exact = octets[:MAX_EDITED_BYTES] == value.encode() and (message.key or b"") == key.encode()
    return Fields(key, value if len(octets) <= MAX_EDITED_BYTES else None, _lines(message.headers), is_exact)


def edit_of(message: QuarantinedMessage, form: dict[str, str]) -> Written:
    came = fields_of(message)
    key, value = form.get("key", came.key), came.value if came.value is None else form.get("value", came.value)
    headers = came.headers if came.headers is None else form.get("headers", came.headers)
    fields = Fields(key, value, headers, came.is_exact)
    try:
        edit = Edit(
            None if key == came.key else key.encode(),
            None if value is None or value == came.value else value.encode(),
            None if headers is None or headers == came.headers else _headers(headers),
        )
    except ValueError as error:
        return Written(fields, Edit(), str(error))
    return Written(fields, edit, None if edit != Edit() else "Nothing is edited yet.")


def _text(octets: bytes) -> str:
    """As a browser gives it back: lines end with a line feed alone."""
    text = octets.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return _HIDDEN.sub("\ufffd", text)


def _lines(headers: Headers) -> str | None:
    lines = []
    for name, value in headers:
        text = None if value is None else _text(value)
        if text is None or text.encode() != value or "\n" in text or text != text.strip() or not _is_name(name):
            return None
        lines.append(f"{name}: {text}")
    return "\n".join(lines)


def _headers(lines: str) -> Headers:
    """Raises ValueError."""
    headers = []
    for line in lines.splitlines():
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not _is_name(name.strip()):
            raise ValueError(f"A header is “name: value”; this isn't: {line.strip()[:100]}")
        headers.append((name.strip(), value.strip().encode()))
    return tuple(headers)


def _is_name(name: str) -> bool:
    return bool(name) and ":" not in name and name == name.strip() and _HIDDEN.search(name) is None
