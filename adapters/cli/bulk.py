"""The commands that do something to many orders. Each imports what it needs when it runs."""

from typing import Annotated

import typer

from adapters.cli.options import (
    DEFAULT_LIMIT,
    MANY,
    NO_REASON,
    After,
    DifferenceClassOption,
    HowOption,
    IncludeOption,
    Json,
    Limit,
    NonceOption,
    Reason,
    redelivery,
)
from adapters.cli.startup import configured, usable_database_url
from adapters.records.jobs import (
    ALL_KINDS,
    BULK,
    COMPARISONS,
    DEFAULT_RATE_PER_SECOND,
    MAX_RATE_PER_SECOND,
    MIN_RATE_PER_SECOND,
    BulkMode,
    Kinds,
)
from domain.errors import BadSetting
from domain.events import Doubt
from domain.lifecycle import Status
from projections.redelivery import DEFAULT_OPTIONS, How

commands = typer.Typer()


@commands.command("replay-many", rich_help_panel=MANY)
def replay_many(  # noqa: PLR0913 - each is an option of the command
    *,
    mode: Annotated[
        BulkMode,
        typer.Option(
            help="Publish the messages again, call the third party again, retry parked orders, settle doubts,"
            " release what is held; or read messages in quarantine again, or discard them."
        ),
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
    doubtful: Annotated[bool, typer.Option("--doubtful", help="Orders with an open doubt.")] = False,
    doubt: Annotated[Doubt | None, typer.Option(help="Orders with an open doubt of this kind.")] = None,
    doubtful_from: Annotated[
        str | None, typer.Option(help="Orders whose oldest doubt is of this moment or after it.")
    ] = None,
    doubtful_to: Annotated[
        str | None, typer.Option(help="Orders whose oldest doubt is of before this moment.")
    ] = None,
    at_stake_min: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Doubtful orders with at least so much at stake.")
    ] = None,
    at_stake_max: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Doubtful orders with at most so much at stake.")
    ] = None,
    held: Annotated[bool, typer.Option("--held", help="Orders with a held message.")] = False,
    held_from: Annotated[
        str | None, typer.Option(help="Orders whose oldest held message came at this moment or after it.")
    ] = None,
    held_to: Annotated[
        str | None, typer.Option(help="Orders whose oldest held message came before this moment.")
    ] = None,
    difference: Annotated[
        DifferenceClassOption | None,
        typer.Option(help="Orders with an open difference of this class from the third party's books."),
    ] = None,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Messages in quarantine, for --mode quarantine_….")
    ] = False,
    quarantine_reason: Annotated[
        str | None, typer.Option(metavar="REASON", help="Messages in quarantine for this reason.")
    ] = None,
    quarantine_topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Messages in quarantine from this topic.")
    ] = None,
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
    as_json: Json = False,
) -> None:
    """Does to many orders what `replay`, `retry`, `settle` or `release` does to one: shows which, asks, and goes at
    the rate given.

    Ctrl-C cancels it.
    """
    from adapters.cli import bulk_replay

    settings = configured()
    again = redelivery(how, nonce, include)
    texts: tuple[object, ...] = (
        *(status, changed_from, changed_to, orders, parked_reason, parked_from, parked_to, rate, reason),
        *(doubt, doubtful_from, doubtful_to, at_stake_min, at_stake_max, held_from, held_to),
        *(difference, quarantine_reason, quarantine_topic),
    )
    flags = dry_run, parked, doubtful, held, quarantined, again != DEFAULT_OPTIONS
    has_choices = any(flags) or any(each is not None for each in texts)
    if token is not None and has_choices:
        raise BadSetting("--token does what a preview showed: it goes with no selection, rate, reason or --dry-run")
    if as_json and not (dry_run or yes or token):
        raise BadSetting("--json goes with --dry-run, --yes or --token: it asks nobody")
    if token is not None:
        usable_database_url(settings)
        raise typer.Exit(bulk_replay.run_preview(settings, token, as_json=as_json))
    if mode is not BulkMode.REDELIVER and again != DEFAULT_OPTIONS:
        raise BadSetting("--how, --nonce and --include are for --mode redeliver")
    selection = bulk_replay.selection(
        orders,
        status,
        changed_from,
        changed_to,
        parked=parked,
        parked_reason=parked_reason,
        parked_from=parked_from,
        parked_to=parked_to,
        doubtful=doubtful,
        doubt=doubt,
        doubtful_from=doubtful_from,
        doubtful_to=doubtful_to,
        at_stake_min=at_stake_min,
        at_stake_max=at_stake_max,
        held=held,
        held_from=held_from,
        held_to=held_to,
        difference=difference.value if difference else None,
        quarantined=quarantined,
        quarantine_reason=quarantine_reason,
        quarantine_topic=quarantine_topic,
    )
    request = bulk_replay.ReplayManyRequest(
        mode,
        selection,
        rate or DEFAULT_RATE_PER_SECOND,
        reason or NO_REASON,
        again,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    usable_database_url(settings)
    raise typer.Exit(bulk_replay.run_replay_many(settings, request))


JobId = Annotated[str | None, typer.Argument(metavar="ID", help="Of a job.")]
ReplayId = Annotated[str | None, typer.Argument(metavar="ID", help="Of a replay of many orders.")]
ComparisonId = Annotated[
    str | None, typer.Argument(metavar="ID", help="Of a comparison with the third party's books.")
]


@commands.command(rich_help_panel=MANY)
def jobs(job_id: JobId = None, *, limit: Limit = DEFAULT_LIMIT, after: After = None, as_json: Json = False) -> None:
    """Lists the last replays of many orders and comparisons, or shows how far one has come."""
    raise typer.Exit(_look(ALL_KINDS, job_id, limit, after, as_json=as_json))


@commands.command(rich_help_panel=MANY)
def replays(
    replay_id: ReplayId = None, *, limit: Limit = DEFAULT_LIMIT, after: After = None, as_json: Json = False
) -> None:
    """Lists the last replays of many orders, or shows how far one has come."""
    raise typer.Exit(_look(BULK, replay_id, limit, after, as_json=as_json))


def _look(kinds: Kinds, job_id: str | None, limit: int, after: str | None, *, as_json: bool) -> int:
    from adapters.cli.jobs import job_id_of, run_job_show, run_jobs
    from adapters.cli.lists import ListRequest

    settings = configured()
    wanted = None if job_id is None else job_id_of(job_id, kinds)
    url = usable_database_url(settings)
    if wanted is None:
        return run_jobs(url, kinds, ListRequest(limit, after, as_json))
    return run_job_show(url, wanted, kinds, as_json=as_json)


@commands.command("cancel-replay", rich_help_panel=MANY)
def cancel_replay(
    replay_id: Annotated[str, typer.Argument(metavar="ID", help="Of a replay of many orders.")],
    *,
    as_json: Json = False,
) -> None:
    """Cancels a replay of many orders; those under way at this moment still go."""
    from adapters.cli.jobs import job_id_of, run_replay_cancel

    settings = configured()
    wanted = job_id_of(replay_id, BULK)
    raise typer.Exit(run_replay_cancel(usable_database_url(settings), wanted, as_json=as_json))


@commands.command(rich_help_panel=MANY)
def comparisons(  # noqa: PLR0913 - each is an option of the command
    comparison_id: ComparisonId = None,
    *,
    cancel: Annotated[bool, typer.Option("--cancel", help="End it.")] = False,
    reason: Reason = NO_REASON,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    as_json: Json = False,
) -> None:
    """Lists the comparisons that were started in the console, shows how far one has come, or ends it.

    `reconcile` starts one here.
    """
    from adapters.cli.jobs import job_id_of, run_comparison_cancel

    if not cancel:
        raise typer.Exit(_look(COMPARISONS, comparison_id, limit, after, as_json=as_json))
    if comparison_id is None:
        raise BadSetting("--cancel is about one comparison: give its id")
    settings = configured()
    wanted = job_id_of(comparison_id, COMPARISONS)
    raise typer.Exit(run_comparison_cancel(usable_database_url(settings), wanted, reason=reason, as_json=as_json))
