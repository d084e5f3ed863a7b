"""Event loops on which no time passes while nothing happens: a timer that is due in an hour runs at once.

What the code under test waits for takes no real time, and every run takes the same virtual time.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

STEP_SECONDS: Final = 1e-6
"""What one turn of the loop takes: a clock that stood still would show waits too short to end."""

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Moves the clock on instead of waiting, and looks at no socket."""

    def __init__(self) -> None:
        super().__init__()
        self.now_seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits, and nothing will ever happen"
        self.now_seconds += max(STEP_SECONDS, timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For coroutines that need neither threads nor sockets."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_seconds


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs `main` on a loop of its own, from time 0 on."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


def now() -> float:
    """The running loop's time, in seconds."""
    return asyncio.get_running_loop().time()
