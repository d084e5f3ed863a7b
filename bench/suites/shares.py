"""Where intake's time goes, part by part, beside what the ceiling pays."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from adapters.kafka.consumer.intake import Intake
from adapters.kafka.decoding.record import Record, record_of
from adapters.postgres.event_store import OrderApplication
from bench import messages
from bench.laboratory import BATCH_SIZE, PARTITIONS, Laboratory
from bench.machine import cpu_seconds
from bench.reading import reader_config
from bench.references.copying import copy_batch, make_tables
from bench.results import Table
from bench.stores import fetch_row, stored_beside
from domain.ports import Batch, Partition

NAME: Final = "shares"
TITLE: Final = "Where intake's time goes"
ABOUT: Final = (
    "CPU time of new orders' messages, in microseconds each: the parts of intake one after the other on one"
    " thread, and the ceiling's over the same messages. PostgreSQL's is that of the backend that serves the"
    " connection. (In the service a batch is stored while the next is read and decided. Beside a busy PostgreSQL"
    " and a busy disk the same work takes up to half as long again.)"
)
DEADLINE_SECONDS: Final = 60.0
_MICROSECONDS: Final = 1e6
_BACKEND: Final = "SELECT pid FROM pg_stat_activity WHERE application_name = 'cashback-store' AND datname = %s"


class Times:
    """CPU seconds of this thread, by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, part: str, seconds: float) -> None:
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    @property
    def of_the_store(self) -> float:
        return sum(self.seconds.get(part, 0.0) for part in ("load", "encode", "commit"))

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.add(part, time.thread_time() - began)


def run(lab: Laboratory) -> None:
    count = lab.scale.new_messages
    topic = lab.topic(PARTITIONS)
    sent = messages.creations(count)[0]
    messages.publish(lab.bootstrap, topic, sent)
    fetching, batches = Times(), list[list[Message]]()
    with fetching.of("fetch"):
        batches += _fetched(lab, topic, count)
    lab.report(f"{count:,} messages fetched")
    ours, ceiling = _ours(lab, batches), _ceiling(lab, batches, stored_beside(sent[0]))
    for times in (ours, ceiling):
        times.add("fetch", fetching.seconds["fetch"])
    lab.chapter.tables.append(_table(ours, ceiling, count))


def _fetched(lab: Laboratory, topic: str, count: int) -> Iterator[list[Message]]:
    config = reader_config(lab.bootstrap, lab.kafka_config)
    consumer = Consumer(config)
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while count > 0 and time.monotonic() < deadline:
            fetched = consumer.consume(min(BATCH_SIZE, count), timeout=1.0)
            count -= len(fetched)
            yield fetched
    finally:
        consumer.close()
    assert count == 0, f"{count} messages were not fetched"


def _ours(lab: Laboratory, batches: list[list[Message]]) -> Times:
    times = Times()
    with lab.database() as url:
        store = _Watched(url, times)
        try:
            intake = Intake(store)
            topic = batches[0][0].topic() or ""
            logs = {number: Partition(topic, "bench", number) for number in range(PARTITIONS)}
            intake.assign(logs.values())
            for batch in batches:
                with times.of("records"):
                    records = [_record(message, logs) for message in batch]
                with times.of("decode"):
                    read = intake.read(records)
                inside = times.of_the_store
                began = time.thread_time()
                intake.store(read)
                spent = time.thread_time() - began
                times.add("decide", spent - (times.of_the_store - inside))
            with psycopg.connect(url) as connection:
                [backend] = fetch_row(connection, _BACKEND, (connection.info.dbname,))
            times.add("postgres", cpu_seconds(backend))
        finally:
            store.close()
    return times


class _Watched(OrderApplication):
    """The store of the service, watched."""

    def __init__(self, database_url: str, times: Times) -> None:
        super().__init__(database_url, pool_size=1)
        self._times = times

    def load(self, order_ids: Any) -> Any:
        with self._times.of("load"):
            return super().load(order_ids)

    def prepare(self, batch: Batch) -> Any:
        with self._times.of("encode"):
            return super().prepare(batch)

    def commit(self, batch: Batch, first: Callable[..., None] | None = None) -> None:
        with self._times.of("commit"):
            super().commit(batch, first)


def _record(message: Message, logs: dict[int, Partition]) -> Record:
    record = record_of(message, logs[message.partition() or 0])
    assert record is not None
    return record


def _ceiling(lab: Laboratory, batches: list[list[Message]], beside: bytes) -> Times:
    times = Times()
    with lab.database(empty=True) as url, psycopg.connect(url) as connection:
        make_tables(connection)
        for batch in batches:
            with times.of("commit"):
                copy_batch(connection, batch, beside)
        times.add("postgres", cpu_seconds(connection.info.backend_pid))
        with times.of("decode"):
            for batch in batches:
                for message in batch:
                    json.loads(message.value() or b"")
        times.add("commit", -times.seconds["decode"])
    return times


_PARTS: Final = {
    "fetch": "fetch (confluent-kafka)",
    "records": "coordinates, key, value and headers of each record",
    "decode": "read: parse the JSON, check it, digest; the ceiling: parse the JSON",
    "load": "look for the orders in the store",
    "decide": "decide, and the order after it",
    "encode": "write the events as JSON",
    "commit": "store events and positions, commit: our side of it; the ceiling: COPY",
    "postgres": "store events and positions, commit: PostgreSQL's side; the ceiling: COPY",
}


def _table(ours: Times, ceiling: Times, count: int) -> Table:
    total = sum(ours.seconds.values())
    rows = [
        [
            title,
            f"{ours.seconds[part] / count * _MICROSECONDS:.1f}",
            f"{ours.seconds[part] / total:.0%}",
            f"{ceiling.seconds[part] / count * _MICROSECONDS:.1f}" if part in ceiling.seconds else "–",
        ]
        for part, title in _PARTS.items()
    ]
    whole = sum(ceiling.seconds.values()) / count * _MICROSECONDS
    rows.append(["all", f"{total / count * _MICROSECONDS:.1f}", "100%", f"{whole:.1f}"])
    return Table(f"CPU time a message, over {count:,}", ["part", "ours, µs", "share", "the ceiling's, µs"], rows)
