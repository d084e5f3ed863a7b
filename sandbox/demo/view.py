"""How the demo looks: a live view on a terminal, and lines elsewhere."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from projections.delivery.ports import Outcome
from sandbox.demo.numbers import Numbers, Percentiles
from sandbox.demo.stack import Addresses

STATUSES: Final = ("NOT_CREATED", "PENDING", "COMPLETED", "CANCELLED")
FLOWS_HEIGHT: Final = 8
_BOOK_AMOUNTS: Final = {"PENDING": "pendingAmount", "COMPLETED": "creditedAmount"}


@dataclass(frozen=True)
class Scene:
    """What doesn't change while the demo runs."""

    addresses: Addresses
    folder: Path
    plays: str
    """What is played, in words."""
    first_order_id: int
    needs_token: bool
    is_paced: bool
    """Messages are published when their dates come, so that time since the date means something."""
    ends_alone: bool


def render(scene: Scene, numbers: Numbers, uptime_seconds: float) -> RenderableType:
    """For a terminal of 80 columns and 24 lines, and larger ones."""
    flows = Table.grid(expand=True)
    flows.add_column(ratio=1)
    flows.add_column(ratio=1)
    flows.add_row(_messages(numbers), _calls(scene, numbers))
    return Group(
        Text.assemble(("order cashback demo", "bold"), f"   {duration(uptime_seconds)}   {scene.plays}"),
        flows,
        _orders(numbers),
        _attention(numbers),
        *_places(scene),
    )


def line(numbers: Numbers, uptime_seconds: float) -> str:
    """The same in one line, for logs and pipes."""
    state = numbers.state
    orders = ", ".join(f"{count} {status.lower()}" for status, (count, _) in sorted(numbers.by_status.items()))
    parts = [
        f"{uptime_seconds:6.1f} s",
        f"messages {numbers.messages} ({numbers.messages_per_second:.0f}/s)",
        f"orders {orders or 0}",
        f"calls {numbers.calls.total()} ({numbers.calls_per_second:.0f}/s, {_failed(numbers.calls)} not delivered)",
    ]
    if state is not None:
        parts.append(
            f"held {state.held}, parked {state.parked}, quarantined {state.quarantined}, doubtful {state.doubtful}"
        )
    if numbers.latency is not None:
        p50, p99 = numbers.latency.from_decision
        parts.append(f"decision to answer p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    if numbers.silent:
        parts.append(f"no answer from: {', '.join(sorted(numbers.silent))}")
    return "  ".join(parts)


def where(scene: Scene) -> list[str]:
    """Where things are, each with its name before it."""
    token = ' -H "Authorization: Bearer $CASHBACK_API_TOKEN"' if scene.needs_token else ""
    return [
        f"order   curl -s{token} {scene.addresses.api_url}/api/orders/{scene.first_order_id}",
        f"books   curl -s {scene.addresses.third_party_url}/_sandbox/totals",
        f"logs    {scene.folder}",
        f"end     {'by itself; ' if scene.ends_alone else ''}Ctrl-C ends everything",
    ]


def duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _messages(numbers: Numbers) -> Panel:
    decisions = _counts(Counter({name.removeprefix("cashback-"): n for name, n in numbers.decisions.items()}))
    return Panel(
        Group(
            Text(
                f"{numbers.messages:,} messages   {numbers.messages_per_second:,.0f}/s   {numbers.behind:,} behind"
            ),
            Text(decisions, style="cyan"),
        ),
        title="messages in, and what was decided",
        title_align="left",
        height=FLOWS_HEIGHT,
    )


def _calls(scene: Scene, numbers: Numbers) -> Panel:
    lines = [
        Text(f"{numbers.calls.total():,} calls   {numbers.calls_per_second:,.0f}/s"),
        Text(_counts(numbers.calls), style="yellow" if _failed(numbers.calls) else "green"),
    ]
    if numbers.latency is not None:
        lines.append(_in_columns("to the answer", "p50", "p99"))
        lines.append(_latency("from the decision", numbers.latency.from_decision))
        if scene.is_paced:
            lines.append(_latency("from publishing", numbers.latency.from_date))
    return Panel(Group(*lines), title="calls to the third party", title_align="left", height=FLOWS_HEIGHT)


def _latency(name: str, percentiles: Percentiles) -> Text:
    return _in_columns(name, f"{percentiles.p50:,.0f} ms", f"{percentiles.p99:,.0f} ms")


def _in_columns(name: str, p50: str, p99: str) -> Text:
    return Text(f"{name:18}{p50:>9}{p99:>9}", style="dim" if p50 == "p50" else "")


def _orders(numbers: Numbers) -> Panel:
    table = Table(box=None, expand=True, padding=(0, 1))
    table.add_column("")
    for column in ("orders here", "cashback", "at the third party", "cashback"):
        table.add_column(column, justify="right")
    booked: Any = numbers.books.get("byStatus", {})
    for status in STATUSES:
        count, cashback = numbers.by_status.get(status, (0, Decimal(0)))
        if count or status != "NOT_CREATED":
            amount = numbers.books.get(_BOOK_AMOUNTS.get(status, ""))
            table.add_row(
                status.lower().replace("_", " "),
                f"{count:,}",
                f"{cashback:,.2f}",
                f"{booked[status]:,}" if status in booked else "",
                f"{amount:,.2f}" if amount is not None else "",
            )
    return Panel(table, title="orders", title_align="left")


def _attention(numbers: Numbers) -> Text:
    """What a person would have to look at: red as soon as there is any."""
    state = numbers.state
    counts = {
        "held": state.held if state else 0,
        "parked": state.parked if state else 0,
        "quarantined": state.quarantined if state else 0,
        "doubtful": state.doubtful if state else 0,
        "violations": numbers.books.get("violations", 0),
    }
    text = Text()
    for name, count in counts.items():
        text.append(f" {name} ")
        text.append(f"{count:,}", style="bold red" if count else "green")
        text.append("  ")
    if numbers.silent:
        text.append(f" no answer: {', '.join(sorted(numbers.silent))}", style="bold red")
    return text


def _places(scene: Scene) -> list[Text]:
    return [Text(f" {place}", style="dim", no_wrap=True, overflow="ellipsis") for place in where(scene)]


def _counts(counter: Counter[str]) -> str:
    """Each name stays on one line with its count."""
    counts = (f"{name} {count:,}".replace("_", " ") for name, count in counter.most_common())
    return "  ".join(count.replace(" ", "\N{NO-BREAK SPACE}") for count in counts)


def _failed(calls: Counter[str]) -> int:
    return calls.total() - calls[Outcome.DELIVERED]
