"""The commands `retry`, `skip` and `quarantine`: what the endpoints do. Reports are printed as JSON."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from adapters.kafka.intake import Limits
from adapters.operators import Asked, command_line_operator
from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.postgres.queries import NO_EDIT, Edit, PostgresQueries, QuarantineState
from adapters.postgres.store import OrderApplication
from adapters.quarantining import Quarantining
from adapters.refusals import UnknownQuarantined
from adapters.settings import BadSetting, Settings
from adapters.web.views import quarantine_summary, quarantine_view
from domain.decision import Policy
from domain.exact_json import dumps
from domain.instants import NANOSECONDS_PER_SECOND

MAX_LISTED: Final = 100


def policy_of(settings: Settings) -> Policy:
    """By which messages are decided."""
    return Policy(round(settings.clock_tolerance_seconds * NANOSECONDS_PER_SECOND))


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.message_max_bytes, settings.order_max_events, settings.intake_cache_orders)


def quarantining(settings: Settings, queries: PostgresQueries, store: OrderApplication) -> Quarantining:
    return Quarantining(queries, store, policy=policy_of(settings), limits=limits_of(settings))


def run_retry(settings: Settings, order_id: int, *, dry_run: bool, reason: str) -> int:
    """Answers the exit code, as they all do."""

    async def retry(database: Database) -> dict[str, Any]:
        return (await PostgresParking(database).retry(order_id, _asked(reason), dry_run=dry_run)).as_json()

    return _run(settings, retry)


def run_skip(settings: Settings, order_id: int, *, version: int | None, dry_run: bool, reason: str) -> int:
    """Raises BadSetting without a reason, unless it's a dry run."""
    if not dry_run and not reason.strip():
        raise BadSetting("--reason is empty: say why the call is given up; it is kept")

    async def skip(database: Database) -> dict[str, Any]:
        report = await PostgresParking(database).skip(order_id, _asked(reason), dry_run=dry_run, version=version)
        return report.as_json()

    return _run(settings, skip)


def run_quarantine_list(settings: Settings, state: QuarantineState | None) -> int:
    """The last ones, one a line."""

    async def ask(database: Database) -> list[dict[str, Any]]:
        rows = await PostgresQueries(database).quarantine(state, None, MAX_LISTED)
        return [dict(quarantine_summary(row)) for row in rows]

    for row in asyncio.run(_with_database(settings, ask)):
        _print(row)
    return 0


def run_quarantine_show(settings: Settings, quarantine_id: int) -> int:
    """Raises UnknownQuarantined."""

    async def ask(database: Database) -> dict[str, Any]:
        message = await PostgresQueries(database).quarantined(quarantine_id)
        if message is None:
            raise UnknownQuarantined(quarantine_id)
        return dict(quarantine_view(message))

    return _run(settings, ask)


def run_quarantine_retry(
    settings: Settings, quarantine_id: int, edit: Edit = NO_EDIT, *, dry_run: bool, reason: str
) -> int:
    async def retry(database: Database) -> dict[str, Any]:
        with _store(settings) as store:
            service = quarantining(settings, PostgresQueries(database), store)
            return (await service.retry(quarantine_id, _asked(reason), edit=edit, dry_run=dry_run)).as_json()

    return _run(settings, retry)


def run_quarantine_discard(settings: Settings, quarantine_id: int, *, dry_run: bool, reason: str) -> int:
    """Raises BadSetting without a reason, unless it's a dry run."""
    if not dry_run and not reason.strip():
        raise BadSetting("--reason is empty: say why nobody needs the message; it is kept")

    async def discard(database: Database) -> dict[str, Any]:
        with _store(settings) as store:
            service = quarantining(settings, PostgresQueries(database), store)
            return (await service.discard(quarantine_id, _asked(reason), dry_run=dry_run)).as_json()

    return _run(settings, discard)


def edit_from(key: str | None, value_file: Path | None) -> Edit:
    """Raises BadSetting for a file that can't be read."""
    try:
        value = None if value_file is None else value_file.read_bytes()
    except OSError as error:
        raise BadSetting(f"--value: {value_file} can't be read: {type(error).__name__}") from None
    return Edit(None if key is None else key.encode(), value)


def _store(settings: Settings) -> closing[OrderApplication]:
    return closing(OrderApplication(settings.database_url.get_secret_value(), pool_size=1))


def _asked(reason: str) -> Asked:
    return Asked(command_line_operator(), reason.strip())


async def _with_database(settings: Settings, ask: Callable[[Database], Awaitable[Any]]) -> Any:
    async with Database(settings.database_url.get_secret_value()) as database:
        return await ask(database)


def _run(settings: Settings, ask: Callable[[Database], Awaitable[Any]]) -> int:
    _print(asyncio.run(_with_database(settings, ask)))
    return 0


def _print(report: Any) -> None:
    sys.stdout.buffer.write(dumps(report) + b"\n")
