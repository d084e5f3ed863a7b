"""The `reconcile` command: orders compared with the third party's books, with progress, then what was found."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from adapters.cli.exit_codes import INTERRUPTED
from adapters.cli.output import print_json, say, table
from adapters.cli.progress import progress_bar
from adapters.operations.reconciliation.reconciler import LOOKUPS_AT_ONCE, ReconcileCounts, Reconciler
from adapters.postgres.pool import Database
from adapters.postgres.reconciliation import PostgresReconciliation
from adapters.settings import Settings
from adapters.third_party_api.factory import resolution_of, third_party_client
from domain.errors import BadInstant, BadSetting, Unavailable
from domain.instants import parse_instant
from projections.reconciliation import BookEntry, Finding, Invariant, Verdict

ORDERS_PER_STEP: Final = 100
MAX_SHOWN: Final = 100

log = structlog.get_logger(__name__)


class ThirdPartySilent(Unavailable):
    """Lookups fail one after the other."""


@dataclass(frozen=True, slots=True)
class ReconcileScope:
    """Which orders: those named; else all, or those that changed since, or so many of these by chance."""

    order_ids: Sequence[int]
    since_ns: int | None
    sample: int | None
    lookups_per_second: float


def since(text: str | None) -> int | None:
    """From the option as typed. Raises BadSetting."""
    try:
        return None if text is None else parse_instant(text)
    except BadInstant as error:
        raise BadSetting(f"--since: {error}") from None


@dataclass(slots=True)
class _Report:
    """What was found; the first differences in full."""

    tally: ReconcileCounts = field(default_factory=ReconcileCounts)
    shown: list[Finding] = field(default_factory=list)
    unknown_orders: list[int] = field(default_factory=list)
    is_whole: bool = False

    def order_compared(self, verdict: Verdict) -> None:
        """The tally counts."""

    def invariant_broken(self, order_id: int, *broken: Invariant) -> None:
        log.error("an invariant is broken: the order is stopped", order_id=order_id, invariants=broken)

    def add(self, findings: Sequence[Finding]) -> None:
        self.unknown_orders += [finding.order_id for finding in findings if not finding.is_known]
        differing = [each for each in findings if each.broken or each.verdict is not Verdict.AGREES]
        self.shown += differing[: MAX_SHOWN - len(self.shown)]

    @property
    def exit_code(self) -> int:
        tally = self.tally
        if not self.is_whole:
            return INTERRUPTED
        return 1 if tally.real or tally.broken or tally.verdicts[Verdict.UNKNOWN] else 0


def run_reconcile(settings: Settings, scope: ReconcileScope, *, as_json: bool) -> int:
    """Answers the exit code: 1 if an order differs, breaks an invariant or couldn't be compared."""
    if not settings.third_party_lookups:
        raise BadSetting(
            "CASHBACK_THIRD_PARTY_LOOKUPS is false: the third party can't be asked how an order stands"
        )
    report = _Report()
    try:
        asyncio.run(_reconcile(settings, scope, report))
    finally:
        (_print if as_json else _show)(report)
    return report.exit_code


async def _reconcile(settings: Settings, scope: ReconcileScope, report: _Report) -> None:
    async with (
        Database(settings.database_url.get_secret_value()) as database,
        third_party_client(settings, concurrency=LOOKUPS_AT_ONCE) as client,
    ):
        books = PostgresReconciliation(database)
        await books.forget()
        reconciler = Reconciler(
            books, client, report, per_second=scope.lookups_per_second, resolution=resolution_of(settings)
        )
        comparing = asyncio.create_task(_compare_all(books, reconciler, scope, report))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, comparing.cancel)
        try:
            await comparing
        except asyncio.CancelledError:
            return
        report.is_whole = True


async def _compare_all(
    books: PostgresReconciliation, reconciler: Reconciler, scope: ReconcileScope, report: _Report
) -> None:
    with progress_bar("comparing", "orders") as bar:
        task = bar.add_task("", total=await _count(books, scope))
        async for order_ids in _orders(books, scope):
            findings = await reconciler.compare(order_ids, report.tally)
            report.add(findings)
            bar.update(task, advance=len(findings))
            if len(findings) == ORDERS_PER_STEP and all(finding.is_outage for finding in findings):
                raise ThirdPartySilent(f"the last {ORDERS_PER_STEP} lookups failed: {findings[-1].detail}")


async def _count(books: PostgresReconciliation, scope: ReconcileScope) -> int:
    if scope.order_ids:
        return len(set(scope.order_ids))
    count = await books.count(scope.since_ns)
    return count if scope.sample is None else min(count, scope.sample)


async def _orders(books: PostgresReconciliation, scope: ReconcileScope) -> AsyncIterator[Sequence[int]]:
    """In steps."""
    if scope.order_ids or scope.sample is not None:
        chosen = scope.order_ids or await books.sample(scope.since_ns, scope.sample or 0)
        order_ids = sorted(set(chosen))
        for start in range(0, len(order_ids), ORDERS_PER_STEP):
            yield order_ids[start : start + ORDERS_PER_STEP]
        return
    after = 0
    while page := await books.order_ids(scope.since_ns, after, ORDERS_PER_STEP):
        yield page
        after = page[-1]


def _print(report: _Report) -> None:
    tally = report.tally
    sums = tally.credits
    document = {
        "orders": tally.orders,
        "isWhole": report.is_whole,
        "classes": {verdict: tally.verdicts[verdict] for verdict in Verdict},
        "completed": {"orders": sums.orders, "cashbackAmount": sums.owed},
        "credits": {"calls": sums.credits, "cashbackAmount": sums.credited},
        "broken": dict(sorted(tally.broken.items())),
        "differences": [_difference(finding) for finding in report.shown],
        "unheardOf": report.unknown_orders[:MAX_SHOWN],
    }
    print_json(document)


def _difference(finding: Finding) -> dict[str, Any]:
    verdict, ours, theirs = finding.comparison
    sides = {"ours": _side(ours), "theirs": _side(theirs)}
    return (
        {"orderId": finding.order_id, "class": verdict}
        | sides
        | {
            "detail": finding.detail,
            "broken": list(finding.broken),
        }
    )


def _side(standing: BookEntry | None) -> dict[str, Any] | None:
    return standing and {"status": standing.status, "cashbackAmount": standing.amount}


def _show(report: _Report) -> None:
    tally = report.tally
    if report.shown:
        columns = ("order", "class", "ours", "theirs", "note")
        table(columns, map(_cells, report.shown), right=("order",), drop=("note",))
        hidden = tally.orders - tally.verdicts[Verdict.AGREES] - len(report.shown)
        if hidden > 0:
            say(f"… and {hidden} more")
    for order_id in report.unknown_orders[:MAX_SHOWN]:
        say(f"order {order_id}: neither side knows it")
    counts = ", ".join(f"{tally.verdicts[verdict]} {verdict}" for verdict in Verdict if tally.verdicts[verdict])
    say(f"{tally.orders} orders compared{f': {counts}' if counts else ''}")
    sums = tally.credits
    say(f"{sums.orders} completed, owed {sums.owed:f}; {sums.credits} credits in the ledger, {sums.credited:f}")
    for invariant, orders in sorted(tally.broken.items()):
        say(f"invariant broken: {invariant}, {orders} orders", "bold red")


def _cells(finding: Finding) -> Sequence[object]:
    verdict, ours, theirs = finding.comparison
    notes = [finding.detail] if finding.detail else []
    notes += [f"broken: {', '.join(finding.broken)}"] if finding.broken else []
    return finding.order_id, verdict, ours, "?" if verdict is Verdict.UNKNOWN else theirs, "; ".join(notes)
