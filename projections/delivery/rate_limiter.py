"""How many calls a second may go out: a configured limit, and less where the third party says that it's too many.

Each 429 halves the rate; it grows again by a share of itself, so that many halvings are made good in minutes.
One pacer in a process: each process has the configured rate for itself and learns from its own answers.
"""

import math
import time
from collections.abc import Callable
from typing import Final

MIN_CALLS_PER_SECOND: Final = 0.1
BURST_SECONDS: Final = 0.1
"""Calls that weren't sent for so long may be sent at once, or one."""
DECREASE: Final = 0.5
DECREASE_PAUSE_SECONDS: Final = 1.0
"""Refusals of calls sent so soon after a decrease belong to what led to it: many count calls by the second."""
DOUBLING_SECONDS: Final = 30.0
"""In which the rate doubles: what one halving took is back then."""


class RateLimiter:
    """`ceiling` is in calls a second; None: no limit, until the third party sets one."""

    def __init__(self, ceiling: float | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ceiling = math.inf if ceiling is None else ceiling
        self._monotonic = monotonic
        self._rate = self._ceiling
        self._counted_at = monotonic()
        self._slots = self._burst
        """Calls that may go out at once; less than 0 if some wait for their turn already."""
        self._held_until = -math.inf
        self._decreased_at = -math.inf
        self._window_began = self._counted_at
        self._window_calls = 0
        self._last_window_rate = 0.0

    @property
    def calls_per_second(self) -> float:
        """What is allowed just now; infinite if nothing limits it."""
        self._count()
        return self._rate

    @property
    def asked_to_wait_seconds(self) -> float:
        """Until the third party wants to be called again."""
        return max(0.0, self._held_until - self._monotonic())

    @property
    def held_seconds(self) -> float:
        """Until a call may go out."""
        self._count()
        turn_seconds = max(0.0, (1.0 - self._slots) / self._rate)
        return max(turn_seconds, self.asked_to_wait_seconds)

    def slots(self) -> int | None:
        """How many calls may go out at once; None: however many."""
        self._count()
        return None if math.isinf(self._rate) else max(0, math.floor(self._slots))

    def turn(self, within_seconds: float) -> float | None:
        """Takes the next turn, and says in how many seconds it comes; takes none if that is later, or if the third
        party wants to be left alone."""
        self._count()
        wait_seconds = max(0.0, (1.0 - self._slots) / self._rate)
        if wait_seconds > within_seconds or self.asked_to_wait_seconds:
            return None
        self._slots -= 1.0
        self._measure()
        return wait_seconds

    def throttled(self, sent_at: float, retry_after_seconds: float | None) -> None:
        """The third party has refused a call that was sent at that moment, because there were too many."""
        now = self._monotonic()
        if retry_after_seconds is not None:
            self._held_until = max(self._held_until, now + retry_after_seconds)
        if sent_at < self._decreased_at + DECREASE_PAUSE_SECONDS:
            return
        self._count()
        before = max(MIN_CALLS_PER_SECOND, min(self._rate, self._measured(now)))
        self._rate = min(self._ceiling, max(MIN_CALLS_PER_SECOND, before * DECREASE))
        self._slots = min(self._slots, self._burst)
        self._decreased_at = now

    @property
    def _burst(self) -> float:
        return max(1.0, self._rate * BURST_SECONDS)

    def _count(self) -> None:
        now = self._monotonic()
        passed_seconds, self._counted_at = now - self._counted_at, now
        if math.isinf(self._rate):
            self._slots = 1.0
            return
        # Fifty doublings at once are more than any pause needs, and no number that can't be had.
        self._rate = min(self._ceiling, self._rate * 2 ** min(50.0, passed_seconds / DOUBLING_SECONDS))
        self._slots = min(self._burst, self._slots + self._rate * passed_seconds)

    def _measure(self) -> None:
        now = self._monotonic()
        if now - self._window_began >= 1.0:
            self._last_window_rate = self._window_calls / (now - self._window_began)
            self._window_began, self._window_calls = now, 0
        self._window_calls += 1

    def _measured(self, now: float) -> float:
        """Calls a second that went out lately."""
        return max(self._last_window_rate, self._window_calls / max(1.0, now - self._window_began))
