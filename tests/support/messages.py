"""Builders of messages, of records on a topic, and of whole orders, for tests."""

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final

from adapters.kafka.decoding.record import Headers, Record
from domain.decision import DEFAULT_POLICY, Policy, decide
from domain.effects import Effect, effect_of
from domain.events import Accepted, MessageEvent, OrderEvent
from domain.instants import format_instant, parse_instant
from domain.intervention import Author, release, settle
from domain.messages import Kind, Message, Origin
from domain.order import Order, fold
from domain.ports import Partition

ORDER_ID: Final = 24_323_523
NOON_NS: Final = parse_instant("2025-02-28T12:00:00Z")
NOW_NS: Final = parse_instant("2025-02-28T18:00:00Z")
TOPIC: Final = "order-cashback-promotion"
TOPIC_ID: Final = "topic-1"
SECOND_NS: Final = 1_000_000_000
BY: Final = Author("support", "asked the shop")


def message(
    kind: Kind,
    *,
    at_ns: int = 0,
    offset: int = 0,
    partition: int = 0,
    topic: str = TOPIC,
    topic_id: str = TOPIC_ID,
    sequence: int | None = None,
    transaction: str | None = None,
    cashback: str = "6",
    content: str = "",
    ce_id: str | None = None,
    replay: str | None = None,
    negative: bool = False,
    implausible: bool = False,
    buyer: str = "1234",
    store: str = "54645",
    timestamp_ms: int | None = None,
    origin: Origin | None = None,
    order_id: int = ORDER_ID,
) -> Message:
    """A message as the decoder would make it; `at_ns` counts from noon.

    Two with the same kind, time, transaction, cashback and `content` say the same thing. Without `transaction`
    the time makes its name. Kafka got it at its own date, unless `timestamp_ms` (counted from noon) says otherwise.
    """
    earns = kind in {Kind.CREATED, Kind.UPDATED}
    transaction = transaction or f"t{at_ns}"
    said = json.dumps(
        [kind, order_id, transaction, at_ns, cashback if earns else None, negative, content, buyer, store]
    )
    digest = blake2b(said.encode(), digest_size=16).hexdigest()
    return Message(
        kind=kind,
        order_id=order_id,
        transaction_id=transaction,
        transaction_date=format_instant(NOON_NS + at_ns),
        happened_at_ns=NOON_NS + at_ns,
        identity=ce_id or digest,
        digest=digest,
        sequence=sequence,
        store_no=store,
        buyer_id=buyer,
        reason="out of stock" if kind is Kind.CANCELLED else None,
        cashback=Decimal(cashback) if earns else None,
        is_negative=negative,
        topic=topic,
        topic_id=topic_id,
        partition=partition,
        offset=offset,
        timestamp_ms=(NOON_NS + at_ns) // 1_000_000
        if timestamp_ms is None
        else NOON_NS // 1_000_000 + timestamp_ms,
        replay=replay,
        origin=origin,
        is_implausible=implausible,
        body=said.encode(),
    )


def created(**said: Any) -> Message:
    return message(Kind.CREATED, **said)


def updated(**said: Any) -> Message:
    return message(Kind.UPDATED, **said)


def cancelled(**said: Any) -> Message:
    return message(Kind.CANCELLED, **said)


def completed(**said: Any) -> Message:
    return message(Kind.COMPLETED, **said)


class History:
    """An order that is told one message after another."""

    def __init__(self, *arrivals: Message, policy: Policy = DEFAULT_POLICY) -> None:
        self.order = Order(ORDER_ID)
        self.events: list[MessageEvent] = []
        self.stream: list[OrderEvent] = []
        """The same, with what people decided."""
        self._policy = policy
        for arrival in arrivals:
            self.tell(arrival)

    def tell(self, arrival: Message) -> tuple[MessageEvent, ...]:
        """The events that follow from one more message."""
        events = decide(self.order, arrival, now_ns=NOW_NS, policy=self._policy)
        self._add(events)
        return events

    def settle(self) -> tuple[OrderEvent, ...]:
        """A person settles all doubts."""
        events = settle(self.order, BY, now_ns=NOW_NS)
        self._add(events)
        return events

    def release(self, numbers: tuple[int, int] | None = None) -> tuple[OrderEvent, ...]:
        """A person gives up what held messages wait for."""
        events = release(self.order, BY, now_ns=NOW_NS, numbers=numbers, policy=self._policy)
        self._add(events)
        return events

    def _add(self, events: Sequence[OrderEvent]) -> None:
        self.order = fold(self.order, events) or self.order
        self.stream += events
        self.events += [event for event in events if isinstance(event, MessageEvent)]

    @property
    def outcome(self) -> tuple[str, Decimal | None]:
        """What the buyer's wallet depends on: the status and the amount."""
        return self.order.status, self.order.terms.cashback if self.order.terms else None

    @property
    def accepted(self) -> list[Accepted]:
        """The decisions that the third party hears of, in order."""
        return [event for event in self.events if isinstance(event, Accepted)]

    @property
    def effects(self) -> list[Effect]:
        return [effect for effect in map(effect_of, self.events) if effect is not None]


def product(quantity: Any = 2, original: Any = 156, final: Any = 306, **changes: Any) -> dict[str, Any]:
    """One product item as on the wire; the numbers may be given as `Literal`. Nobody knows a discounted price that
    would fit others than the usual ones."""
    return {
        "productItem": {
            "externalProductId": "67867",
            "quantity": quantity,
            "unit": "KG",
            "originalPrice": original,
            "discountedPrice": 153 if (quantity, final) == (2, 306) else None,
            "finalTotalPrice": final,
            "vatRate": 1,
        }
        | changes
    }


def payload_of(
    kind: Kind, *, order_id: int = ORDER_ID, at_ns: int = 0, items: list[Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """A valid payload of contract.md, section 1, with its list of `items` and changes to its members."""
    payload: dict[str, Any] = {
        "orderId": order_id,
        "transactionId": f"t{at_ns}",
        "transactionDate": format_instant(NOON_NS + at_ns),
    }
    if not kind.is_end:
        payload |= {
            "storeNo": "54645",
            "buyerId": "1234",
            "orderItemsWithDiscountSummaryItems": [product()] if items is None else items,
        }
    return payload | changes


def value_of(kind: Kind, payload: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind.value, "payload": payload}).encode()


def record(
    value: bytes | None,
    *,
    key: bytes | None = b"%d" % ORDER_ID,
    headers: Headers = (),
    offset: int = 0,
    partition: int = 0,
    timestamp_ms: int | None = 1_740_744_000_000,
) -> Record:
    return Record(partition_of(partition), offset, timestamp_ms, key, value, headers)


def record_of(kind: Kind, *, order_id: int = ORDER_ID, offset: int = 0, partition: int = 0, **said: Any) -> Record:
    """A valid record of one order, dated by Kafka as by itself; `headers` go to it, the rest to the payload."""
    headers: Headers = said.pop("headers", ())
    value = value_of(kind, payload_of(kind, order_id=order_id, **said))
    timestamp_ms = (NOON_NS + said.get("at_ns", 0)) // 1_000_000
    key = b"%d" % order_id
    return record(value, key=key, headers=headers, offset=offset, partition=partition, timestamp_ms=timestamp_ms)


def partition_of(number: int = 0, topic: str = TOPIC, topic_id: str = TOPIC_ID) -> Partition:
    return Partition(topic, topic_id, number)


def kinds_of(events: Iterable[OrderEvent]) -> list[str]:
    """The events' names."""
    return [event.TOPIC for event in events]
