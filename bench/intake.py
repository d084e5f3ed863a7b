"""Intake, Kafka to committed in PostgreSQL, against a ceiling: the same consumer client over the same records, a
bare JSON parse, and a COPY of the same bytes with the offsets in the same transaction."""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from adapters.kafka.cluster import TopicIds
from adapters.kafka.consumer import KafkaIntake
from adapters.kafka.intake import Intake, Outcome
from adapters.kafka.publisher import Outgoing, Publisher
from adapters.postgres.migrate import migrate
from adapters.postgres.store import OrderApplication
from domain.ports import Partition
from sandbox.broker import create_topic
from sandbox.lifecycles import lifecycles
from sandbox.postgres import create_database

PARTITIONS = 6
BATCH_SIZE = 1000
DEADLINE_SECONDS = 600


class IntakeBench:
    """One topic full of messages; each measurement reads all of it into a database of its own."""

    def __init__(self, url: str, bootstrap: str, config: dict[str, Any], messages: int) -> None:
        self._url = url
        self._bootstrap = bootstrap
        self._config = config
        self._topic = f"bench-{uuid4().hex[:8]}"
        self._messages = messages
        create_topic(bootstrap, self._topic, PARTITIONS)
        stream = lifecycles(1, None, first_order_id=1, started_at_ns=time.time_ns())
        with Publisher(bootstrap) as publisher:
            for _, message in zip(range(messages), stream, strict=False):
                publisher.publish(Outgoing(self._topic, message.key, message.value, message.headers))
            publisher.flush(DEADLINE_SECONDS)

    def ours(self) -> float:
        """Messages a second."""
        url = create_database(self._url, f"bench_{uuid4().hex}")
        migrate(url)
        application = OrderApplication(url)
        watch = _Watch(self._messages)
        intake = KafkaIntake(
            Intake(application),
            bootstrap=self._bootstrap,
            topics=[self._topic],
            group=uuid4().hex,
            config=self._config,
            batch_size=BATCH_SIZE,
            observer=watch,
            topic_ids=TopicIds(self._bootstrap, {}),
        )
        thread = threading.Thread(target=intake.run, args=(watch.done,))
        thread.start()
        thread.join(DEADLINE_SECONDS)
        application.close()
        return watch.rate()

    def ceiling(self) -> float:
        """Messages a second."""
        url = create_database(self._url, f"bench_{uuid4().hex}")
        config = {**self._config, "bootstrap.servers": self._bootstrap, "group.id": uuid4().hex}
        consumer = Consumer({**config, "enable.auto.commit": False, "fetch.wait.max.ms": 50})
        consumer.assign([TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
        seen, started = 0, 0.0
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE records (partition integer, kafka_offset bigint, value bytea)")
            connection.execute("CREATE TABLE positions (partition integer PRIMARY KEY, next_offset bigint)")
            connection.commit()
            while seen < self._messages:
                messages = consumer.consume(BATCH_SIZE, timeout=0.05)
                if not messages:
                    continue
                started = started or time.perf_counter()
                with connection.cursor() as cursor:
                    with cursor.copy("COPY records FROM STDIN (FORMAT BINARY)") as copy:
                        copy.set_types(["int4", "int8", "bytea"])
                        for message in messages:
                            json.loads(message.value() or b"")
                            copy.write_row((message.partition(), message.offset(), message.value()))
                    positions = {message.partition(): (message.offset() or 0) + 1 for message in messages}
                    cursor.executemany(
                        "INSERT INTO positions VALUES (%s, %s) ON CONFLICT (partition) DO UPDATE SET next_offset ="
                        " excluded.next_offset",
                        list(positions.items()),
                    )
                connection.commit()
                seen += len(messages)
        consumer.close()
        return seen / (time.perf_counter() - started)


class _Watch:
    """Sees the batches stored, and ends the reading when all have been."""

    def __init__(self, messages: int) -> None:
        self.done = threading.Event()
        self._left = messages
        self._messages = messages
        self._started = 0.0
        self._ended = 0.0

    def rate(self) -> float:
        return self._messages / (self._ended - self._started)

    def batch_stored(self, outcome: Outcome, seconds: float) -> None:
        self._started = self._started or time.perf_counter() - seconds
        self._left -= outcome.records
        if self._left <= 0:
            self._ended = time.perf_counter()
            self.done.set()

    def positions_changed(
        self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]
    ) -> None: ...
    def intake_state(self, state: str) -> None: ...
    def partition_stopped(self, partition: str, why: str | None) -> None: ...
