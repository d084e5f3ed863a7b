"""Intake, timed from its first batch to its last: `python -m bench.reading_process FILE` (bench/reading.py)."""

import json
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from uuid import uuid4

import msgspec

from adapters.kafka.cluster import TopicIds
from adapters.kafka.consumer.consumer import KafkaIntake
from adapters.kafka.consumer.intake import BatchOutcome, Intake, Limits, Read
from adapters.kafka.decoding.record import Record
from adapters.observability.logs import configure_logs
from adapters.postgres.event_store import OrderApplication
from adapters.runtime.tuning import collect_rarely, take_turns_quickly
from bench.laboratory import BATCH_SIZE
from bench.processes import TimeUp
from bench.reading import DEADLINE_SECONDS, FullTopic, ReadTask
from domain.losses import StoppedPartition
from domain.ports import Partition, RewindSign


def main(file: Path) -> None:
    configure_logs("error")
    collect_rarely()  # as the service does, and the next
    take_turns_quickly()
    task = msgspec.json.decode(file.read_bytes(), type=ReadTask)
    reader = Reader(task.database_url, task.cached_orders)
    try:
        rates = [reader.read(topic) for topic in task.topics]
    finally:
        reader.close()
    print(json.dumps({"event": "done", "rate": rates[-1]}), flush=True)


class _Noting(Intake):
    """Notes when its first records came."""

    began = 0.0

    def read(self, records: Iterable[Record]) -> list[Read]:
        self.began = self.began or time.perf_counter()
        return super().read(records)


class Reader:
    """One intake with its cache over one database: what it has read it still knows when it reads another topic."""

    def __init__(self, database_url: str, cached_orders: int) -> None:
        self._application = OrderApplication(database_url)
        self._intake = _Noting(self._application, limits=Limits(max_cached_orders=cached_orders))

    def read(self, topic: FullTopic) -> float:
        """Messages a second. Raises TimeUp."""
        watch = _Watch(topic.messages)
        self._intake.began = 0.0
        intake = KafkaIntake(
            self._intake,
            bootstrap=topic.bootstrap,
            topics=[topic.name],
            group=uuid4().hex,
            config=topic.config,
            batch_size=BATCH_SIZE,
            listener=watch,
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
        return watch.rate(since=self._intake.began)

    def close(self) -> None:
        self._application.close()


class _Watch:
    """Sees the batches stored, and ends the reading when all have been."""

    def __init__(self, messages: int) -> None:
        self.done = threading.Event()
        self._left = messages
        self._messages = messages
        self._ended = 0.0

    def rate(self, since: float) -> float:
        if not self._ended:
            raise TimeUp(f"{self._left} of {self._messages} messages not read within {DEADLINE_SECONDS:.0f} s")
        return self._messages / (self._ended - since)

    def batch_stored(self, outcome: BatchOutcome, seconds: float) -> None:  # noqa: ARG002 - an observer
        assert not outcome.quarantined, outcome.quarantined
        self._left -= outcome.records
        if self._left <= 0 and not self._ended:
            self._ended = time.perf_counter()
            self.done.set()

    def positions_changed(
        self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]
    ) -> None: ...
    def intake_state(self, state: str, why: str | None = None) -> None: ...
    def intake_doing(self, what: str) -> None: ...
    def partition_stopped(self, partition: str, why: StoppedPartition | None) -> None: ...
    def database_rewound(self, sign: RewindSign, found: str) -> None: ...


if __name__ == "__main__":
    main(Path(sys.argv[1]))
