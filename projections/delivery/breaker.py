"""When the third party is down or refuses our credentials, all calls hold: no order is to blame for that.

One breaker in a process. Closed, all flows; open, nothing is sent for a while; then one call at a time probes; once
one is answered, twice as many calls may be under way with each round that succeeds, until all may again.
"""

import math
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

FAILURES_IN_A_ROW: Final = 10
"""Without any answer in between, and not all of them one order's: the third party is down."""
FAILURES_WHILE_RAMPING: Final = 2
QUIET_SECONDS: Final = 60.0
"""If nobody was answered for so long, an order that fails alone may do so for a reason that isn't its own."""
HOLD_BASE_SECONDS: Final = 1.0
HOLD_MAX_SECONDS: Final = 30.0
"""Unless the third party asks for more."""


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"
    RAMPING = "ramping"


class Breaker:
    """Told of every call's end. `on_change` is called after each change of state.

    A call belongs to the `epoch` in which it was claimed; an opening begins a new one. What comes of earlier calls
    changes nothing, and no more of them may be begun.
    """

    def __init__(
        self,
        concurrency: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        on_change: Callable[["Breaker"], None] = lambda _: None,
    ) -> None:
        self.state = BreakerState.CLOSED
        self.reason = ""
        """Why it isn't closed."""
        self.epoch = 0
        self._concurrency = concurrency
        self._monotonic = monotonic
        self._on_change = on_change
        self._openings = 0
        """Since it was last closed."""
        self._open_until = 0.0
        self._ramp_limit = 1
        self._ramp_answers = 0
        self._failing: set[int] = set()
        """Orders that have failed since anybody was answered; at most FAILURES_IN_A_ROW."""
        self._in_a_row = 0
        self._answered_at = -math.inf

    @property
    def held_seconds(self) -> float:
        """Until a call may probe; 0 unless the breaker is open."""
        return max(0.0, self._open_until - self._monotonic()) if self.state is BreakerState.OPEN else 0.0

    def limit(self) -> int:
        """How many calls may be under way now."""
        if self.state is BreakerState.OPEN and not self.held_seconds:
            self._change(BreakerState.PROBING)
        match self.state:
            case BreakerState.OPEN:
                return 0
            case BreakerState.PROBING:
                return 1
            case BreakerState.RAMPING:
                return self._ramp_limit
            case BreakerState.CLOSED:
                return self._concurrency

    def answered(self, epoch: int) -> None:
        """A call got an answer that shows the third party at work, whatever it says of the order."""
        if epoch != self.epoch or self.state is BreakerState.OPEN:
            return
        self._in_a_row = 0
        self._failing.clear()
        self._answered_at = self._monotonic()
        if self.state is BreakerState.PROBING:
            self._widen(2)
        elif self.state is BreakerState.RAMPING:
            self._ramp_answers += 1
            if self._ramp_answers >= self._ramp_limit:
                self._widen(self._ramp_limit * 2)

    def underused(self) -> None:
        """Fewer calls are due than may be sent: a round that had any answer is over."""
        if self.state is BreakerState.RAMPING and self._ramp_answers:
            self._widen(self._ramp_limit * 2)

    def idle(self) -> None:
        """No call waits for the third party, in no process: nothing is to be held. The next will show how it is."""
        if self.state in {BreakerState.PROBING, BreakerState.RAMPING}:
            self._close()

    def failed(self, epoch: int, order_id: int, reason: str, least_seconds: float = 0.0) -> bool:
        """A call got no answer, or one by which the third party says that it has failed.

        `least_seconds`: the wait that the third party asks for. Says whether the order is to blame: it is if it's
        alone in failing, and others were answered lately.
        """
        if epoch != self.epoch or self.state is BreakerState.OPEN:
            return False
        self._in_a_row += 1
        self._failing.add(order_id)
        if self._is_down():
            self.open(epoch, reason, least_seconds)
            return False
        return len(self._failing) == 1 and not self._is_quiet

    def open(self, epoch: int, reason: str, least_seconds: float = 0.0) -> None:
        """Holds all calls, for longer each time in a row."""
        if epoch != self.epoch or self.state is BreakerState.OPEN:
            return
        self.epoch += 1
        self._openings += 1
        self._in_a_row = 0
        self._failing.clear()
        hold_seconds = min(HOLD_MAX_SECONDS, HOLD_BASE_SECONDS * 2.0 ** min(self._openings - 1, 30))
        self._open_until = self._monotonic() + max(hold_seconds, least_seconds)
        self.reason = reason
        self._change(BreakerState.OPEN)

    @property
    def _is_quiet(self) -> bool:
        return self._monotonic() - self._answered_at > QUIET_SECONDS

    def _is_down(self) -> bool:
        if self.state is BreakerState.PROBING:
            return True
        if len(self._failing) == 1:
            return self._is_quiet and self._in_a_row >= FAILURES_IN_A_ROW
        is_ramping = self.state is BreakerState.RAMPING
        return self._in_a_row >= (FAILURES_WHILE_RAMPING if is_ramping else FAILURES_IN_A_ROW)

    def _widen(self, limit: int) -> None:
        self._ramp_limit, self._ramp_answers = limit, 0
        if limit < self._concurrency:
            if self.state is not BreakerState.RAMPING:
                self._change(BreakerState.RAMPING)
            return
        self._close()

    def _close(self) -> None:
        self._openings = 0
        self.reason = ""
        self._change(BreakerState.CLOSED)

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self._on_change(self)
