"""docs/reference/decisions.md: what `decide` can say about a message, in the words of the API and the console."""

import ast
import inspect
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from adapters.presentation.decisions import decision_of, rule_of
from domain.effects import effect_of
from domain.events import Doubt, MessageEvent, OrderEvent, Refusal, WaitsFor, type_of_topic
from domain.identifiers import stream_id
from domain.lifecycle import TRANSITIONS, Status, Step
from domain.messages import Kind
from domain.money import ZERO
from tests.support.messages import message

# Of a step, what may come of it; the rules behind are in domain/decision.py.
OUTCOMES: Final = {
    Step.CREATE: "accepted; then what was held, in its order",
    Step.UPDATE: "accepted if it happened after the last accepted update, else superseded",
    Step.END: "accepted",
    Step.HOLD: "held",
    Step.REFUSE_SECOND_CREATE: f"rejected: `{Refusal.CREATED_TWICE}`",
    Step.REFUSE_UPDATE_AFTER_END: (
        f"rejected: `{Refusal.LATE}` if it happened before the end, else `{Refusal.AFTER_END}`"
    ),
    Step.REFUSE_SECOND_END: f"rejected: `{Refusal.ENDED_TWICE}`",
}
"""Without corrections; with them what comes after a completion counts, and may be corrected."""
_BY_A_PERSON: Final[dict[str, Any]] = {
    "decided_by": "somebody",
    "reason": "why",
    "settled": ((Doubt.LATE, 2),),
    "first": 4,
    "last": 6,
}
_FIELDS: Final[dict[str, Any]] = {
    "cashback": ZERO,
    "stated_at_ns": 0,
    "waits_for": WaitsFor.CREATE,
    "superseded_by_version": 2,
    "refusal": Refusal.CONFLICT,
}


DOUBTS: Final = {
    Doubt.CONFLICT: "the same message, or the same `sequence`, came with two contents: the first stands"
}
PAGE: Final = """\
# Decisions

{made}
Each message that is new to its order becomes an event in the order's stream; a repeat leaves none. The words are
those of `rule` in `GET /api/orders/{{orderId}}` and of the console. Why the rules are so:
[ordering](../explanation/ordering.md).

## What a message means

{transitions}
Before this table: a stamped message that skips a number is held, whatever it says; one whose number is taken, whose
identity or fact was there with other content, or with an item that takes money from the buyer, is rejected. An
update that names another buyer is rejected in any state.

Where the third party takes corrections (`CASHBACK_THIRD_PARTY_CORRECTIONS=on`), a message after the completion
counts as any other: if all messages in their right order give another amount, that is told as a correction.

## Events

{events}
## Why a message is held

{held}
## Why a message is rejected

{rejected}
## Doubts

What arrived can't tell for certain what the buyer is owed, and a person should look:
`GET /api/orders?doubtful=true`.

{doubts}"""


def decisions_page(made: str) -> str:
    return PAGE.format(
        made=made,
        transitions=_transitions(),
        events=_events(),
        held=_reasons(WaitsFor, {each: _said("message-held", waits_for=each) for each in WaitsFor}),
        rejected=_reasons(Refusal, {each: _said("message-rejected", refusal=each) for each in Refusal}),
        doubts=_reasons(Doubt, DOUBTS | {Doubt.LATE: _said("message-rejected", refusal=Refusal.LATE)}),
    )


def _transitions() -> str:
    lines = ["| state | " + " | ".join(Kind) + " |", "|---" * (len(Kind) + 1) + "|"]
    for status in Status:
        cells = [OUTCOMES[TRANSITIONS[status][kind]] for kind in Kind]
        lines.append(f"| {status} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _events() -> str:
    lines = ["| event | decision | call | an example of the rule |", "|---|---|---|---|"]
    for topic, event_type in type_of_topic.items():
        event = _event(event_type) if issubclass(event_type, MessageEvent) else _decided(event_type)
        effect = effect_of(event)
        call = f"`{effect.kind}`" if effect else "none"
        lines.append(f"| `{topic}` | {decision_of(event)} | {call} | {rule_of(event)} |")
    return "\n".join(lines) + "\n"


def _reasons(names: type[Enum], said: dict[Any, str]) -> str:
    """In these words, or else in those that stand in the code."""
    written = _docstrings(names)
    lines = ["| name | means |", "|---|---|"]
    for each in names:
        words = said.get(each) or written[each.name]
        lines.append(f"| `{each.value}` | {words[0].lower()}{words[1:].rstrip('.')} |")
    return "\n".join(lines) + "\n"


def _said(topic: str, **fields: Any) -> str:
    event_type = type_of_topic[topic]
    assert issubclass(event_type, MessageEvent)
    return rule_of(_event(event_type, **fields))


def _event(event_type: type[MessageEvent], **fields: Any) -> MessageEvent:
    said = message(Kind.UPDATED, sequence=3)
    known = {name: value for name, value in (_FIELDS | fields).items() if name in event_type.__struct_fields__}
    return event_type(
        originator_id=stream_id(said.order_id),
        originator_version=3,
        recorded_at_ns=0,
        message=said,
        effective_at_ns=0,
        **known,
    )


def _decided(event_type: type[OrderEvent]) -> OrderEvent:
    known = {name: value for name, value in _BY_A_PERSON.items() if name in event_type.__struct_fields__}
    return event_type(originator_id=stream_id(1), originator_version=3, recorded_at_ns=0, **known)


def _docstrings(names: type[Enum]) -> dict[str, str]:
    """The texts that stand below the members of an enum."""
    source = Path(inspect.getfile(names)).read_text("utf-8")
    body = next(
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == names.__name__
    )
    found: dict[str, str] = {}
    for before, after in pairwise(body):
        if (
            isinstance(before, ast.Assign)
            and isinstance(before.targets[0], ast.Name)
            and isinstance(after, ast.Expr)
        ):
            found[before.targets[0].id] = str(ast.literal_eval(after.value))
    return found
