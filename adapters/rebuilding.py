"""The `rebuild` command: progress while it reads, then what it found."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
from rich.console import Console
from rich.table import Table

from adapters.postgres.rebuild import Result, rebuild, rebuild_read_models
from adapters.progress import progress_bar
from domain.lifecycle import Status
from domain.ports import StoreUnavailable

MAX_SHOWN_DIFFERENCES = 50


def run_rebuild(database_url: str, order_ids: Sequence[int], *, check: bool, read_models: bool) -> int:
    """Answers the exit code: 1 if the read models differ from the events, or a named order has no events."""
    try:
        with _progress() as progress:
            if read_models:
                result = rebuild_read_models(database_url, progress)
            else:
                result = rebuild(database_url, order_ids, progress, check=check)
    except psycopg.Error as error:
        raise StoreUnavailable(f"the event store can't be read: {error}") from error
    _show(result)
    missing = len(set(order_ids)) - result.tally.orders
    if missing > 0:
        Console().print(f"{missing} of the orders named have no events")
    for difference in result.differences[:MAX_SHOWN_DIFFERENCES]:
        Console().print(
            f"order {difference.order_id}: {difference.what}" if difference.order_id else difference.what
        )
    if check:
        Console().print(
            f"{result.difference_count} differences" if result.difference_count else "the read models agree"
        )
    return 1 if result.difference_count or missing > 0 else 0


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    with progress_bar("rebuilding", "events") as bar:
        task = bar.add_task("rebuild", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(result: Result) -> None:
    tally = result.tally
    table = Table(title=f"{tally.orders} orders rebuilt from {tally.events} events")
    table.add_column("status")
    table.add_column("orders", justify="right")
    table.add_column("cashback", justify="right")
    for status in Status:
        if tally.by_status[status]:
            amount = tally.cashback.get(status)
            table.add_row(status, str(tally.by_status[status]), "" if amount is None else f"{amount:f}")
    Console().print(table)
    if tally.doubtful:
        Console().print(f"{tally.doubtful} orders need a person's look")
