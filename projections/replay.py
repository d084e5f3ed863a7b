"""Replay: what would be sent again for one order, and in which order. Nothing is sent here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.decision import order_key
from domain.events import (
    CashbackCancelled,
    CashbackCompleted,
    CashbackUpdated,
    OrderEvent,
    RepeatSeenElsewhere,
    UpdateSuperseded,
)
from domain.messages import Message
from domain.order import Standing
from projections.ports import Call

REPLAY_HEADER: Final = "cashback-replay"
"""Names the replay that a republished message belongs to (contract.md, section 1)."""

Headers = tuple[tuple[str, bytes | None], ...]


class Mode(StrEnum):
    """What is done again."""

    REDELIVER = "redeliver"
    """The calls to the third party."""
    REPUBLISH = "republish"
    """The messages on the topic."""


class CallState(StrEnum):
    """Where a call in the effect ledger stands."""

    DUE = "due"
    RETRYING = "retrying"
    IN_DOUBT = "in_doubt"
    PARKED = "parked"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    """Given up by a person."""


@dataclass(frozen=True, slots=True)
class Republication:
    """One message that goes to a topic again."""

    version: int
    """Of the event that recorded the message first."""
    message: Message
    topic: str

    @property
    def key(self) -> bytes:
        return b"%d" % self.message.order_id

    def headers(self, replay_id: str) -> Headers:
        """As received, with this replay's id in the place of an earlier one's."""
        received = tuple(
            (name, None if value is None else value.encode("latin-1"))
            for name, value in self.message.headers
            if name != REPLAY_HEADER
        )
        return (*received, (REPLAY_HEADER, replay_id.encode()))


def republications(events: Sequence[OrderEvent], topics: Sequence[str]) -> list[Republication]:
    """Every message of a stream once, as first recorded, in the order in which they happened.

    That is the publisher's `sequence` if all of them have one. If not, an update that counted goes before the end
    even if its date says otherwise, by less than clocks can be trusted.
    `topics` are those that we read: a message from any other goes to the first of them.
    """
    verdicts = _verdicts(events)
    firsts = [
        event for event in events if event.held_version is None and not isinstance(event, RepeatSeenElsewhere)
    ]
    if all(event.message.sequence is not None for event in firsts):
        firsts.sort(key=lambda event: (event.message.sequence or 0, event.originator_version))
    else:
        ends = (each for each in verdicts.values() if isinstance(each, CashbackCancelled | CashbackCompleted))
        end = next(ends, None)
        firsts.sort(key=lambda event: _sort_key(verdicts[event.originator_version], end))
    return [
        Republication(event.originator_version, event.message, _topic(event.message, topics)) for event in firsts
    ]


def _verdicts(events: Sequence[OrderEvent]) -> dict[int, OrderEvent]:
    """The last event about each message, by the version of the first one."""
    first_of: dict[int, int] = {}
    verdicts: dict[int, OrderEvent] = {}
    for event in events:
        version = event.originator_version
        first_of[version] = version if event.held_version is None else first_of[event.held_version]
        verdicts[first_of[version]] = event
    return verdicts


_SortKey = tuple[tuple[int, int, str, int, str], bool, tuple[int, int, str, int, str]]


def _sort_key(verdict: OrderEvent, end: OrderEvent | None) -> _SortKey:
    key = _key_of(verdict)
    if end is None:
        return key, False, key
    end_key = _key_of(end)
    counted = isinstance(verdict, CashbackUpdated | UpdateSuperseded)
    return min(key, end_key) if counted else key, verdict is end, key


def _key_of(event: OrderEvent) -> tuple[int, int, str, int, str]:
    message = event.message
    version = event.originator_version
    return order_key(Standing(message.kind, message.place, event.effective_at_ns, message.digest, version))


def _topic(message: Message, topics: Collection[str]) -> str:
    return message.topic if message.topic in topics else next(iter(topics))


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A call as the effect ledger has it."""

    call: Call
    state: CallState
    attempts: int
    first_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class Redelivered:
    """A call that is sent again, with its old key and body."""

    entry: LedgerEntry
    warning: str | None
    """What a person should know before it is sent."""


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A call that stays as it is, and why."""

    entry: LedgerEntry
    reason: str


@dataclass(frozen=True, slots=True)
class Redelivery:
    """What happens to an order's calls; both in the order of their versions."""

    sent: tuple[Redelivered, ...]
    suppressed: tuple[Suppressed, ...]

    @property
    def versions(self) -> list[int]:
        return [each.entry.call.version for each in self.sent]


def redelivery(entries: Sequence[LedgerEntry], *, now: datetime, key_retention: timedelta) -> Redelivery:
    """Every call that isn't settled; and of the delivered ones those whose key the third party still remembers:
    to send another again might pay twice."""
    sent, suppressed = [], []
    for entry in sorted(entries, key=lambda entry: entry.call.version):
        first = entry.first_attempt_at
        remembered = first is not None and now - first < key_retention
        if entry.state is CallState.SKIPPED:
            suppressed.append(Suppressed(entry, "a person has given it up"))
        elif entry.state is CallState.DELIVERED and not remembered:
            suppressed.append(Suppressed(entry, _forgotten(key_retention)))
        else:
            warning = None if first is None or remembered else _in_doubt(key_retention)
            sent.append(Redelivered(entry, warning))
    return Redelivery(tuple(sent), tuple(suppressed))


def _forgotten(key_retention: timedelta) -> str:
    return (
        f"delivered, and first sent more than {_hours(key_retention)} ago: the third party may have forgotten its"
        " key and would pay again"
    )


def _in_doubt(key_retention: timedelta) -> str:
    return (
        f"first sent more than {_hours(key_retention)} ago: if an attempt was carried out after all, the third"
        " party may have forgotten its key; look the order up there first"
    )


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):g} h"
