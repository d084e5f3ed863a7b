"""`decide`: what a message means for an order. Pure; the table of transitions is in `lifecycle.py`.

The rules for the order of messages (design.md, "What came before what"):

- Within a lane (a partition, or the publisher's `sequence`) the greater offset was published later: certain.
- Between lanes the effective times decide. If they are closer than the publishers' clocks can be trusted, the
  order is marked with a doubt, so that a person sees it. It is never silently wrong.
- A stamped message waits until all smaller numbers have come.
- A repeat changes nothing. A message that contradicts an earlier one is rejected, and both stay in the stream.
"""

from dataclasses import dataclass
from typing import Any, assert_never

from domain.events import (
    CashbackCancelled,
    CashbackCompleted,
    CashbackCreated,
    CashbackUpdated,
    Doubt,
    MessageHeld,
    MessageRejected,
    OrderEvent,
    Refusal,
    RepeatSeenElsewhere,
    UpdateSuperseded,
    WaitsFor,
)
from domain.instants import NANOSECONDS_PER_SECOND
from domain.lifecycle import TRANSITIONS, Step
from domain.messages import Kind, Message, Place
from domain.money import ZERO
from domain.order import Cancelled, Completed, Held, NotCreated, Order, Pending, Sighting, Standing, Terms, evolve


@dataclass(frozen=True, slots=True)
class Policy:
    """What the shop can tell us about its publishers."""

    clock_tolerance_ns: int = 60 * NANOSECONDS_PER_SECOND
    """The clocks of any two publishers differ by less than this."""


DEFAULT_POLICY = Policy()


def decide(
    order: Order, message: Message, *, now_ns: int, policy: Policy = DEFAULT_POLICY
) -> tuple[OrderEvent, ...]:
    """The events that follow from a message, none if it's a repeat. The first event is about the message itself;
    the others are about messages that were held and now have their turn."""
    return handle(order, message, now_ns=now_ns, policy=policy)[0]


def handle(
    order: Order, message: Message, *, now_ns: int, policy: Policy = DEFAULT_POLICY
) -> tuple[tuple[OrderEvent, ...], Order]:
    """What `decide` says, and the order after it, so that nobody evolves it twice."""
    seen = order.sighting_of(message)
    decision = _Decision(order, now_ns, policy)
    if seen is None or _brings_a_new_number(order, message, seen):
        decision.receive(message)
    elif message.kind is not Kind.CREATED and message.sequence is None and seen.sequence is None:
        place = message.place
        if place is not None and place.lane not in seen.lanes:
            decision.record(RepeatSeenElsewhere, message, order.effective_time(message))
    return tuple(decision.events), decision.order


def _brings_a_new_number(order: Order, message: Message, seen: Sighting) -> bool:
    """True if a known message comes again under a number of its own, which nothing else can fill."""
    return (
        message.sequence is not None
        and message.sequence > order.last_sequence
        and message.sequence != seen.sequence
        and all(held.message.sequence != message.sequence for held in order.held)
    )


class _Decision:
    """The events decided so far, and the order after them."""

    def __init__(self, order: Order, now_ns: int, policy: Policy) -> None:
        self.order = order
        self.events: list[OrderEvent] = []
        self._now_ns = now_ns
        self._policy = policy

    def record(
        self,
        event_type: type[OrderEvent],
        message: Message,
        effective_at_ns: int,
        held: Held | None = None,
        **fields: Any,
    ) -> None:
        event = event_type(
            originator_id=self.order.id,
            originator_version=self.order.version + 1,
            recorded_at_ns=self._now_ns,
            message=message,
            effective_at_ns=effective_at_ns,
            held_version=held.version if held else None,
            **fields,
        )
        self.events.append(event)
        self.order = evolve(self.order, event)

    def receive(self, message: Message) -> None:
        """A message that is new to the order; then everything that waited for it."""
        if message.sequence is not None and message.sequence > self.order.last_sequence + 1:
            self.record(MessageHeld, message, message.happened_at_ns, waits_for=WaitsFor.SEQUENCE)
            return
        self._take_number(message, None)
        while (held := self._next_released()) is not None:
            match held.waits_for:
                case WaitsFor.SEQUENCE:
                    self._take_number(held.message, held)
                case WaitsFor.CREATE:
                    self._apply(held.message, held.effective_at_ns, held)
                case _:
                    assert_never(held.waits_for)

    def _take_number(self, message: Message, held: Held | None) -> None:
        """All smaller numbers have come: the message gets its turn, unless its number is gone."""
        effective_at_ns = self.order.effective_time(message)
        if message.sequence is not None and message.sequence <= self.order.last_sequence:
            self._reject(message, effective_at_ns, held, Refusal.SEQUENCE_TAKEN, Doubt.CONFLICT)
        elif self._is_conflict(message):
            self._reject(message, effective_at_ns, held, Refusal.CONFLICT, Doubt.CONFLICT)
        elif message.is_negative:
            self._reject(message, effective_at_ns, held, Refusal.NEGATIVE_CASHBACK, None)
        else:
            self._apply(message, effective_at_ns, held)

    def _is_conflict(self, message: Message) -> bool:
        seen = self.order.sighting_of(message)
        return self.order.is_contradicted(message) or (seen is not None and seen.sequence != message.sequence)

    def _apply(self, message: Message, effective_at_ns: int, held: Held | None) -> None:
        """The table of transitions, for a message whose turn has come."""
        candidate = Standing(message.kind, message.place, effective_at_ns, message.digest, 0)
        step = TRANSITIONS[self.order.status][message.kind]
        match step, self.order.stage:
            case Step.CREATE, NotCreated():
                self._accept(CashbackCreated, message, candidate, held, cashback=message.cashback or ZERO)
            case Step.UPDATE, Pending(terms):
                self._update(message, candidate, held, terms)
            case Step.END, Pending(terms):
                self._end(message, candidate, held, terms)
            case Step.HOLD, NotCreated():
                self.record(MessageHeld, message, effective_at_ns, held, waits_for=WaitsFor.CREATE)
            case Step.REFUSE_SECOND_CREATE, Pending(terms) | Completed(terms) | Cancelled(terms):
                doubt = None if self._is_surely_after(candidate, terms.created) else Doubt.UNCERTAIN_ORDER
                self._reject(message, effective_at_ns, held, Refusal.CREATED_TWICE, doubt, terms.created)
            case Step.REFUSE_UPDATE_AFTER_END, Completed(end=end) | Cancelled(end=end):
                self._refuse_update(message, candidate, held, end)
            case Step.REFUSE_SECOND_END, Completed(end=end) | Cancelled(end=end):
                harmless = message.kind is end.kind or self._is_surely_after(candidate, end)
                doubt = None if harmless else Doubt.UNCERTAIN_ORDER
                self._reject(message, effective_at_ns, held, Refusal.ENDED_TWICE, doubt, end)
            case _:
                raise AssertionError(f"no rule for {step} in {self.order.status}")

    def _update(self, message: Message, candidate: Standing, held: Held | None, terms: Terms) -> None:
        last = terms.update
        doubt = Doubt.UNCERTAIN_ORDER if last and not self._is_certain(candidate, last) else None
        if last is None or _comes_after(candidate, last):
            self._accept(CashbackUpdated, message, candidate, held, doubt=doubt, cashback=message.cashback or ZERO)
        else:
            self.record(
                UpdateSuperseded,
                message,
                candidate.effective_at_ns,
                held,
                doubt=doubt,
                superseded_by_version=last.version,
            )

    def _end(self, message: Message, candidate: Standing, held: Held | None, terms: Terms) -> None:
        """An update that surely happened after the end, and came before it, has been paid for by mistake."""
        update = terms.update
        doubt = Doubt.UNCERTAIN_ORDER if update and self._is_surely_after(update, candidate) else None
        if message.kind is Kind.COMPLETED:
            self._accept(CashbackCompleted, message, candidate, held, doubt=doubt, cashback=terms.cashback)
        else:
            self._accept(CashbackCancelled, message, candidate, held, doubt=doubt)

    def _refuse_update(self, message: Message, candidate: Standing, held: Held | None, end: Standing) -> None:
        if self._is_surely_after(candidate, end):
            refusal, doubt = Refusal.AFTER_END, None
        elif candidate.effective_at_ns > end.effective_at_ns:
            refusal, doubt = Refusal.AFTER_END, Doubt.UNCERTAIN_ORDER
        else:
            refusal, doubt = Refusal.LATE, Doubt.LATE
        self._reject(message, candidate.effective_at_ns, held, refusal, doubt, end)

    def _accept(
        self,
        event_type: type[OrderEvent],
        message: Message,
        candidate: Standing,
        held: Held | None,
        **fields: Any,
    ) -> None:
        stated_at_ns = message.happened_at_ns
        if self.order.stated_at_ns is not None:
            stated_at_ns = max(stated_at_ns, self.order.stated_at_ns)
        self.record(event_type, message, candidate.effective_at_ns, held, stated_at_ns=stated_at_ns, **fields)

    def _reject(  # noqa: PLR0913, PLR0917 - one argument for each thing that the evidence consists of
        self,
        message: Message,
        effective_at_ns: int,
        held: Held | None,
        refusal: Refusal,
        doubt: Doubt | None,
        against: Standing | None = None,
    ) -> None:
        self.record(
            MessageRejected,
            message,
            effective_at_ns,
            held,
            refusal=refusal,
            doubt=doubt,
            against_version=against.version if against else None,
        )

    def _is_certain(self, one: Standing, other: Standing) -> bool:
        """True if the order of the two is beyond doubt."""
        distance_ns = abs(one.effective_at_ns - other.effective_at_ns)
        return _same_lane(one, other) or distance_ns > self._policy.clock_tolerance_ns

    def _is_surely_after(self, later: Standing, earlier: Standing) -> bool:
        return self._is_certain(later, earlier) and _comes_after(later, earlier)

    def _next_released(self) -> Held | None:
        """The held message whose turn it is now, if there is one."""
        if not self.order.held:
            return None
        waiting = [held for held in self.order.held if held.waits_for is WaitsFor.CREATE]
        if waiting and not isinstance(self.order.stage, NotCreated):
            return self._first_to_apply(waiting)
        numbered = [held for held in self.order.held if held.waits_for is WaitsFor.SEQUENCE]
        first = min(numbered, key=lambda held: held.message.sequence or 0, default=None)
        if first is not None and (first.message.sequence or 0) <= self.order.last_sequence + 1:
            return first
        return None

    def _first_to_apply(self, waiting: list[Held]) -> Held:
        """In the order in which they happened; but an update goes before the end unless it surely came after."""
        standings = [(_standing_of(held), held) for held in waiting]
        first, first_held = min(standings, key=lambda pair: order_key(pair[0]))
        if not first.kind.is_end:
            return first_held
        updates = [
            pair for pair in standings if not pair[0].kind.is_end and not self._is_surely_after(pair[0], first)
        ]
        return min(updates, key=lambda pair: order_key(pair[0]))[1] if updates else first_held


def _standing_of(held: Held) -> Standing:
    message = held.message
    return Standing(message.kind, message.place, held.effective_at_ns, message.digest, held.version)


def _same_lane(one: Standing, other: Standing) -> bool:
    return one.place is not None and other.place is not None and one.place.lane == other.place.lane


_NOWHERE = Place("", 0)
_RANK = {Kind.CREATED: 0, Kind.UPDATED: 1, Kind.CANCELLED: 2, Kind.COMPLETED: 2}


def order_key(standing: Standing) -> tuple[int, int, str, int, str]:
    """Sorts messages in the order in which they happened.

    Total, and never against the order of a lane: along a lane the effective time grows strictly.
    """
    place = standing.place or _NOWHERE
    return (standing.effective_at_ns, _RANK[standing.kind], place.lane, place.offset, standing.digest)


def _comes_after(one: Standing, other: Standing) -> bool:
    return order_key(one) > order_key(other)
