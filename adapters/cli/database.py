"""What a command has to ask of the database, or to tell it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from adapters.postgres.pool import Database

T = TypeVar("T")


def ask_database(url: str, ask: Callable[[Database], Awaitable[T]]) -> T:
    """On an event loop and connections of its own, which end with the answer."""

    async def asked() -> T:
        async with Database(url) as database:
            return await ask(database)

    return asyncio.run(asked())
