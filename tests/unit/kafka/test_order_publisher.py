"""What the order service publishes through its publisher is what its readers read, or it is refused by name."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from adapters.kafka.decoding.record import Record, record_of
from adapters.kafka.producer.order_publisher import NotPublishable, OrderPublisher, encode
from adapters.kafka.producer.publisher import OnDelivery
from adapters.records.publishing import Outgoing
from domain.messages import Kind
from domain.ports import Partition
from tests.support.clusters import Cluster
from tests.support.decoding import read
from tests.support.waiting import DEADLINE_SECONDS

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "publishing.md"
ITEM = {
    "externalProductId": "67867",
    "quantity": Decimal("1.250"),
    "unit": "KG",
    "originalPrice": Decimal("156.10"),
    "discountedPrice": 153,
    "finalTotalPrice": Decimal("191.250"),
    "vatRate": 1,
}
CREATED: dict[str, Any] = {
    "orderId": 24_323_523,
    "storeNo": "54645",
    "orderItemsWithDiscountSummaryItems": [{"productItem": ITEM}],
    "buyerId": "1234",
    "transactionId": "5661042b-cc39-4567-a264-265943097139",
    "transactionDate": "2025-02-28T13:36:06.026732837Z",
    "campaign": {"budget": Decimal("1000.50")},
}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Handed:
    """Takes what would go to the broker."""

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []

    def publish(self, message: Outgoing, on_delivery: OnDelivery | None = None) -> None:
        self.messages.append(message)


def published(sequence: int | None = 1, kind: Kind = Kind.CREATED, **changes: Any) -> Outgoing:
    handed = Handed()
    OrderPublisher(handed, "orders").publish(kind, CREATED | changes, sequence=sequence, traceparent=TRACE)
    (message,) = handed.messages
    return message


def record(message: Outgoing) -> Record:
    return Record(Partition(message.topic, "id", 0), 0, None, message.key, message.value, message.headers)


def with_item(**changes: Any) -> dict[str, Any]:
    return {"orderItemsWithDiscountSummaryItems": [{"productItem": ITEM | changes}]}


def test_what_is_published_is_what_is_read() -> None:
    """Key, number, identity, exact amounts with all their digits, and what we don't know."""
    message = published(sequence=1)
    assert message.topic == "orders"
    assert message.key == b"24323523"
    for piece in (b'"quantity":1.250,', b'"originalPrice":156.10,', b'"discountedPrice":153,', b'"budget":1000.50'):
        assert piece in message.value
    found = read(record(message))
    assert (found.kind, found.order_id, found.sequence) == (Kind.CREATED, 24_323_523, 1)
    assert found.cashback == Decimal("195.13") - Decimal("191.25")
    assert found.transaction_date == CREATED["transactionDate"]


def test_the_headers_make_a_cloudevent_of_it_and_never_change() -> None:
    """The attributes as the Kafka protocol binding has them in binary mode; the identity is fixed for ever."""
    assert published(sequence=7).headers == (
        ("ce_specversion", b"1.0"),
        ("ce_id", b"13eddd8b-74f8-56f0-9b39-d56e490e0cfb"),
        ("ce_source", b"/order-service"),
        ("ce_type", b"order-cashback.created"),
        ("content-type", b"application/json"),
        ("sequence", b"7"),
        ("traceparent", TRACE.encode()),
    )


def test_publishing_again_carries_the_same_identity_and_other_messages_have_others() -> None:
    """The same bytes for the same arguments; another number, or another order, is another message."""
    assert published(sequence=2) == published(sequence=2)
    identities = {
        read(record(message)).identity
        for message in (published(sequence=1), published(sequence=2), published(sequence=1, orderId=24_323_524))
    }
    assert len(identities) == 3


@pytest.mark.parametrize("kind", [Kind.CANCELLED, Kind.COMPLETED])
def test_an_end_needs_no_items(kind: Kind) -> None:
    """As the contract has it."""
    payload = {name: CREATED[name] for name in ("orderId", "transactionId", "transactionDate")}
    key, value, headers = encode(kind, payload, sequence=3)
    assert read(record(Outgoing("orders", key, value, headers))).kind is kind


def test_without_a_number_there_is_no_identity_either() -> None:
    """Nothing is made up: the readers then identify it by its content."""
    message = published(sequence=None)
    assert [name for name, _ in message.headers] == ["traceparent"]
    found = read(record(message))
    assert found.sequence is None
    assert found.identity == found.digest


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (with_item(originalPrice=156.1), r"productItem\.originalPrice is a float"),
        (with_item(quantity=float("nan")), r"\[0\]\.productItem\.quantity is a float"),
        ({"campaign": {"shares": [1, (2, 0.5)]}}, r"payload\.campaign\.shares\[1\]\[1\] is a float"),
        (with_item(originalPrice=Decimal("NaN")), "isn't JSON"),
        (with_item(originalPrice=Decimal(-1)), "originalPrice"),
        (
            with_item(originalPrice="156.10"),
            r"payload\.orderItems.*\[0\]\.productItem\.originalPrice must be a JSON number",
        ),
        (with_item(vatRate="1"), "vatRate must be a JSON number"),
        (with_item(quantity=0), "quantity"),
        (with_item(finalTotalPrice=1000), "below zero"),
        ({"orderItemsWithDiscountSummaryItems": []}, "orderItemsWithDiscountSummaryItems"),
        ({"orderId": 0}, "orderId"),
        ({"orderId": 2**63}, "orderId"),
        ({"orderId": "24323523"}, "orderId"),
        ({"orderId": True}, "orderId"),
        ({"buyerId": 1234}, "buyerId"),
        ({"transactionDate": "2025-02-28 13:36"}, "transactionDate"),
        ({"transactionDate": "2025-02-28T13:36Z"}, "transactionDate must be a text in RFC 3339"),
        ({"transactionDate": 1_740_749_766}, "transactionDate must be a text in RFC 3339"),
        ({"transactionDate": "2025-02-30T13:36:06Z"}, "no such day"),
        ({"transactionDate": "2025-02-28T13:36:06.0267328371Z"}, "nine fractional digits"),
        ({"campaign": object()}, "can't be written as JSON"),
        ({"campaign": CYCLE}, "can't be written as JSON"),
        ({"campaign": "x" * 2**20}, "bytes"),
    ],
)
def test_what_its_readers_would_refuse_is_refused(changes: dict[str, Any], said: str) -> None:
    """The error names the member, and nothing is handed over."""
    handed = Handed()
    with pytest.raises(NotPublishable, match=said) as caught:
        OrderPublisher(handed, "orders").publish(Kind.CREATED, CREATED | changes, sequence=1)
    assert handed.messages == []
    assert "1234" not in caught.value.detail


@pytest.mark.parametrize("sequence", [0, -1, True, 1.0, "1", Decimal(1), 10**18])
def test_a_number_that_is_none_is_refused(sequence: Any) -> None:
    """Whole, from 1, and of at most 18 digits."""
    with pytest.raises(NotPublishable, match="sequence must be a whole number from 1"):
        published(sequence=sequence)
    assert read(record(published(sequence=10**18 - 1))).sequence == 10**18 - 1


@pytest.mark.parametrize("trace", ["", "abc", TRACE.upper(), "00-" + "0" * 32 + TRACE[35:], TRACE + "\n"])
def test_a_trace_that_nobody_could_follow_is_refused(trace: str) -> None:
    """W3C Trace Context: lower-case hexadecimal digits, not all of them zero."""
    with pytest.raises(NotPublishable, match="traceparent"):
        encode(Kind.CREATED, CREATED, sequence=1, traceparent=trace)


@pytest.mark.slow
def test_the_example_for_the_order_service_runs(broker: Cluster, topic: Callable[..., str], tmp_path: Path) -> None:
    """The page's program, as it stands there: a crash between publishing and noting it doubles messages, and they
    carry the same numbers and identities."""
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    name = topic(3)
    done = subprocess.run(
        [sys.executable, "-c", program, broker.bootstrap, name],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [read(each) for each in records(broker.bootstrap, name, 4)]
    assert [(each.kind, each.sequence) for each in found] == [
        (Kind.CREATED, 1),
        (Kind.COMPLETED, 2),
        (Kind.CREATED, 1),
        (Kind.COMPLETED, 2),
    ]
    assert len({each.identity for each in found}) == 2


def records(bootstrap: str, topic: str, expected: int) -> list[Record]:
    """So many records of a topic whose records are on one of its three partitions."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "fetch.wait.max.ms": 20})
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(3)])
        found = consumer.consume(expected, timeout=DEADLINE_SECONDS)
    finally:
        consumer.close()
    read_all = [record_of(each, Partition(topic, "id", 0)) for each in found]
    return [each for each in read_all if each is not None]
