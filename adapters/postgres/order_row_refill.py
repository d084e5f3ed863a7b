"""Makes rows of the orders' read model anew that lack columns which came with a later release.

An upgrade of a large database needn't wait for it: the service runs, the lists are there, and the columns fill up.
Processes of the release before may still write such rows while they are being replaced; those are found as well.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import psycopg
import structlog

from adapters.postgres.connections import BoundedConnection, conninfo, translated
from adapters.postgres.projection_feeds import STATEMENT_TIMEOUT_SECONDS, write_orders
from adapters.postgres.sql import statements
from domain.order import Order
from domain.ports import StoreUnavailable
from projections.orders import row_of

ROWS_PER_STEP: Final = 500
PAUSE_SECONDS: Final = 60.0
"""Between two rounds: nothing is left to do after the first, but for an upgrade's last old processes."""

_SQL: Final = statements("projections")

log = structlog.get_logger(__name__)

Load = Callable[[Iterable[int]], Mapping[int, Order]]


def refill(database_url: str, load: Load, stop: threading.Event | None = None) -> int:
    """One round over all rows that lack columns; answers how many were made anew. Raises StoreUnavailable.

    Any number of processes may do it at once. A row that has no stream is left as it is.
    """
    refilled, after = 0, 0
    with (
        translated(),
        BoundedConnection[tuple[Any, ...]].connect(
            conninfo(
                database_url,
                application_name="cashback-refill",
                statement_timeout=f"{STATEMENT_TIMEOUT_SECONDS}s",
            ),
            autocommit=True,
        ) as connection,
    ):
        while stop is None or not stop.is_set():
            order_ids = _step(connection, load, after)
            if not order_ids:
                break
            refilled, after = refilled + len(order_ids), order_ids[-1]
    return refilled


def refill_for_ever(database_url: str, load: Load, stop: threading.Event) -> None:
    """Round after round until `stop` is set; an outage is waited for."""
    while not stop.is_set():
        try:
            if refilled := refill(database_url, load, stop):
                log.info("rows of the read model made anew, with their new columns", rows=refilled)
        except StoreUnavailable as error:
            log.debug("the read model's new columns can't be filled", error=str(error))
        stop.wait(PAUSE_SECONDS)


def _step(connection: psycopg.Connection[tuple[Any, ...]], load: Load, after: int) -> list[int]:
    """The orders behind `after` that were looked at."""
    with connection.transaction():
        order_ids = [row[0] for row in connection.execute(_SQL["lock_unfilled"], (after, ROWS_PER_STEP))]
        if order_ids:
            write_orders(connection, [row_of(order) for order in load(order_ids).values() if order.version])
    return order_ids
