"""What was done to one order or one message, or would be, as text: from the same members as the JSON."""

from base64 import b64decode
from collections.abc import Sequence
from typing import Any, Final

from adapters.cli.output import counted, facts, moment, say, table
from adapters.presentation.formatting import amount, hexdump, text_of, words
from adapters.presentation.printable import visible
from adapters.records.operators import ActionKind
from domain.exact_json import dumps
from projections.republication import Mode

Json = dict[str, Any]

_CALL_COLUMNS: Final = ("version", "call", "state", "attempts", "cashback", "key")


def show_parking(report: Json) -> None:
    """Of a retry or a skip."""
    is_retry = report["action"] == ActionKind.RETRY
    _headline(report["action"], f"order {report['orderId']}", report, done="queued" if is_retry else "done")
    facts(
        (
            ("state", f"{report['stateBefore']} → {report['stateAfter']}"),
            ("parked for", report["parkedReason"]),
        )
    )
    calls = [each for each in (report["call"], *report["follows"]) if each is not None]
    if calls:
        rows = (
            (
                *(each["version"], _call(each), words(each["state"]), each["attempts"]),
                *(amount(each["cashbackAmount"]), each["key"]),
            )
            for each in calls
        )
        table(_CALL_COLUMNS, rows, right=("version", "attempts", "cashback"), drop=("key", "attempts", "state"))
    if report["followCount"] > len(report["follows"]):
        say(f"… and {report['followCount'] - len(report['follows'])} more")
    for warning in report["warnings"]:
        say(f"warning: {warning}", "yellow")


def show_replay(report: Json) -> None:
    """Of one order, either mode."""
    is_sent_later = report["mode"] == Mode.REDELIVER
    _headline(report["mode"], f"order {report['orderId']}", report, done="queued" if is_sent_later else "done")
    facts((("replay", report["replayId"]), ("how", report["how"]), ("nonce", report["nonce"])))
    if report["mode"] == Mode.REPUBLISH:
        _show_messages(report)
        return
    facts((("could be paid a second time", amount(report["amountAtRisk"])),))
    say(f"{counted(len(report['items']), 'call')} {'would be sent' if report['dryRun'] else 'queued'}", "bold")
    for call in report["items"]:
        say(f"  {call['version']}  {_call(call)}, {words(call['state'])}, {counted(call['attempts'], 'attempt')}")
        say(f"     key {call['key']}" + (f", formerly {call['formerKey']}" if call["formerKey"] else ""), "dim")
        say(f"     body {dumps(call['body']).decode()}", "dim")
        if call["warning"]:
            say(f"     warning: {call['warning']}", "yellow")
    if report["suppressed"]:
        rows = (
            (each["version"], _call(each), words(each["state"]), each["reason"]) for each in report["suppressed"]
        )
        table(("version", "call", "state", "why"), rows, right=("version",), title="calls that stay as they are")


def show_intervention(report: Json) -> None:
    """Of settling a doubt, or releasing what is held."""
    _headline(report["action"], f"order {report['orderId']}", report)
    before, after = amount(report["cashbackBefore"]), amount(report["cashbackAfter"])
    facts(
        (
            ("state", _change(report["statusBefore"], report["statusAfter"])),
            ("cashback", _change(before, after)),
            ("given up", ", ".join(report["givenUp"])),
            ("closed unpaid", counted(report["closed"], "message") if report["closed"] else None),
        )
    )
    if report["doubts"]:
        rows = (
            (words(each["doubt"]), each["version"], moment(each["since"]), amount(each["atStake"]))
            for each in report["doubts"]
        )
        title = "doubts that are settled" if report["action"] == ActionKind.SETTLE else "doubts that stay open"
        table(("doubt", "version", "since", "at stake"), rows, right=("version", "at stake"), title=title)
    for event in report["events"]:
        say(
            f"  version {event['version']}: {event['event']}" + (f", of a {event['type']}" if event["type"] else "")
        )
    if report["calls"]:
        calls = (
            (each["version"], _call(each), amount(each["cashbackAmount"]), each["key"]) for each in report["calls"]
        )
        table(
            ("version", "call", "cashback", "key"),
            calls,
            right=("version", "cashback"),
            title="calls that follow",
            drop=("key",),
        )
    else:
        say("  no call follows")
    if report["callCount"] > len(report["calls"]):
        say(f"… and {report['callCount'] - len(report['calls'])} more")
    for warning in report["warnings"]:
        say(f"warning: {warning}", "yellow")


def show_quarantine_action(report: Json) -> None:
    """Of reading a message again, or discarding it."""
    _headline(words(report["action"]), f"message {report['id']}", report)
    facts(
        (
            ("state", f"{report['stateBefore']} → {report['stateAfter']}"),
            ("order", report["orderId"]),
            ("type", report["type"]),
            ("dated", report["transactionDate"]),
        )
    )
    if report["isRepeat"]:
        say("  it was known already, and changes nothing")
    for decision in report["decisions"]:
        say(f"  version {decision['version']}: {decision['event']}, of a {decision['type']}")


def show_quarantined(message: Json) -> None:
    """One message, as it came."""
    say(f"message {message['id']} in quarantine: {message['state']}", "bold")
    facts(
        (
            ("place", f"{message['topic']}/{message['partition']}@{message['offset']}"),
            ("order", message["orderId"]),
            ("reason", message["reason"]),
            ("detail", message["detail"]),
            ("since", moment(message["quarantinedAt"])),
            ("closed", moment(message["closedAt"]) if message["closedAt"] else None),
            ("bytes", message["valueBytes"]),
        )
    )
    _show_octets("key", message["key"])
    for header in message["headers"]:
        _show_octets(f"header {header['name']}", header["value"])
    _show_octets("value", message["value"])
    if message["edited"]:
        _show_octets("key as edited", message["edited"]["key"])
        _show_octets("value as edited", message["edited"]["value"])


def _show_messages(report: Json) -> None:
    columns = ("version", "type", "dated", "place", "key", "bytes")
    rows = (
        (
            each["version"],
            each["type"],
            each["transactionDate"],
            f"{each['topic']}/{each['partition']}" + ("" if each["offset"] is None else f"@{each['offset']}"),
            each["key"],
            each["bytes"],
        )
        for each in report["items"]
    )
    title = (
        f"{counted(len(report['items']), 'message')} {'would be published' if report['dryRun'] else 'published'}"
    )
    table(columns, rows, right=("version", "bytes"), title=title, drop=("bytes", "dated", "key"))


def _show_octets(name: str, octets: Json | None) -> None:
    """As text if it is that; else in hexadecimal."""
    if octets is None:
        return
    say(f"{name}:", "bold")
    value = b64decode(octets["base64"])
    if octets["text"] is not None:
        for line in text_of(value).split("\n"):
            say(f"  {line}")
        return
    for offset, row, characters in hexdump(value):
        say(f"  {offset}  {row.ljust(48)}  {visible(characters)}")


def show_outage(breakers: Sequence[str], order_id: int) -> None:
    """What keeps queued calls from being sent; `breakers` are those that aren't closed."""
    for breaker in breakers:
        say(f"! calls are held, they go out after the outage: {breaker}", "bold red")
    say(f"what becomes of them: app.py order {order_id}", "dim")


def _headline(action: str, about: str, report: Json, *, done: str = "done") -> None:
    say(f"{action} {about}: {'a dry run, nothing is done' if report['dryRun'] else done}", "bold")


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _call(call: Json) -> str:
    return f"{call['kind']} {call['method']} {call['path']}"
