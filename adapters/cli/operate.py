"""The commands that repair one order, one message, or the reading of a topic. Each imports what it needs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adapters.cli.options import (
    DEFAULT_LIMIT,
    NO_REASON,
    REPAIR,
    After,
    DryRun,
    HowOption,
    IncludeOption,
    Json,
    Limit,
    NonceOption,
    OrderId,
    Reason,
    ReasonNeeded,
    redelivery,
)
from adapters.cli.startup import configured, usable_database_url
from domain.errors import BadSetting
from domain.identifiers import MAX_ORDER_ID
from projections.redelivery import How
from projections.republication import Mode

commands = typer.Typer()


class QuarantineStateOption(StrEnum):
    """Where messages in quarantine stand."""

    OPEN = "open"
    RETRIED = "retried"
    DISCARDED = "discarded"


@commands.command(rich_help_panel=REPAIR)
def replay(  # noqa: PLR0913 - each is an option of the command
    order_id: OrderId,
    mode: Annotated[Mode, typer.Option(help="Call the third party again, or publish the messages again.")],
    *,
    dry_run: DryRun = False,
    reason: Reason = NO_REASON,
    how: HowOption = How.FORCE,
    nonce: NonceOption = None,
    include: IncludeOption = None,
    as_json: Json = False,
) -> None:
    """Does again what one order's messages led to, or publishes its messages again in their order."""
    from adapters.cli.actions import run_replay

    options = redelivery(how, nonce, include)
    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(
        run_replay(settings, order_id, mode, dry_run=dry_run, reason=reason, options=options, as_json=as_json)
    )


@commands.command(rich_help_panel=REPAIR)
def retry(order_id: OrderId, *, dry_run: DryRun = False, reason: Reason = NO_REASON, as_json: Json = False) -> None:
    """Makes the next call of an order due at once, parked or waiting: see docs/runbooks/parked.md."""
    from adapters.cli.actions import run_retry

    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(run_retry(settings, order_id, dry_run=dry_run, reason=reason, as_json=as_json))


@commands.command(rich_help_panel=REPAIR)
def skip(
    order_id: OrderId,
    version: Annotated[
        int | None, typer.Option(min=1, help="Only this call: if the order stands at another one, nothing is done.")
    ] = None,
    *,
    dry_run: DryRun = False,
    reason: ReasonNeeded = "",
    as_json: Json = False,
) -> None:
    """Gives up the call at which an order is parked; its later calls go on: see docs/runbooks/parked.md."""
    from adapters.cli.actions import run_skip

    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(run_skip(settings, order_id, version=version, dry_run=dry_run, reason=reason, as_json=as_json))


@commands.command(rich_help_panel=REPAIR)
def settle(order_id: OrderId, *, dry_run: DryRun = False, reason: ReasonNeeded = "", as_json: Json = False) -> None:
    """Settles what is in doubt about an order: what the doubt held back goes on. See docs/runbooks/doubtful.md."""
    from adapters.cli.actions import run_settle

    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(run_settle(settings, order_id, dry_run=dry_run, reason=reason, as_json=as_json))


@commands.command(rich_help_panel=REPAIR)
def release(
    order_id: OrderId,
    numbers: Annotated[
        str | None,
        typer.Option(metavar="N-M", help="Only these numbers of the publisher's sequence will never come."),
    ] = None,
    *,
    dry_run: DryRun = False,
    reason: ReasonNeeded = "",
    as_json: Json = False,
) -> None:
    """Gives up what an order's held messages wait for: they have their turn, or, without a CREATED, are closed
    unpaid. See docs/runbooks/doubtful.md."""
    from adapters.cli.actions import run_release

    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(
        run_release(settings, order_id, numbers=numbers, dry_run=dry_run, reason=reason, as_json=as_json)
    )


@commands.command(rich_help_panel=REPAIR)
def repair(order_id: OrderId, *, dry_run: DryRun = False, reason: ReasonNeeded = "", as_json: Json = False) -> None:
    """Accepts that events of an order are lost, so that what came after them counts again, with a doubt. See
    docs/runbooks/reconcile.md."""
    from adapters.cli.actions import run_repair

    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(run_repair(settings, order_id, dry_run=dry_run, reason=reason, as_json=as_json))


@commands.command(rich_help_panel=REPAIR)
def quarantine(  # noqa: PLR0913 - each is an option of the command
    quarantine_id: Annotated[
        int | None, typer.Argument(metavar="ID", min=1, max=MAX_ORDER_ID, help="Of a message.")
    ] = None,
    *,
    state: Annotated[QuarantineStateOption | None, typer.Option(help="List only messages in this state.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    retry_: Annotated[bool, typer.Option("--retry", help="Read the message again, and decide it.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Nobody needs the message.")] = False,
    key: Annotated[str | None, typer.Option(help="With --retry: the key to be read instead.")] = None,
    value: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --retry: the value to be read instead.")
    ] = None,
    dry_run: DryRun = False,
    reason: Annotated[str, typer.Option(help="Why; kept. Needed to discard.")] = "",
    as_json: Json = False,
) -> None:
    """Lists the last messages that could not be read, shows one, reads it again, or discards it."""
    from adapters.cli import actions
    from adapters.cli.lists import ListRequest, run_quarantine

    if quarantine_id is None and (retry_ or discard):
        raise BadSetting("--retry and --discard are about one message: give its id")
    if retry_ and discard:
        raise BadSetting("--retry and --discard exclude one another")
    if (key is not None or value is not None) and not retry_:
        raise BadSetting("--key and --value go with --retry")
    edit = actions.edit_from(key, value)
    settings = configured()
    url = usable_database_url(settings)
    if quarantine_id is None:
        raise typer.Exit(run_quarantine(url, state.value if state else None, ListRequest(limit, after, as_json)))
    if retry_:
        code = actions.run_quarantine_retry(
            settings, quarantine_id, edit, dry_run=dry_run, reason=reason, as_json=as_json
        )
    elif discard:
        code = actions.run_quarantine_discard(
            settings, quarantine_id, dry_run=dry_run, reason=reason, as_json=as_json
        )
    else:
        code = actions.run_quarantine_show(settings, quarantine_id, as_json=as_json)
    raise typer.Exit(code)


@commands.command("accept-loss", rich_help_panel=REPAIR)
def accept_loss(  # noqa: PLR0913 - each is an option of the command
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic's name.")],
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Only this one; may be given several times.")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="beginning|end|OFFSET", help="Where to go on in the log.")
    ] = "beginning",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is lost.")] = False,
    reason: Annotated[str, typer.Option(help="Why this may be lost; kept. Needed unless it's a dry run.")] = "",
    as_json: Json = False,
) -> None:
    """Lets reading go on where messages may be lost: see docs/runbooks/messages-lost.md. Moves nothing else."""
    from adapters.cli.accept_loss import run_accept_loss

    settings = configured()
    usable_database_url(settings)
    raise typer.Exit(
        run_accept_loss(settings, topic, partition or [], start, dry_run=dry_run, reason=reason, as_json=as_json)
    )
