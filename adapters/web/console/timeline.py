"""An order's story as a picture: messages, decisions and calls in three lanes, from left to right by time.

The axis is not to scale: a millisecond and a day between two things must both be seen. What follows later stands
further to the right, and a longer pause takes more room, by the logarithm of its length.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from adapters.presentation.formatting import nanoseconds_of
from adapters.presentation.schemas import AttemptView, TimelineEvent
from domain.instants import format_instant

Thing = TypeVar("Thing")

MAX_EVENTS_AT_END: Final = 15
"""So many of the first and of the last are drawn."""
MAX_ATTEMPTS_AT_END: Final = 3
LEFT: Final = 96
TOP: Final = 34
LANE_HEIGHT: Final = 62
LANES: Final = ("messages", "decisions", "calls")
MARK_GAP: Final = 20
"""Between two marks in one lane, at least."""
LABEL_GAP: Final = 86
_WIDEST_PAUSE: Final = 70.0
_STEP: Final = 9.0
"""For each tenfold length of a pause."""
_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Mark:
    """A thing that happened. `look` is its class in the style sheet, and chooses its shape."""

    x: float
    y: int
    look: str
    title: str
    version: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Link:
    """From what led to it, to what followed."""

    x1: float
    y1: int
    x2: float
    y2: int
    look: str


@dataclass(frozen=True, slots=True)
class Label:
    x: float
    time: str
    day: str
    """Empty if it's that of the label before."""


@dataclass(frozen=True, slots=True)
class Timeline:
    width: int
    height: int
    marks: Sequence[Mark]
    links: Sequence[Link]
    labels: Sequence[Label]
    omitted: int
    """Events in the middle that aren't drawn."""

    def share(self, x: float) -> str:
        """Where it stands between the first mark and the last, whatever the width of the picture."""
        right = max((mark.x for mark in self.marks), default=LEFT)
        return f"{100 * (x - LEFT) / (right - LEFT):.2f}%" if right > LEFT else "0%"

    @property
    def lanes(self) -> list[tuple[str, int]]:
        return [(name, _y(lane)) for lane, name in enumerate(LANES)]


@dataclass(frozen=True, slots=True)
class _Thing:
    """What will be a mark once its place is known."""

    at_ns: int
    lane: int
    look: str
    title: str
    version: int
    number: int = 0
    """Of an attempt."""


def timeline(timeline: Sequence[TimelineEvent]) -> Timeline:
    """Of a whole order; what was held and released later is one message and two decisions."""
    shown = _ends(timeline, MAX_EVENTS_AT_END)
    things = [thing for event in shown for thing in _things(event)]
    marks = _placed(things)
    labels = _labels(marks.values())
    right = max((mark.x for mark in marks.values()), default=LEFT)
    return Timeline(
        width=math.ceil(max([right, *(label.x + LABEL_GAP for label in labels)])) + MARK_GAP,
        height=TOP + len(LANES) * LANE_HEIGHT + 26,
        marks=list(marks.values()),
        links=list(_links(shown, marks)),
        labels=labels,
        omitted=len(timeline) - len(shown),
    )


def _things(event: TimelineEvent) -> Iterable[_Thing]:
    message, version = event["message"], event["version"]
    if message is not None and event["heldVersion"] is None:
        title = f"{message['type']}, {message['transactionDate']}"
        yield _Thing(nanoseconds_of(message["transactionDate"]), 0, "message", title, version)
    what = "" if message is None else f"{message['type']} "
    decided = f"version {version}: {what}{event['decision']}, {event['rule']}"
    look = event["decision"].partition(" ")[0]
    yield _Thing(nanoseconds_of(event["recordedAt"]), 1, look, decided, version)
    if call := event["call"]:
        for number, attempt in enumerate(_ends(call["attempts"], MAX_ATTEMPTS_AT_END)):
            title = f"{call['method']} {call['path']}: {attempt['outcome']}, {attempt['status'] or 'no status'}"
            at_ns = nanoseconds_of(attempt["startedAt"])
            yield _Thing(at_ns, 2, _look_of(attempt), title, version, number)


def _look_of(attempt: AttemptView) -> str:
    match attempt["outcome"]:
        case "delivered" | "found" | "not_found":
            return "delivered"
        case "refused":
            return "refused"
        case "in_doubt":
            return "doubtful"
        case _:
            return "failed"


def _placed(things: Iterable[_Thing]) -> dict[tuple[int, int, int], Mark]:
    """By lane, version and number."""
    x, before_ns = float(LEFT), None
    last_in_lane: dict[int, float] = {}
    marks = {}
    for thing in sorted(things, key=lambda each: (each.at_ns, each.lane, each.version, each.number)):
        if before_ns is not None:
            x += min(_WIDEST_PAUSE, _STEP * math.log10(1 + (thing.at_ns - before_ns) / _NS_PER_MS))
        x = max(x, last_in_lane.get(thing.lane, 0.0) + MARK_GAP)
        last_in_lane[thing.lane] = x
        before_ns = thing.at_ns
        marks[thing.lane, thing.version, thing.number] = Mark(
            round(x, 1), _y(thing.lane), thing.look, thing.title, thing.version, thing.at_ns
        )
    return marks


def _links(events: Iterable[TimelineEvent], marks: dict[tuple[int, int, int], Mark]) -> Iterable[Link]:
    for event in events:
        version, held_version = event["version"], event["heldVersion"]
        decision = marks[1, version, 0]
        cause = marks.get((0, version, 0) if held_version is None else (1, held_version, 0))
        if cause:
            look = "plain" if held_version is None else "released"
            yield Link(cause.x, cause.y, decision.x, decision.y, look)
        if first := marks.get((2, version, 0)):
            yield Link(decision.x, decision.y, first.x, first.y, "plain")
        number = 1
        while (again := marks.get((2, version, number))) is not None:
            yield Link(marks[2, version, number - 1].x, again.y, again.x, again.y, "again")
            number += 1


def _labels(marks: Iterable[Mark]) -> list[Label]:
    labels: list[Label] = []
    day = ""
    for mark in sorted(marks, key=lambda each: each.x):
        if labels and mark.x < labels[-1].x + LABEL_GAP:
            continue
        at = format_instant(mark.at_ns)
        labels.append(Label(mark.x, at[11:23], "" if at[:10] == day else at[:10]))
        day = at[:10]
    return labels


def _y(lane: int) -> int:
    return TOP + lane * LANE_HEIGHT + LANE_HEIGHT // 2


def _ends(things: Sequence[Thing], at_end: int) -> Sequence[Thing]:
    return things if len(things) <= 2 * at_end else [*things[:at_end], *things[-at_end:]]
