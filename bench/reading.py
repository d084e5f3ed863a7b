"""Intake in this process, from a topic that is full into a database, timed from its first batch to its last."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from adapters.kafka.cluster import TopicIds
from adapters.kafka.consumer import KafkaIntake
from adapters.kafka.intake import Intake, Outcome
from adapters.kafka.losses import Stop
from adapters.postgres.store import OrderApplication
from bench.laboratory import BATCH_SIZE
from bench.processes import TimeUp
from domain.ports import Partition

DEADLINE_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class FullTopic:
    """A topic with so many messages."""

    bootstrap: str
    config: Mapping[str, Any]
    name: str
    messages: int
    partitions: int


class Reader:
    """One intake with its cache over one database: what it has read it still knows when it reads another topic."""

    def __init__(self, database_url: str) -> None:
        self._application = OrderApplication(database_url)
        self._intake = Intake(self._application)

    def read(self, topic: FullTopic) -> float:
        """Messages a second. Raises TimeUp."""
        watch = _Watch(topic.messages)
        intake = KafkaIntake(
            self._intake,
            bootstrap=topic.bootstrap,
            topics=[topic.name],
            group=uuid4().hex,
            config=topic.config,
            batch_size=BATCH_SIZE,
            observer=watch,
            topic_ids=TopicIds(topic.bootstrap, {}),
        )
        failures: list[BaseException] = []

        def work() -> None:
            try:
                intake.run(watch.done)
            except BaseException as error:  # noqa: BLE001 - raised below, on the thread that waits
                failures.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(DEADLINE_SECONDS)
        watch.done.set()
        thread.join(DEADLINE_SECONDS)
        if failures:
            raise failures[0]
        return watch.rate()

    def close(self) -> None:
        self._application.close()


def read_once(database_url: str, topics: Sequence[FullTopic]) -> float:
    """Reads topic after topic with one intake; messages a second of the last."""
    reader = Reader(database_url)
    try:
        return [reader.read(topic) for topic in topics][-1]
    finally:
        reader.close()


class _Watch:
    """Sees the batches stored, and ends the reading when all have been."""

    def __init__(self, messages: int) -> None:
        self.done = threading.Event()
        self._left = messages
        self._messages = messages
        self._started = 0.0
        self._ended = 0.0

    def rate(self) -> float:
        if not self._ended:
            raise TimeUp(f"{self._left} of {self._messages} messages not read within {DEADLINE_SECONDS:.0f} s")
        return self._messages / (self._ended - self._started)

    def batch_stored(self, outcome: Outcome, seconds: float) -> None:
        assert not outcome.quarantined, outcome.quarantined
        self._started = self._started or time.perf_counter() - seconds
        self._left -= outcome.records
        if self._left <= 0 and not self._ended:
            self._ended = time.perf_counter()
            self.done.set()

    def positions_changed(
        self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]
    ) -> None: ...
    def intake_state(self, state: str) -> None: ...
    def partition_stopped(self, partition: str, why: Stop | None) -> None: ...
