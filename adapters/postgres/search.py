"""Finding orders and messages by one text, and what is kept for it: digests of what their messages say."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from adapters.postgres.pool import Connection, Database
from adapters.postgres.sql import statements
from adapters.records.search import MAX_FOUND, MIN_PREFIX_DIGITS, MessagePlace, SearchResult, place_of, written
from domain.effects import EffectKind
from domain.events import CashbackCancelled, CashbackCompleted, CashbackCorrected, CashbackCreated, CashbackUpdated
from domain.identifiers import MAX_ORDER_ID, key_of, stream_id

_SQL: Final = statements("search")
_KIND_OF_EVENT: Final = {
    CashbackCreated.TOPIC: EffectKind.CREATE,
    CashbackUpdated.TOPIC: EffectKind.UPDATE,
    CashbackCancelled.TOPIC: EffectKind.CANCEL,
    CashbackCompleted.TOPIC: EffectKind.COMPLETE,
    CashbackCorrected.TOPIC: EffectKind.CORRECT,
}
_MAX_DIGITS: Final = len(str(MAX_ORDER_ID))


class _Place(msgspec.Struct):
    topic: str
    partition: int
    offset: int


class _Message(msgspec.Struct):
    order_id: int
    transaction_id: str
    identity: str
    digest: str
    topic: str
    partition: int
    offset: int
    sequence: int | None = None
    origin: _Place | None = None


class _Decision(msgspec.Struct):
    message: _Message


_decode: Final = msgspec.json.Decoder(_Decision).decode


def searched(decisions: Sequence[tuple[str, bytes]]) -> list[tuple[int, int]]:
    """Digests by which orders are found, each with the order id. Decisions are an event's topic, and its state
    without the message's body (adapters/postgres/codec.py)."""
    found = []
    for topic, state in decisions:
        message = _decode(state).message
        found += [(digest, message.order_id) for digest in _digests(topic, message)]
    return found


def _digests(topic: str, message: _Message) -> Iterator[int]:
    yield digest_of(message.transaction_id)
    yield _place_digest(MessagePlace(message.topic, message.partition, message.offset))
    if message.origin is not None:
        yield _place_digest(MessagePlace(message.origin.topic, message.origin.partition, message.origin.offset))
    if (kind := _KIND_OF_EVENT.get(topic)) is not None:
        yield _key_digest(
            key_of(stream_id(message.order_id), kind, message.digest, message.identity, message.sequence)
        )


async def find(database: Database, text: str) -> SearchResult:
    """Whatever the text is of. Events of the last second or so may not be found yet."""
    async with database.connection() as connection:
        return await _find(connection, text.strip())


async def _find(connection: Connection, text: str) -> SearchResult:
    words = written(text)
    number, place, key = _order_id(text), place_of(text), _uuid(text)
    ids: dict[str, list[int]] = {}

    async def ask(name: str, **asked: Any) -> list[int]:
        rows = await connection.execute(_SQL[name], asked | {"limit": MAX_FOUND})
        return [row[0] async for row in rows]

    if number is not None:
        ids["order"] = await ask("order", order_id=number, stream=stream_id(number))
    ids["buyer"] = await ask("orders_of_buyer", words=words)
    ids["transaction"] = await ask("orders_with", digests=list(map(digest_of, words)))
    if key is not None:
        by_key = await ask("orders_with", digests=[_key_digest(key)])
        ids["idempotency key"] = by_key or await ask("orders_of_key", key=key)
    if place is not None:
        ids["message"] = await ask("orders_with", digests=[_place_digest(place)])
    if number is not None and len(text) >= MIN_PREFIX_DIGITS:
        ids["beginning"] = await ask("orders_beginning", **_ranges(text))
    wanted: Mapping[str, object] = (place or MessagePlace("", -1, -1))._asdict()
    quarantined = await ask("quarantined_at", id=number, **wanted)
    return SearchResult({what: found for what, found in ids.items() if found}, quarantined)


def digest_of(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _place_digest(place: MessagePlace) -> int:
    """What no transaction can be: it has a zero byte, which PostgreSQL and JSON readers of ours refuse."""
    return digest_of(f"\0place\0{place.topic}/{place.partition}@{place.offset}")


def _key_digest(key: UUID) -> int:
    return digest_of(f"\0key\0{key}")


def _order_id(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if is_number and 1 <= int(text) <= MAX_ORDER_ID else None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _ranges(digits: str) -> dict[str, list[int]]:
    """Longer ids that begin so."""
    sizes = [10**more for more in range(1, _MAX_DIGITS - len(digits) + 1)]
    lows = [int(digits) * size for size in sizes if int(digits) * size <= MAX_ORDER_ID]
    highs = [min(low + size - 1, MAX_ORDER_ID) for low, size in zip(lows, sizes, strict=False)]
    return {"lows": lows, "highs": highs}
