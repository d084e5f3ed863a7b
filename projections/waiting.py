"""Waiting for what may happen, but not for ever."""

import asyncio
from contextlib import suppress


async def happens(event: asyncio.Event, within_seconds: float) -> bool:
    """Returns when the event is set, or after that time; says whether it is set."""
    if within_seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), within_seconds)
    return event.is_set()
