"""The commands that list: a page of orders, of parked ones, of messages in quarantine, of actions, of differences.

The questions, the members of the JSON and the places where pages begin are those of the API.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from adapters.cli import output
from adapters.cli.database import ask_database
from adapters.cli.progress import progress_bar
from adapters.postgres.audit_log import PostgresActions
from adapters.postgres.pool import Database
from adapters.postgres.queries import PostgresQueries
from adapters.postgres.reconciliation import PostgresReconciliation
from adapters.postgres.service_status import PostgresConsole
from adapters.presentation import paging
from adapters.presentation.formatting import NOTHING, amount, answer_summary
from adapters.presentation.paging import BadCursor, Paging
from adapters.presentation.views import (
    action_view,
    difference_view,
    order_summary,
    parked_order,
    quarantine_summary,
)
from adapters.records.audit import ActionRow
from adapters.records.calls import ParkedRow
from adapters.records.differences import DifferenceClass, DifferenceRow, DifferenceState
from adapters.records.orders import OrderFilter
from adapters.records.quarantine import QuarantineRow, QuarantineState
from adapters.records.search import SearchResult
from adapters.records.status import EVENTS_PER_STEP, ListedOrder
from domain.errors import BadSetting

MAX_ANSWER_CHARACTERS: Final = 80
"""Of the third party's last answer, in the list of parked orders."""

Row = TypeVar("Row")
Ask = Callable[[Database, int | None, int], Awaitable[list[Row]]]
"""The rows from a place on; None: from the beginning."""


@dataclass(frozen=True)  # with slots a generic one can't be made
class Listing(Generic[Row]):
    """One kind of list. `name` is the API's for its rows."""

    name: str
    paging: Paging[Row]
    view: Callable[[Row], Mapping[str, Any]]
    columns: Sequence[str]
    cells: Callable[[Row], Sequence[object]]
    right: frozenset[str]
    drop: Sequence[str] = ()
    """Columns that go where there is no room, the first one first."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Which page, and in which form."""

    limit: int
    after: str | None
    as_json: bool


def run_list(url: str, listing: Listing[Row], ask: Ask[Row], request: ListRequest) -> int:
    """Prints a page. Answers the exit code. Raises BadSetting for a place that isn't one of this list."""
    try:
        start = listing.paging.start(request.after)
    except BadCursor:
        raise BadSetting(
            f"--after is {(request.after or '')[:50]!r}: must be the `next` of a page of this list"
        ) from None
    rows = ask_database(url, lambda database: ask(database, start, request.limit + 1))
    page, following = listing.paging.cut(rows, request.limit)
    if request.as_json:
        output.print_json({listing.name: [listing.view(row) for row in page], "next": following})
        return 0
    output.table(listing.columns, map(listing.cells, page), right=listing.right, drop=listing.drop)
    if following:
        output.remark(f"more: --after {following}")
    return 0


def run_orders(
    url: str, wanted: OrderFilter, *, parked: bool, transaction: str | None, request: ListRequest
) -> int:
    """With a transaction, the orders of just that."""

    async def ask(database: Database, start: int | None, limit: int) -> list[ListedOrder]:
        console = PostgresConsole(database)
        if transaction is not None:
            return await orders_of_transaction(console, transaction)
        return await console.orders(wanted, parked=parked, start=start, upwards=False, limit=limit)

    return run_list(url, _ORDERS, ask, request)


def run_parked(url: str, reason: str | None, request: ListRequest) -> int:
    async def ask(database: Database, start: int | None, limit: int) -> list[ParkedRow]:
        return await PostgresQueries(database).parked(start, limit, reason=reason)

    return run_list(url, _PARKED, ask, request)


def run_quarantine(url: str, state: QuarantineState | None, request: ListRequest) -> int:
    async def ask(database: Database, start: int | None, limit: int) -> list[QuarantineRow]:
        return await PostgresQueries(database).quarantine(state, start, limit)

    return run_list(url, _QUARANTINE, ask, request)


def run_audit(url: str, order_id: int | None, request: ListRequest) -> int:
    async def ask(database: Database, start: int | None, limit: int) -> list[ActionRow]:
        return await PostgresActions(database).page(order_id, start, limit)

    return run_list(url, ACTIONS, ask, request)


def run_differences(url: str, state: DifferenceState, verdict: DifferenceClass | None, request: ListRequest) -> int:
    async def ask(database: Database, start: int | None, limit: int) -> list[DifferenceRow]:
        return await PostgresReconciliation(database).page(state, verdict, start, limit)

    return run_list(url, _DIFFERENCES, ask, request)


def quarantine_cells(row: QuarantineRow) -> Sequence[object]:
    place = f"{row.topic}/{row.partition}@{row.offset}"
    at = output.moment(row.quarantined_at)
    return row.id, row.state, at, place, row.order_id, row.reason, row.detail


def action_cells(row: ActionRow) -> Sequence[object]:
    states = f"{row.state_before or NOTHING} → {row.state_after or NOTHING}"
    what = "" if row.state_before is None and row.state_after is None else states
    about = row.order_id if row.quarantine_id is None else f"message {row.quarantine_id}"
    who = row.operator, row.role or row.via
    return output.moment(row.done_at), *who, row.kind, about, row.version, what, row.reason


def said_by(outcome: str, status: int | None, answer: str) -> str:
    """What came of an attempt."""
    return " ".join(filter(None, (outcome, "" if status is None else str(status), answer)))


QUARANTINE_DROPS: Final = ("since", "order", "detail", "state", "reason")
ACTION_DROPS: Final = ("version", "by", "state", "operator", "reason", "at")
QUARANTINE_COLUMNS: Final = ("id", "state", "since", "place", "order", "reason", "detail")
ACTION_COLUMNS: Final = ("at", "operator", "by", "action", "about", "version", "state", "reason")
_ORDER_COLUMNS: Final = ("order", "status", "cashback", "buyer", "store", "calls", "held", "doubts", "last change")
_PARKED_COLUMNS: Final = ("order", "since", "reason", "attempts", "call", "behind it", "cashback", "last answer")


def _order_cells(listed: ListedOrder) -> Sequence[object]:
    row = listed.row
    who = row.buyer_id, row.store_no
    stands = listed.delivery, row.held or None, ", ".join(row.doubts) or None
    return row.order_id, row.status, amount(row.cashback), *who, *stands, output.moment(row.recorded_at_ns)


def _parked_cells(row: ParkedRow) -> Sequence[object]:
    call = None if row.kind is None else f"{row.kind} of version {row.version}"
    last = row.last_attempt
    answer = None if last is None else answer_summary(last.answer)[:MAX_ANSWER_CHARACTERS]
    if last is not None and not row.reason.startswith(last.outcome):
        answer = said_by(last.outcome, last.status, answer or "")
    stands = row.order_id, output.moment(row.parked_at), row.reason, row.attempts
    return *stands, call, row.waiting_calls, amount(row.cashback), answer


def _difference_cells(row: DifferenceRow) -> Sequence[object]:
    sides = row.ours, row.theirs, row.detail
    seen = output.moment(row.first_seen_at), output.moment(row.last_seen_at), output.moment(row.closed_at)
    return row.id, row.order_id, row.verdict, *sides, *seen


_ORDERS: Final = Listing[ListedOrder](
    "orders",
    Paging(paging.ORDERS.kind, lambda listed: listed.row.order_id - 1),
    lambda listed: order_summary(listed.row),
    _ORDER_COLUMNS,
    _order_cells,
    frozenset({"order", "cashback", "held"}),
    ("store", "last change", "doubts", "held", "buyer", "calls"),
)
_PARKED: Final = Listing[ParkedRow](
    "parked",
    paging.PARKED,
    parked_order,
    _PARKED_COLUMNS,
    _parked_cells,
    frozenset({"order", "attempts", "behind it", "cashback"}),
    ("behind it", "attempts", "since", "call", "last answer"),
)
_QUARANTINE: Final = Listing[QuarantineRow](
    "quarantined",
    paging.QUARANTINE,
    quarantine_summary,
    QUARANTINE_COLUMNS,
    quarantine_cells,
    frozenset({"id", "order"}),
    QUARANTINE_DROPS,
)
ACTIONS: Final = Listing[ActionRow](
    "actions",
    paging.ACTIONS,
    action_view,
    ACTION_COLUMNS,
    action_cells,
    frozenset({"version"}),
    ACTION_DROPS,
)
_DIFFERENCES: Final = Listing(
    "differences",
    paging.DIFFERENCES,
    difference_view,
    ("id", "order", "class", "ours", "theirs", "note", "first seen", "last seen", "closed"),
    _difference_cells,
    frozenset({"id", "order"}),
    ("closed", "last seen", "id", "first seen", "note"),
)


async def orders_of_transaction(console: PostgresConsole, transaction_id: str) -> list[ListedOrder]:
    """Greatest ids first; adapters.records.search.MAX_FOUND at most."""
    await _read_on(console)
    found = []
    of_it = (await console.find(transaction_id)).orders.get("transaction", [])
    for order_id in sorted(of_it, reverse=True):
        rows = await console.orders(OrderFilter(), parked=False, start=order_id, upwards=False, limit=1)
        found += [each for each in rows if each.row.order_id == order_id]
    return found


def run_find(url: str, text: str, *, as_json: bool) -> int:
    """Prints what the text is of. Answers the exit code: 1 if nothing was found."""

    async def ask(database: Database) -> SearchResult:
        console = PostgresConsole(database)
        await _read_on(console)
        return await console.find(text)

    found = ask_database(url, ask)
    if as_json:
        output.print_json({"orders": dict(found.orders), "quarantined": found.quarantined})
    else:
        rows = [("order", each, what) for what, ids in found.orders.items() for each in ids]
        messages = [("message in quarantine", each, "id or place") for each in found.quarantined]
        output.table(("what", "id", "found by"), rows + messages, right={"id"})
    return 0 if found.orders or found.quarantined else 1


async def _read_on(console: PostgresConsole) -> None:
    """What was stored since anybody looked; it's long work only where nobody ever did."""
    read = await console.index_transactions()
    if read < EVENTS_PER_STEP:
        return
    with progress_bar("reading", "events") as bar:
        task = bar.add_task("", total=None, completed=read)
        while read := await console.index_transactions():
            bar.update(task, advance=read)
