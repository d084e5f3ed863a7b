"""Bulk replays on a terminal."""

from datetime import datetime

from rich.console import Console
from rich.table import Table

from adapters.bulk import BulkReplay, BulkState, Preview
from domain.instants import format_instant


def to_stderr() -> Console:
    return Console(stderr=True)


def _console() -> Console:
    """Lines are as long as they are: ids and tokens are there to be copied."""
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def show_preview(preview: Preview) -> None:
    replay = preview.replay
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(preview.by_status.items()))
    console = _console()
    console.print(f"{replay.mode}: {replay.total} orders{f' ({statuses})' if statuses else ''}")
    console.print(f"cashback of these orders: {replay.cashback:f}")
    console.print(
        f"at {replay.rate_per_second:g} orders a second: {_duration(replay.total / replay.rate_per_second)}"
    )
    if replay.foretold is not None:
        foretold = replay.foretold
        console.print(f"calls: {foretold.calls} would be sent, {foretold.suppressed} would stay as they are")
        console.print(f"could be paid a second time: {foretold.amount_at_risk:f}")
    if preview.left_out_count:
        some = ", ".join(map(str, preview.left_out))
        more = ", …" if preview.left_out_count > len(preview.left_out) else ""
        console.print(f"{preview.left_out_count} of the orders named are left out: {some}{more}")
    if preview.sample:
        table = Table(title="those with the most cashback")
        for name in ("order", "status", "cashback", "last change"):
            table.add_column(name, justify="right" if name in {"order", "cashback"} else "left", no_wrap=True)
        for each in preview.sample:
            cashback = "" if each.cashback is None else f"{each.cashback:f}"
            changed = format_instant(each.recorded_at_ns)[:19] + "Z"
            table.add_row(str(each.order_id), each.status, cashback, changed)
        console.print(table)


def show_token(preview: Preview) -> None:
    console = _console()
    console.print(f"preview: {preview.replay.id}")
    console.print(f"token:   {preview.token}")
    console.print(f"valid until {_moment(preview.replay.expires_at)}, for just these orders")


def show_list(replays: list[BulkReplay]) -> None:
    table = Table()
    for name in ("id", "mode", "state", "done", "failed", "orders", "asked for"):
        table.add_column(name, justify="right" if name in {"done", "failed", "orders"} else "left", no_wrap=True)
    for each in replays:
        numbers = (str(each.done), str(each.failed), str(each.total))
        table.add_row(str(each.id), each.mode, each.state, *numbers, _moment(each.requested_at))
    Console(width=120).print(table)


def show(replay: BulkReplay) -> None:
    console = _console()
    console.print(f"{replay.mode} {replay.id}: {replay.state}")
    console.print(f"{replay.done} done, {replay.failed} failed, of {replay.total} orders")
    console.print(f"reason: {replay.reason}")
    if replay.note is not None:
        console.print(f"{'waits' if replay.state is BulkState.RUNNING else 'note'}: {replay.note}")
    if replay.expected_end is not None:
        console.print(f"expected end: {_moment(replay.expected_end)}")
    for order_id, why in replay.failures:
        console.print(f"order {order_id}: {why}")
    if replay.failed > len(replay.failures):
        console.print(f"… and {replay.failed - len(replay.failures)} more")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{max(1, rest)} s"
