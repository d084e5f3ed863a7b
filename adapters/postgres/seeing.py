"""Deeds that count only if the order still is what the person has seen."""

import asyncio

from adapters.operators import Asked
from adapters.postgres.pool import Connection
from adapters.postgres.queries import order_record
from adapters.refusals import OrderChanged, UnknownOrder


async def check_seen(connection: Connection, order_id: int, asked: Asked) -> None:
    """In the transaction of the deed, once it holds the order's cursor: from then on no call of it is settled.

    A message that comes meanwhile is decided as if it had come after the deed. Raises UnknownOrder or OrderChanged.
    """
    if asked.is_as_seen is None:
        return
    record = await order_record(connection, order_id)
    if record is None:
        raise UnknownOrder(order_id)
    if not await asyncio.to_thread(asked.is_as_seen, record):
        raise OrderChanged(order_id)
