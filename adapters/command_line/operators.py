"""The commands with which operators look after orders. Each imports what it needs when it runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adapters.bulk import DEFAULT_RATE_PER_SECOND, MAX_RATE_PER_SECOND, MIN_RATE_PER_SECOND, BulkMode
from adapters.command_line.configured import configured, usable_database_url
from adapters.settings import BadSetting
from domain.lifecycle import Status
from projections.redelivery import MAX_NONCE_LENGTH, How, Include, is_nonce
from projections.redelivery import Wish as RedeliveryWish

operators = typer.Typer()

OrderId = Annotated[int, typer.Argument(min=1, max=2**63 - 1, metavar="ORDER_ID")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
HowOption = Annotated[How, typer.Option(help="Redeliver only what is missing, or all.")]
NonceOption = Annotated[
    str | None, typer.Option(help="Redeliver under new keys, made from the old ones and this. May pay twice.")
]
IncludeOption = Annotated[
    list[Include] | None, typer.Option(help="Redeliver also what is left out for safety; may be given twice.")
]


class QuarantineStateOption(StrEnum):
    """Where messages in quarantine stand."""

    OPEN = "open"
    RETRIED = "retried"
    DISCARDED = "discarded"


class Mode(StrEnum):
    """What a replay does again."""

    REDELIVER = "redeliver"
    REPUBLISH = "republish"


@operators.command()
def replay(  # noqa: PLR0913 - each is an option of the command
    order_id: OrderId,
    mode: Annotated[Mode, typer.Option(help="Call the third party again, or publish the messages again.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the replay.")] = "from the command line",
    how: HowOption = How.FORCE,
    nonce: NonceOption = None,
    include: IncludeOption = None,
) -> None:
    """Does again what one order's messages led to, or publishes its messages again in their order."""
    from adapters.replaying import run_replay

    wish = _redelivery(how, nonce, include)
    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(run_replay(settings, order_id, mode.value, dry_run=dry_run, reason=reason, wish=wish))


@operators.command()
def retry(
    order_id: OrderId,
    *,
    dry_run: DryRun = False,
    reason: Annotated[str, typer.Option(help="Why; kept.")] = "from the command line",
) -> None:
    """Makes the next call of an order due at once, parked or waiting: see docs/runbooks/parked.md."""
    from adapters.mending import run_retry

    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(run_retry(settings, order_id, dry_run=dry_run, reason=reason))


@operators.command()
def skip(
    order_id: OrderId,
    version: Annotated[
        int | None, typer.Option(min=1, help="Only this call: if the order stands at another one, nothing is done.")
    ] = None,
    *,
    dry_run: DryRun = False,
    reason: Annotated[str, typer.Option(help="Why; kept. Needed unless it's a dry run.")] = "",
) -> None:
    """Gives up the call at which an order is parked; its later calls go on: see docs/runbooks/parked.md."""
    from adapters.mending import run_skip

    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(run_skip(settings, order_id, version=version, dry_run=dry_run, reason=reason))


@operators.command()
def quarantine(  # noqa: PLR0913 - each is an option of the command
    quarantine_id: Annotated[int | None, typer.Argument(metavar="[ID]", min=1, max=2**63 - 1)] = None,
    *,
    state: Annotated[QuarantineStateOption | None, typer.Option(help="List only messages in this state.")] = None,
    retry_: Annotated[bool, typer.Option("--retry", help="Read the message again, and decide it.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Nobody needs the message.")] = False,
    key: Annotated[str | None, typer.Option(help="With --retry: the key to be read instead.")] = None,
    value: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --retry: the value to be read instead.")
    ] = None,
    dry_run: DryRun = False,
    reason: Annotated[str, typer.Option(help="Why; kept. Needed to discard.")] = "",
) -> None:
    """Lists the last messages that could not be read, shows one, reads it again, or discards it."""
    from adapters import mending

    if quarantine_id is None and (retry_ or discard):
        raise BadSetting("--retry and --discard are about one message: give its id")
    if retry_ and discard:
        raise BadSetting("--retry and --discard exclude one another")
    if (key is not None or value is not None) and not retry_:
        raise BadSetting("--key and --value go with --retry")
    edit = mending.edit_from(key, value)
    settings = configured()
    usable_database_url(settings)
    if quarantine_id is None:
        raise typer.Exit(mending.run_quarantine_list(settings, state.value if state else None))
    if retry_:
        raise typer.Exit(
            mending.run_quarantine_retry(settings, quarantine_id, edit, dry_run=dry_run, reason=reason)
        )
    if discard:
        raise typer.Exit(mending.run_quarantine_discard(settings, quarantine_id, dry_run=dry_run, reason=reason))
    raise typer.Exit(mending.run_quarantine_show(settings, quarantine_id))


@operators.command("replay-many")
def replay_many(  # noqa: PLR0913 - each is an option of the command
    *,
    mode: Annotated[
        BulkMode,
        typer.Option(help="Publish the messages again, call the third party again, or let parked orders go on."),
    ] = BulkMode.REPUBLISH,
    status: Annotated[Status | None, typer.Option(help="Orders with this status.")] = None,
    changed_from: Annotated[
        str | None, typer.Option(help="Orders last changed at this moment (RFC 3339) or after it.")
    ] = None,
    changed_to: Annotated[str | None, typer.Option(help="Orders last changed before this moment.")] = None,
    orders: Annotated[
        str | None, typer.Option(metavar="FILE", help="Orders whose ids stand in this file; `-`: standard input.")
    ] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Orders that are parked.")] = False,
    parked_reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Orders parked for a reason that begins with this.")
    ] = None,
    parked_from: Annotated[str | None, typer.Option(help="Orders parked at this moment or after it.")] = None,
    parked_to: Annotated[str | None, typer.Option(help="Orders parked before this moment.")] = None,
    how: HowOption = How.FORCE,
    nonce: NonceOption = None,
    include: IncludeOption = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=MIN_RATE_PER_SECOND,
            max=MAX_RATE_PER_SECOND,
            help=f"Orders per second, at most; {DEFAULT_RATE_PER_SECOND:g} unless given.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept with the replay.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done, and a token.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    token: Annotated[
        str | None, typer.Option(help="Do what the preview with this token showed; needs no other option.")
    ] = None,
) -> None:
    """Does to many orders what `replay` or `retry` does to one: shows which, asks, and goes at the rate given.

    Ctrl-C cancels it.
    """
    from adapters import bulk_command

    settings = configured()
    redelivery = _redelivery(how, nonce, include)
    texts = (status, changed_from, changed_to, orders, parked_reason, parked_from, parked_to, rate, reason)
    is_wished = dry_run or parked or redelivery != RedeliveryWish() or any(each is not None for each in texts)
    if token is not None and is_wished:
        raise BadSetting("--token does what a preview showed: it goes with no selection, rate, reason or --dry-run")
    if token is not None:
        usable_database_url(settings)
        raise typer.Exit(bulk_command.run_preview(settings, token))
    if mode is not BulkMode.REDELIVER and redelivery != RedeliveryWish():
        raise BadSetting("--how, --nonce and --include are for --mode redeliver")
    selection = bulk_command.selection(
        orders,
        status,
        changed_from,
        changed_to,
        parked=parked,
        parked_reason=parked_reason,
        parked_from=parked_from,
        parked_to=parked_to,
    )
    wish = bulk_command.Wish(
        mode,
        selection,
        rate or DEFAULT_RATE_PER_SECOND,
        reason or "from the command line",
        redelivery,
        dry_run=dry_run,
        yes=yes,
    )
    usable_database_url(settings)
    raise typer.Exit(bulk_command.run_replay_many(settings, wish))


@operators.command()
def replays(
    replay_id: Annotated[str | None, typer.Argument(metavar="ID", help="Of a replay of many orders.")] = None,
) -> None:
    """Lists the last replays of many orders, or shows how far one has come."""
    from adapters import bulk_command

    settings = configured()
    wanted = None if replay_id is None else bulk_command.replay_id_of(replay_id)
    usable_database_url(settings)
    raise typer.Exit(bulk_command.run_replays(settings, wanted))


@operators.command("cancel-replay")
def cancel_replay(replay_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Cancels a replay of many orders; those under way at this moment still go."""
    from adapters import bulk_command

    settings = configured()
    wanted = bulk_command.replay_id_of(replay_id)
    usable_database_url(settings)
    raise typer.Exit(bulk_command.run_cancel(settings, wanted))


@operators.command("accept-loss")
def accept_loss(
    topic: Annotated[str, typer.Argument(metavar="TOPIC")],
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Only this one; may be given several times.")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="beginning|end|OFFSET", help="Where to go on in the log.")
    ] = "beginning",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is lost.")] = False,
    reason: Annotated[str, typer.Option(help="Why this may be lost; kept. Needed unless it's a dry run.")] = "",
) -> None:
    """Lets reading go on where messages may be lost: see docs/runbooks/messages-lost.md. Moves nothing else."""
    from adapters.accepting import run_accept_loss

    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(run_accept_loss(settings, topic, partition or [], start, dry_run=dry_run, reason=reason))


@operators.command()
def reconcile(
    order_ids: Annotated[list[int] | None, typer.Argument(metavar="[ORDER_ID]…", min=1, max=2**63 - 1)] = None,
    *,
    since: Annotated[
        str | None, typer.Option(help="Orders that changed at this moment (RFC 3339) or after it.")
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Only so many, by chance.")] = None,
    rate: Annotated[float, typer.Option(min=0.01, max=1000, help="Lookups per second, at most.")] = 50.0,
) -> None:
    """Compares orders with the third party's books: all of them, or those chosen. Exits 1 if they differ."""
    from adapters import reconcile_command

    if order_ids and (since is not None or sample is not None):
        raise BadSetting("--since and --sample choose among all orders: they go with no order id")
    wish = reconcile_command.Wish(order_ids or (), reconcile_command.since(since), sample, rate)
    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(reconcile_command.run_reconcile(settings, wish))


def _redelivery(how: How, nonce: str | None, include: list[Include] | None) -> RedeliveryWish:
    if nonce is not None and not is_nonce(nonce):
        raise BadSetting(
            f"--nonce is {nonce[:MAX_NONCE_LENGTH]!r}: must be 1 to {MAX_NONCE_LENGTH} visible characters"
        )
    return RedeliveryWish(how, nonce, frozenset(include or ()))
