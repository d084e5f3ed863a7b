"""The commands that do something to one order or one message: what the endpoints do, in a process of its own."""

from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from adapters.cli import output, reports
from adapters.cli.database import ask_database
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.postgres.queries import PostgresQueries
from adapters.postgres.service_status import PostgresConsole
from adapters.presentation.action_reports import (
    intervention_view,
    parking_view,
    quarantine_report_view,
    replay_view,
)
from adapters.presentation.overview import open_breakers
from adapters.presentation.views import quarantine_view
from adapters.records.actions import ActionRequest
from adapters.records.errors import UnknownQuarantined
from adapters.records.operators import command_line_operator
from adapters.records.quarantine import NO_EDIT, Edit
from adapters.records.status import ProcessRow
from adapters.runtime.wiring import interventions, quarantining
from adapters.settings import Settings
from domain.errors import BadSetting
from domain.intervention import BadNumbers, parse_numbers
from projections.redelivery import DEFAULT_OPTIONS, RedeliveryOptions
from projections.republication import Mode

Show = Callable[[dict[str, Any]], None]
"""Prints a report as text."""


def run_retry(settings: Settings, order_id: int, *, dry_run: bool, reason: str, as_json: bool) -> int:
    """Answers the exit code, as they all do."""

    async def retry(database: Database) -> dict[str, Any]:
        return parking_view(await PostgresParking(database).retry(order_id, _asked(reason), dry_run=dry_run))

    code = _run(settings, retry, None if as_json else reports.show_parking)
    if not (dry_run or as_json):
        _show_outage(settings, order_id)
    return code


def run_skip(  # noqa: PLR0913 - each is an option of the command
    settings: Settings, order_id: int, *, version: int | None, dry_run: bool, reason: str, as_json: bool
) -> int:
    """Raises BadSetting without a reason, unless it's a dry run."""
    _needs_reason(reason, "say why the call is given up; it is kept", dry_run=dry_run)

    async def skip(database: Database) -> dict[str, Any]:
        report = await PostgresParking(database).skip(order_id, _asked(reason), dry_run=dry_run, version=version)
        return parking_view(report)

    return _run(settings, skip, None if as_json else reports.show_parking)


def run_settle(settings: Settings, order_id: int, *, dry_run: bool, reason: str, as_json: bool) -> int:
    """Raises BadSetting without a reason, unless it's a dry run."""
    _needs_reason(reason, "say why the doubt is settled; it is kept", dry_run=dry_run)

    async def settle(database: Database) -> dict[str, Any]:
        with _store(settings) as store:
            service = interventions(settings, database, store)
            return intervention_view(await service.settle(order_id, _asked(reason), dry_run=dry_run))

    return _run(settings, settle, None if as_json else reports.show_intervention)


def run_release(  # noqa: PLR0913 - each is an option of the command
    settings: Settings, order_id: int, *, numbers: str | None, dry_run: bool, reason: str, as_json: bool
) -> int:
    """Raises BadSetting without a reason, unless it's a dry run, and for numbers that can't be read."""
    _needs_reason(reason, "say why nothing more will come; it is kept", dry_run=dry_run)
    try:
        wanted = None if numbers is None else parse_numbers(numbers)
    except BadNumbers as error:
        raise BadSetting(f"--numbers: {error}") from None

    async def release(database: Database) -> dict[str, Any]:
        with _store(settings) as store:
            service = interventions(settings, database, store)
            return intervention_view(
                await service.release(order_id, _asked(reason), numbers=wanted, dry_run=dry_run)
            )

    return _run(settings, release, None if as_json else reports.show_intervention)


def run_repair(settings: Settings, order_id: int, *, dry_run: bool, reason: str, as_json: bool) -> int:
    """Raises BadSetting without a reason, unless it's a dry run."""
    _needs_reason(reason, "say how the events were lost; it is kept", dry_run=dry_run)

    async def repair(database: Database) -> dict[str, Any]:
        with _store(settings) as store:
            service = interventions(settings, database, store)
            return intervention_view(await service.repair(order_id, _asked(reason), dry_run=dry_run))

    return _run(settings, repair, None if as_json else reports.show_intervention)


def run_replay(  # noqa: PLR0913 - each is an option of the command
    settings: Settings,
    order_id: int,
    mode: Mode,
    *,
    dry_run: bool,
    reason: str,
    options: RedeliveryOptions = DEFAULT_OPTIONS,
    as_json: bool,
) -> int:
    """Raises BadSetting if the options aren't for this mode."""
    from adapters.runtime.wiring import replay_service  # it loads what speaks to Kafka

    if mode is not Mode.REDELIVER and options != DEFAULT_OPTIONS:
        raise BadSetting("--how, --nonce and --include are for --mode redeliver")

    async def replay(database: Database) -> dict[str, Any]:
        service = replay_service(settings, database)
        report = await service.replay(order_id, mode, asked=_asked(reason), dry_run=dry_run, options=options)
        return replay_view(report)

    code = _run(settings, replay, None if as_json else reports.show_replay)
    if mode is Mode.REDELIVER and not (dry_run or as_json):
        _show_outage(settings, order_id)
    return code


def run_quarantine_show(settings: Settings, quarantine_id: int, *, as_json: bool) -> int:
    """Raises UnknownQuarantined."""

    async def ask(database: Database) -> dict[str, Any]:
        message = await PostgresQueries(database).quarantined(quarantine_id)
        if message is None:
            raise UnknownQuarantined(quarantine_id)
        return dict(quarantine_view(message))

    return _run(settings, ask, None if as_json else reports.show_quarantined)


def run_quarantine_retry(  # noqa: PLR0913 - each is an option of the command
    settings: Settings, quarantine_id: int, edit: Edit = NO_EDIT, *, dry_run: bool, reason: str, as_json: bool
) -> int:
    async def retry(database: Database) -> dict[str, Any]:
        with _store(settings) as store:
            service = quarantining(settings, PostgresQueries(database), store)
            return quarantine_report_view(
                await service.retry(quarantine_id, _asked(reason), edit=edit, dry_run=dry_run)
            )

    return _run(settings, retry, None if as_json else reports.show_quarantine_action)


def run_quarantine_discard(
    settings: Settings, quarantine_id: int, *, dry_run: bool, reason: str, as_json: bool
) -> int:
    """Raises BadSetting without a reason, unless it's a dry run."""
    _needs_reason(reason, "say why nobody needs the message; it is kept", dry_run=dry_run)

    async def discard(database: Database) -> dict[str, Any]:
        with _store(settings) as store:
            service = quarantining(settings, PostgresQueries(database), store)
            return quarantine_report_view(await service.discard(quarantine_id, _asked(reason), dry_run=dry_run))

    return _run(settings, discard, None if as_json else reports.show_quarantine_action)


def edit_from(key: str | None, value_file: Path | None) -> Edit:
    """Raises BadSetting for a file that can't be read."""
    try:
        value = None if value_file is None else value_file.read_bytes()
    except OSError as error:
        raise BadSetting(f"--value: {value_file} can't be read: {type(error).__name__}") from None
    return Edit(None if key is None else key.encode(), value)


def _needs_reason(reason: str, why: str, *, dry_run: bool) -> None:
    if not dry_run and not reason.strip():
        raise BadSetting(f"--reason is empty: {why}")


def _store(settings: Settings) -> closing[OrderApplication]:
    return closing(OrderApplication(settings.database_url.get_secret_value(), pool_size=1))


def _asked(reason: str) -> ActionRequest:
    return ActionRequest(command_line_operator(), reason.strip())


def _show_outage(settings: Settings, order_id: int) -> None:
    async def ask(database: Database) -> list[ProcessRow]:
        return await PostgresConsole(database).processes()

    processes = ask_database(settings.database_url.get_secret_value(), ask)
    reports.show_outage(open_breakers(processes), order_id)


def _run(settings: Settings, ask: Callable[[Database], Awaitable[dict[str, Any]]], show: Show | None) -> int:
    report = ask_database(settings.database_url.get_secret_value(), ask)
    (show or output.print_json)(report)
    return 0
