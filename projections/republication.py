"""Replay: what would be published again for one order, and in which order. Nothing is sent here.

Which calls are sent again is in `redelivery.py`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.events import (
    CashbackCancelled,
    CashbackCompleted,
    CashbackUpdated,
    MessageEvent,
    OrderEvent,
    RepeatSeenElsewhere,
    UpdateSuperseded,
)
from domain.messages import Message
from domain.order import order_key, placed_of
from projections.origin import ORIGIN_HEADER, origin_of, write_origin

REPLAY_HEADER: Final = "cashback-replay"
"""Names the replay that a republished message belongs to (contract.md, section 1)."""

Headers = tuple[tuple[str, bytes | None], ...]
_OURS: Final = frozenset({REPLAY_HEADER, ORIGIN_HEADER})


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
        """As received."""
        key = self.message.key
        return b"%d" % self.message.order_id if key is None else key.encode("latin-1")

    def headers(self, replay_id: str) -> Headers:
        """As received, with this replay's id in the place of an earlier one's, and where it was first received."""
        received = tuple(
            (name, None if value is None else value.encode("latin-1"))
            for name, value in self.message.headers
            if name not in _OURS
        )
        origin = origin_of(self.message)
        place = () if origin is None else ((ORIGIN_HEADER, write_origin(origin)),)
        return (*received, (REPLAY_HEADER, replay_id.encode()), *place)


def republications(events: Sequence[OrderEvent], topics: Sequence[str]) -> list[Republication]:
    """Every message of a stream once, as first recorded, in the order in which they happened.

    That is the publisher's `sequence` if all of them have one. If not, an update that counted goes before the end
    even if its date says otherwise, by less than clocks can be trusted.
    `topics` are those that we read: a message from any other goes to the first of them.
    """
    verdicts = _verdicts(events)
    firsts = [
        event
        for event in events
        if isinstance(event, MessageEvent)
        and event.held_version is None
        and not isinstance(event, RepeatSeenElsewhere)
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


def _verdicts(events: Sequence[OrderEvent]) -> dict[int, MessageEvent]:
    """The last event about each message, by the version of the first one."""
    first_of: dict[int, int] = {}
    verdicts: dict[int, MessageEvent] = {}
    for event in events:
        if not isinstance(event, MessageEvent):
            continue
        version = event.originator_version
        first_of[version] = version if event.held_version is None else first_of[event.held_version]
        verdicts[first_of[version]] = event
    return verdicts


_SortKey = tuple[tuple[int, int, str, int, str], bool, tuple[int, int, str, int, str]]


def _sort_key(verdict: MessageEvent, end: MessageEvent | None) -> _SortKey:
    key = _key_of(verdict)
    if end is None:
        return key, False, key
    end_key = _key_of(end)
    counted = isinstance(verdict, CashbackUpdated | UpdateSuperseded)
    return min(key, end_key) if counted else key, verdict is end, key


def _key_of(event: MessageEvent) -> tuple[int, int, str, int, str]:
    return order_key(placed_of(event.message, event.effective_at_ns, event.originator_version))


def _topic(message: Message, topics: Collection[str]) -> str:
    return message.topic if message.topic in topics else next(iter(topics))
