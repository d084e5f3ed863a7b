"""The command `comparisons`: those that were asked for in the console, as far as they have come."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from uuid import UUID

from adapters.cli import lists
from adapters.cli.database import ask_database
from adapters.cli.output import facts, moment, print_json, say, table
from adapters.postgres.comparisons import PostgresComparisons
from adapters.postgres.pool import Database
from adapters.presentation.paging import Paging
from adapters.presentation.views import book_entry_view
from adapters.records.actions import ActionRequest
from adapters.records.comparisons import Comparison, ComparisonState, Found
from adapters.records.errors import Refused
from adapters.records.operators import command_line_operator
from domain.errors import CashbackError

T = TypeVar("T")


class UnknownComparison(CashbackError):
    def __init__(self, name: UUID | str) -> None:
        super().__init__(f"there is no comparison {name}, or not any more")


class NotRunning(Refused):
    def __init__(self, comparison: Comparison) -> None:
        super().__init__(f"comparison {comparison.id} is {comparison.state} already")


def comparison_id_of(text: str) -> UUID:
    """Raises UnknownComparison for what can't be one."""
    try:
        return UUID(text)
    except ValueError:
        raise UnknownComparison(text) from None


def run_comparisons(url: str, request: lists.ListRequest) -> int:
    """Answers the exit code, as they all do."""

    async def ask(database: Database, start: int | None, limit: int) -> list[Comparison]:
        return await PostgresComparisons(database).page(start, limit)

    return lists.run_list(url, _COMPARISONS, ask, request)


def run_comparison_show(url: str, comparison_id: UUID, *, as_json: bool) -> int:
    """Raises UnknownComparison."""
    return _show(_run(url, lambda comparisons: _get(comparisons, comparison_id)), as_json=as_json)


def run_comparison_cancel(url: str, comparison_id: UUID, *, reason: str, as_json: bool) -> int:
    """Raises UnknownComparison or NotRunning."""

    async def cancel(comparisons: PostgresComparisons) -> Comparison:
        was_running = await comparisons.cancel(
            comparison_id, ActionRequest(command_line_operator(), reason.strip())
        )
        comparison = await _get(comparisons, comparison_id)
        if not was_running:
            raise NotRunning(comparison)
        return comparison

    return _show(_run(url, cancel), as_json=as_json)


async def _get(comparisons: PostgresComparisons, comparison_id: UUID) -> Comparison:
    comparison = await comparisons.get(comparison_id)
    if comparison is None:
        raise UnknownComparison(comparison_id)
    return comparison


def _run(url: str, ask: Callable[[PostgresComparisons], Awaitable[T]]) -> T:
    return ask_database(url, lambda database: ask(PostgresComparisons(database)))


def _show(comparison: Comparison, *, as_json: bool) -> int:
    if as_json:
        print_json(_view(comparison))
        return 0
    say(f"comparison {comparison.id}: {comparison.state}", "bold")
    facts(
        (
            ("compared", f"{comparison.compared} of {_orders(comparison)}"),
            (
                "found",
                ", ".join(f"{number} {verdict}" for verdict, number in comparison.verdicts.items() if number),
            ),
            ("rate", f"{comparison.rate_per_second:g} a second"),
            ("asked for", f"{moment(comparison.requested_at)} by {comparison.operator}"),
            ("reason", comparison.reason),
            ("ended", moment(comparison.ended_at) if comparison.ended_at else None),
            ("waits" if comparison.state is ComparisonState.RUNNING else "note", comparison.note),
        )
    )
    if comparison.findings:
        rows = ((each.order_id, each.verdict, each.ours, each.theirs, each.detail) for each in comparison.findings)
        table(("order", "class", "ours", "theirs", "note"), rows, right=("order",))
    return 0


def _orders(comparison: Comparison) -> str:
    return f"all {comparison.total} orders" if comparison.is_of_all else f"{comparison.total} orders"


def _view(comparison: Comparison) -> dict[str, Any]:
    return {
        "id": comparison.id,
        "state": comparison.state,
        "isOfAll": comparison.is_of_all,
        "total": comparison.total,
        "compared": comparison.compared,
        "classes": dict(comparison.verdicts),
        "differences": [_finding(each) for each in comparison.findings],
        "ratePerSecond": comparison.rate_per_second,
        "operator": comparison.operator,
        "reason": comparison.reason,
        "note": comparison.note,
        "requestedAt": comparison.requested_at,
        "endedAt": comparison.ended_at,
    }


def _finding(found: Found) -> dict[str, Any]:
    sides = {"ours": book_entry_view(found.ours), "theirs": book_entry_view(found.theirs)}
    return {"orderId": found.order_id, "class": found.verdict} | sides | {"detail": found.detail}


_COMPARISONS: Final = lists.Listing[Comparison](
    "comparisons",
    Paging("comparisons", lambda comparison: comparison.number - 1),
    _view,
    ("id", "state", "of", "compared", "differing", "asked for", "by", "reason"),
    lambda each: (
        *(each.id, each.state, _orders(each), each.compared, each.differing),
        *(moment(each.requested_at), each.operator, each.reason),
    ),
    frozenset({"compared", "differing"}),
)
