"""The command `replay-many`: what the endpoints do, in a process of its own."""

import asyncio
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import typer
from rich.progress import TextColumn

from adapters.cli import output
from adapters.cli.database import ask_database
from adapters.cli.exit_codes import INTERRUPTED
from adapters.cli.jobs import show
from adapters.cli.output import counted, moment, say, table
from adapters.cli.progress import progress_bar
from adapters.operations.jobs import runner
from adapters.postgres.job_work import LEASE_SECONDS, PostgresJobWork
from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.pool import Database
from adapters.presentation.formatting import amount, span, words
from adapters.presentation.jobs import preview_view
from adapters.records.jobs import (
    MAX_ORDERS,
    BulkMode,
    Job,
    JobState,
    Preview,
    Selection,
    limit_of,
)
from adapters.records.operators import command_line_operator
from adapters.runtime.wiring import bulk_runner, jobs_of
from adapters.settings import Settings
from domain.errors import BadInstant, BadSetting, CashbackError
from domain.identifiers import MAX_ORDER_ID
from domain.instants import parse_instant
from domain.lifecycle import Status
from projections.redelivery import DEFAULT_OPTIONS, RedeliveryOptions

POLL_SECONDS: Final = 1.0
_MAX_FILE_CHARACTERS: Final = 3_000_000


class NotConfirmed(CashbackError):
    """Nobody has said yes."""


@dataclass(frozen=True, slots=True)
class ReplayManyRequest:
    """What `replay-many` was asked for."""

    mode: BulkMode
    selection: Selection
    rate_per_second: float
    reason: str
    redelivery: RedeliveryOptions = DEFAULT_OPTIONS
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False


def selection(
    orders: str | None = None,
    status: Status | None = None,
    changed_from: str | None = None,
    changed_to: str | None = None,
    **more: Any,
) -> Selection:
    """From the options as typed, by the names of a selection's conditions; `orders` is a file of order ids, or `-`.
    Raises BadSetting."""
    given: dict[str, Any] = {}
    for name, value in {"changed_from": changed_from, "changed_to": changed_to, **more}.items():
        option = f"--{name.replace('_', '-')}"
        if name.endswith(("_from", "_to")):
            given[f"{name}_ns"] = _instant(option, value)
        else:
            given[name] = _limit(option, value) if name.startswith("at_stake") else value
    chosen = Selection(orders=None if orders is None else _order_ids(orders), status=status, **given)
    if chosen == Selection():
        raise BadSetting(
            "say which orders: --status, --changed-from, --changed-to, --parked…, --doubt…, --held… or --orders"
        )
    return chosen


def _instant(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else parse_instant(text)
    except BadInstant as error:
        raise BadSetting(f"{option}: {error}") from None


def _limit(option: str, text: str | None) -> Decimal | None:
    try:
        return None if text is None else limit_of(text)
    except ValueError as error:
        raise BadSetting(f"{option}: {error}") from None


def _order_ids(name: str) -> frozenset[int]:
    """Separated by spaces, commas or line ends."""
    try:
        with nullcontext(sys.stdin) if name == "-" else Path(name).open(encoding="utf-8") as file:
            text = file.read(_MAX_FILE_CHARACTERS + 1)
    except (OSError, UnicodeError) as error:
        raise BadSetting(f"--orders: {name} can't be read: {type(error).__name__}") from None
    words = re.split(r"[\s,]+", text.strip(" \t\r\n,"))
    wrong = next((word for word in words if not _is_order_id(word)), None)
    if wrong is not None:
        raise BadSetting(f"--orders: {wrong[:50]!r} is not an order id")
    if len(text) > _MAX_FILE_CHARACTERS or len(ids := frozenset(map(int, words))) > MAX_ORDERS:
        raise BadSetting(f"--orders: more than {MAX_ORDERS} orders")
    return ids


def _is_order_id(word: str) -> bool:
    return re.fullmatch(r"[0-9]{1,19}", word) is not None and 1 <= int(word) <= MAX_ORDER_ID


def run_replay_many(settings: Settings, request: ReplayManyRequest) -> int:
    """Shows what would be done, and does it once somebody has said yes. Answers the exit code."""
    preview = _preview(settings, request)
    if request.as_json and request.dry_run:
        output.print_json(preview_view(preview))
        return 0
    if not request.as_json:
        show_preview(preview)
    if request.dry_run:
        show_token(preview)
        return 0
    if not request.yes:
        if not sys.stdin.isatty():
            show_token(preview)
            raise NotConfirmed("nothing was done: without a terminal it takes --yes, or --token and the token")
        if not typer.confirm(
            f"{words(request.mode).capitalize()} {counted(preview.replay.total, preview.replay.things)}?", err=True
        ):
            raise NotConfirmed("nothing was done")
    return run_preview(settings, preview.token, as_json=request.as_json)


def _preview(settings: Settings, request: ReplayManyRequest) -> Preview:
    async def ask(database: Database) -> Preview:
        return await jobs_of(settings, database).preview(
            request.mode, request.selection, request.rate_per_second, request.reason, request.redelivery
        )

    return ask_database(settings.database_url.get_secret_value(), ask)


def run_preview(settings: Settings, token: str, *, as_json: bool) -> int:
    """Does what the preview with this token showed. Answers the exit code: 1 unless all orders are done."""
    ended, interrupted = asyncio.run(_run(settings, token))
    show(ended, as_json=as_json)
    if interrupted:
        return INTERRUPTED
    return 0 if ended.state is JobState.DONE and not ended.failed else 1


async def _run(settings: Settings, token: str) -> tuple[Job, bool]:
    """The replay at its end, and whether a signal has ended it."""
    async with Database(settings.database_url.get_secret_value()) as database:
        bulk, lease, by = jobs_of(settings, database), uuid4(), command_line_operator()
        started = await bulk.start(None, token, by=by, lease=lease, lease_seconds=LEASE_SECONDS)
        job = await PostgresJobWork(database).claimed(started.id, lease)
        stop, cancelling = asyncio.Event(), set[asyncio.Task[None]]()

        async def cancel() -> None:
            try:
                await bulk.cancel(started.id, by=by)
            finally:
                stop.set()

        def interrupted() -> None:
            cancelling.add(asyncio.create_task(cancel()))

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted)
        with _bar(started) as progress:
            if job is not None:
                await bulk_runner(settings, database).run_one(job, stop, progress)
            ended = await _watched(bulk, started.id, stop, progress)
        for result in await asyncio.gather(*cancelling, return_exceptions=True):
            if isinstance(result, CashbackError) and ended.state is JobState.RUNNING:
                raise result
        return ended, bool(cancelling)


async def _watched(bulk: PostgresJobs, replay_id: UUID, stop: asyncio.Event, progress: runner.Progress) -> Job:
    """Until its end: if this process has lost it, another one goes on."""
    while True:
        replay = await bulk.get(replay_id)
        progress(replay.done, replay.failed, replay.note)
        if replay.state is not JobState.RUNNING or stop.is_set():
            return replay
        await asyncio.sleep(POLL_SECONDS)


@contextmanager
def _bar(replay: Job) -> Iterator[runner.Progress]:
    with progress_bar(replay.kind, f"{replay.things}s", TextColumn("{task.description}")) as bar:
        task = bar.add_task("", total=replay.total)

        def told(done: int, failed: int, why: str | None) -> None:
            words = [f"{failed} failed"] if failed else []
            bar.update(task, completed=done + failed, description="; ".join(words + ([why] if why else [])))

        yield told


def show_preview(preview: Preview) -> None:
    replay = preview.replay
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(preview.by_status.items()))
    say(f"{replay.kind}: {counted(replay.total, replay.things)}{f' ({statuses})' if statuses else ''}", "bold")
    if replay.things == "order":
        say(f"cashback of these orders: {amount(replay.cashback)}")
    seconds = max(1, round(replay.total / replay.rate_per_second))
    say(f"at {replay.rate_per_second:g} {replay.things}s a second: {span(seconds)}")
    if replay.foretold is not None:
        foretold = replay.foretold
        say(f"calls: {foretold.calls} would be sent, {foretold.suppressed} would stay as they are")
        say(f"could be paid a second time: {amount(foretold.amount_at_risk)}")
    if replay.settling is not None:
        say(f"completions that go on: {replay.settling.calls}")
        say(f"at stake: {amount(replay.settling.at_stake)}")
    if preview.left_out_count:
        some = ", ".join(map(str, preview.left_out))
        more = ", …" if preview.left_out_count > len(preview.left_out) else ""
        say(f"{preview.left_out_count} of the orders named are left out: {some}{more}")
    if preview.sample:
        rows = (
            (each.order_id, each.status, amount(each.cashback), moment(each.recorded_at_ns))
            for each in preview.sample
        )
        columns = ("order", "status", "cashback", "last change")
        table(columns, rows, right=("order", "cashback"), title="those with the most cashback")


def show_token(preview: Preview) -> None:
    say(f"preview: {preview.replay.id}")
    say(f"token:   {preview.token}")
    say(f"valid until {moment(preview.replay.expires_at)}, for just these {preview.replay.things}s")
