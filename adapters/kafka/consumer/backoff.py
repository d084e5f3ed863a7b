"""When to try again: later each time that something fails in a row."""

import random
import time
from typing import Final

from projections.delivery.retry import RetryPolicy

RETRY: Final = RetryPolicy(base_seconds=0.2, max_seconds=5.0)


class Backoff:
    """Counts failures, and when the next try may be."""

    def __init__(self) -> None:
        self._failures = 0
        self._at = 0.0
        self._rng = random.Random()  # noqa: S311 - only spreads retries

    def failed(self) -> None:
        self._failures += 1
        self._at = time.monotonic() + RETRY.wait_seconds(self._failures, None, self._rng)

    def worked(self) -> None:
        self._failures = 0

    def at_once(self) -> None:
        """The next try needn't wait."""
        self._at = 0.0

    def is_over(self, now: float) -> bool:
        return now >= self._at
