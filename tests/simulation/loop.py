"""An event loop in virtual time, whose pauses are the scheduler's, and whose threads are greenlets."""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

from tests.simulation.greenlets import run_in_greenlet
from tests.simulation.scheduler import Scheduler

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Turns(selectors.SelectSelector):
    """Where the loop would wait for sockets, a statement has its turn, or time goes on."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._scheduler.step(timeout)
        return []


class SimulationLoop(asyncio.SelectorEventLoop):
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        super().__init__(_Turns(scheduler))

    def time(self) -> float:
        return self._scheduler.now_seconds

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[Any]:
        return self.create_task(run_in_greenlet(func, *args))
