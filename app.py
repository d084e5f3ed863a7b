"""The command line, and where the parts are put together. Importing this module opens nothing.

Each command imports what it needs when it runs: `rebuild` never even loads what could call the third party.
"""

import signal

if __name__ == "__main__":
    # A Ctrl-C while Python is still importing just ends us, without a trace; `main` turns to Python's own way.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import asyncio
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.bulk import DEFAULT_RATE_PER_SECOND, MAX_RATE_PER_SECOND, MIN_RATE_PER_SECOND, BulkMode
from adapters.settings import BadSetting, Settings, read_settings
from domain.errors import CashbackError
from domain.lifecycle import Status
from projections.redelivery import MAX_NONCE_LENGTH, How, Include, is_nonce
from projections.redelivery import Wish as RedeliveryWish

if TYPE_CHECKING:
    from sandbox.chaos import Chaos

EXIT_ERROR = 1
EXIT_BAD_SETTING = 2

app = typer.Typer(
    help="Order-cashback integration service. Settings: environment variables `CASHBACK_…`, see the README.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ChaosText = Annotated[
    str | None,
    typer.Option(
        "--chaos",
        metavar="all|KIND,…",
        help="Publish in disorder: shuffled, doubled, delayed, skewed, poison, growing; comma-separated, or all.",
    ),
]
OrderId = Annotated[int, typer.Argument(min=1, max=2**63 - 1, metavar="ORDER_ID")]


DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
HowOption = Annotated[How, typer.Option(help="Redeliver only what is missing, or all.")]
NonceOption = Annotated[
    str | None, typer.Option(help="Redeliver under new keys, made from the old ones and this. May pay twice.")
]
IncludeOption = Annotated[
    list[Include] | None, typer.Option(help="Redeliver also what is left out for safety; may be given twice.")
]


class Broker(StrEnum):
    """Which broker the demo starts."""

    APACHE = "apache"
    EMBEDDED = "embedded"


class QuarantineStateOption(StrEnum):
    """Where messages in quarantine stand."""

    OPEN = "open"
    RETRIED = "retried"
    DISCARDED = "discarded"


class Mode(StrEnum):
    """What a replay does again."""

    REDELIVER = "redeliver"
    REPUBLISH = "republish"


def _settings() -> Settings:
    from adapters.logs import configure_logs

    settings = read_settings()
    configure_logs(settings.log_level, settings.log_format)
    return settings


def _database_url(settings: Settings) -> str:
    """Of a database that is there, and at this version of the schema."""
    from adapters.postgres.migrate import check_database

    url = settings.database_url.get_secret_value()
    check_database(url)
    return url


@app.command()
def serve(
    only: Annotated[str, typer.Option(help="Roles of this process, comma-separated.")] = "intake,push,api",
) -> None:
    """Runs the service until SIGTERM or Ctrl-C; all roles unless told otherwise."""
    from adapters.kafka.cluster import check_reachable
    from adapters.kafka.consumer_config import check_consumer_config
    from adapters.service import Role, Service

    try:
        roles = {Role(name.strip()) for name in only.split(",")}
    except ValueError:
        raise BadSetting(f"--only is {only!r}: must be some of {','.join(Role)}, comma-separated") from None
    settings = _settings()
    _database_url(settings)
    if Role.INTAKE in roles:
        check_consumer_config(settings.kafka_bootstrap, settings.kafka_group, settings.kafka_config)
        check_reachable(settings.kafka_bootstrap, settings.kafka_config)

    async def run() -> int:
        return await Service(settings, roles).run()

    raise typer.Exit(asyncio.run(run()))


@app.command()
def migrate() -> None:
    """Creates or upgrades the database schema. Safe to run twice, and from two places at once."""
    from adapters.postgres.migrate import migrate as run_migrations

    done = run_migrations(_settings().database_url.get_secret_value())
    for migration in done:
        typer.echo(f"migrated: {migration.number:04d} {migration.name}")
    if not done:
        typer.echo("nothing to migrate")


@app.command()
def rebuild(
    order_ids: Annotated[list[int] | None, typer.Argument(metavar="[ORDER_ID]…", min=1, max=2**63 - 1)] = None,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the read models; exit 1 if they differ.")
    ] = False,
    read_models: Annotated[
        bool, typer.Option("--read-models", help="Throw the read models away and build them anew.")
    ] = False,
) -> None:
    """Rebuilds orders from the event store: all of them, or those named. It cannot call the third party."""
    from adapters.rebuilding import run_rebuild

    if read_models and (check or order_ids):
        raise BadSetting("--read-models rebuilds all orders: it goes with neither --check nor an order id")
    url = _database_url(_settings())
    raise typer.Exit(run_rebuild(url, order_ids or [], check=check, read_models=read_models))


@app.command()
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
    settings = _settings()
    _database_url(settings)
    raise typer.Exit(run_replay(settings, order_id, mode.value, dry_run=dry_run, reason=reason, wish=wish))


@app.command()
def retry(
    order_id: OrderId,
    *,
    dry_run: DryRun = False,
    reason: Annotated[str, typer.Option(help="Why; kept.")] = "from the command line",
) -> None:
    """Makes the next call of an order due at once, parked or waiting: see docs/runbooks/parked.md."""
    from adapters.mending import run_retry

    settings = _settings()
    _database_url(settings)
    raise typer.Exit(run_retry(settings, order_id, dry_run=dry_run, reason=reason))


@app.command()
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

    settings = _settings()
    _database_url(settings)
    raise typer.Exit(run_skip(settings, order_id, version=version, dry_run=dry_run, reason=reason))


@app.command()
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
    settings = _settings()
    _database_url(settings)
    if quarantine_id is None:
        raise typer.Exit(mending.run_quarantine_list(settings, state.value if state else None))
    if retry_:
        raise typer.Exit(
            mending.run_quarantine_retry(settings, quarantine_id, edit, dry_run=dry_run, reason=reason)
        )
    if discard:
        raise typer.Exit(mending.run_quarantine_discard(settings, quarantine_id, dry_run=dry_run, reason=reason))
    raise typer.Exit(mending.run_quarantine_show(settings, quarantine_id))


@app.command("replay-many")
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

    settings = _settings()
    redelivery = _redelivery(how, nonce, include)
    texts = (status, changed_from, changed_to, orders, parked_reason, parked_from, parked_to, rate, reason)
    is_wished = dry_run or parked or redelivery != RedeliveryWish() or any(each is not None for each in texts)
    if token is not None and is_wished:
        raise BadSetting("--token does what a preview showed: it goes with no selection, rate, reason or --dry-run")
    if token is not None:
        _database_url(settings)
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
    _database_url(settings)
    raise typer.Exit(bulk_command.run_replay_many(settings, wish))


@app.command()
def replays(
    replay_id: Annotated[str | None, typer.Argument(metavar="ID", help="Of a replay of many orders.")] = None,
) -> None:
    """Lists the last replays of many orders, or shows how far one has come."""
    from adapters import bulk_command

    settings = _settings()
    wanted = None if replay_id is None else bulk_command.replay_id_of(replay_id)
    _database_url(settings)
    raise typer.Exit(bulk_command.run_replays(settings, wanted))


@app.command("cancel-replay")
def cancel_replay(replay_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Cancels a replay of many orders; those under way at this moment still go."""
    from adapters import bulk_command

    settings = _settings()
    wanted = bulk_command.replay_id_of(replay_id)
    _database_url(settings)
    raise typer.Exit(bulk_command.run_cancel(settings, wanted))


@app.command("accept-loss")
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

    settings = _settings()
    _database_url(settings)
    raise typer.Exit(run_accept_loss(settings, topic, partition or [], start, dry_run=dry_run, reason=reason))


@app.command()
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
    settings = _settings()
    _database_url(settings)
    raise typer.Exit(reconcile_command.run_reconcile(settings, wish))


@app.command()
def simulate(  # noqa: PLR0913 - each is an option of the command
    orders: Annotated[int | None, typer.Option(min=1, help="How many; for ever unless given.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Orders per second; as fast as it goes unless given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same orders.")] = 1,
    first_order_id: Annotated[int | None, typer.Option(min=1, help="From the clock unless given.")] = None,
    *,
    stamped: Annotated[bool, typer.Option(help="Stamp `ce_id` and `sequence`.")] = True,
    chaos: ChaosText = None,
) -> None:
    """Plays the order service: publishes lifecycles of orders to the topic."""
    from sandbox.commands import run_simulation

    wished = _chaos(chaos)
    raise typer.Exit(run_simulation(_settings(), orders, rate, seed, first_order_id, stamped=stamped, chaos=wished))


@app.command("third-party")
def third_party(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8090,
    journal: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Keep the books in this file, over restarts.")
    ] = None,
) -> None:
    """Runs the sandbox third party: strict books, and faults on demand."""
    from sandbox.commands import run_third_party

    raise typer.Exit(run_third_party(_settings(), port, journal))


@app.command()
def demo(  # noqa: PLR0913 - each is an option of the command
    orders: Annotated[
        int | None, typer.Option(min=1, help="How many; unless given 1000 with --exit, else for ever.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Orders per second; unless given as fast as it goes with --exit, else 10."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same orders.")] = None,
    kafka: Annotated[Broker, typer.Option(help="The broker to start.")] = Broker.EMBEDDED,
    *,
    exit_: Annotated[bool, typer.Option("--exit", help="Handle the orders, reconcile and leave.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Begin anew: forget what earlier runs left.")] = False,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of calls that fail.")] = 0.0,
    lost_answer_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of calls whose answer is lost.")
    ] = 0.0,
    chaos: ChaosText = None,
) -> None:
    """The whole story on one machine: database, broker, third party, order service, and this service."""
    from sandbox.demo import Options, run_demo

    options = Options(
        orders=orders,
        rate=rate,
        seed=seed,
        broker=kafka.value,
        leave=exit_,
        reset=reset,
        error_rate=error_rate,
        lost_answer_rate=lost_answer_rate,
        chaos=_chaos(chaos),
    )
    raise typer.Exit(run_demo(options))


def _redelivery(how: How, nonce: str | None, include: list[Include] | None) -> RedeliveryWish:
    if nonce is not None and not is_nonce(nonce):
        raise BadSetting(
            f"--nonce is {nonce[:MAX_NONCE_LENGTH]!r}: must be 1 to {MAX_NONCE_LENGTH} visible characters"
        )
    return RedeliveryWish(how, nonce, frozenset(include or ()))


def _chaos(text: str | None) -> "Chaos":
    from sandbox.chaos import Chaos, UnknownDisorder

    try:
        return Chaos() if text is None else Chaos.named(text)
    except UnknownDisorder as error:
        raise BadSetting(str(error)) from None


def main(command: Callable[[], Any] = app) -> None:
    """Runs a command; what we can explain is told in one line, without a trace."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        command()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BadSetting as error:
        _fail(error, EXIT_BAD_SETTING)
    except CashbackError as error:
        _fail(error, EXIT_ERROR)


def _fail(error: CashbackError, code: int) -> None:
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
