"""What can't be read, through a real broker: it is kept as it came, and its partition goes on."""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, get_args

import psycopg
import pytest
from confluent_kafka import Producer

from adapters.kafka.cluster import TopicIds
from adapters.kafka.consumer.intake import Limits
from adapters.kafka.decoding.decoder import Reason
from adapters.kafka.decoding.record import Headers
from adapters.postgres.event_store import OrderApplication
from domain.messages import Kind
from sandbox.servers.embedded_kafka import EmbeddedBroker
from tests.support.memory_store import MemoryStore
from tests.support.messages import payload_of, product, value_of
from tests.support.odd_headers import publish_with_headers
from tests.support.running_intake import RunningIntake
from tests.support.streams import plain_stream, publish

pytestmark = pytest.mark.slow

MakeTopic = Callable[..., str]
MAX_BYTES = 1024 * 1024
GOOD = value_of(Kind.CREATED, payload_of(Kind.CREATED, order_id=1))


def created(**changes: Any) -> bytes:
    return value_of(Kind.CREATED, payload_of(Kind.CREATED, order_id=1) | changes)


UNREADABLE: Sequence[tuple[Reason, bytes | None, bytes | None, Headers]] = (
    ("too_large", b"1", created(channel="x" * 2 * MAX_BYTES), ()),
    ("no_value", b"1", None, ()),
    ("no_value", None, None, ()),
    ("not_json", b"1", b"", ()),
    (
        "not_json",
        b"\xff\x00",
        b'{"a": \xff}',
        (("", b""), ("none", None), ("same", b"\xff\x00"), ("same", b"again")),
    ),
    ("unknown_type", b"1", b'{"type": "PAID", "payload": {}}', ()),
    ("no_order_id", b"1", created(orderId="01"), ()),
    ("bad_payload", b"1", created(storeNo=None), ()),
    ("bad_amount", b"1", created(orderItemsWithDiscountSummaryItems=[product(quantity=0)]), ()),
    ("bad_date", b"1", created(transactionDate="yesterday"), ()),
    ("key_missing", None, GOOD, ()),
    ("key_mismatch", b"01", GOOD, ()),
    ("bad_header", b"1", GOOD, (("sequence", b"0"),)),
    ("bad_header", b"1", GOOD, (("ce_id", b"\xff"),)),
    ("bad_header", b"1", GOOD, (("cashback-origin", b"somewhere"),)),
    ("duplicate_member", b"1", GOOD.replace(b'"quantity": 2', b'"quantity": 1, "quantity": 2'), ()),
    ("bad_cloudevent", b"1", GOOD, (("content-type", b"application/cloudevents+json"),)),
)


def produce(bootstrap: str, topic: str, records: Iterable[tuple[bytes | None, bytes | None, Headers]]) -> None:
    """As they are, to partition 0: also what our own publisher wouldn't send."""
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 4 * MAX_BYTES})
    for key, value, headers in records:
        producer.produce(topic, value, key, partition=0, headers=list(headers))
    assert producer.flush(60) == 0
    producer.close()


def test_what_cannot_be_read_is_kept_byte_for_byte_and_the_partition_goes_on(
    broker: EmbeddedBroker, topic: MakeTopic, database_url: str
) -> None:
    """One record of each kind, tombstones and 2 MB of it among them; then one that can be read."""
    name = topic(1)
    produce(broker.bootstrap, name, [record for _, *record in UNREADABLE])  # type: ignore[misc]  # mypy can't unpack
    lifecycle = [replace(said, partition=0) for said in plain_stream(name, 1, first_order_id=7)]
    publish(broker.bootstrap, lifecycle)

    store = OrderApplication(database_url)
    with RunningIntake(broker.bootstrap, [name], store, limits=Limits(MAX_BYTES)) as running:
        running.wait_for_records(len(UNREADABLE) + len(lifecycle))

    topic_id = TopicIds(broker.bootstrap, {}).of([name])[name]
    expected = [
        (name, topic_id, 0, offset, reason, key, value, headers_as_kept(headers))
        for offset, (reason, key, value, headers) in enumerate(UNREADABLE)
    ]
    assert quarantine(database_url) == expected
    order = store.get(7)
    assert order is not None
    assert order.version == len(lifecycle)
    store.close()


def headers_as_kept(headers: Headers) -> list[list[str | None]]:
    return [[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers]


def quarantine(database_url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "SELECT topic, topic_id, partition, kafka_offset, reason, message_key, message_value, headers"
            " FROM quarantine ORDER BY kafka_offset"
        ).fetchall()


def test_a_header_whose_name_is_not_utf_8_does_not_stop_the_partition(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """The client can't tell us any header of such a record: a stamp may be among them, so it goes to quarantine."""
    name, many = topic(1), 20
    for _ in range(many):
        publish_with_headers(broker.bootstrap, name, b"1", GOOD, [(b"sequence", b"1"), (b"caf\xe9", b"x")])
    produce(broker.bootstrap, name, [(b"1", GOOD, ())])

    store = MemoryStore()
    with RunningIntake(broker.bootstrap, [name], store) as running:
        running.wait_for_records(many + 1)

    kept = [(each.offset, each.reason, each.key, each.value) for each in store.quarantine.values()]
    assert kept == [(offset, "bad_header", b"1", GOOD) for offset in range(many)]
    assert len(store.streams) == 1


def test_every_reason_to_refuse_a_record_is_tried_here_or_by_a_test_of_its_own() -> None:
    """A new reason wants a record that shows it."""
    assert {reason for reason, *_ in UNREADABLE} | {"order_full", "stream_broken"} == set(get_args(Reason))


def test_further_messages_of_an_order_that_is_full_go_to_quarantine(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """One order can't grow without bound; the others on its partition go on."""
    name = topic(1)
    updates = [value_of(Kind.UPDATED, payload_of(Kind.UPDATED, order_id=1, at_ns=at_ns)) for at_ns in range(12)]
    other = value_of(Kind.CREATED, payload_of(Kind.CREATED, order_id=2))
    produce(broker.bootstrap, name, [*((b"1", value, ()) for value in updates), (b"2", other, ())])

    store = MemoryStore()
    with RunningIntake(broker.bootstrap, [name], store, limits=Limits(max_order_events=10)) as running:
        running.wait_for_records(13)

    assert [kept.reason for kept in store.quarantine.values()] == ["order_full"] * 2
    assert sorted(len(stream) for stream in store.streams.values()) == [1, 10]
