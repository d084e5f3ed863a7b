"""So many orders a second, and no more."""

from typing import Final

MAX_CHUNK: Final = 50
"""Orders that are done together."""
STEPS_PER_SECOND: Final = 4
"""They are made so small that there are about so many."""


class StepRate:
    """Spreads orders evenly: a pause, however long, is not made up for."""

    def __init__(self, per_second: float, steps_per_second: float = STEPS_PER_SECOND) -> None:
        self._per_second = per_second
        self._steps_per_second = steps_per_second
        self._free_at = float("-inf")

    @property
    def chunk(self) -> int:
        """How many to take at a time."""
        return max(1, min(MAX_CHUNK, round(self._per_second / self._steps_per_second)))

    def wait_seconds(self, orders: int, now: float) -> float:
        """How long to wait before so many orders, which count as taken."""
        start = max(now, self._free_at)
        self._free_at = start + orders / self._per_second
        return start - now
