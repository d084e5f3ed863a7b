"""One order as text: its state, its amounts by item, and its timeline with every call."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from adapters.cli import output
from adapters.cli.database import ask_database
from adapters.cli.lists import (
    ACTION_COLUMNS,
    ACTION_DROPS,
    QUARANTINE_COLUMNS,
    QUARANTINE_DROPS,
    action_cells,
    quarantine_cells,
    said_by,
)
from adapters.cli.output import counted, facts, moment, say, table
from adapters.postgres.queries import PostgresQueries
from adapters.presentation.formatting import NOTHING, amount, took, words
from adapters.presentation.order_view import order_view
from adapters.presentation.schemas import CallView, Delivery, OrderView, TimelineEvent
from adapters.records.errors import UnknownOrder
from adapters.records.orders import OrderRecord
from domain.money import Till

_ITEM_COLUMNS: Final = ("product", "quantity", "unit", "price", "to pay", "cashback")


def show_order(order: OrderView, record: OrderRecord, till: Till) -> None:
    """`order` is what the API answers about `record`."""
    said = order["verdict"]
    say(f"order {order['orderId']}: {said['sentence']}", "bold")
    step = said["nextStep"]
    facts(
        (
            ("why", said["detail"]),
            ("books", said["comparison"]["says"]),
            ("next", f"{step['says']}: {step['command']}" if step else ""),
            ("runbook", f"docs/runbooks/{said['runbook']}"),
            ("status", f"{order['status']}, cashback {amount(order['cashbackAmount'])}"),
            ("store", order["storeNo"]),
            ("buyer", order["buyerId"]),
            ("version", f"{order['version']}, decided {moment(order['recordedAt'])}"),
            ("messages", _messages(order)),
            ("doubts", ", ".join(map(words, order["doubts"]))),
            ("calls", _calls(order["delivery"])),
        )
    )
    if order["items"]:
        say()
        right = ("quantity", "price", "to pay", "cashback")
        table(_ITEM_COLUMNS, [_item(each, till) for each in order["items"]], right=right, title="items")
    say()
    say("timeline", "bold")
    before = 0
    for event in order["timeline"]:
        if event["version"] != before + 1:
            say(f"  … {counted(event['version'] - before - 1, 'decision')} left out …", "dim")
        before = event["version"]
        _show_event(event)
    if record.quarantined:
        say()
        cells, title = map(quarantine_cells, record.quarantined), "messages in quarantine"
        table(QUARANTINE_COLUMNS, cells, right=("id", "order"), title=title, drop=QUARANTINE_DROPS)
    if record.replays:
        say()
        rows = ((each.id, each.mode, moment(each.requested_at), each.items, each.reason) for each in record.replays)
        table(
            ("id", "mode", "at", "items", "reason"), rows, right=("items",), title="replays", drop=("at", "items")
        )
    if record.actions:
        say()
        cells = map(action_cells, record.actions)
        table(ACTION_COLUMNS, cells, right=("version",), title="what people did", drop=ACTION_DROPS)


def _messages(order: OrderView) -> str:
    counts = (order["held"], "held"), (order["superseded"], "superseded"), (order["rejected"], "rejected")
    return ", ".join(f"{number} {what}" for number, what in counts if number)


def _calls(delivery: Delivery) -> str:
    parts = [
        words(delivery["state"]),
        f"settled to version {delivery['settledVersion']} of {delivery['headVersion']}",
    ]
    if delivery["attempts"]:
        parts.append(counted(delivery["attempts"], "attempt"))
    if delivery["nextAttemptAt"]:
        parts.append(f"next attempt {moment(delivery['nextAttemptAt'])}")
    if delivery["parkedAt"]:
        parts.append(f"since {moment(delivery['parkedAt'])}: {delivery['parkedReason']}")
    return ", ".join(parts)


def _item(item: dict[str, Any], till: Till) -> Sequence[object]:
    price, quantity, to_pay = (Decimal(item[name]) for name in ("originalPrice", "quantity", "finalTotalPrice"))
    cashback = till.item_cashback(price, quantity, to_pay)
    product = item.get("externalProductId"), f"{quantity:f}", item.get("unit")
    return *product, amount(price), amount(to_pay), amount(cashback)


def _show_event(event: TimelineEvent) -> None:
    message = event["message"]
    doubt = "".join(f" [{words(each)}]" for each in event["doubts"])
    worth = "" if event["cashback"] is None else f", cashback {amount(event['cashback'])}"
    what = "" if message is None else f"{message['type']} "
    say(f"  {event['version']}  {what}{event['decision']}: {event['rule']}{worth}{doubt}")
    if message is None:
        say(f"     recorded {event['recordedAt']}", "dim")
        return
    place = f"{message['topic']}/{message['partition']}@{message['offset']}"
    sequence = "" if message["sequence"] is None else f", sequence {message['sequence']}"
    replay = "" if message["replay"] is None else f", of replay {message['replay']}"
    recorded = f"recorded {event['recordedAt']}"
    say(f"     {place}, dated {message['transactionDate']}{sequence}{replay}, {recorded}", "dim")
    say(f"     transaction {message['transactionId']}", "dim")
    if event["call"] is not None:
        _show_call(event["call"])


def _show_call(call: CallView) -> None:
    renewed = f", renewed {counted(call['generation'], 'time')}" if call["generation"] else ""
    settled = "" if call["settledAt"] is None else f", settled {moment(call['settledAt'])}"
    say(f"     {call['method']} {call['path']}: {words(call['state'])}{settled}", _style(call["state"]))
    say(f"       key {call['idempotencyKey']}{renewed}, {counted(call['attemptCount'], 'attempt')}", "dim")
    if call["attemptCount"] > len(call["attempts"]):
        say(f"       … the last {len(call['attempts'])} of them:", "dim")
    for each in call["attempts"]:
        outcome = said_by(each["outcome"], each["status"], each["answer"])
        say(f"       {moment(each['startedAt'])}  {took(each['durationMs'])}  {outcome or NOTHING}")


def _style(state: str) -> str:
    return {"delivered": "green", "due": "", "retrying": "yellow", "not_in_ledger": ""}.get(state, "red")


def run_order(url: str, order_id: int, till: Till, *, as_json: bool) -> int:
    """Answers the exit code. Raises UnknownOrder."""
    record = ask_database(url, lambda database: PostgresQueries(database).order(order_id))
    if record is None:
        raise UnknownOrder(order_id)
    view = order_view(record, till)
    if as_json:
        output.print_json(view)
    else:
        show_order(view, record, till)
    return 0
