"""The consumer: a thread that polls batches of records and hands them to intake.

Where to read from is asked of PostgreSQL, never of Kafka: the group's committed offsets only serve lag monitors.
One batch is stored while the next is fetched and decided (adapters/kafka/consumer/pipeline.py).
Whatever goes wrong between poll and commit has one answer: drop what was read, ask again where to go on, and read
it again. Partitions that wait for that are assigned to us by the group, but not fetched ("unplaced"); nor are those
of which messages may be lost ("stopped"), until a person has accepted it (domain/losses.py).
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from adapters.kafka.cluster import TopicIds, create_client
from adapters.kafka.consumer.assignment import Key, key_of, start_fetching, stop_fetching
from adapters.kafka.consumer.backoff import Backoff
from adapters.kafka.consumer.broker_watch import BrokerWatch
from adapters.kafka.consumer.config import consumer_config, is_incremental
from adapters.kafka.consumer.intake import End, Intake
from adapters.kafka.consumer.listener import IntakeListener
from adapters.kafka.consumer.pipeline import StorePipeline
from adapters.kafka.consumer.stopped_partitions import StoppedPartitions
from adapters.kafka.decoding.record import Record, record_of
from domain.losses import Bounds, refused, topic_id_of
from domain.ports import Fenced, Partition, RewindSign, Rewound, StoreUnavailable

POLL_SECONDS: Final = 0.1
REPORT_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 1.0
BOUNDS_SECONDS: Final = 10.0
DENIED_SECONDS: Final = 15.0
"""A partition that we were refused is asked for again sooner; with no word for so long, it is read."""
QUIET_SECONDS: Final = 5.0
"""If there were messages to store, they would have come by then."""
READING: Final = "reading"
READING_AGAIN: Final = "reading again what the database has lost"
_LOG_WAS_CUT: Final = KafkaError(KafkaError._LOG_TRUNCATION).str()  # noqa: SLF001 - the name that librdkafka gives it

log = structlog.get_logger(__name__)


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
        listener: IntakeListener,
        topic_ids: TopicIds,
    ) -> None:
        self._intake = intake
        self._topics = list(topics)
        self._batch_size = batch_size
        self._listener = listener
        self._topic_ids = topic_ids
        self._consumer_config = consumer_config(bootstrap, group, config)
        self._incremental = is_incremental(self._consumer_config)
        self._unplaced: set[Key] = set()
        self._stops = StoppedPartitions(listener.partition_stopped)
        self._placed: dict[Key, Partition] = {}
        self._ends: dict[Key, End] = {}
        self._pipeline = StorePipeline(intake)
        self._backoff = Backoff()
        self._report_at = 0.0
        self._is_cut_off = False
        self._was_cut_off = False
        self._reads_again = False
        self._state = ""
        self._brokers = BrokerWatch(float(self._consumer_config["fetch.wait.max.ms"]) / 1000)
        self._kafka_error: str | None = None
        """The last one that it told us of."""
        self._unstored: set[Key] = set()
        """Partitions of which a batch couldn't be stored: that they are fetched again is no success yet."""
        self._denied: dict[Key, float] = {}
        """Partitions that Kafka didn't let us read, and when it said so."""
        self._quiet_since: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Reads, decides and stores until `stop` is set; the batch in hand is finished first."""
        try:
            while not stop.is_set():
                self._read(stop)
        finally:
            self._pipeline.close()
            log.info("intake stopped")

    def _read(self, stop: threading.Event) -> None:
        """Ends when all brokers have been away, too: if they come back from a backup, a client that knew them
        before waits for ever, in silence, for epochs that they don't have any more."""
        self._was_cut_off = False
        self._brokers.forget()
        callbacks = {"error_cb": self._on_client_error, "stats_cb": self._brokers.heard}
        consumer = create_client(Consumer, {**self._consumer_config, **callbacks})
        try:
            consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not stop.is_set() and not self._was_cut_off:
                self._step(consumer)
            self._store_ends(consumer)
        finally:
            self._end_batch(consumer)
            consumer.close()
            self._intake.revoke(list(self._intake.positions))
            self._stops.revoked()
            self._placed.clear()
            self._unplaced.clear()
            self._unstored.clear()
            self._denied.clear()
            self._ends.clear()

    def _step(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if self._backoff.is_over(now) and (waiting := self._unplaced | self._stops.due(now)):
            self._end_batch(consumer)
            self._place(consumer, waiting | self._unplaced)
        if now >= self._report_at:
            self._report(consumer)
            self._store_ends(consumer)
            self._report_at = now + REPORT_SECONDS
        first = consumer.poll(POLL_SECONDS)
        if first is None:
            self._quiet_since = self._quiet_since or now
            self._end_batch(consumer)
            return
        self._quiet_since = None
        messages = [first, *(consumer.consume(self._batch_size - 1, timeout=0) if self._batch_size > 1 else ())]
        records, errors, ends = [], [], {}
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's name
                ends[key_of(message)] = message.offset()
            elif error is not None:
                errors.append((message, error))
            elif (record := self._record(message)) is not None:
                records.append(record)
        if records:
            self._take(consumer, records)
        if errors:
            self._end_batch(consumer)  # first: what was read before an error may be in the log no more
        for message, error in errors:
            self._on_message_error(consumer, message, error)
        self._note_ends(consumer, ends)

    def _take(self, consumer: Consumer, records: Sequence[Record]) -> None:
        """Decides about them, and begins to store it once the batch before is stored."""
        try:
            decided = self._intake.decide(self._intake.read(records))
            if self._end_batch(consumer):
                self._pipeline.submit(decided)
        except StoreUnavailable as error:
            if self._end_batch(consumer):
                self._store_is_away(consumer, error)

    def _store_is_away(self, consumer: Consumer, error: StoreUnavailable) -> None:
        log.error("the event store can't take a batch; trying again", error=str(error))
        self._unstored |= self._placed.keys()
        self._displace(consumer, "waiting for the event store", why=str(error))

    def _end_batch(self, consumer: Consumer) -> bool:
        """Waits until the batch under way is stored. False if it wasn't: all that was read is to be read again."""
        self._listener.intake_doing("waiting for the event store to take a batch")
        try:
            stored = self._pipeline.result()
        except Rewound as error:
            self._listener.database_rewound(error.sign, str(error))
            self._unstored |= self._placed.keys()
            self._displace(consumer, "waiting: the database has gone back in time", why=str(error))
            return False
        except Fenced as error:
            log.warning("another consumer moved our position on; reading again from there", detail=str(error))
            self._unstored |= self._placed.keys()
            self._displace(consumer, "waiting: fenced by another consumer", why=str(error))
            return False
        except StoreUnavailable as error:
            self._store_is_away(consumer, error)
            return False
        if stored is not None:
            self._backoff.worked()
            self._unstored.clear()
            self._read_on()
            self._listener.batch_stored(stored.outcome, stored.seconds)
            self._commit_to_group(consumer, stored.partitions)
        return True

    def _note_ends(self, consumer: Consumer, offsets: Mapping[Key, int | None]) -> None:
        """Of the partitions that are still ours. The epoch of what lies before an end is in the client's position
        alone; where that is another one, more has been read since."""
        reached = [TopicPartition(*key) for key in offsets if key in self._placed]
        for found in consumer.position(reached) if reached else ():
            key = (found.topic, found.partition)
            if found.offset == offsets[key]:
                self._ends[key] = End(self._placed[key], found.offset, found.leader_epoch)

    def _store_ends(self, consumer: Consumer) -> None:
        """Now and then, not at each end: a transaction every moment would be a write every moment."""
        if self._ends and self._end_batch(consumer):
            decided = self._intake.advance(self._ends.values())
            self._ends.clear()
            if decided is not None:
                self._pipeline.submit(decided)

    def _commit_to_group(self, consumer: Consumer, partitions: Iterable[Partition]) -> None:
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
        partition = self._placed.get(key_of(message))
        return None if partition is None else record_of(message, partition)

    # Which partitions are ours, and from where.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._unplaced |= {(each.topic, each.partition) for each in partitions}
        self._backoff.at_once()
        if self._incremental:
            consumer.incremental_assign([])
        else:
            consumer.assign([])
        log.info("partitions assigned", partitions=len(partitions))
        self._read_on()  # if there is nothing for us now, we are ready to take over

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        revoked = {(each.topic, each.partition) for each in partitions}
        self._stops.revoked(revoked)
        self._stop_fetching(consumer, revoked)
        self._unplaced -= revoked  # last: if the batch under way is fenced, all that was placed waits for a place
        self._unstored -= revoked
        for key in revoked:
            self._denied.pop(key, None)
        log.info("partitions revoked", partitions=len(partitions))

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning("partitions lost: the group has given them to others", partitions=len(partitions))
        self._on_revoke(consumer, partitions)

    def _stop_fetching(self, consumer: Consumer, which: Iterable[Key]) -> None:
        which = list(which)
        self._end_batch(consumer)
        gone = {key: self._placed.pop(key) for key in which if key in self._placed}
        for key in gone:
            self._ends.pop(key, None)
        self._intake.revoke(gone.values())
        stop_fetching(consumer, self._intake, gone, self._placed, incremental=self._incremental)

    def _displace(
        self, consumer: Consumer, state: str, which: Iterable[Key] | None = None, *, why: str | None = None
    ) -> None:
        """Stops fetching everything, or some, to ask again where to go on: later each time this fails."""
        displaced = set(self._placed if which is None else which)
        self._stop_fetching(consumer, displaced)
        self._unplaced |= displaced
        self._wait(state, why)

    def _wait(self, state: str, why: str | None = None) -> None:
        self._backoff.failed()
        if self._unplaced:  # a stopped partition that can't be looked at again waits for a person all the same
            self._enter(state, why)

    def _enter(self, state: str, why: str | None = None) -> None:
        self._state = state
        self._listener.intake_state(state, why)

    def _read_on(self) -> None:
        """Says that we are reading, if nothing keeps us from it; ready only once all is read again that had been
        stored before the database went back in time."""
        if self._unplaced:
            return
        set_back = self._intake.set_back
        if set_back and not self._reads_again:
            log_name, (position, reached) = min(set_back.items())
            where = f"{log_name.topic}/{log_name.number}"
            self._listener.database_rewound(
                RewindSign.POSITION,
                f"the position in {where} is {position or 0}, and was {reached}; so {len(set_back)} in all",
            )
        self._reads_again = bool(set_back)
        state = READING_AGAIN if set_back else READING
        if self._state != state and not self._unstored and not self._denied:
            self._enter(state)

    def _place(self, consumer: Consumer, waiting: set[Key]) -> None:
        """Starts to fetch partitions at their positions in the event store, but for those that must stand still."""
        self._listener.intake_doing("asking where to read from")
        try:
            ids = self._topic_ids.of({topic for topic, _ in waiting})
            wanted = {Partition(topic, ids[topic], number) for topic, number in waiting if topic in ids}
            places = self._intake.assign(wanted)
        except StoreUnavailable as error:
            log.warning("the event store can't be asked for positions; trying again", error=str(error))
            self._wait("waiting for the event store", str(error))
            return
        except KafkaException as error:
            log.warning("Kafka can't be asked for the topic's id; trying again", error=str(error))
            self._wait("waiting for Kafka", str(error))
            return
        placed = {}
        for place in places.values():
            key = (place.log.topic, place.log.number)
            self._unplaced.discard(key)
            if place.stop is None:
                placed[key] = place.log
            else:
                self._stops.note(key, place.stop)
        if self._unplaced:
            self._wait("waiting for a topic")
        else:
            self._read_on()
        if placed:
            self._fetch(consumer, placed)

    def _fetch(self, consumer: Consumer, placed: Mapping[Key, Partition]) -> None:
        self._stops.resume(placed)
        self._placed |= placed
        self._quiet_since = None
        logs = placed if self._incremental else self._placed
        start_fetching(consumer, self._intake, logs.values(), incremental=self._incremental)
        log.info("reading", partitions=len(self._placed))

    def _report(self, consumer: Consumer) -> None:
        """Tells the observer where and how we are, and notices when the brokers are back."""
        self._report_state()
        ends = {}
        for (topic, number), partition in self._placed.items():
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), cached=True)
            if end >= 0:
                ends[partition] = end
        self._listener.positions_changed(self._intake.positions, ends)
        if self._is_cut_off:
            with suppress(KafkaException):
                consumer.list_topics(self._topics[0], timeout=PROBE_SECONDS)
                self._is_cut_off, self._was_cut_off = False, True
                self._enter("waiting for partitions")
        for topic, topic_id in self._topic_ids.news(self._topics).items():
            if topic_id is None:
                self._topic_has_gone(topic)
                continue
            self._stops.topic_is_there(topic)
            placed = {key: each for key, each in self._placed.items() if key[0] == topic}
            if others := {key for key, each in placed.items() if topic_id_of(each) != topic_id}:
                self._displace(consumer, "waiting for a new topic", others)

    def _report_state(self) -> None:
        """That we are reading, unless a broker is silent, or the group gives us nothing."""
        if self._is_cut_off:
            return
        now = time.monotonic()
        hindrance = self._brokers.hindrance(self._placed) or self._topic_ids.hindrance
        if hindrance is not None:
            last = f"; the last error: {self._kafka_error}" if self._kafka_error else ""
            self._listener.intake_doing(f"{hindrance}{last}")
            return
        if self._placed and self._quiet_since is not None and now - self._quiet_since > QUIET_SECONDS:
            self._unstored.clear()
        self._denied = {key: at for key, at in self._denied.items() if now - at < DENIED_SECONDS}
        if self._state == READING:
            self._listener.intake_state(READING)
            self._kafka_error = None
        elif self._placed:
            self._read_on()

    # What can go wrong.

    def _topic_has_gone(self, topic: str) -> None:
        """Its partitions are nobody's now: whoever should read them tells of it."""
        try:
            self._stops.topic_has_gone(topic, {each.number for each in self._intake.positions_of(topic)})
        except StoreUnavailable as error:
            log.warning("a topic isn't there, and the event store can't be asked for positions", error=str(error))

    def _on_message_error(self, consumer: Consumer, message: Message, error: KafkaError) -> None:
        if error.code() == KafkaError._FATAL:  # noqa: SLF001 - the name that librdkafka gives it
            raise KafkaException(error)  # this client will never read again
        key = key_of(message)
        if error.code() != KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - the name that librdkafka gives it
            log.warning("Kafka reports an error", error=error.str(), name=error.name())
            self._kafka_error = error.str()
            if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED and key in self._placed:
                self._denied[key] = time.monotonic()
                self._displace(consumer, "waiting for permission to read", {key}, why=error.str())
            return
        if key in self._placed:
            self._on_refusal(consumer, key, error)

    def _on_refusal(self, consumer: Consumer, key: Key, error: KafkaError) -> None:
        """The broker doesn't read on at our position. Until the reason is known and noted, it's asked for again."""
        partition = self._placed[key]
        position = self._intake.positions[partition]
        self._displace(consumer, "waiting: a position is refused", {key})
        if position is None:
            return  # the log has a later beginning by now, and nothing of it was read: it's a new one as before
        try:
            if self._topic_ids.of({partition.topic}).get(partition.topic) != topic_id_of(partition):
                return  # its turn comes when it's placed
            bounds = consumer.get_watermark_offsets(TopicPartition(*key), timeout=BOUNDS_SECONDS, cached=False)
            stop = refused(position, Bounds(*bounds), was_cut=_LOG_WAS_CUT in error.str())
            self._intake.stop(partition, position, stop.loss)
        except (KafkaException, StoreUnavailable, Fenced) as failure:
            log.warning("it can't be told why a position is refused; trying again", error=str(failure))
            return
        self._unplaced.discard(key)
        self._stops.note(key, stop)
        self._read_on()

    def _on_client_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the name that librdkafka gives it
            self._is_cut_off = True
            self._enter("waiting for Kafka", self._kafka_error or error.str())
        else:
            self._kafka_error = error.str()
        log.warning("Kafka client", error=error.str(), name=error.name())
