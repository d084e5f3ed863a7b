"""One batch is stored on a thread of its own, while the next is fetched, read and decided.

Storing is waiting for PostgreSQL. All the rest is work for the interpreter and stays on one thread: two that take
turns at it, on two cores, lose a third of their time to each other. The next batch is decided as if the one before
it were stored; if that fails, both are undone.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import structlog

from adapters.kafka.consumer.intake import BatchOutcome, Decided, Intake, Read
from domain.instants import NANOSECONDS_PER_SECOND
from domain.ports import Advance, Partition, StaleOrder


class Stored(NamedTuple):
    """A batch that is stored, and how long it took from the beginning of deciding."""

    outcome: BatchOutcome
    seconds: float
    partitions: Sequence[Partition]


class StorePipeline:
    """For one thread. What it decided but did not begin to store is undone with what failed."""

    def __init__(self, intake: Intake, thread: Executor | None = None) -> None:
        self._intake = intake
        self._thread = thread or ThreadPoolExecutor(max_workers=1, thread_name_prefix="intake-store")
        self._under_way: tuple[Decided, Future[None]] | None = None

    def submit(self, decided: Decided) -> None:
        """Decides anew first if what the decisions built upon was undone. Raises StoreUnavailable."""
        assert self._under_way is None, "one batch at a time"
        if self._intake.is_undone(decided):
            decided = self._intake.decide(decided.read)
        self._under_way = decided, self._thread.submit(self._intake.commit, decided)

    def result(self) -> Stored | None:
        """Waits for the batch under way; None if there is none.

        Raises Fenced or StoreUnavailable: then all that was decided is undone.
        """
        if self._under_way is None:
            return None
        (decided, future), self._under_way = self._under_way, None
        outcome = decided.outcome
        try:
            future.result()
        except StaleOrder:
            self._intake.forget(decided)
            outcome = self._intake.store(decided.read)
        except BaseException:
            self._intake.undo()
            raise
        else:
            self._intake.settle(decided)
        seconds = max(0, time.time_ns() - decided.began_ns) / NANOSECONDS_PER_SECOND
        advances = decided.batch.advances
        if decided.read:
            log_batch(decided.read, advances, outcome, seconds)
        return Stored(outcome, seconds, [advance.partition for advance in advances])

    def close(self) -> None:
        """Only when nothing is under way."""
        self._thread.shutdown()


MAX_SHOWN_PARTITIONS: Final = 50


log = structlog.get_logger(__name__)


def log_batch(read: Sequence[Read], advances: Sequence[Advance], outcome: BatchOutcome, seconds: float) -> None:
    """The first and the last offset of each partition, and what became of the messages."""
    first = {record.partition: record.offset for record, _ in reversed(read)}
    shown = advances[:MAX_SHOWN_PARTITIONS]
    log.info(
        "batch stored",
        partitions={
            f"{each.partition.topic}/{each.partition.number}": f"{first[each.partition]}-{each.next_offset - 1}"
            for each in shown
        },
        **({"more_partitions": len(advances) - len(shown)} if len(advances) > len(shown) else {}),
        records=outcome.records,
        decisions=dict(outcome.decisions),
        quarantined=dict(outcome.quarantined),
        ms=round(seconds * 1000, 1),
    )
