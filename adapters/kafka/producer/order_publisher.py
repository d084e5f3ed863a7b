"""How the order service tells what happens to an order's cashback (contract.md, section 1; docs/publishing.md).

For the team that runs the order service. Our simulator publishes by it too.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol
from uuid import NAMESPACE_URL, UUID, uuid5

from adapters.kafka.decoding.decoder import Unreadable, decode
from adapters.kafka.decoding.record import Headers, Record
from adapters.kafka.decoding.schema import AMOUNTS, ITEMS, PRODUCT
from adapters.kafka.producer.publisher import OnDelivery
from adapters.records.publishing import Outgoing
from domain import exact_json
from domain.errors import CashbackError
from domain.messages import Kind
from domain.ports import Partition

DEFAULT_SOURCE: Final = "/order-service"
TYPE_PREFIX: Final = b"order-cashback."
CONTENT_TYPE: Final = b"application/json"
SPEC_VERSION: Final = b"1.0"
"""Of CloudEvents."""

_IDS: Final = uuid5(NAMESPACE_URL, "order-cashback")
_NOWHERE: Final = Partition("", "", 0)
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


class NotPublishable(CashbackError, ValueError):
    """A message that its readers would refuse; it was not sent. `detail` repeats nothing of its content."""

    def __init__(self, kind: Kind, order_id: object, sequence: object, detail: str) -> None:
        number = "" if sequence is None else f" with sequence {sequence!r}"
        super().__init__(f"{kind} of order {order_id!r}{number} can't be published: {detail}")
        self.kind = kind
        self.order_id = order_id
        self.sequence = sequence
        self.detail = detail


class Encoded(NamedTuple):
    """A record as it goes to the topic."""

    key: bytes
    value: bytes
    headers: Headers


class Publishing(Protocol):
    """What is needed of `adapters.kafka.producer.publisher.Publisher`, and with its meaning."""

    def publish(self, message: Outgoing, on_delivery: OnDelivery | None = None) -> None: ...


class OrderPublisher:
    """Publishes the steps of orders' lifecycles; for one thread at a time.

    Who keeps the sequence: the order service, in its own database. Each order has a counter there; the step, the
    counter's next value and the message are written in one transaction (a transactional outbox), and a relay
    publishes what lies in the outbox, oldest first. `publish` takes the number from there and never makes one up:
    a number that is lost, or given twice to different messages, can't be told from the truth afterwards.

    With the outbox every committed step is published at least once, with the same number and the same `ce_id` on
    each attempt, and nothing that was rolled back is published. Its readers apply each order's messages once, in
    the order of the numbers, whatever the order of their arrival: relays may crash, publish again, or run twice.

    Without it, a crash between the commit and the publishing loses a message. If the number was kept, its readers
    wait for it, hold everything that follows, and show the order as held; if it wasn't, nobody notices. A message
    published before a commit that fails tells of something that never happened.

    `source` is the CloudEvents source, a URI reference that names the order service.
    """

    def __init__(self, publisher: Publishing, topic: str, *, source: str = DEFAULT_SOURCE) -> None:
        self._publisher = publisher
        self._topic = topic
        self._source = source

    def publish(
        self,
        kind: Kind,
        payload: Mapping[str, Any],
        *,
        sequence: int | None,
        traceparent: str | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Hands the message over; it is sent once `on_delivery` was called with Delivered, or `flush` returned.

        Raises NotPublishable, as `encode` does, and PublishError, as the publisher does: then it was not sent.
        """
        key, value, headers = encode(kind, payload, sequence=sequence, source=self._source, traceparent=traceparent)
        self._publisher.publish(Outgoing(self._topic, key, value, headers), on_delivery)


def encode(
    kind: Kind,
    payload: Mapping[str, Any],
    *,
    sequence: int | None,
    source: str = DEFAULT_SOURCE,
    traceparent: str | None = None,
) -> Encoded:
    """The record of a message. The same arguments give the same bytes.

    `payload` has the members of contract.md, section 1, as they stand in the JSON: amounts as `Decimal` or `int`,
    never `float`. `sequence` is 1 for the order's CREATED, and one more with each message of the order. None is
    for a publisher that can't count: its messages carry neither a number nor an identity, and their order is
    certain only as long as an order stays on one partition.

    Raises NotPublishable for whatever the intake would put into quarantine, for a cashback below zero, which it
    would reject, and for numbers and dates in the odd forms that it takes only for the sake of other serializers.
    """
    order_id = payload.get("orderId")

    def refuse(detail: str) -> NotPublishable:
        return NotPublishable(kind, order_id, sequence, detail)

    if sequence is not None and (isinstance(sequence, bool) or not isinstance(sequence, int) or sequence < 1):
        raise refuse("sequence must be a whole number from 1")
    if traceparent is not None and not _TRACEPARENT.fullmatch(traceparent):
        raise refuse("traceparent isn't what W3C Trace Context allows")
    try:
        value = exact_json.dumps({"type": kind.value, "payload": payload})
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise refuse(f"payload can't be written as JSON: {error}") from error
    if (path := _float_in(payload)) is not None:
        raise refuse(f"{path} is a float, which can't carry an amount exactly: give a Decimal or an int")
    stamp = () if sequence is None else _stamp(kind, order_id, sequence, source)
    trace = () if traceparent is None else (("traceparent", traceparent.encode()),)
    encoded = Encoded(str(order_id).encode(), value, stamp + trace)
    read = decode(Record(_NOWHERE, 0, None, *encoded))
    if isinstance(read, Unreadable):
        raise refuse(read.detail)
    if read.is_negative:
        raise refuse("an item's cashback is below zero")
    if read.transaction_date != payload["transactionDate"]:
        raise refuse("payload.transactionDate must be a text in RFC 3339")
    if (path := _quoted_number_in(kind, payload)) is not None:
        raise refuse(f"{path} must be a JSON number")
    return encoded


def message_id(order_id: object, sequence: int) -> UUID:
    """The `ce_id`: the same whenever, and by whomever, this message of the order is published."""
    return uuid5(_IDS, f"{order_id}/{sequence}")


def _stamp(kind: Kind, order_id: object, sequence: int, source: str) -> Headers:
    """Our `sequence`, and the CloudEvents attributes in the binary content mode of its Kafka protocol binding."""
    return (
        ("ce_specversion", SPEC_VERSION),
        ("ce_id", str(message_id(order_id, sequence)).encode()),
        ("ce_source", source.encode()),
        ("ce_type", TYPE_PREFIX + kind.value.lower().encode()),
        ("content-type", CONTENT_TYPE),
        ("sequence", str(sequence).encode()),
    )


def _quoted_number_in(kind: Kind, payload: Mapping[str, Any]) -> str | None:
    """The path to the first number that stands in a text: readers take it, but need not get it."""
    if isinstance(payload["orderId"], str):
        return "payload.orderId"
    return next(
        (
            f"payload.{ITEMS}[{number}].{PRODUCT}.{name}"
            for number, item in enumerate(() if kind.is_end else payload[ITEMS])
            for name in sorted(AMOUNTS)
            if isinstance(item[PRODUCT].get(name), str)
        ),
        None,
    )


def _float_in(payload: Mapping[str, Any]) -> str | None:
    """The path to the first float found, or None: the JSON writer would take it, and make `null` of a NaN."""
    inside: list[tuple[str, Any]] = [("payload", payload)]
    while inside:
        path, value = inside.pop()
        match value:
            case float():
                return path
            case Mapping():
                inside += [(f"{path}.{name}", each) for name, each in value.items()]
            case list() | tuple():
                inside += [(f"{path}[{number}]", each) for number, each in enumerate(value)]
            case _:
                pass
    return None
