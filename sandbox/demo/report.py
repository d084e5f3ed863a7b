"""What the demo finds and prints at the end of a run with --exit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg
from rich.table import Table

from adapters.postgres.connections import BoundedConnection, conninfo
from projections.delivery.ports import Outcome
from sandbox.demo.reconciliation import (
    STATUSES,
    BooksComparison,
    Side,
    Standing,
    compare,
    read_books,
    read_event_store,
    read_violations,
)
from sandbox.demo.settings import Scenario
from sandbox.demo.stack import Addresses
from sandbox.order_service.poison import POISON_HEADER

MAX_SHOWN: Final = 20

_PARKED: Final = """
SELECT order_id, parked_reason FROM delivery
WHERE parked_at IS NOT NULL AND (%(only)s::bigint[] IS NULL OR order_id = ANY(%(only)s::bigint[]))
ORDER BY order_id
"""
_QUARANTINED: Final = """
SELECT id, reason, detail FROM quarantine
WHERE state = 'open' AND id > %s
  AND NOT EXISTS (SELECT FROM jsonb_array_elements(headers) AS header WHERE header->>0 = %s)
ORDER BY id
"""
_POISON: Final = """
SELECT count(*) FROM quarantine, jsonb_array_elements(headers) AS header
WHERE header->>0 = %s AND starts_with(convert_from(decode(header->>1, 'base64'), 'UTF8'), %s)
"""
_ATTEMPTS: Final = """
SELECT outcome, count(*) FROM attempt WHERE order_id BETWEEN %s AND %s GROUP BY outcome ORDER BY outcome
"""


@dataclass(frozen=True)
class Report:
    """`troubles` says in words, by kind, what must not be there besides differences."""

    comparison: BooksComparison
    expected: int
    """Orders of this run."""
    attempts: dict[str, int]
    """At the calls of this run's orders, by outcome."""
    troubles: dict[str, list[str]]
    poison: int = 0
    """Records of this run in quarantine that nobody was meant to be able to read."""

    @property
    def agrees(self) -> bool:
        found = self.comparison
        complete = found.as_expected == self.expected
        return complete and not found.difference_count and not any(self.troubles.values())


def last_quarantined(database_url: str) -> int:
    """The number of the last message in quarantine. Raises psycopg.Error."""
    with BoundedConnection[Any].connect(conninfo(database_url, application_name="cashback-demo")) as connection:
        return _count(connection, "SELECT coalesce(max(id), 0) FROM quarantine", ())


def reconcile(  # noqa: PLR0913 - what is compared with what
    addresses: Addresses,
    scenario: Scenario,
    *,
    corrections: bool,
    is_ours_alone: bool,
    quarantined_before: int,
    progress: Callable[[int], None],
) -> Report:
    """Compares this run's orders, and where database and books are ours alone those of all earlier runs too.

    Raises psycopg.Error or NoBooks.
    """
    expected = {order_id: Standing(*end) for order_id, end in scenario.expected(corrections=corrections).items()}
    only = None if is_ours_alone else expected.keys()
    store = read_event_store(addresses.database_url, progress, only)
    comparison = compare(store.standings, read_books(addresses.third_party_url, only), expected)
    violations, violation_texts = read_violations(addresses.third_party_url)
    with BoundedConnection[Any].connect(
        conninfo(addresses.database_url, application_name="cashback-demo")
    ) as connection:
        parked = connection.execute(_PARKED, {"only": None if only is None else list(only)}).fetchall()
        quarantined = connection.execute(_QUARANTINED, (quarantined_before, POISON_HEADER)).fetchall()
        poison_found = _count(connection, _POISON, (POISON_HEADER, f"{scenario.first_order_id}/"))
        attempts: dict[str, int] = dict(connection.execute(_ATTEMPTS, (min(expected), max(expected))).fetchall())
    poison = scenario.expected_poison()
    troubles = {
        "violation": violation_texts or ["" for _ in range(violations)],
        "parked order": [f"{order_id}: {reason}" for order_id, reason in parked],
        "order with held messages": [str(order_id) for order_id in store.held],
        "quarantined message": [f"{number}: {reason}, {detail}" for number, reason, detail in quarantined],
        "doubtful order": [str(order_id) for order_id in store.doubtful],
    }
    if poison_found != poison:
        troubles["miscount"] = [f"{poison_found} poisoned records in quarantine, and {poison} were published"]
    return Report(comparison, len(expected), attempts, troubles, poison_found)


def books_table(report: Report) -> Table:
    """Both sides' orders and money by status, and whether they are the same. All digits: nothing is rounded."""
    table = Table(title="reconciliation", title_justify="left")
    table.add_column("status")
    for column in ("event store", "cashback", "third party", "cashback"):
        table.add_column(column, justify="right")
    table.add_column("")
    stored, booked = report.comparison.stored, report.comparison.booked
    for status in STATUSES:
        if stored.orders[status] or booked.orders[status]:
            ours, theirs = _cells(stored, status), _cells(booked, status)
            table.add_row(status.lower().replace("_", " "), *ours, *theirs, "=" if ours == theirs else "≠")
    all_stored, all_booked = (f"{side.orders.total():,}" for side in (stored, booked))
    table.add_section()
    table.add_row("all", all_stored, "", all_booked, "", "=" if all_stored == all_booked else "≠")
    return table


def sentences(report: Report) -> Iterator[str]:
    """Everything else that is to be said; the last one is the verdict."""
    comparison = report.comparison
    yield f"this run: {comparison.as_expected:,} of {report.expected:,} orders ended as they must, on both sides"
    delivered = report.attempts.get(Outcome.DELIVERED, 0)
    others = ", ".join(
        f"{count:,} {outcome.replace('_', ' ')}"
        for outcome, count in report.attempts.items()
        if outcome != Outcome.DELIVERED
    )
    yield f"calls of this run: {delivered:,} delivered" + (f"; attempts before: {others}" if others else "")
    if report.poison:
        yield f"in quarantine, as they must be: {report.poison:,} poisoned records of this run"
    yield ", ".join(f"{len(found):,} {_plural(kind, len(found))}" for kind, found in report.troubles.items())
    for kind, found in report.troubles.items():
        yield from _shown([f"{kind} {each}" for each in found])
    yield from _shown([str(difference) for difference in comparison.differences], comparison.difference_count)
    if report.agrees:
        yield "the third party's books equal the event store, order by order, to the last digit"
    else:
        yield "NOT RECONCILED"


def _count(connection: psycopg.Connection[Any], statement: LiteralString, parameters: tuple[str, ...]) -> int:
    row = connection.execute(statement, parameters).fetchone()
    return int(row[0]) if row else 0


def _shown(lines: list[str], count: int | None = None) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:MAX_SHOWN])
    if (count or len(lines)) > MAX_SHOWN:
        yield f"  … and {(count or len(lines)) - MAX_SHOWN:,} more"


def _plural(kind: str, count: int) -> str:
    head, _, tail = kind.partition(" with ")
    return (head if count == 1 else f"{head}s") + (f" with {tail}" if tail else "")


def _cells(side: Side, status: str) -> tuple[str, str]:
    amount = side.amounts.get(status)
    return f"{side.orders[status]:,}", "" if amount is None else f"{amount.normalize():,f}"
