"""Waiting for what may happen, but not for ever."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


async def wait_for_event(event: asyncio.Event, within_seconds: float) -> bool:
    """Returns when the event is set, or after that time; says whether it is set."""
    if within_seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), within_seconds)
    return event.is_set()


async def run_until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Does the work, and gives it up when `stop` is set. Raises what the work raises."""
    working = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopped):
        task.cancel()
    await asyncio.gather(stopped, return_exceptions=True)
    with suppress(asyncio.CancelledError):
        await working
