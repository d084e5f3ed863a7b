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
from typing import Annotated, Any

import typer

from adapters.settings import BadSetting, Settings, read_settings
from domain.errors import CashbackError

EXIT_ERROR = 1
EXIT_BAD_SETTING = 2

app = typer.Typer(
    help="Order-cashback integration service. Settings: environment variables `CASHBACK_…`, see the README.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OrderId = Annotated[int, typer.Argument(min=1, max=2**63 - 1, metavar="ORDER_ID")]


class Broker(StrEnum):
    """Which broker the demo starts."""

    APACHE = "apache"
    EMBEDDED = "embedded"


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
def replay(
    order_id: OrderId,
    mode: Annotated[Mode, typer.Option(help="Call the third party again, or publish the messages again.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the replay.")] = "from the command line",
) -> None:
    """Does again what one order's messages led to, or publishes its messages again in their order."""
    from adapters.replaying import run_replay

    settings = _settings()
    _database_url(settings)
    raise typer.Exit(run_replay(settings, order_id, mode.value, dry_run=dry_run, reason=reason))


@app.command()
def simulate(
    orders: Annotated[int | None, typer.Option(min=1, help="How many; for ever unless given.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Orders per second; as fast as it goes unless given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same orders.")] = 1,
    first_order_id: Annotated[int | None, typer.Option(min=1, help="From the clock unless given.")] = None,
    *,
    stamped: Annotated[bool, typer.Option(help="Stamp `ce_id` and `sequence`.")] = True,
) -> None:
    """Plays the order service: publishes lifecycles of orders to the topic."""
    from sandbox.commands import run_simulation

    raise typer.Exit(run_simulation(_settings(), orders, rate, seed, first_order_id, stamped=stamped))


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
    )
    raise typer.Exit(run_demo(options))


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
