"""The command line, and where the parts are put together. Importing this module opens nothing.

Each command imports what it needs when it runs: `rebuild` never even loads what could call the third party.
"""

import signal

if __name__ == "__main__":
    # A Ctrl-C while Python is still importing just ends us, without a trace; `main` turns to Python's own way.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import io
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.cli import exit_codes
from adapters.cli.commands import operators
from adapters.cli.options import PLAY, RUN, Json, OrderIds
from adapters.cli.panels import CommandPanels
from adapters.cli.startup import configured, usable_database_url
from adapters.presentation.printable import visible
from domain.errors import BadSetting, CashbackError, Unavailable
from domain.identifiers import MAX_ORDER_ID
from domain.messages import Kind

if TYPE_CHECKING:
    from sandbox.order_service.chaos import Chaos

app = typer.Typer(
    help="Order-cashback integration service. Settings: environment variables `CASHBACK_…`, see the README."
    " All commands: docs/command-line.md.",
    epilog=exit_codes.EPILOG,
    cls=CommandPanels,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show it.")] = False,
) -> None:
    """What goes with no command; without one, that is a mistake, and the help says which there are."""
    if version:
        from adapters.observability.version import VERSION

        typer.echo(VERSION)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(exit_codes.USAGE)


playing = typer.Typer()

ChaosText = Annotated[
    str | None,
    typer.Option(
        "--chaos",
        metavar="all|KIND,…",
        help="Publish in disorder: shuffled, doubled, delayed, skewed, poison, growing, returns; comma-separated,"
        " or all.",
    ),
]


class BrokerKind(StrEnum):
    """Which broker the demo starts."""

    APACHE = "apache"
    EMBEDDED = "embedded"


@app.command(rich_help_panel=RUN)
def serve(
    only: Annotated[str, typer.Option(help="Roles of this process, comma-separated.")] = "intake,push,api",
) -> None:
    """Runs the service until SIGTERM or Ctrl-C; all roles unless told otherwise."""
    import asyncio

    from adapters.kafka.cluster import check_reachable
    from adapters.kafka.consumer.config import check_consumer_config
    from adapters.runtime.service import ProcessRole, Service

    try:
        roles = {ProcessRole(name.strip()) for name in only.split(",")}
    except ValueError:
        raise BadSetting(f"--only is {only!r}: must be some of {','.join(ProcessRole)}, comma-separated") from None
    settings = configured()
    usable_database_url(settings)
    if ProcessRole.INTAKE in roles:
        check_consumer_config(settings.kafka_bootstrap, settings.kafka_group, settings.kafka_config)
        check_reachable(settings.kafka_bootstrap, settings.kafka_config)

    async def run() -> int:
        return await Service(settings, roles).run()

    raise typer.Exit(asyncio.run(run()))


@app.command(rich_help_panel=RUN)
def migrate() -> None:
    """Creates or upgrades the database schema. Safe to run twice, and from two places at once."""
    from adapters.postgres.migrate import migrate as run_migrations

    done = run_migrations(configured().database_url.get_secret_value())
    for migration in done:
        typer.echo(f"migrated: {migration.number:04d} {migration.name}")
    if not done:
        typer.echo("nothing to migrate")


@app.command(rich_help_panel=RUN)
def rebuild(
    order_ids: OrderIds = None,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the read models; exit 1 if they differ.")
    ] = False,
    read_models: Annotated[
        bool, typer.Option("--read-models", help="Throw the read models away and build them anew.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rebuilds orders from the event store: all of them, or those named. It cannot call the third party."""
    from adapters.cli.rebuild import run_rebuild

    if read_models and (check or order_ids):
        raise BadSetting("--read-models rebuilds all orders: it goes with neither --check nor an order id")
    url = usable_database_url(configured())
    raise typer.Exit(run_rebuild(url, order_ids or [], check=check, read_models=read_models, as_json=as_json))


app.add_typer(operators)


@playing.command(rich_help_panel=PLAY)
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
    order: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_ORDER_ID, metavar="ID", help="One message of this order, of --kind."),
    ] = None,
    kind: Annotated[Kind | None, typer.Option(case_sensitive=False, help="With --order: what happens.")] = None,
    sequence: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="With --order: its number; unstamped unless given.")
    ] = None,
    to_pay: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="With --order: for goods of 312; 306 unless given.")
    ] = None,
) -> None:
    """Plays the order service: publishes lifecycles of orders to the topic, or one message."""
    if order is not None or kind is not None:
        if order is None or kind is None or {orders, rate, first_order_id, chaos} != {None}:
            raise BadSetting("--order and --kind publish one message: they go together, and with no lifecycles")
        raise typer.Exit(_publish_one(order, kind, sequence, to_pay))
    if sequence is not None or to_pay is not None:
        raise BadSetting("--sequence and --to-pay go with --order")
    from sandbox.commands import run_simulation

    disorder = _chaos(chaos)
    raise typer.Exit(
        run_simulation(configured(), orders, rate, seed, first_order_id, stamped=stamped, chaos=disorder)
    )


@playing.command("third-party", rich_help_panel=PLAY)
def third_party(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8090,
    journal: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Keep the books in this file, over restarts.")
    ] = None,
) -> None:
    """Runs the sandbox third party: strict books, and faults on demand."""
    from sandbox.commands import run_third_party

    raise typer.Exit(run_third_party(configured(), port, journal))


@playing.command(rich_help_panel=PLAY)
def demo(  # noqa: PLR0913 - each is an option of the command
    orders: Annotated[
        int | None, typer.Option(min=1, help="How many; unless given 1000 with --exit, else for ever.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Orders per second; unless given as fast as it goes with --exit, else 10."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same orders.")] = None,
    kafka: Annotated[BrokerKind, typer.Option(help="The broker to start.")] = BrokerKind.EMBEDDED,
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
    from sandbox.demo.demo import Options, run_demo

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


app.add_typer(playing)


def _publish_one(order_id: int, kind: Kind, sequence: int | None, to_pay: str | None) -> int:
    from adapters.records.jobs import limit_of
    from sandbox.order_service.single_message import DEFAULT_TO_PAY, SingleMessage, publish_message

    try:
        amount = DEFAULT_TO_PAY if to_pay is None else limit_of(to_pay)
    except ValueError as error:
        raise BadSetting(f"--to-pay {error}") from None
    return publish_message(configured(), SingleMessage(order_id, kind, sequence, amount))


def _chaos(text: str | None) -> "Chaos":
    from sandbox.order_service.chaos import Chaos, UnknownDisorder

    try:
        return Chaos() if text is None else Chaos.named(text)
    except UnknownDisorder as error:
        raise BadSetting(str(error)) from None


def main(command: Callable[..., Any] = app) -> None:
    """Runs a command; what we can explain is told in one line, without a trace."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _take_text_alone()
        sys.exit(command(standalone_mode=False))
    except KeyboardInterrupt:
        sys.exit(exit_codes.INTERRUPTED)
    except typer.Abort:
        _fail("nothing was done", exit_codes.FAILURE)
    except typer.TyperException as error:  # says nothing if there was no command, and so the help was shown
        _fail(error.format_message(), exit_codes.USAGE)
    except BadSetting as error:
        _fail(str(error), exit_codes.USAGE)
    except Unavailable as error:
        _fail(str(error), exit_codes.UNAVAILABLE)
    except CashbackError as error:
        _fail(str(error), exit_codes.FAILURE)


def _take_text_alone() -> None:
    """A terminal that hasn't got a character shows another one. Raises BadSetting for words that aren't UTF-8."""
    if any("\udc80" <= character <= "\udcff" for word in sys.argv for character in word):
        raise BadSetting("the command line isn't UTF-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _fail(said: str, code: int) -> None:
    if said.strip():
        sys.stderr.write(f"error: {visible(' '.join(said.split()))}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
