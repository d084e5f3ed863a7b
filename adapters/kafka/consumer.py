"""The consumer: a thread that polls batches of records and hands them to intake.

Where to read from is asked of PostgreSQL, never of Kafka: the group's committed offsets only serve lag monitors.
Whatever goes wrong between poll and commit has one answer: drop what was read, ask again where to go on, and read
it again. Partitions that wait for that are assigned to us by the group, but not fetched ("unplaced").
"""

import random
import threading
import time
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from adapters.kafka.cluster import TopicIds, made
from adapters.kafka.consumer_config import consumer_config, is_incremental
from adapters.kafka.intake import Intake, Outcome
from adapters.kafka.records import Record, record_of
from domain.ports import Fenced, Partition, StoreUnavailable

POLL_SECONDS: Final = 0.1
RETRY_BASE_SECONDS: Final = 0.2
RETRY_MAX_SECONDS: Final = 5.0
REPORT_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class Observer(Protocol):
    """Who wants to know how reading goes on; called from the consumer's thread."""

    def batch_stored(self, outcome: Outcome, seconds: float) -> None: ...
    def positions_changed(self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]) -> None:
        """The next offset of each partition that we read, and the end of its log where we know it."""
        ...

    def intake_state(self, state: str) -> None:
        """`reading`, or in a few words what it waits for."""

    def partition_stopped(self, partition: str, why: str | None) -> None:
        """It stands still until a person has seen to it; None: it's not ours any more."""


class KafkaIntake:
    """Reads until told to stop. One thread calls `run`; librdkafka's callbacks run on that same thread."""

    def __init__(  # noqa: PLR0913 - all of them are needed, none has a sensible default
        self,
        intake: Intake,
        *,
        bootstrap: str,
        topics: Iterable[str],
        group: str,
        config: Mapping[str, Any],
        batch_size: int,
        observer: Observer,
        topic_ids: TopicIds,
    ) -> None:
        self._intake = intake
        self._topics = list(topics)
        self._batch_size = batch_size
        self._observer = observer
        self._topic_ids = topic_ids
        self._consumer_config = consumer_config(bootstrap, group, config)
        self._incremental = is_incremental(self._consumer_config)
        self._unplaced: set[tuple[str, int]] = set()
        self._stopped: set[tuple[str, int]] = set()
        self._placed: dict[tuple[str, int], Partition] = {}
        self._retries = 0
        self._retry_at = 0.0
        self._report_at = 0.0
        self._is_cut_off = False

    def run(self, stop: threading.Event) -> None:
        """Reads, decides and stores until `stop` is set; the batch in hand is finished first."""
        consumer = made(Consumer, {**self._consumer_config, "error_cb": self._on_client_error})
        try:
            consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not stop.is_set():
                self._step(consumer)
        finally:
            consumer.close()
            self._intake.revoke(list(self._intake.positions))
            log.info("intake stopped")

    def _step(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if self._unplaced and now >= self._retry_at:
            self._place(consumer)
        if now >= self._report_at:
            self._report(consumer)
            self._report_at = now + REPORT_SECONDS
        first = consumer.poll(POLL_SECONDS)
        if first is None:
            return
        messages = [first, *consumer.consume(self._batch_size - 1, timeout=0)] if self._batch_size > 1 else [first]
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_message_error(consumer, message, error)
            elif (record := self._record(message)) is not None:
                records.append(record)
        if records:
            self._store(consumer, records)

    def _store(self, consumer: Consumer, records: list[Record]) -> None:
        started = time.perf_counter()
        try:
            outcome = self._intake.handle(records)
        except Fenced as error:
            log.warning("another consumer moved our position on; reading again from there", detail=str(error))
            self._displace(consumer, "waiting: fenced by another consumer")
            return
        except StoreUnavailable as error:
            log.error("the event store can't take a batch; trying again", error=str(error))  # noqa: TRY400 - no trace
            self._displace(consumer, "waiting for the event store")
            return
        self._retries = 0
        self._observer.batch_stored(outcome, time.perf_counter() - started)
        self._tell_group(consumer, {record.partition for record in records})

    def _tell_group(self, consumer: Consumer, partitions: Iterable[Partition]) -> None:
        """Commits the offsets to Kafka, for those who watch the lag there. Nothing of ours depends on it."""
        positions = self._intake.positions
        offsets = [
            TopicPartition(each.topic, each.number, positions[each] or 0)
            for each in partitions
            if each in positions
        ]
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            log.debug("offsets were not committed to the group", error=str(error))

    def _record(self, message: Message) -> Record | None:
        partition = self._placed.get(_key(message))
        return None if partition is None else record_of(message, partition)

    # Which partitions are ours, and from where.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._unplaced |= {(each.topic, each.partition) for each in partitions}
        self._retry_at = 0.0
        if self._incremental:
            consumer.incremental_assign([])
        else:
            consumer.assign([])
        log.info("partitions assigned", partitions=len(partitions))
        if not self._unplaced:
            self._observer.intake_state("reading")  # nothing for us now, and ready to take over

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        revoked = {(each.topic, each.partition) for each in partitions}
        self._unplaced -= revoked
        for key in revoked & self._stopped:
            self._stopped.remove(key)
            self._observer.partition_stopped(_name(key), None)
        self._stop_fetching(consumer, revoked)
        log.info("partitions revoked", partitions=len(partitions))

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning("partitions lost: the group has given them to others", partitions=len(partitions))
        self._on_revoke(consumer, partitions)

    def _stop_fetching(self, consumer: Consumer, which: Iterable[tuple[str, int]]) -> None:
        gone = {key: self._placed.pop(key) for key in list(which) if key in self._placed}
        self._intake.revoke(gone.values())
        if self._incremental:
            # Even if it's nothing: else the client would unassign what was revoked and has no place, and fail.
            consumer.incremental_unassign([TopicPartition(topic, number) for topic, number in gone])
        elif self._placed:
            consumer.assign(self._offsets(self._placed.values()))
        else:
            consumer.unassign()  # which `assign([])` is not: after it a revocation never ends

    def _displace(self, consumer: Consumer, state: str, topics: Container[str] | None = None) -> None:
        """Stops fetching everything, or some topics, to ask again where to go on: later each time this fails."""
        displaced = {key for key in self._placed if topics is None or key[0] in topics}
        self._stop_fetching(consumer, displaced)
        self._unplaced |= displaced
        self._wait(state)

    def _wait(self, state: str) -> None:
        longest = min(RETRY_MAX_SECONDS, RETRY_BASE_SECONDS * 2**self._retries)
        self._retries = min(self._retries + 1, 10)
        self._retry_at = time.monotonic() + random.uniform(0, longest)  # noqa: S311 - only spreads retries
        self._observer.intake_state(state)

    def _place(self, consumer: Consumer) -> None:
        """Starts to fetch the unplaced partitions at the positions in the event store."""
        try:
            ids = self._topic_ids.of({topic for topic, _ in self._unplaced})
            wanted = {key: Partition(key[0], ids[key[0]], key[1]) for key in self._unplaced}
            self._intake.assign(wanted.values())
        except StoreUnavailable as error:
            log.warning("the event store can't be asked for positions; trying again", error=str(error))
            self._wait("waiting for the event store")
            return
        except KafkaException as error:
            log.warning("Kafka can't be asked for the topic's id; trying again", error=str(error))
            self._wait("waiting for Kafka")
            return
        self._placed |= wanted
        if self._incremental:
            consumer.incremental_assign(self._offsets(wanted.values()))
        else:
            consumer.assign(self._offsets(self._placed.values()))
        self._unplaced.clear()
        self._observer.intake_state("reading")
        log.info("reading", partitions=len(self._placed))

    def _offsets(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        """Where to go on: an eager assignment replaces the one before, so it names the offsets of all."""
        positions = ((each, self._intake.positions[each]) for each in partitions)
        return [
            TopicPartition(each.topic, each.number, OFFSET_BEGINNING if start is None else start)
            for each, start in positions
        ]

    def _report(self, consumer: Consumer) -> None:
        """Tells the observer where we are, and notices when the brokers are back."""
        ends = {}
        for (topic, number), partition in self._placed.items():
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), cached=True)
            if end >= 0:
                ends[partition] = end
        self._observer.positions_changed(self._intake.positions, ends)
        if self._is_cut_off:
            with suppress(KafkaException):
                consumer.list_topics(self._topics[0], timeout=PROBE_SECONDS)
                self._is_cut_off = False
                self._observer.intake_state("waiting for partitions" if self._unplaced else "reading")
        known = {partition.topic: partition.topic_id for partition in self._placed.values()}
        if changed := self._topic_ids.changed(known):
            log.warning("topics were deleted and made again: reading the new ones", topics=sorted(changed))
            self._displace(consumer, "waiting for a new topic", changed)

    # What can go wrong.

    def _on_message_error(self, consumer: Consumer, message: Message, error: KafkaError) -> None:
        if error.code() == KafkaError._FATAL:  # noqa: SLF001 - the name that librdkafka gives it
            raise KafkaException(error)  # this client will never read again
        if error.code() != KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - the name that librdkafka gives it
            log.warning("Kafka reports an error", error=error.str(), name=error.name())
            return
        partition = self._placed.get(_key(message))
        if partition is None:
            return
        try:
            same_topic = self._topic_ids.of({partition.topic})[partition.topic] == partition.topic_id
        except KafkaException:
            same_topic = False  # or so it may be: asked again when it's placed, and if it still errs
        self._stop_fetching(consumer, {_key(message)})
        if not same_topic:
            self._unplaced.add(_key(message))
            self._wait("waiting for a new topic")
            return
        self._stopped.add(_key(message))
        name = _name(_key(message))
        self._observer.partition_stopped(name, "our position is outside the log: messages may be lost")
        log.error(
            "partition stopped: our position is outside the log, messages may be lost",
            partition=name,
            error=error.str(),
        )

    def _on_client_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the name that librdkafka gives it
            self._is_cut_off = True
            self._observer.intake_state("waiting for Kafka")
        log.warning("Kafka client", error=error.str(), name=error.name())


def _key(message: Message) -> tuple[str, int]:
    return message.topic() or "", message.partition() or 0


def _name(key: tuple[str, int]) -> str:
    return f"{key[0]}/{key[1]}"
