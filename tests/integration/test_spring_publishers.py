"""What teams with Spring Kafka publish, with its serializers as they come or as they are often set.

The JVM program in tests/jvm publishes one message in each way. What is read here is read by everybody else: intake,
replays and the third party's calls go by the decoder's message.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from adapters.kafka.decoding.decoder import Reason, Unreadable, decode
from adapters.kafka.decoding.record import Record, record_of
from domain.events import CashbackCreated
from domain.exact_json import loads
from domain.messages import Kind, Message
from domain.ports import Partition
from projections.message_body import product_items
from projections.republication import republications
from sandbox.servers.apache_kafka import missing
from tests.support.clusters import Cluster, must_not_be_missing
from tests.support.messages import History
from tests.support.spring import publish_with_spring
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WHEN: Final = "2025-02-28T13:36:06.026732837Z"
MILLISECONDS: Final = "2025-02-28T13:36:06.026000000Z"
LOCAL: Final = "payload.transactionDate: a local date without an offset: "


class Read(NamedTuple):
    date: str = WHEN
    cashback: str | None = "6"
    kind: Kind = Kind.CREATED
    sequence: int | None = None
    key: Callable[[int], bytes] = b"%d".__mod__


class Refused(NamedTuple):
    reason: Reason
    begins: str = ""


EXPECTED: Final[dict[str, Read | Refused | None]] = {
    "an Instant, JsonSerializer as it comes": Read(),
    "an Instant of a whole second, JsonSerializer as it comes": Read("2025-02-28T13:36:06.000000000Z"),
    "an Instant, milliseconds": Read(MILLISECONDS),
    "a Date, JsonSerializer as it comes": Read(MILLISECONDS),
    "an OffsetDateTime, JsonSerializer as it comes": Read(),
    "a ZonedDateTime, JsonSerializer as it comes": Read(),
    "an Instant, Boot's mapper": Read(),
    "a Date, Boot's mapper": Read("2025-02-28T13:36:06.026+00:00"),
    "a Date with +0000": Read(MILLISECONDS),
    "an OffsetDateTime, Boot's mapper": Read("2025-02-28T16:36:06.026732837+03:00"),
    "an OffsetDateTime of a whole minute, toString": Read("2025-02-28T13:36:00.000000000Z"),
    "a ZonedDateTime, Boot's mapper": Read("2025-02-28T16:36:06.026732837+03:00"),
    "a ZonedDateTime with its zone": Read(),
    "a ZonedDateTime, toString": Read(),
    "a LocalDateTime, Boot's mapper": Refused("bad_date", LOCAL),
    "a LocalDateTime, JsonSerializer as it comes": Refused("bad_date", LOCAL),
    "a LocalDate, Boot's mapper": Refused("bad_date", LOCAL),
    "an Instant, numbers as strings": Refused("bad_date", "payload.transactionDate: a number in quotes"),
    "key: LongSerializer": Read(key=lambda order_id: order_id.to_bytes(8, "big")),
    "key: IntegerSerializer": Read(key=lambda order_id: order_id.to_bytes(4, "big")),
    "key: a Long through JsonSerializer": Read(),
    "key: a String through JsonSerializer": Read(key=b'"%d"'.__mod__),
    "key: a Long through ToStringSerializer": Read(),
    "key: none": Refused("key_missing"),
    "key: with a prefix": Refused("key_mismatch"),
    "key: DoubleSerializer": Refused("key_mismatch"),
    "amounts: with exponents": Read(cashback="100"),
    "amounts: with exponents, written plain": Read(cashback="100"),
    "amounts: a tiny quantity": Read(cashback="0"),
    "amounts: a scale of 40": Read(),
    "amounts: a digit 41 places behind the point": Refused("bad_amount"),
    "amounts: a quotient of DECIMAL128": Read(cashback="85.71"),
    "amounts: doubles": Read(cashback="19999999694"),
    "amounts: numbers as strings": Read(),
    "amounts: texts with a comma": Refused("bad_amount"),
    "amounts: an order id as a double": Read(),
    "amounts: goods by weight, a till that rounds": Read(cashback="5.01"),
    "members: a CANCELLED with nulls": Read(cashback=None, kind=Kind.CANCELLED),
    "members: a CANCELLED without nulls": Read(cashback=None, kind=Kind.CANCELLED),
    "members: a COMPLETED with a reason": Read(cashback=None, kind=Kind.COMPLETED),
    "members: unknown ones, half a surrogate pair among them": Read(),
    "members: a store number as a number": Refused("bad_payload", "payload.storeNo"),
    "members: discountedPrice is null": Read(),
    "members: vatRate is null": Read(),
    "members: without discountedPrice and vatRate": Read(),
    "members: a type in small letters": Refused("unknown_type"),
    "members: with the types of Java": Refused("not_json", "a pair of a text and an object"),
    "producer: zstd": Read(),
    "producer: lz4": Read(),
    "producer: snappy": Read(),
    "producer: gzip": Read(),
    "producer: a partitioner of its own": Read(),
    "producer: a transaction": Read(),
    "producer: a transaction that was rolled back": None,
    "header: sequence as a Long": Read(sequence=1),
    "header: sequence as a String": Read(sequence=1),
    "header: ce_id as a String": Read(),
    "header: traceparent": Read(),
    "header: sequence in 8 bytes": Refused("bad_header"),
    "value: a text through JsonSerializer": Refused("not_json", "a text that holds JSON"),
    "value: none": Refused("no_value"),
    "value: JSON behind a schema's id": Read(key=lambda order_id: order_id.to_bytes(8, "big")),
    "value: Avro behind a schema's id": Refused("not_json", "an Avro record of schema 7: "),
}


def records(bootstrap: str, topic: str) -> list[Record]:
    """All of a topic of one partition that a reader of committed messages sees."""
    config: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": "reader",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    }
    found: list[Record] = []
    consumer = Consumer(config)
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while (message := consumer.poll(DEADLINE_SECONDS)) is not None and message.error() is None:
            record = record_of(message, Partition(topic, "id", 0))
            assert record is not None
            found.append(record)
    except KafkaException as error:
        raise AssertionError(str(error)) from error
    finally:
        consumer.close()
    return found


def test_spring_publishers_are_read_or_refused_by_name(
    apache_kafka: Cluster, make_apache_topic: Callable[..., str]
) -> None:
    """Each way to publish, with the amount, the date and the key that it must give, or the reason and the order."""
    lacking = missing()
    if lacking is not None:
        if must_not_be_missing():
            pytest.fail(f"Spring's publishers must be tested in CI: {lacking}")
        pytest.skip(f"no JVM: {lacking}")
    topic = make_apache_topic(1)
    order_ids = publish_with_spring(apache_kafka.bootstrap, topic)
    assert set(order_ids) == set(EXPECTED)
    found: dict[int | None, tuple[Record | None, Message | Unreadable | None]] = {}
    for each in records(apache_kafka.bootstrap, topic):
        decoded = decode(each)
        found[decoded.order_id] = each, decoded
    for name, expected in EXPECTED.items():
        record, read = found.pop(order_ids[name], (None, None))
        match expected:
            case None:
                assert record is None, name
            case Refused(reason, begins):
                assert isinstance(read, Unreadable), (name, read)
                assert (read.reason, read.detail.startswith(begins)) == (reason, True), (name, read)
            case Read():
                assert isinstance(read, Message), (name, read)
                assert record is not None
                check(name, expected, record, read)
    assert not found


def check(name: str, expected: Read, record: Record, read: Message) -> None:
    cashback = None if expected.cashback is None else Decimal(expected.cashback)
    said = Read(read.transaction_date, expected.cashback, read.kind, read.sequence, expected.key)
    assert (said, read.cashback) == (expected, cashback), name
    history = History(read)
    (copy,) = republications(history.events, [read.topic])
    assert (copy.key, copy.message.body) == (record.key, record.value), name
    assert copy.key == expected.key(read.order_id), name
    if read.kind is Kind.CREATED and read.sequence in {None, 1}:
        assert isinstance(history.events[0], CashbackCreated), name
        (item,) = product_items(read)
        assert loads(bytes(item))["externalProductId"] == "67867", name
