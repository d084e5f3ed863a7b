"""From a record's bytes to a message of the domain, or to the reason why that can't be (contract.md, section 1).

The decoder never raises: what it can't read is kept in quarantine, and the partition goes on. A message may also
come as a CloudEvent, in binary or in structured mode; the mode is no part of its content.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
from pydantic import ValidationError

from adapters.kafka.decoding import canonical_json, repeats
from adapters.kafka.decoding.cloudevents import (
    CONTENT_TYPE,
    BadCloudEvent,
    data_of,
    is_structured,
    kind_of,
    with_attributes,
)
from adapters.kafka.decoding.fast_path import quick_facts
from adapters.kafka.decoding.foreign import describe
from adapters.kafka.decoding.keys import is_key_of, order_id_of_key
from adapters.kafka.decoding.record import UNREADABLE_HEADERS, Headers, Record
from adapters.kafka.decoding.schema import (
    AMOUNTS,
    MAX_SEQUENCE_DIGITS,
    MAX_TEXT_LENGTH,
    WIRE_TYPES,
    Facts,
    order_id_in,
)
from domain.errors import BadInstant
from domain.identifiers import MAX_ORDER_ID
from domain.instants import read_instant
from domain.messages import Kind, Message, Origin
from domain.money import DEFAULT_TILL, ZERO, Till, total
from projections.message_body import json_of
from projections.origin import ORIGIN_HEADER, BadOrigin, read_origin
from projections.republication import REPLAY_HEADER

MAX_NESTING: Final = 100
"""Objects and lists inside one another; whoever reads the body later may have less stack left than we have here."""
DEFAULT_MAX_MESSAGE_BYTES: Final = 1024 * 1024

Reason = Literal[
    "too_large",
    "no_value",
    "not_json",
    "unknown_type",
    "no_order_id",
    "bad_payload",
    "bad_amount",
    "bad_date",
    "key_missing",
    "key_mismatch",
    "bad_header",
    "bad_cloudevent",
    "duplicate_member",
    "order_full",
    "stream_broken",
]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a record is no message. The detail is for a person and doesn't repeat what the record holds."""

    reason: Reason
    detail: str
    order_id: int | None = None


_KINDS: Final = {kind.value: kind for kind in Kind}
# Whether the event is structured, and its data the bare payload.
_PAYLOAD_PATHS: Final = {
    (False, False): ("payload",),
    (False, True): (),
    (True, False): ("data", "payload"),
    (True, True): ("data",),
}


class _Refused(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def decode(
    record: Record, *, till: Till = DEFAULT_TILL, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
) -> Message | Unreadable:
    """The message that the record holds, or why it holds none. `till` says what its items earn."""
    said: dict[str, object] = {}
    payload: object = None
    try:
        headers = _headers(record.headers)
        structured = is_structured(headers.get(CONTENT_TYPE))
        json = _json(record.value, max_message_bytes)
        whole, is_plain, colons = _json_object(json)
        said = whole
        if structured:
            said = data_of(whole)
            headers = with_attributes(headers, whole)
        kind, payload = _kind_and_payload(said, headers)
        facts = quick_facts(kind, payload, till) if is_plain else None
        if facts is None:
            facts = WIRE_TYPES[kind].model_validate(payload).facts(till)
        happened_at_ns, date = read_instant(facts.transaction_date)
        path = _PAYLOAD_PATHS[structured, payload is said]
        content = canonical_json.write(kind, happened_at_ns, payload)
        if repeats.may_be_there(json, whole, path, colons - content.count(b":"), facts.transaction_date):
            _check_repeats(repeats.find(json, path, kind))
        key = _key(record.key, facts.order_id)
        digest = canonical_json.digest(content)
        return _message(record, headers, kind, facts, key, date, happened_at_ns, digest, path)
    except _Refused as error:
        reason, detail = error.reason, error.detail
    except ValidationError as error:
        reason, detail = _first_fault(error)
    except BadInstant as error:
        reason, detail = "bad_date", f"payload.transactionDate: {error.why}"
    except BadCloudEvent as error:
        reason, detail = "bad_cloudevent", str(error)
        payload = said if _is_bare(said) else said.get("payload")
    order_id = _order_id(payload)
    return Unreadable(reason, detail, order_id_of_key(record.key) if order_id is None else order_id)


def _json(value: bytes | None, max_message_bytes: int) -> bytes:
    """The value without the five bytes that a schema registry's serializer puts before it."""
    if value is None:
        raise _Refused("no_value", "the record has no value")
    if len(value) > max_message_bytes:
        raise _Refused("too_large", f"{len(value)} bytes, and {max_message_bytes} are allowed")
    if value.startswith(b"\0") and (foreign := describe(value)) is not None:
        raise _Refused("not_json", foreign)
    return json_of(value)


def _json_object(json: bytes) -> tuple[dict[str, object], bool, int]:
    """And whether it is plain (adapters/kafka/decoding/canonical_json.py), and how many colons stand in it."""
    try:
        found, is_plain = canonical_json.read(json)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as error:
        raise _Refused("not_json", f"the value isn't JSON: {error}") from error
    if not isinstance(found, dict):
        raise _Refused("not_json", _what_else(found))
    colons, lists = json.count(b":"), json.count(b"[")
    # What is inside an object stands behind a colon: most messages have too few of them to be deep.
    may_be_deep = colons + lists >= MAX_NESTING and json.count(b"{") + lists > MAX_NESTING
    if may_be_deep and _nesting(found) > MAX_NESTING:
        raise _Refused("not_json", f"the value is nested more than {MAX_NESTING} levels deep")
    return found, is_plain, colons


def _what_else(found: object) -> str:
    match found:
        case str() if found.lstrip().startswith("{"):
            return "a text that holds JSON: it went through a serializer of JSON twice"
        case [str(), dict()]:
            return "a pair of a text and an object: publish the object without its class (Jackson's default typing)"
        case _:
            return "the value isn't a JSON object"


def _kind_and_payload(
    said: dict[str, object], headers: Mapping[str, bytes | None]
) -> tuple[Kind, dict[str, object]]:
    name = said.get("type")
    if name is None and _is_bare(said) and (kind := kind_of(headers)) is not None:
        return kind, said
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _Refused("unknown_type", f"type must be one of {', '.join(Kind)}")
    payload = said.get("payload")
    if not isinstance(payload, dict):
        raise _Refused("bad_payload", "payload must be a JSON object")
    return kind, payload


def _check_repeats(repeated: str | None) -> None:
    if repeated is not None:
        raise _Refused("duplicate_member", f"{repeated} stands there more than once")


def _is_bare(said: dict[str, object]) -> bool:
    """No envelope of ours: then it may be the payload itself, and the CloudEvents type says its kind."""
    return "type" not in said and "payload" not in said


def _headers(headers: Headers) -> Mapping[str, bytes | None]:
    """By name; the first of several counts."""
    if headers == UNREADABLE_HEADERS:
        raise _Refused("bad_header", "the name of a header isn't UTF-8: no header could be read")
    return dict(reversed(headers))


def _nesting(value: object) -> int:
    """How many objects and lists stand inside one another."""
    levels = 0
    inside = [value]
    while inside := [each for each in inside if isinstance(each, dict | list)]:
        levels += 1
        inside = [each for outer in inside for each in (outer.values() if isinstance(outer, dict) else outer)]
    return levels


def _key(key: bytes | None, order_id: int) -> str | None:
    """As it is kept: not at all if it is the order id in decimal."""
    if key is None:
        raise _Refused("key_missing", "the record has no key; it must be the order id in decimal")
    if key == b"%d" % order_id:
        return None
    if not is_key_of(order_id, key):
        raise _Refused(
            "key_mismatch", "the record's key isn't the payload's orderId: in decimal, in 8 or in 4 bytes"
        )
    return key.decode("latin-1")


def _message(  # noqa: PLR0913, PLR0917 - all that a message is made from
    record: Record,
    headers: Mapping[str, bytes | None],
    kind: Kind,
    facts: Facts,
    key: str | None,
    date: str,
    happened_at_ns: int,
    digest: str,
    payload_path: tuple[str, ...],
) -> Message:
    cashbacks = facts.cashbacks
    replay, origin = headers.get(REPLAY_HEADER), headers.get(ORIGIN_HEADER)
    # In the order of the fields: their names, one by one, would take a microsecond more, of nearly twenty for all.
    return Message(
        kind,
        facts.order_id,
        facts.transaction_id,
        date,
        happened_at_ns,
        _identity(headers.get("ce_id")) or digest,
        digest,
        record.partition.topic,
        record.partition.topic_id,
        record.partition.number,
        record.offset,
        record.value or b"",
        payload_path,
        tuple([(name, None if value is None else value.decode("latin-1")) for name, value in record.headers]),
        record.timestamp_ms,
        _sequence(headers),
        facts.store_no,
        facts.buyer_id,
        facts.reason,
        None if cashbacks is None else total(cashbacks),
        cashbacks is not None and min(cashbacks, default=ZERO) < ZERO,
        None if replay is None else replay.decode("latin-1")[:MAX_TEXT_LENGTH],
        None if origin is None else _origin(origin),
        key,
        facts.is_implausible,
    )


def _origin(text: bytes) -> Origin:
    try:
        return read_origin(text)
    except BadOrigin as error:
        raise _Refused("bad_header", f"the header {ORIGIN_HEADER} isn't a place on a topic") from error


def _identity(ce_id: bytes | None) -> str | None:
    if ce_id is None:
        return None
    try:
        text = ce_id.decode()
    except UnicodeError as error:
        raise _Refused("bad_header", "the header ce_id isn't UTF-8") from error
    if not 0 < len(text) <= MAX_TEXT_LENGTH:
        raise _Refused("bad_header", f"the header ce_id must have 1 to {MAX_TEXT_LENGTH} characters")
    return text


def _sequence(headers: Mapping[str, bytes | None]) -> int | None:
    plain, attribute = _number(headers.get("sequence")), headers.get("ce_sequence")
    if attribute is None:
        return plain
    stated = _number(attribute)
    if plain is not None and plain != stated:
        raise _Refused("bad_header", "the header sequence and the CloudEvents attribute sequence disagree")
    return stated


def _number(text: bytes | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or len(text) > MAX_SEQUENCE_DIGITS or int(text) == 0:
        raise _Refused("bad_header", "the header sequence must be a whole number from 1, in decimal")
    return int(text)


def _order_id(payload: object) -> int | None:
    order_id = order_id_in(payload.get("orderId")) if isinstance(payload, dict) else None
    if isinstance(order_id, int) and not isinstance(order_id, bool) and 1 <= order_id <= MAX_ORDER_ID:
        return order_id
    return None


def _first_fault(error: ValidationError) -> tuple[Reason, str]:
    """Names the first member that is wrong and what it should be, without what it holds."""
    fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
    path = ".".join(str(part) for part in ("payload", *fault["loc"]))
    last = fault["loc"][-1] if fault["loc"] else ""
    reason: Reason = "bad_payload"
    if last == "orderId":
        reason = "no_order_id"
    elif last == "transactionDate":
        reason = "bad_date"
    elif last in AMOUNTS:
        reason = "bad_amount"
    return reason, f"{path}: {fault['msg'].removeprefix('Value error, ')}"
