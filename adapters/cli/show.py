"""The commands that only look. Each imports what it needs when it runs."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.cli.options import (
    DEFAULT_LIMIT,
    LOOK,
    After,
    DifferenceClassOption,
    Json,
    Limit,
    OrderId,
    OrderIds,
)
from adapters.cli.startup import configured, usable_database_url
from adapters.records.money_may_be_wrong import CaseKind, CaseLimits, CaseSort
from adapters.records.statement import MAX_YEAR, MIN_YEAR
from domain.errors import BadSetting
from domain.identifiers import MAX_ORDER_ID
from domain.lifecycle import Status

if TYPE_CHECKING:
    from adapters.settings import Settings

commands = typer.Typer()


class DifferenceStateOption(StrEnum):
    """Where a difference from the third party's books stands."""

    OPEN = "open"
    CLOSED = "closed"


@commands.command(rich_help_panel=LOOK)
def status(*, as_json: Json = False) -> None:
    """What stands still and how much money with it, how fast it goes, and how the processes are."""
    from adapters.cli.status import run_status

    settings = configured()
    raise typer.Exit(run_status(usable_database_url(settings), _limits(settings), as_json=as_json))


@commands.command(rich_help_panel=LOOK)
def orders(  # noqa: PLR0913 - each is an option of the command
    *,
    status: Annotated[Status | None, typer.Option(help="With this status.")] = None,
    buyer: Annotated[str | None, typer.Option(metavar="ID", help="Of this buyer.")] = None,
    transaction: Annotated[
        str | None, typer.Option(metavar="ID", help="With this transaction; goes with no other choice.")
    ] = None,
    held: Annotated[bool, typer.Option("--held", help="With messages that wait for others.")] = False,
    doubtful: Annotated[
        bool, typer.Option("--doubtful", help="That a person must look at: late, conflict, uncertain order.")
    ] = False,
    parked: Annotated[bool, typer.Option("--parked", help="Whose calls stand still.")] = False,
    mismatch: Annotated[
        bool, typer.Option("--mismatch", help="With an open difference from the third party's books.")
    ] = False,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    as_json: Json = False,
) -> None:
    """Lists orders, greatest ids first; all conditions that are given must hold."""
    from adapters.cli.lists import ListRequest, run_orders
    from adapters.records.orders import OrderFilter

    wanted = OrderFilter(status, buyer, doubtful or None, held or None, mismatch or None)
    if transaction is not None and (parked or after is not None or wanted != OrderFilter()):
        raise BadSetting("--transaction goes with no other choice of orders, and with no --after")
    request = ListRequest(limit, after, as_json)
    url = usable_database_url(configured())
    raise typer.Exit(run_orders(url, wanted, parked=parked, transaction=transaction, request=request))


@commands.command("find", rich_help_panel=LOOK)
def find(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What you have at hand, in upper or lower case.")],
    *,
    as_json: Json = False,
) -> None:
    """Finds orders and messages by an order id or its first digits, a buyer, a transaction, an idempotency key,
    topic-partition-offset, or the id of a message in quarantine. Exits 1 if there is nothing."""
    from adapters.cli.lists import run_find

    raise typer.Exit(run_find(usable_database_url(configured()), text, as_json=as_json))


@commands.command(rich_help_panel=LOOK)
def order(order_id: OrderId, *, as_json: Json = False) -> None:
    """One order: what was paid or is owed, state, amounts by item, and every message with its decision and its
    calls."""
    from adapters.cli.order import run_order

    settings = configured()
    raise typer.Exit(run_order(usable_database_url(settings), order_id, settings.till, as_json=as_json))


@commands.command(rich_help_panel=LOOK)
def parked(
    *,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only those parked for just this reason.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    as_json: Json = False,
) -> None:
    """Lists the orders whose calls stand still, smallest ids first: see docs/runbooks/parked.md."""
    from adapters.cli.lists import ListRequest, run_parked

    raise typer.Exit(run_parked(usable_database_url(configured()), reason, ListRequest(limit, after, as_json)))


@commands.command("money-may-be-wrong", rich_help_panel=LOOK)
def money_may_be_wrong(
    *,
    kind: Annotated[CaseKind | None, typer.Option(help="Only orders that are there for this reason.")] = None,
    sort: Annotated[
        CaseSort, typer.Option(help="The greatest amount at stake first, or the oldest.")
    ] = CaseSort.AMOUNT,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    as_json: Json = False,
) -> None:
    """Lists orders whose money may be wrong, once for each reason, with the next step: see
    docs/runbooks/money-may-be-wrong.md."""
    from adapters.cli.lists import ListRequest
    from adapters.cli.money_may_be_wrong import Choice, run_money_may_be_wrong

    settings = configured()
    url = usable_database_url(settings)
    request = ListRequest(limit, after, as_json)
    raise typer.Exit(run_money_may_be_wrong(url, _limits(settings), Choice(kind, sort), request))


@commands.command(rich_help_panel=LOOK)
def statement(
    *,
    day: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="A day of UTC; the last one that is over unless given.",
        ),
    ] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated, with names in the first line.")] = False,
) -> None:
    """What moved on one day, as double entry that sums to zero, and where all the money stands: see
    docs/explanation/statement.md."""
    from adapters.cli.statement import run_statement

    if as_json and as_csv:
        raise BadSetting("--json and --csv exclude one another")
    if day is not None and not MIN_YEAR <= day.year <= MAX_YEAR:
        raise BadSetting(f"--day is {day:%Y-%m-%d}: must be from {MIN_YEAR} to {MAX_YEAR}")
    settings = configured()
    url = usable_database_url(settings)
    code = run_statement(url, day.date() if day else None, settings.till, as_json=as_json, as_csv=as_csv)
    raise typer.Exit(code)


@commands.command(rich_help_panel=LOOK)
def audit(
    *,
    order_id: Annotated[
        int | None, typer.Option("--order", min=1, max=MAX_ORDER_ID, metavar="ID", help="Only about this order.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    as_json: Json = False,
) -> None:
    """Lists what people did, the last thing first: who, when, what, and why."""
    from adapters.cli.lists import ListRequest, run_audit

    raise typer.Exit(run_audit(usable_database_url(configured()), order_id, ListRequest(limit, after, as_json)))


@commands.command(rich_help_panel=LOOK)
def differences(
    *,
    state: Annotated[
        DifferenceStateOption, typer.Option(help="Those that are there, or that were.")
    ] = DifferenceStateOption.OPEN,
    verdict: Annotated[
        DifferenceClassOption | None, typer.Option("--class", help="Only those of this class.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    as_json: Json = False,
) -> None:
    """Lists orders on which the third party and we didn't agree when they were last compared."""
    from adapters.cli.lists import ListRequest, run_differences

    request = ListRequest(limit, after, as_json)
    url = usable_database_url(configured())
    raise typer.Exit(run_differences(url, state.value, verdict.value if verdict else None, request))


@commands.command(rich_help_panel=LOOK)
def reconcile(
    order_ids: OrderIds = None,
    *,
    since: Annotated[
        str | None, typer.Option(help="Orders that changed at this moment (RFC 3339) or after it.")
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Only so many, by chance.")] = None,
    rate: Annotated[float, typer.Option(min=0.01, max=1000, help="Lookups per second, at most.")] = 50.0,
    as_json: Json = False,
) -> None:
    """Compares orders with the third party's books: all of them, or those chosen. Exits 1 if they differ."""
    from adapters.cli import reconcile

    if order_ids and (since is not None or sample is not None):
        raise BadSetting("--since and --sample choose among all orders: they go with no order id")
    scope = reconcile.ReconcileScope(order_ids or (), reconcile.since(since), sample, rate)
    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(reconcile.run_reconcile(settings, scope, as_json=as_json))


def _limits(settings: "Settings") -> CaseLimits:
    """From when on an order is on the list of those whose money may be wrong."""
    return CaseLimits(pending_days=settings.pending_alert_days)
