"""The `rebuild` command: progress while it reads, then what it found."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg

from adapters.cli.exit_codes import DONE, FAILURE
from adapters.cli.output import print_json, say, table
from adapters.cli.progress import progress_bar
from adapters.postgres.rebuild import Result, rebuild, rebuild_read_models
from adapters.presentation.formatting import amount
from domain.lifecycle import Status
from domain.ports import StoreUnavailable

MAX_SHOWN_DIFFERENCES = 50


def run_rebuild(
    database_url: str, order_ids: Sequence[int], *, check: bool, read_models: bool, as_json: bool = False
) -> int:
    """Answers the exit code: 1 if the read models differ from the events, or a named order has no events."""
    try:
        with _progress() as progress:
            if read_models:
                result = rebuild_read_models(database_url, progress)
            else:
                result = rebuild(database_url, order_ids, progress, check=check)
    except psycopg.Error as error:
        raise StoreUnavailable(f"the event store can't be read: {error}") from error
    missing = max(0, len(set(order_ids)) - result.tally.orders)
    if as_json:
        _print(result, missing)
    else:
        _show(result, missing, check=check)
    return FAILURE if result.difference_count or missing else DONE


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    with progress_bar("rebuilding", "events") as bar:
        task = bar.add_task("rebuild", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(result: Result, missing: int) -> None:
    tally = result.tally
    statuses = {
        status: {"orders": tally.by_status[status], "cashbackAmount": tally.cashback.get(status)}
        for status in Status
        if tally.by_status[status]
    }
    print_json(
        {
            "orders": tally.orders,
            "events": tally.events,
            "byStatus": statuses,
            "doubtful": tally.doubtful,
            "missing": missing,
            "differenceCount": result.difference_count,
            "differences": [
                {"orderId": each.order_id, "what": each.what} for each in result.differences[:MAX_SHOWN_DIFFERENCES]
            ],
        }
    )


def _show(result: Result, missing: int, *, check: bool) -> None:
    tally = result.tally
    rows = (
        (status, tally.by_status[status], amount(tally.cashback.get(status)))
        for status in Status
        if tally.by_status[status]
    )
    title = f"{tally.orders} orders rebuilt from {tally.events} events"
    table(("status", "orders", "cashback"), rows, right=("orders", "cashback"), title=title)
    if tally.doubtful:
        say(f"{tally.doubtful} orders need a person's look")
    if missing:
        say(f"{missing} of the orders named have no events")
    for difference in result.differences[:MAX_SHOWN_DIFFERENCES]:
        say(f"order {difference.order_id}: {difference.what}" if difference.order_id else difference.what)
    if check:
        say(f"{result.difference_count} differences" if result.difference_count else "the read models agree")
