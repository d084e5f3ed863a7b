"""Messages, bodies and answers as texts to read and to compare, and as a document to keep."""

import base64
import difflib
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from domain.exact_json import InvalidJson, dumps, loads
from domain.messages import Message
from projections.message_body import json_of, payload_of

INDENT: Final = 2
MAX_COMPARED_LINES: Final = 2000
"""Of each of two messages; what is behind isn't compared."""
CONTEXT_LINES: Final = 2
MAX_CHANGES: Final = 200
"""Lines; side by side there are all of them."""


class Row(NamedTuple):
    """A line of two texts side by side; a side is None where it has no such line."""

    look: Literal["same", "changed"]
    left: str | None
    right: str | None


class Change(NamedTuple):
    """A line of a text that was changed: `+`, `-`, a space, or `…` for what is left out."""

    sign: Literal["+", "-", " ", "…"]
    text: str


def pretty(value: bytes) -> str:
    """JSON with a member a line, each number with its own digits; what isn't JSON as it is, as UTF-8."""
    try:
        return msgspec.json.format(value, indent=INDENT).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return value.decode("utf-8", "replace")


def message_text(message: Message) -> str:
    """The whole body."""
    return pretty(json_of(message.body))


def as_json(value: bytes) -> Any:
    """For `domain.exact_json.dumps`: JSON as it came, and what isn't as base64."""
    try:
        loads(value)
    except InvalidJson:
        return {"base64": base64.b64encode(value).decode()}
    return msgspec.Raw(value)


def side_by_side(left: Message, right: Message) -> list[Row]:
    """Two messages' payloads, with their members in one order, so that only what they say can differ."""
    before, after = _lines(left), _lines(right)
    rows = []
    for tag, from_left, to_left, from_right, to_right in _matcher(before, after).get_opcodes():
        lefts, rights = before[from_left:to_left], after[from_right:to_right]
        look: Literal["same", "changed"] = "same" if tag == "equal" else "changed"
        places = range(max(len(lefts), len(rights)))
        rows += [Row(look, _at(lefts, place), _at(rights, place)) for place in places]
    return rows


def changes(left: Message, right: Message) -> list[Change]:
    """What the right one would make of the left one, with a little of what stays around it."""
    before, after = _lines(left), _lines(right)
    found: list[Change] = []
    for group in _matcher(before, after).get_grouped_opcodes(CONTEXT_LINES):
        if found:
            found.append(Change("…", ""))
        for tag, from_left, to_left, from_right, to_right in group:
            if tag == "equal":
                found += [Change(" ", line) for line in before[from_left:to_left]]
                continue
            found += [Change("-", line) for line in before[from_left:to_left]]
            found += [Change("+", line) for line in after[from_right:to_right]]
    return found if len(found) <= MAX_CHANGES else [*found[:MAX_CHANGES], Change("…", "")]


def _matcher(before: Sequence[str], after: Sequence[str]) -> difflib.SequenceMatcher[str]:
    return difflib.SequenceMatcher(None, before, after, autojunk=False)


def _lines(message: Message) -> list[str]:
    try:
        text = pretty(dumps(_sorted(loads(bytes(payload_of(message))))))
    except InvalidJson:
        text = message_text(message)
    return text.splitlines()[:MAX_COMPARED_LINES]


def _sorted(value: Any) -> Any:
    match value:
        case dict():
            return {name: _sorted(value[name]) for name in sorted(value)}
        case list():
            return [_sorted(each) for each in value]
        case _:
            return value


def _at(lines: Sequence[str], place: int) -> str | None:
    return lines[place] if place < len(lines) else None
