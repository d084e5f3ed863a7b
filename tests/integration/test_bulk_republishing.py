"""Bulk replays of the mode `republish`, on a real PostgreSQL and a real broker."""

import random
import secrets
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from adapters.kafka.producer.publisher import Publisher
from adapters.kafka.producer.republisher import KafkaRepublisher
from adapters.operations.jobs.kinds import republishing
from adapters.operations.jobs.runner import JobKind
from adapters.postgres.migrate import migrate
from adapters.postgres.pool import Database
from adapters.postgres.replays import PostgresReplays
from adapters.records.jobs import Job, JobState, Selection
from adapters.records.publishing import Outgoing
from domain.messages import Kind
from sandbox.servers.embedded_kafka import EmbeddedBroker, create_topic
from sandbox.servers.free_port import free_port
from sandbox.servers.postgres import create_database, drop_database
from tests.integration.test_replays import read
from tests.support.bulk import SOMEBODY, Running, asked, previewed
from tests.support.event_store import project, store_at
from tests.support.messages import record_of
from tests.support.running_api import sql, tell
from tests.support.running_intake import RunningIntake, new_group
from tests.support.stored import stored
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from confluent_kafka import Message as KafkaMessage

pytestmark = pytest.mark.slow

ORDERS = 60
LIFECYCLES = (
    (Kind.CREATED, Kind.UPDATED, Kind.COMPLETED),
    (Kind.CREATED, Kind.CANCELLED),
    (Kind.CREATED, Kind.UPDATED, Kind.UPDATED),
    (Kind.UPDATED,),
)
READ_MODEL = "SELECT order_id, status, cashback, held FROM orders ORDER BY order_id"


@pytest.fixture
def second_database(postgres_server: str) -> Iterator[str]:
    """That of another deployment, which has never seen a message."""
    url = create_database(postgres_server, f"cashback_second_{secrets.token_hex(4)}")
    migrate(url)
    yield url
    drop_database(url)


def republished_to(bootstrap: str, *topics: str, timeout_seconds: float = 10.0) -> Callable[[Database], JobKind]:
    republisher = KafkaRepublisher(
        bootstrap, {}, request_timeout_seconds=timeout_seconds, message_timeout_seconds=timeout_seconds
    )
    return lambda database: republishing(PostgresReplays(database), republisher, topics)


def start(database_url: str, selection: Selection, *, rate_per_second: float = 1000.0) -> UUID:
    preview = previewed(database_url, selection, rate_per_second=rate_per_second)
    return asked(database_url, lambda bulk: bulk.start(None, preview.token, by=SOMEBODY)).id


def get(database_url: str, replay_id: UUID) -> Job:
    return asked(database_url, lambda bulk: bulk.get(replay_id))


def wait_until_done(database_url: str, replay_id: UUID) -> Job:
    wait_until(lambda: get(database_url, replay_id).state is not JobState.RUNNING, "the end of the replay")
    replay = get(database_url, replay_id)
    assert replay.state is JobState.DONE
    return replay


def publish(bootstrap: str, topic: str, *, rng: random.Random) -> int:
    """Lifecycles of orders, in disorder between orders and on random partitions. Answers how many messages."""
    records = [
        record_of(kind, order_id=order_id, at_ns=number * 120 * 1_000_000_000)
        for order_id in range(1, ORDERS + 1)
        for number, kind in enumerate(LIFECYCLES[order_id % len(LIFECYCLES)])
    ]
    rng.shuffle(records)
    with Publisher(bootstrap) as publisher:
        for record in records:
            assert record.key is not None
            assert record.value is not None
            publisher.publish(Outgoing(topic, record.key, record.value, partition=rng.randrange(12)))
    return len(records)


def test_a_bulk_replay_changes_nothing_here_and_tells_everything_elsewhere(
    database_url: str, second_database: str, broker: EmbeddedBroker, topic: Callable[..., str]
) -> None:
    """Our own intake takes what comes again for repeats. A second deployment, which reads nothing but the messages
    that were published again, comes to the same orders, one by one: though here they came in disorder, over twelve
    partitions."""
    ours, theirs = topic(), topic()
    with (
        store_at(database_url) as store,
        RunningIntake(broker.bootstrap, [ours], store, group=new_group()) as intake,
    ):
        messages = publish(broker.bootstrap, ours, rng=random.Random(3))
        intake.wait_for_records(messages)
        project(database_url)
        before = stored(database_url)
        with Running(database_url, republished_to(broker.bootstrap, ours)):
            first = start(database_url, Selection(changed_from_ns=0))
            done = wait_until_done(database_url, first)
            intake.wait_for_records(2 * messages)
        assert (done.total, done.done, done.failed) == (ORDERS, ORDERS, 0)
        assert stored(database_url).events == before.events
        with Running(database_url, republished_to(broker.bootstrap, theirs)):
            second = start(database_url, Selection(changed_from_ns=0))
            wait_until_done(database_url, second)
    recorded = "SELECT count(*), sum(items) FROM replay WHERE id = %s AND mode = 'republish' AND reason = 'a test'"
    for replay_id in (first, second):
        assert sql(database_url, recorded, replay_id) == [(ORDERS, messages)]
    with (
        store_at(second_database) as store,
        RunningIntake(broker.bootstrap, [theirs], store, group=new_group()) as intake,
    ):
        intake.wait_for_records(messages)
        project(second_database)
    assert sql(second_database, READ_MODEL) == sql(database_url, READ_MODEL)
    assert len(sql(second_database, READ_MODEL)) == ORDERS
    replays = {event[3] for event in stored(second_database).events}
    assert all(f'"replay": "{second}"' in decision for decision in replays)


def test_an_order_with_a_message_that_no_broker_takes_is_passed_over(
    database_url: str, broker: EmbeddedBroker, topic: Callable[..., str]
) -> None:
    """Its later messages stay where they are, the other orders' messages go, and the record counts what went."""
    name = topic(3)
    ill: dict[str, Any] = {"note": "x" * 1_000_100}
    told = [
        record_of(kind, order_id=order, offset=10 * order + n, at_ns=n, **(ill if (order, n) == (2, 1) else {}))
        for order in (1, 2, 3)
        for n, kind in enumerate((Kind.CREATED, Kind.UPDATED, Kind.COMPLETED))
    ]
    tell(database_url, *told)
    with Running(database_url, republished_to(broker.bootstrap, name)):
        replay = wait_until_done(database_url, start(database_url, Selection(frozenset({1, 2, 3}))))
    assert (replay.done, replay.failed) == (2, 1)
    ((failed, why),) = replay.failures
    assert failed == 2
    assert "Message size too large" in why
    assert sql(database_url, "SELECT order_id, items FROM replay ORDER BY 1") == [(1, 3), (2, 1), (3, 3)]
    sent = read(broker, name, 3, 7)
    assert by_order(sent) == {
        order: [each.value for each in told if each.key == b"%d" % order][: 1 if order == 2 else 3]
        for order in (1, 2, 3)
    }


def by_order(messages: "list[KafkaMessage[bytes, bytes]]") -> Mapping[int, list[bytes | None]]:
    ordered = sorted(messages, key=lambda message: int(message.key() or b"0"))  # stable: each order's stay in order
    return {
        order_id: [message.value() for message in group]
        for order_id, group in groupby(ordered, key=lambda message: int(message.key() or b"0"))
    }


def test_kafka_may_go_away_and_come_back(database_url: str, tmp_path: Path) -> None:
    """It is waited for, and the replay says so; no order fails because of it, and each goes whole. (At this rate
    they go one by one.)"""
    orders = range(1, 25)
    tell(
        database_url,
        *(
            record_of(kind, order_id=order, offset=10 * order + n, at_ns=n)
            for order in orders
            for n, kind in enumerate((Kind.CREATED, Kind.UPDATED, Kind.COMPLETED))
        ),
    )
    port, topic = free_port(), "orders"
    broker = EmbeddedBroker(tmp_path, find_port=lambda: port)

    def begin_anew() -> None:
        """It comes back without its topics, as this broker does."""
        broker.start()
        create_topic(broker.bootstrap, topic, 3)

    with Running(database_url, republished_to(f"127.0.0.1:{port}", topic, timeout_seconds=1.0)):
        replay_id = start(database_url, Selection(frozenset(orders)), rate_per_second=4)
        wait_until(lambda: get(database_url, replay_id).note is not None, "that it waits")
        assert get(database_url, replay_id).done == 0
        begin_anew()
        wait_until(lambda: get(database_url, replay_id).done > 0, "the first orders")
        broker.stop()
        wait_until(lambda: get(database_url, replay_id).note is not None, "that it waits again")
        before = get(database_url, replay_id).done
        assert 0 < before < len(orders)
        begin_anew()
        done = wait_until_done(database_url, replay_id)
        try:
            assert (done.done, done.failed, done.note) == (len(orders), 0, None)
            sent = read(broker, topic, 3, 3 * (len(orders) - before))
        finally:
            broker.stop()
    assert {key: len(values) for key, values in by_order(sent).items()} == dict.fromkeys(orders[before:], 3)
