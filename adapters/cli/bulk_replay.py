"""The commands `replay-many`, `replays` and `cancel-replay`: what the endpoints do, in a process of its own."""

import asyncio
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import typer
from rich.progress import TextColumn

from adapters.cli import lists, output
from adapters.cli.database import ask_database
from adapters.cli.exit_codes import INTERRUPTED
from adapters.cli.lists import Listing
from adapters.cli.output import moment, say, table
from adapters.cli.progress import progress_bar
from adapters.operations.bulk import runner
from adapters.postgres.bulk_replays import PostgresBulk
from adapters.postgres.bulk_work import LEASE_SECONDS, PostgresBulkWork
from adapters.postgres.pool import Database
from adapters.presentation.bulk_view import bulk_view, preview_view
from adapters.presentation.formatting import amount, span
from adapters.presentation.paging import Paging
from adapters.records.bulk import (
    MAX_ORDERS,
    BulkMode,
    BulkReplay,
    BulkState,
    Preview,
    Selection,
    UnknownBulkReplay,
    limit_of,
)
from adapters.records.operators import command_line_operator
from adapters.runtime.wiring import bulk_replays, bulk_runner
from adapters.settings import BadSetting, Settings
from domain.errors import BadInstant, CashbackError
from domain.events import Doubt
from domain.identifiers import MAX_ORDER_ID
from domain.instants import parse_instant
from domain.lifecycle import Status
from projections.redelivery import DEFAULT_OPTIONS
from projections.redelivery import RedeliveryOptions as Redelivery

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
    redelivery: Redelivery = DEFAULT_OPTIONS
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False


def selection(  # noqa: PLR0913 - each is an option of the command
    orders: str | None = None,
    status: Status | None = None,
    changed_from: str | None = None,
    changed_to: str | None = None,
    *,
    parked: bool = False,
    parked_reason: str | None = None,
    parked_from: str | None = None,
    parked_to: str | None = None,
    doubtful: bool = False,
    doubt: Doubt | None = None,
    doubtful_from: str | None = None,
    doubtful_to: str | None = None,
    at_stake_min: str | None = None,
    at_stake_max: str | None = None,
    held: bool = False,
    held_from: str | None = None,
    held_to: str | None = None,
) -> Selection:
    """From the options as typed; `orders` is a file of order ids, or `-`. Raises BadSetting."""
    chosen = Selection(
        orders=None if orders is None else _order_ids(orders),
        status=status,
        changed_from_ns=_instant("--changed-from", changed_from),
        changed_to_ns=_instant("--changed-to", changed_to),
        parked=parked,
        parked_reason=parked_reason,
        parked_from_ns=_instant("--parked-from", parked_from),
        parked_to_ns=_instant("--parked-to", parked_to),
        doubtful=doubtful,
        doubt=doubt,
        doubtful_from_ns=_instant("--doubtful-from", doubtful_from),
        doubtful_to_ns=_instant("--doubtful-to", doubtful_to),
        at_stake_min=_limit("--at-stake-min", at_stake_min),
        at_stake_max=_limit("--at-stake-max", at_stake_max),
        held=held,
        held_from_ns=_instant("--held-from", held_from),
        held_to_ns=_instant("--held-to", held_to),
    )
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
        if not typer.confirm(f"{request.mode.capitalize()} {preview.replay.total} orders?", err=True):
            raise NotConfirmed("nothing was done")
    return run_preview(settings, preview.token, as_json=request.as_json)


def _preview(settings: Settings, request: ReplayManyRequest) -> Preview:
    async def ask(database: Database) -> Preview:
        return await bulk_replays(settings, database).preview(
            request.mode, request.selection, request.rate_per_second, request.reason, request.redelivery
        )

    return ask_database(settings.database_url.get_secret_value(), ask)


def run_preview(settings: Settings, token: str, *, as_json: bool) -> int:
    """Does what the preview with this token showed. Answers the exit code: 1 unless all orders are done."""
    ended, interrupted = asyncio.run(_run(settings, token))
    _show(ended, as_json=as_json)
    if interrupted:
        return INTERRUPTED
    return 0 if ended.state is BulkState.DONE and not ended.failed else 1


async def _run(settings: Settings, token: str) -> tuple[BulkReplay, bool]:
    """The replay at its end, and whether a signal has ended it."""
    async with Database(settings.database_url.get_secret_value()) as database:
        bulk, lease, by = bulk_replays(settings, database), uuid4(), command_line_operator()
        started = await bulk.start(None, token, by=by, lease=lease, lease_seconds=LEASE_SECONDS)
        job = await PostgresBulkWork(database).job(started.id, lease)
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
            if isinstance(result, CashbackError) and ended.state is BulkState.RUNNING:
                raise result
        return ended, bool(cancelling)


async def _watched(
    bulk: PostgresBulk, replay_id: UUID, stop: asyncio.Event, progress: runner.Progress
) -> BulkReplay:
    """Until its end: if this process has lost it, another one goes on."""
    while True:
        replay = await bulk.get(replay_id)
        progress(replay.done, replay.failed, replay.note)
        if replay.state is not BulkState.RUNNING or stop.is_set():
            return replay
        await asyncio.sleep(POLL_SECONDS)


@contextmanager
def _bar(replay: BulkReplay) -> Iterator[runner.Progress]:
    with progress_bar(replay.mode, "orders", TextColumn("{task.description}")) as bar:
        task = bar.add_task("", total=replay.total)

        def told(done: int, failed: int, why: str | None) -> None:
            words = [f"{failed} failed"] if failed else []
            bar.update(task, completed=done + failed, description="; ".join(words + ([why] if why else [])))

        yield told


def run_replays(url: str, request: lists.ListRequest) -> int:
    """Lists the last bulk replays."""

    async def ask(database: Database, start: int | None, limit: int) -> list[BulkReplay]:
        return await PostgresBulk(database).page(start, limit)

    return lists.run_list(url, REPLAYS, ask, request)


def run_replay_show(url: str, replay_id: UUID, *, as_json: bool) -> int:
    """Raises UnknownBulkReplay."""
    return _show(ask_database(url, lambda database: PostgresBulk(database).get(replay_id)), as_json=as_json)


def run_cancel(settings: Settings, replay_id: UUID, *, as_json: bool) -> int:
    async def cancel(database: Database) -> BulkReplay:
        return await PostgresBulk(database).cancel(replay_id, by=command_line_operator())

    return _show(ask_database(settings.database_url.get_secret_value(), cancel), as_json=as_json)


def _show(replay: BulkReplay, *, as_json: bool) -> int:
    if as_json:
        output.print_json(bulk_view(replay))
    else:
        show(replay)
    return 0


def replay_id_of(text: str) -> UUID:
    """Raises UnknownBulkReplay for what can't be one."""
    try:
        return UUID(text)
    except ValueError:
        raise UnknownBulkReplay(text) from None


REPLAYS: Final = Listing[BulkReplay](
    "replays",
    Paging("replays", lambda replay: replay.number - 1),
    bulk_view,
    ("id", "mode", "state", "done", "failed", "orders", "asked for", "reason"),
    lambda each: (
        *(each.id, each.mode, each.state, each.done, each.failed, each.total),
        *(moment(each.requested_at), each.reason),
    ),
    frozenset({"done", "failed", "orders"}),
)


def show_preview(preview: Preview) -> None:
    replay = preview.replay
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(preview.by_status.items()))
    say(f"{replay.mode}: {replay.total} orders{f' ({statuses})' if statuses else ''}", "bold")
    say(f"cashback of these orders: {amount(replay.cashback)}")
    seconds = max(1, round(replay.total / replay.rate_per_second))
    say(f"at {replay.rate_per_second:g} orders a second: {span(seconds)}")
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
    say(f"valid until {moment(preview.replay.expires_at)}, for just these orders")


def show(replay: BulkReplay) -> None:
    say(f"{replay.mode} {replay.id}: {replay.state}", "bold")
    say(f"{replay.done} done, {replay.failed} failed, of {replay.total} orders")
    say(f"reason: {replay.reason}")
    if replay.note is not None:
        say(f"{'waits' if replay.state is BulkState.RUNNING else 'note'}: {replay.note}")
    if replay.expected_end is not None:
        say(f"expected end: {moment(replay.expected_end)}")
    for order_id, why in replay.failures:
        say(f"order {order_id}: {why}")
    if replay.failed > len(replay.failures):
        say(f"… and {replay.failed - len(replay.failures)} more")
