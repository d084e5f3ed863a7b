"""When to try again: later each time that something fails in a row."""

import random
import time
from typing import Final

BASE_SECONDS: Final = 0.2
MAX_SECONDS: Final = 5.0
_MAX_DOUBLINGS: Final = 10


class Backoff:
    """Full jitter under a ceiling that doubles."""

    def __init__(self) -> None:
        self._failures = 0
        self._at = 0.0

    def failed(self) -> None:
        longest = min(MAX_SECONDS, BASE_SECONDS * 2**self._failures)
        self._failures = min(self._failures + 1, _MAX_DOUBLINGS)
        self._at = time.monotonic() + random.uniform(0, longest)  # noqa: S311 - only spreads retries

    def worked(self) -> None:
        self._failures = 0

    def at_once(self) -> None:
        """The next try needn't wait."""
        self._at = 0.0

    def is_over(self, now: float) -> bool:
        return now >= self._at
