"""Orders found by a transaction, also where no process with the API prepares the search."""

from adapters.postgres.console import EVENTS_PER_STEP, ListedOrder, PostgresConsole
from adapters.postgres.queries import OrderFilter
from adapters.progress import progress_bar


async def orders_of_transaction(console: PostgresConsole, transaction_id: str) -> list[ListedOrder]:
    """Greatest ids first; adapters.postgres.console.MAX_FOUND at most."""
    await _read_on(console)
    found = []
    for order_id in sorted(await console.orders_of_transaction(transaction_id), reverse=True):
        rows = await console.orders(OrderFilter(), parked=False, start=order_id, upwards=False, limit=1)
        found += [each for each in rows if each.row.order_id == order_id]
    return found


async def _read_on(console: PostgresConsole) -> None:
    """What was stored since anybody looked; it's long work only where nobody ever did."""
    read = await console.index_transactions()
    if read < EVENTS_PER_STEP:
        return
    with progress_bar("reading", "events") as bar:
        task = bar.add_task("", total=None, completed=read)
        while read := await console.index_transactions():
            bar.update(task, advance=read)
