"""Synchronous code of the product on one event loop, without threads: it runs in a greenlet, which steps aside
wherever the code would wait."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

import greenlet

P = ParamSpec("P")
T = TypeVar("T")


def is_in_greenlet() -> bool:
    return greenlet.getcurrent().parent is not None


def wait_for(awaitable: Awaitable[T]) -> T:
    """In a greenlet: the loop goes on until this is done."""
    parent = greenlet.getcurrent().parent
    assert parent is not None, "only synchronous code inside `run_in_greenlet` waits this way"
    done: T = parent.switch(awaitable)
    return done


async def run_in_greenlet(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a function that waits with `wait_for`. A cancellation is raised where it waits."""
    worker = greenlet.greenlet(partial(work, *args, **kwargs))
    worker.gr_context = contextvars.copy_context()
    step: Any = worker.switch()
    while not worker.dead:
        try:
            found = await step
        except BaseException as error:  # noqa: BLE001 - whatever it is, the code that waits must hear of it
            step = worker.throw(error)
        else:
            step = worker.switch(found)
    result: T = step
    return result


class GreenletExecutor(Executor):
    """Each piece of work in a greenlet of its own, beside the one that submits it and may wait for the result."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return _Result(asyncio.ensure_future(run_in_greenlet(fn, *args, **kwargs)))


class _Result(Future[T]):
    def __init__(self, task: asyncio.Future[T]) -> None:
        super().__init__()
        self._task = task
        task.add_done_callback(_look)

    def result(self, timeout: float | None = None) -> T:
        return wait_for(self._task)


def _look(task: asyncio.Future[Any]) -> None:
    """An error that nobody waits for any more, because they were killed, is nobody's concern."""
    if not task.cancelled():
        task.exception()
