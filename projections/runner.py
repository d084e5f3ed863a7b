"""Runs a projection: batch after batch, for ever, in any number of processes (one of them works at a time)."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from domain.ports import StoreUnavailable
from projections.feed import Feed, Recorded

BATCH_EVENTS: Final = 2000
IDLE_SECONDS: Final = 0.5
"""The longest that an event waits for a projection that missed its wake-up."""
OUTAGE_SECONDS: Final = 1.0

Row = TypeVar("Row")


class Projection(Generic[Row]):
    """A name, a feed, and the pure function from events to rows."""

    def __init__(self, name: str, feed: Feed[Row], rows_of: Callable[[Sequence[Recorded]], Sequence[Row]]) -> None:
        self.name = name
        self._feed = feed
        self._rows_of = rows_of

    def step(self, limit: int = BATCH_EVENTS) -> int:
        """Handles one batch and says how many events it had: 0 if there are none, or another process is at it.

        Raises StoreUnavailable.
        """
        with self._feed.next_batch(limit) as batch:
            if batch is None or not batch.events:
                return 0
            batch.write(self._rows_of(batch.events))
            return len(batch.events)

    def run(
        self,
        stop: threading.Event,
        on_step: Callable[[str, int, float], None],
        on_outage: Callable[[str, str], None],
    ) -> None:
        """Goes on until `stop` is set. `on_step(name, events, seconds)` follows each step, also one that found no
        events; `on_outage(name, why)` each time that the store can't be used, after which it tries again."""
        while not stop.is_set():
            started = time.perf_counter()
            try:
                handled = self.step()
            except StoreUnavailable as error:
                on_outage(self.name, str(error))
                stop.wait(OUTAGE_SECONDS)
                continue
            on_step(self.name, handled, time.perf_counter() - started)
            if not handled:
                self._feed.wait(IDLE_SECONDS)
