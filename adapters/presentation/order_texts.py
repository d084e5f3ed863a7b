"""Everything that was said about an order: messages with their headers, calls with their bodies, and answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from adapters.presentation.message_texts import Change, as_json, changes, message_text, pretty
from adapters.presentation.schemas import TimelineEvent
from adapters.records.calls import CallRow
from adapters.records.orders import OrderRecord
from domain.events import Accepted, MessageEvent, OrderEvent
from domain.exact_json import dumps
from domain.messages import Kind, Message
from projections.message_body import json_of

MAX_TEXT_CHARACTERS: Final = 6_000
"""Of one message or body on the order's page; the whole of it is in the document."""
MAX_CHARACTERS: Final = 300_000
"""Of all of them on one page."""
MAX_COMPARED_BYTES: Final = 200_000
"""Of all messages that are compared on one page: two of 200 items each take 0.2 s."""
_WITH_ITEMS: Final = {Kind.CREATED, Kind.UPDATED}


@dataclass(frozen=True, slots=True)
class SaidText:
    """A text to read. `is_cut`: there is more of it than is shown."""

    text: str
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """What a message changed, or would have, against the one that counted before it."""

    against: int
    """The version of the event about that one."""
    before: Decimal | None
    after: Decimal | None
    lines: Sequence[Change]


@dataclass(frozen=True, slots=True)
class EventTexts:
    """What was said because of one event. None: nothing, or no room for it on the page."""

    message: SaidText | None = None
    headers: Sequence[tuple[str, str]] = ()
    request: SaidText | None = None
    changed: Changed | None = None


class _Room:
    """What is left of a page."""

    def __init__(self) -> None:
        self._characters = MAX_CHARACTERS
        self._bytes = MAX_COMPARED_BYTES

    def text(self, text: str) -> SaidText | None:
        shown = text[:MAX_TEXT_CHARACTERS]
        if len(shown) > self._characters:
            return None
        self._characters -= len(shown)
        return SaidText(shown, len(shown) < len(text))

    def changed(self, against: MessageEvent, event: MessageEvent) -> Changed | None:
        self._bytes -= len(against.message.body) + len(event.message.body)
        if self._bytes < 0:
            return None
        lines = changes(against.message, event.message)
        return Changed(against.originator_version, against.message.cashback, event.message.cashback, lines)


def event_texts(record: OrderRecord, versions: Sequence[int]) -> dict[int, EventTexts]:
    """By the versions of those events."""
    shown, room = set(versions), _Room()
    calls = {row.version: row for row in record.calls}
    counted: MessageEvent | None = None
    texts = {}
    for event in record.events:
        version = event.originator_version
        if version in shown:
            texts[version] = _texts(event, calls.get(version), counted, room)
        if isinstance(event, Accepted) and event.message.kind in _WITH_ITEMS:
            counted = event
    return texts


def _texts(event: OrderEvent, call: CallRow | None, counted: MessageEvent | None, room: _Room) -> EventTexts:
    request = room.text(pretty(call.body)) if call is not None and call.body else None
    if not isinstance(event, MessageEvent):
        return EventTexts(request=request)
    is_new = event.held_version is None
    is_compared = counted is not None and event.message.kind in _WITH_ITEMS
    return EventTexts(
        message=room.text(message_text(event.message)) if is_new else None,
        headers=_headers(event.message) if is_new else (),
        request=request,
        changed=room.changed(counted, event) if is_compared and counted is not None else None,
    )


def _headers(message: Message) -> list[tuple[str, str]]:
    """The bytes of a value, which stand here as Latin-1 text, read as UTF-8."""
    return [(name, _header(value) or "") for name, value in message.headers]


def _header(value: str | None) -> str | None:
    return None if value is None else value.encode("latin-1").decode("utf-8", "replace")


def event_document(record: OrderRecord, event: TimelineEvent) -> bytes:
    """What was received, sent and answered because of one event, as JSON with exact decimals. Of an answer there is
    as much as was kept."""
    version = event["version"]
    (found,) = (each for each in record.events if each.originator_version == version)
    call = next((row for row in record.calls if row.version == version), None)
    document: dict[str, Any] = {"orderId": found.order_id, **event}
    if isinstance(found, MessageEvent):
        document["message"] = _message_document(event["message"] or {}, found.message)
    if event["call"] is not None and call is not None:
        document["call"] = {**event["call"], "body": as_json(call.body)}
    return msgspec.json.format(dumps(document), indent=2)


def _message_document(shown: Mapping[str, Any], message: Message) -> dict[str, Any]:
    headers = [[name, _header(value)] for name, value in message.headers]
    key = str(message.order_id) if message.key is None else _header(message.key)
    return {
        **shown,
        "timestampMs": message.timestamp_ms,
        "key": key,
        "headers": headers,
        "value": as_json(json_of(message.body)),
    }
