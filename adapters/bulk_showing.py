"""Bulk replays as text."""

from typing import Final

from adapters.bulk import BulkReplay, BulkState, Preview
from adapters.command_line.lists import Listing
from adapters.command_line.output import moment, say, table
from adapters.web.bulk_models import bulk_view
from adapters.web.console.words import amount, span

REPLAYS: Final = Listing[BulkReplay](
    "replays",
    "replays",
    bulk_view,
    lambda replay: replay.number - 1,
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
