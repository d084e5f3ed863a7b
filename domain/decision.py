"""`decide`: what a message means for an order. Pure; the table of transitions is in `lifecycle.py`.

The rules for the order of messages (docs/adr/0002, "What came before what"):

- Within a lane (a partition, or the publisher's `sequence`) the greater offset was published later: certain, unless
  the dates of messages without a number contradict it by more than clocks differ.
- Between lanes the effective times decide. If they are closer than the publishers' clocks can be trusted, or one of
  them is far from when Kafka got the message, the order is marked with a doubt, so that a person sees it. It is
  never silently wrong.
- A stamped message waits until all smaller numbers have come, or a person has given them up.
- A repeat changes nothing. A message that contradicts an earlier one is rejected, and both stay in the stream.
- A refusal that would have changed what is owed, or the order's state, leaves a doubt with the money at stake.

What a person decides about an order is in `intervention.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, assert_never

from msgspec.structs import replace

from domain.events import (
    CashbackCancelled,
    CashbackCompleted,
    CashbackCorrected,
    CashbackCreated,
    CashbackUpdated,
    CorrectionNotNeeded,
    Doubt,
    MessageEvent,
    MessageHeld,
    MessageRejected,
    Refusal,
    RepeatSeenElsewhere,
    UpdateSuperseded,
    WaitsFor,
)
from domain.instants import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND
from domain.lifecycle import TRANSITIONS, Step
from domain.messages import SEQUENCE_LANE, Kind, Message
from domain.money import ZERO
from domain.order import (
    Cancelled,
    Completed,
    Held,
    NotCreated,
    Order,
    Pending,
    Placed,
    SeenMessage,
    Terms,
    amount_owed,
    evolve,
    order_key,
    placed_of,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the shop can tell us about its publishers, and about the third party."""

    clock_tolerance_ns: int = 60 * NANOSECONDS_PER_SECOND
    """The clocks of any two publishers, and of Kafka, differ by less than this."""
    max_order_cashback: Decimal | None = None
    """An order that would earn more is doubtful."""
    corrections: bool = False
    """The third party takes another amount for an order that was completed: then an end is final for no message."""


DEFAULT_POLICY = Policy()
_NO_DOUBT: Final[tuple[Doubt, ...]] = ()


def decide(
    order: Order, message: Message, *, now_ns: int, policy: Policy = DEFAULT_POLICY
) -> tuple[MessageEvent, ...]:
    """The events that follow from a message, none if it's a repeat. The first event is about the message itself;
    the others are about messages that were held and now have their turn."""
    return handle(order, message, now_ns=now_ns, policy=policy)[0]


def handle(
    order: Order, message: Message, *, now_ns: int, policy: Policy = DEFAULT_POLICY
) -> tuple[tuple[MessageEvent, ...], Order]:
    """What `decide` says, and the order after it, so that nobody evolves it twice."""
    seen = order.seen_message_of(message)
    decision = Decision(order, now_ns, policy)
    if seen is None or _brings_a_new_number(order, message, seen):
        decision.receive(message)
    elif message.kind is not Kind.CREATED and message.sequence is None and seen.sequence is None:
        place = message.place
        if place is not None and place.lane not in seen.lanes:
            decision.record(RepeatSeenElsewhere, message, order.effective_time(message))
    return tuple(decision.events), decision.order


def _brings_a_new_number(order: Order, message: Message, seen: SeenMessage) -> bool:
    """True if a message known without a number comes again with one of its own, which nothing else can fill."""
    return (
        message.sequence is not None
        and message.sequence > order.last_sequence
        and message.sequence != seen.sequence
        and all(held.message.sequence != message.sequence for held in order.held)
    )


class Decision:
    """The events decided so far, and the order after them."""

    def __init__(self, order: Order, now_ns: int, policy: Policy) -> None:
        self.order = order
        self.events: list[MessageEvent] = []
        self._now_ns = now_ns
        self._policy = policy

    def record(  # noqa: PLR0913 - one argument for each thing that a decision says
        self,
        event_type: type[MessageEvent],
        message: Message,
        effective_at_ns: int,
        held: Held | None = None,
        *,
        doubts: tuple[Doubt, ...] = (),
        at_stake: Decimal | None = None,
        **fields: Any,
    ) -> None:
        """Of several doubts the first is the one that people see first."""
        self.add(
            event_type(
                originator_id=self.order.id,
                originator_version=self.order.version + 1,
                recorded_at_ns=self._now_ns,
                message=message,
                effective_at_ns=effective_at_ns,
                held_version=held.version if held else None,
                doubt=doubts[0] if doubts else None,
                further_doubts=doubts[1:],
                at_stake=at_stake if doubts else None,
                **fields,
            )
        )

    def add(self, event: MessageEvent) -> None:
        after = evolve(self.order, event)
        if (
            after.is_repeat_doubted
            and not self.order.is_repeat_doubted
            and Doubt.UNCERTAIN_ORDER not in event.doubts
        ):
            # Whoever reads the events alone must find every doubt in them.
            doubts = (*event.doubts, Doubt.UNCERTAIN_ORDER)
            event = replace(event, doubt=doubts[0], further_doubts=doubts[1:])
            after = evolve(self.order, event)
        self.events.append(event)
        self.order = after

    def receive(self, message: Message) -> None:
        """A message that is new to the order; then everything that waited for it."""
        if message.sequence is not None and message.sequence > self.order.last_sequence + 1:
            self.record(MessageHeld, message, message.happened_at_ns, waits_for=WaitsFor.SEQUENCE)
            return
        self._take_number(message, None)
        self.release()

    def release(self) -> None:
        """The held messages whose turn has come."""
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
        if message.sequence is not None and self.order.is_number_taken(message.sequence):
            self._reject(message, effective_at_ns, held, Refusal.SEQUENCE_TAKEN, Doubt.CONFLICT)
        elif self._is_conflict(message):
            self._reject(message, effective_at_ns, held, Refusal.CONFLICT, Doubt.CONFLICT)
        elif message.is_negative:
            self._reject(message, effective_at_ns, held, Refusal.NEGATIVE_CASHBACK, Doubt.NEGATIVE_CASHBACK)
        else:
            self._apply(message, effective_at_ns, held)

    def _is_conflict(self, message: Message) -> bool:
        seen = self.order.seen_message_of(message)
        return self.order.is_contradicted(message) or (seen is not None and seen.sequence != message.sequence)

    def _apply(self, message: Message, effective_at_ns: int, held: Held | None) -> None:
        """The table of transitions, for a message whose turn has come."""
        candidate = placed_of(message, effective_at_ns, 0)
        _RULES[TRANSITIONS[self.order.status][message.kind]](self, message, candidate, held)

    @property
    def _terms(self) -> Terms:
        assert self.order.terms is not None, "the table asks for terms only where there are some"
        return self.order.terms

    def create(self, message: Message, candidate: Placed, held: Held | None) -> None:
        self._accept(CashbackCreated, message, candidate, held, cashback=message.cashback or ZERO)

    def hold(self, message: Message, candidate: Placed, held: Held | None) -> None:
        self.record(MessageHeld, message, candidate.effective_at_ns, held, waits_for=WaitsFor.CREATE)

    def update(self, message: Message, candidate: Placed, held: Held | None) -> None:
        terms = self._terms
        if self._refuses_buyer(message, candidate, held):
            return
        last = terms.update
        is_certain = last is None or last.digest == candidate.digest or self._is_certain(candidate, last)
        doubts = _NO_DOUBT if is_certain else (Doubt.UNCERTAIN_ORDER,)
        earned = message.cashback or ZERO
        if last is None or comes_after(candidate, last):
            self._accept(
                CashbackUpdated,
                message,
                candidate,
                held,
                doubts,
                at_stake=None if is_certain else terms.cashback - earned,
                cashback=earned,
            )
        else:
            self.record(
                UpdateSuperseded,
                message,
                candidate.effective_at_ns,
                held,
                doubts=doubts,
                at_stake=None if is_certain else earned - terms.cashback,
                superseded_by_version=last.version,
            )

    def end(self, message: Message, candidate: Placed, held: Held | None) -> None:
        """An update that happened after the end, and came before it, has been paid for by mistake.

        Where the third party takes corrections an update counts after the end as before it.
        """
        terms = self._terms
        update = terms.update
        doubts = _NO_DOUBT
        at_stake = ZERO
        if update is not None and not self._policy.corrections and self._may_be_after(update, candidate):
            doubts = (Doubt.UNCERTAIN_ORDER,)
            history = [each for each in self.order.history() if each.version != update.version]
            at_stake = amount_owed([*history, candidate]) - self._owed_if(message)
        if _is_other(message.buyer_id, terms.buyer_id):
            doubts = (*doubts, Doubt.BUYER_CHANGED)
        if message.kind is Kind.COMPLETED:
            self._accept(
                CashbackCompleted, message, candidate, held, doubts, at_stake=at_stake, cashback=terms.cashback
            )
        else:
            self._accept(CashbackCancelled, message, candidate, held, doubts, at_stake=at_stake)

    def update_after_end(self, message: Message, candidate: Placed, held: Held | None) -> None:
        if self._refuses_buyer(message, candidate, held) or self._corrects(message, candidate, held):
            return
        end = self._end
        if self._is_surely_after(candidate, end):
            refusal = Refusal.AFTER_END
            doubt = Doubt.AFTER_END if self._owed_if(message) != self._owed_now() else None
        elif comes_after(candidate, end):
            refusal, doubt = Refusal.AFTER_END, Doubt.UNCERTAIN_ORDER
        else:
            refusal, doubt = Refusal.LATE, Doubt.LATE
        self._reject(message, candidate.effective_at_ns, held, refusal, doubt, end)

    def second_end(self, message: Message, candidate: Placed, held: Held | None) -> None:
        if self._corrects(message, candidate, held):
            return
        end = self._end
        doubt = None
        if message.kind is not end.kind:
            doubt = Doubt.AFTER_END if self._is_surely_after(candidate, end) else Doubt.UNCERTAIN_ORDER
        self._reject(message, candidate.effective_at_ns, held, Refusal.ENDED_TWICE, doubt, end)

    def second_create(self, message: Message, candidate: Placed, held: Held | None) -> None:
        """The same again is harmless; another amount or another buyer isn't."""
        terms = self._terms
        doubt = None
        if not self._is_surely_after(candidate, terms.created) and candidate.digest != terms.created.digest:
            doubt = Doubt.UNCERTAIN_ORDER
        elif candidate.cashback != terms.created.cashback or _is_other(message.buyer_id, terms.buyer_id):
            doubt = Doubt.CREATED_TWICE
        self._reject(message, candidate.effective_at_ns, held, Refusal.CREATED_TWICE, doubt, terms.created)

    @property
    def _end(self) -> Placed:
        assert isinstance(self.order.stage, Completed | Cancelled), "the table asks for the end of an ended order"
        return self.order.stage.end

    def _refuses_buyer(self, message: Message, candidate: Placed, held: Held | None) -> bool:
        """An update in the name of another buyer: the third party would credit somebody else than our books say."""
        terms = self._terms
        if not _is_other(message.buyer_id, terms.buyer_id):
            return False
        refusal, doubt = Refusal.BUYER_CHANGED, Doubt.BUYER_CHANGED
        self._reject(message, candidate.effective_at_ns, held, refusal, doubt, terms.update or terms.created)
        return True

    def _corrects(self, message: Message, candidate: Placed, held: Held | None) -> bool:
        """After the end, where the third party takes corrections, the amount is the one that all messages give in
        their right order. It takes none for what was cancelled: what would change that is refused."""
        if not self._policy.corrections:
            return False
        owed = amount_owed([*self.order.history(), candidate])
        is_completed = isinstance(self.order.stage, Completed)
        if owed and not is_completed:
            doubt = Doubt.AFTER_END if self._is_surely_after(candidate, self._end) else Doubt.UNCERTAIN_ORDER
            refusal = Refusal.ENDED_TWICE if message.kind.is_end else Refusal.AFTER_END
            at_ns = candidate.effective_at_ns
            self._reject(message, at_ns, held, refusal, doubt, self._end, at_stake=owed)
            return True
        may_change = is_completed or message.kind.is_end
        doubts = self._doubts_of_correction(message, candidate) if may_change else _NO_DOUBT
        told = self._owed_now()
        if owed != told:
            at_stake = told - owed
            self._accept(CashbackCorrected, message, candidate, held, doubts, at_stake=at_stake, cashback=owed)
        else:
            at_stake = self._owed_if(message) - owed
            at_ns = candidate.effective_at_ns
            self.record(CorrectionNotNeeded, message, at_ns, held, doubts=doubts, at_stake=at_stake)
        return True

    def _doubts_of_correction(self, message: Message, candidate: Placed) -> tuple[Doubt, ...]:
        rivals = [
            each
            for each in self.order.history()
            if (each.kind.is_end and message.kind.is_end and each.kind is not message.kind)
            or (each.kind is Kind.UPDATED and message.kind is Kind.UPDATED and each.cashback != candidate.cashback)
        ]
        is_certain = all(self._is_certain(candidate, each) for each in rivals)
        doubts = _NO_DOUBT if is_certain else (Doubt.UNCERTAIN_ORDER,)
        is_paid = isinstance(self.order.stage, Completed)
        if is_paid and message.kind.is_end and _is_other(message.buyer_id, self._terms.buyer_id):
            return (*doubts, Doubt.BUYER_CHANGED)
        return doubts

    def _may_be_after(self, update: Placed, end: Placed) -> bool:
        """True if an update that came before the end is dated after it by more than clocks differ."""
        if _steps(update, end) is not None:
            return not self._is_certain(update, end)
        return update.effective_at_ns - end.effective_at_ns > self._policy.clock_tolerance_ns

    def _accept(  # noqa: PLR0913 - one argument for each thing that the third party may hear of
        self,
        event_type: type[MessageEvent],
        message: Message,
        candidate: Placed,
        held: Held | None,
        doubts: tuple[Doubt, ...] = (),
        *,
        at_stake: Decimal | None = None,
        **fields: Any,
    ) -> None:
        if self._is_implausible(message):
            doubts = (*doubts, Doubt.IMPLAUSIBLE_AMOUNT)
            if len(doubts) == 1:
                at_stake = -(message.cashback or ZERO)
        stated_at_ns = message.happened_at_ns
        if self.order.stated_at_ns is not None:
            stated_at_ns = max(stated_at_ns, self.order.stated_at_ns)
        self.record(
            event_type,
            message,
            candidate.effective_at_ns,
            held,
            doubts=doubts,
            at_stake=at_stake,
            stated_at_ns=stated_at_ns,
            **fields,
        )

    def _is_implausible(self, message: Message) -> bool:
        limit = self._policy.max_order_cashback
        is_too_much = limit is not None and message.cashback is not None and message.cashback > limit
        return message.is_implausible or is_too_much

    def _reject(  # noqa: PLR0913, PLR0917 - one argument for each thing that the evidence consists of
        self,
        message: Message,
        effective_at_ns: int,
        held: Held | None,
        refusal: Refusal,
        doubt: Doubt | None,
        against: Placed | None = None,
        *,
        at_stake: Decimal | None = None,
    ) -> None:
        self.record(
            MessageRejected,
            message,
            effective_at_ns,
            held,
            doubts=() if doubt is None else (doubt,),
            at_stake=self._owed_if(message) - self._owed_now() if at_stake is None else at_stake,
            refusal=refusal,
            against_version=against.version if against else None,
        )

    def _owed_now(self) -> Decimal:
        """What the buyer gets as the order stands, once it's completed."""
        match self.order.stage:
            case Pending(terms) | Completed(terms):
                return terms.cashback
            case _:
                return ZERO

    def _owed_if(self, message: Message) -> Decimal:
        """What the buyer would get if the message counted as the last one."""
        terms = self.order.terms
        match message.kind:
            case Kind.CREATED | Kind.UPDATED:
                return ZERO if isinstance(self.order.stage, Cancelled) else max(message.cashback or ZERO, ZERO)
            case Kind.COMPLETED:
                return terms.cashback if terms else ZERO
            case Kind.CANCELLED:
                return ZERO
            case _:
                assert_never(message.kind)

    def _is_certain(self, one: Placed, other: Placed) -> bool:
        """True if the order of the two is beyond doubt."""
        tolerance_ns = self._policy.clock_tolerance_ns
        steps = _steps(one, other)
        if steps is not None and one.place is not None:
            earlier, later = (other, one) if steps > 0 else (one, other)
            return one.place.lane == SEQUENCE_LANE or earlier.happened_at_ns - later.happened_at_ns <= tolerance_ns
        distance_ns = abs(one.effective_at_ns - other.effective_at_ns)
        return distance_ns > tolerance_ns and self._is_trusted(one) and self._is_trusted(other)

    def _is_trusted(self, placed: Placed) -> bool:
        """False if the time that the message counts with is further from when Kafka got it than clocks differ."""
        witness_ns = placed.witness_ns
        tolerance_ns = self._policy.clock_tolerance_ns + NANOSECONDS_PER_MILLISECOND  # as exact as Kafka's clock is
        return witness_ns is None or (
            abs(placed.happened_at_ns - witness_ns) <= tolerance_ns
            and abs(placed.effective_at_ns - witness_ns) <= tolerance_ns
        )

    def _is_surely_after(self, later: Placed, earlier: Placed) -> bool:
        return self._is_certain(later, earlier) and comes_after(later, earlier)

    def _may_be_before(self, update: Placed, end: Placed) -> bool:
        """Of an update whose time is after the end's: on one lane, that is its place as well."""
        return _steps(update, end) is None and not self._is_surely_after(update, end)

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
        standings = [(placed_of(held.message, held.effective_at_ns, held.version), held) for held in waiting]
        first, first_held = min(standings, key=lambda pair: order_key(pair[0]))
        if not first.kind.is_end:
            return first_held
        updates = [pair for pair in standings if not pair[0].kind.is_end and self._may_be_before(pair[0], first)]
        return min(updates, key=lambda pair: order_key(pair[0]))[1] if updates else first_held


def _is_other(buyer_id: str | None, agreed: str | None) -> bool:
    return buyer_id is not None and agreed is not None and buyer_id != agreed


def _steps(one: Placed, other: Placed) -> int | None:
    """How many offsets the first lies behind the other on the lane of both; None if they have no lane in common."""
    if one.place is None or other.place is None or one.place.lane != other.place.lane:
        return None
    return one.place.offset - other.place.offset


def comes_after(one: Placed, other: Placed) -> bool:
    """Whether a message happened after another one, as far as can be told."""
    steps = _steps(one, other)
    return order_key(one) > order_key(other) if steps is None else steps > 0


_RULES: Final[dict[Step, Callable[[Decision, Message, Placed, Held | None], None]]] = {
    Step.CREATE: Decision.create,
    Step.UPDATE: Decision.update,
    Step.END: Decision.end,
    Step.HOLD: Decision.hold,
    Step.REFUSE_SECOND_CREATE: Decision.second_create,
    Step.REFUSE_UPDATE_AFTER_END: Decision.update_after_end,
    Step.REFUSE_SECOND_END: Decision.second_end,
}
