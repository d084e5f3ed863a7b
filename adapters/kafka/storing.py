"""One batch is decided and stored on a thread of its own, while the next is fetched and decoded.

Most of a batch's time in PostgreSQL is waiting, and most of its own is decoding: so the two go side by side. Not
more than that: a batch is decided about only when the one before it is stored.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from adapters.kafka.intake import Intake, Outcome, Read
from adapters.lines import log_batch
from domain.ports import Partition


class Stored(NamedTuple):
    """A batch that is stored, and how long that took."""

    outcome: Outcome
    seconds: float
    partitions: frozenset[Partition]


class Storing:
    """For one thread, which is not to touch the intake from `begin` to `end`."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="intake-store")
        self._under_way: Future[Stored] | None = None

    def begin(self, read: Sequence[Read]) -> None:
        assert self._under_way is None, "one batch at a time"
        self._under_way = self._thread.submit(self._store, read)

    def end(self) -> Stored | None:
        """Waits for the batch under way; None if there is none. Raises what storing it raised."""
        if self._under_way is None:
            return None
        under_way, self._under_way = self._under_way, None
        return under_way.result()

    def close(self) -> None:
        """Only when nothing is under way."""
        self._thread.shutdown()

    def _store(self, read: Sequence[Read]) -> Stored:
        started = time.perf_counter()
        outcome = self._intake.store(read)
        seconds = time.perf_counter() - started
        log_batch(read, outcome, seconds)
        return Stored(outcome, seconds, frozenset(record.partition for record, _ in read))
