"""What will happen, said in whole sentences, for whoever is about to confirm it."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, assert_never

from adapters.presentation.formatting import amount, span
from adapters.records.jobs import COMPARE, BulkMode, Job
from domain.exact_json import InvalidJson, loads
from projections.republication import Mode

MAX_NAMED: Final = 5
"""Calls that are named one by one; of more, the first ones."""
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DECISIONS: Final = {
    "cashback-created": "accepted, the order is created",
    "cashback-updated": "accepted, its items count",
    "cashback-cancelled": "accepted, the order is cancelled",
    "cashback-completed": "accepted, the order is completed",
    "message-held": "held, until what must come before it has come",
    "update-superseded": "superseded by a later update",
    "message-rejected": "rejected",
    "repeat-seen-elsewhere": "a repeat that makes the order doubtful",
    "cashback-corrected": "accepted, another amount is owed",
    "correction-not-needed": "it counts, and leaves the amount as it is",
    "doubt-settled": "what was in doubt is settled",
    "gap-accepted": "the missing numbers are given up",
    "create-given-up": "the missing CREATED is given up",
}

_CONDITIONS: Final = {
    "namedOrders": "{} named",
    "status": "in the state {}",
    "changedFrom": "changed from {} on",
    "changedTo": "changed before {}",
    "parked": "parked",
    "parkedReason": "parked because “{}…”",
    "parkedFrom": "parked from {} on",
    "parkedTo": "parked before {}",
    "doubtful": "doubtful",
    "doubt": "in doubt because of “{}”",
    "doubtfulFrom": "doubtful from {} on",
    "doubtfulTo": "doubtful before {}",
    "atStakeMin": "at least {} at stake",
    "atStakeMax": "at most {} at stake",
    "held": "with messages held",
    "heldFrom": "held from {} on",
    "heldTo": "held before {}",
    "difference": "different from the third party: {}",
    "quarantined": "open in quarantine",
    "quarantineReason": "for the reason {}",
    "quarantineTopic": "from the topic {}",
}


def sentence(text: str) -> str:
    """With a capital letter; the rest as it is."""
    return text[:1].upper() + text[1:]


def number_of(count: int, thing: str) -> str:
    shown = _NUMBERS[count] if count < len(_NUMBERS) else f"{count:,}"
    return f"{shown} {thing}{'' if count == 1 else 's'}"


def replay_says(plan: Mapping[str, Any]) -> list[str]:
    """`plan`: see adapters.operations.replay.ReplayReport.as_json."""
    items: Sequence[Mapping[str, Any]] = plan["items"]
    count = len(items)
    if not count:
        return ["Nothing will be sent."]
    if plan["mode"] == Mode.REPUBLISH:
        kinds = _named([each["type"] for each in items])
        topics = ", ".join(sorted({each["topic"] for each in items}))
        return [
            f"{sentence(number_of(count, 'message'))} will be published to {topics} again: {kinds}.",
            "Whoever knows them already takes them for repeats: nothing is decided anew, and nobody is called.",
        ]
    calls = _named([call_name(each, amount_said(each)) for each in items])
    says = [f"{sentence(number_of(count, 'call'))} will be sent to the third party again, in this order: {calls}."]
    if any(each["formerKey"] for each in items):
        says.append("Under new keys: the third party can't tell that it knows them.")
    else:
        says.append("Each keeps its key: the third party takes it for the call that it knows.")
    risk = plan["amountAtRisk"]
    says.append(f"{amount(risk)} at risk: it could be paid a second time." if risk else "Nothing is at risk.")
    if plan["suppressed"]:
        says.append(f"{sentence(number_of(len(plan['suppressed']), 'call'))} will not be sent.")
    return says


def retry_says(plan: Mapping[str, Any]) -> list[str]:
    """`plan`: see adapters.records.parking.ParkingReport.as_json."""
    order_id, call = plan["orderId"], plan["call"]
    if call is None:
        return [f"No call of order {order_id} waits: it only stops being parked."]
    says = [f"The call {call_name(call, call['cashbackAmount'])} of order {order_id} goes out again at once."]
    if plan["followCount"]:
        says.append(
            f"Once it is through, {number_of(plan['followCount'], 'call')} behind it follow in their order."
        )
    return [*says, "Each keeps its key: nobody can be paid twice."]


def skip_says(plan: Mapping[str, Any]) -> list[str]:
    order_id, call, behind = plan["orderId"], plan["call"], plan["followCount"]
    says = [f"The call {call_name(call, None)} of order {order_id} is given up, and never sent."]
    if call["cashbackAmount"] is not None:
        says.append(f"The amount that it carries, {amount(call['cashbackAmount'])}, is given up with it.")
    if behind:
        says.append(f"The order goes on with {number_of(behind, 'call')} behind it.")
    else:
        says.append("No call stands behind it: the order is then told as far as it ever will be.")
    return says


def settle_says(plan: Mapping[str, Any]) -> list[str]:
    """`plan`: see adapters.operations.interventions.InterventionReport.as_json."""
    doubts = sentence(number_of(len(plan["doubts"]), "doubt"))
    are = "is" if len(plan["doubts"]) == 1 else "are"
    amounts = "" if plan["cashbackAfter"] is None else f", with {amount(plan['cashbackAfter'])}"
    says = [f"{doubts} about order {plan['orderId']} {are} settled: it stays as it stands now{amounts}."]
    stakes = [each["atStake"] for each in plan["doubts"] if each["atStake"]]
    if stakes:
        most = max(stakes, key=abs)
        says.append(
            f"If the doubt is right after all, {amount(abs(most))} {'more' if most > 0 else 'less'} is owed."
        )
    return says + _calls_say(plan)


def release_says(plan: Mapping[str, Any]) -> list[str]:
    """`plan`: see adapters.operations.interventions.InterventionReport.as_json."""
    numbers = [each for each in plan["givenUp"] if each != "CREATED"]
    says = []
    if numbers:
        says.append(f"The numbers {', '.join(numbers)} of order {plan['orderId']} will never come.")
    if "CREATED" in plan["givenUp"]:
        messages = sentence(number_of(plan["closed"], "message"))
        says.append(
            f"The CREATED will never come: {messages.lower()} {'is' if plan['closed'] == 1 else 'are'} closed,"
            " and nothing is paid."
        )
    says += [
        f"Decision {each['version']}, {each['type']}: {_DECISIONS.get(each['event'], each['event'])}."
        for each in plan["events"]
        if each["type"] is not None
    ]
    if plan["cashbackAfter"] is not None:
        says.append(f"The order then earns {amount(plan['cashbackAfter'])}.")
    return says + _calls_say(plan)


def _calls_say(plan: Mapping[str, Any]) -> list[str]:
    if not plan["callCount"]:
        return ["No call is sent because of it."]
    calls = _named([call_name(each, each["cashbackAmount"]) for each in plan["calls"]])
    verb = "goes" if plan["callCount"] == 1 else "go"
    return [f"{sentence(number_of(plan['callCount'], 'call'))} {verb} out, in this order: {calls}."]


def quarantine_says(plan: Mapping[str, Any], *, is_edited: bool) -> list[str]:
    """`plan`: see adapters.operations.quarantine.QuarantineReport.as_json."""
    read = "Edited so, the message is read" if is_edited else "The message is read"
    says = [f"{read} as {plan['type']} of order {plan['orderId']}, dated {plan['transactionDate']}."]
    if plan["isRepeat"]:
        says.append("It is known already: nothing is decided.")
    says += [
        f"Decision {each['version']}, {each['type']}: {_DECISIONS.get(each['event'], each['event'])}."
        for each in plan["decisions"]
    ]
    if any(each["event"].startswith("cashback-") for each in plan["decisions"]):
        says.append("The calls that follow from it are sent to the third party.")
    return [*says, "What came is kept as it came."] if is_edited else says


def bulk_says(replay: Job) -> list[str]:
    assert replay.kind != COMPARE, "a comparison has no preview"
    orders = number_of(replay.total, "order")
    match replay.kind:
        case BulkMode.REDELIVER:
            what = f"The calls of {orders} are sent to the third party again"
        case BulkMode.REPUBLISH:
            what = f"The messages of {orders} are published again"
        case BulkMode.RETRY:
            verb = "is" if replay.total == 1 else "are"
            what = f"{sentence(orders)} {verb} retried, with the same keys"
        case BulkMode.SETTLE:
            what = f"What is in doubt about {orders} is settled: what stands now counts"
        case BulkMode.RELEASE:
            what = f"Held messages of {orders} wait no longer: they have their turn, or are closed unpaid"
        case BulkMode.QUARANTINE_RETRY:
            what = f"{sentence(number_of(replay.total, 'message'))} in quarantine will be read again, as received"
        case BulkMode.QUARANTINE_DISCARD:
            what = f"{sentence(number_of(replay.total, 'message'))} in quarantine will be discarded, for good"
        case _:
            assert_never(replay.kind)
    says = [
        f"{what}, at most {replay.rate_per_second:g} a second: {lasting(replay.total, replay.rate_per_second)}."
    ]
    if replay.foretold is not None:
        told = replay.foretold
        rest = f", {told.suppressed:,} will not" if told.suppressed else ""
        says.append(f"{sentence(number_of(told.calls, 'call'))} will be sent{rest}.")
        is_risky = told.amount_at_risk > 0
        risk = f"{amount(told.amount_at_risk)} at risk: it could be paid a second time."
        says.append(risk if is_risky else "Nothing is at risk.")
    if replay.settling is not None:
        settling = replay.settling
        says.append(
            f"{sentence(number_of(settling.calls, 'completion'))} that the doubt held back will be sent;"
            f" {amount(settling.at_stake)} at stake."
        )
    return says


def selection_says(selection: Mapping[str, str | int]) -> str:
    """See adapters.records.jobs.Job.selection."""
    return ", ".join(_CONDITIONS.get(name, name + " {}").format(value) for name, value in selection.items())


def lasting(count: int, per_second: float) -> str:
    seconds = round(count / per_second)
    return "a moment" if seconds < 1 else f"about {span(seconds)}"


def call_name(call: Mapping[str, Any], said: Decimal | int | None) -> str:
    name = f"{call['method']} {call['path']}"
    return name if said is None else f"{name} ({amount(said)})"


def amount_said(item: Mapping[str, Any]) -> Decimal | int | None:
    """By the body of a call that would be sent."""
    try:
        said = loads(bytes(item["body"])).get("cashbackAmount")
    except (InvalidJson, AttributeError):
        return None
    return said if isinstance(said, Decimal | int) else None


def _named(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:MAX_NAMED])} and {more:,} more"
