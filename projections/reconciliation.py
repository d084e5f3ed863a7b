"""Our books against the third party's: what an order should look like there, and what a difference means.

Calls go out in order, one after the other. So the third party stands where one of our calls has left it: not before
the last one that it has answered, not after the last one that we asked for. Everything between is merely in flight.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

from domain.effects import EffectKind
from domain.lifecycle import Status
from domain.money import ZERO, total
from projections.republication import CallState
from projections.resolution import EXACT, Resolution


class Verdict(StrEnum):
    """What a comparison has found."""

    AGREES = "agrees"
    MISSING_THERE = "missing_there"
    """Our calls were answered, and the third party doesn't know the order."""
    MISSING_HERE = "missing_here"
    """The third party knows an order that we have never heard of."""
    AMOUNT = "amount"
    STATE = "state"
    IN_FLIGHT = "in_flight"
    """Our calls are not all delivered, and this is why."""
    UNKNOWN = "unknown"
    """The third party couldn't be asked."""

    @property
    def is_real(self) -> bool:
        """True if money may be wrong."""
        return self in _REAL


_REAL = {Verdict.MISSING_THERE, Verdict.MISSING_HERE, Verdict.AMOUNT, Verdict.STATE}


class Invariant(StrEnum):
    """What must hold for every order, whatever was received. Broken, it stops that order."""

    CREATED_ONCE = "created_once"
    CREATED_FIRST = "created_first"
    """Nothing is asked of the third party before the order is created."""
    ENDED_ONCE = "ended_once"
    """At most one of cancel and complete: at most one credit."""
    NOTHING_AFTER_END = "nothing_after_end"
    CORRECTED_AFTER_CREDIT = "corrected_after_credit"
    """Only what was credited can be corrected."""
    CREDIT_IS_CASHBACK = "credit_is_cashback"
    """What is credited is the amount of the last accepted create or update."""
    STREAM_IS_WHOLE = "stream_is_whole"
    """The order's stream has every version from the first to the last."""
    LEDGER_IS_STORE = "ledger_is_store"
    """The ledger has the calls that the events ask for, with their amounts, and no others."""


BROKEN: Final = "invariant: "
"""How the reason begins for which such an order is parked."""


class BookEntry(NamedTuple):
    """Where an order stands in somebody's books."""

    status: Status
    amount: Decimal | None

    def __str__(self) -> str:
        return self.status if self.amount is None else f"{self.status} {self.amount:f}"


class AskedCall(NamedTuple):
    """A call as the event store asks for it."""

    version: int
    kind: EffectKind
    amount: Decimal | None
    """None on a cancel."""
    is_projected: bool
    """Whether the projection that feeds the ledger has passed it."""


class NotedCall(NamedTuple):
    """A call as it lies in the ledger."""

    version: int
    kind: EffectKind
    amount: Decimal | None
    state: CallState


@dataclass(frozen=True, slots=True)
class OurSide:
    """All that we know of one order's calls at one moment. Equal to another: nothing has moved in between."""

    order_id: int
    version: int
    """Of its stream; 0 if it has none."""
    settled_version: int
    asked: tuple[AskedCall, ...]
    noted: tuple[NotedCall, ...]


class OrderComparison(NamedTuple):
    """What an order's two sides came to. `ours` is what our delivered calls should have brought about; of an order
    that is in flight, what all of its calls will."""

    verdict: Verdict
    ours: BookEntry | None
    theirs: BookEntry | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a comparison of one order has found, for the record."""

    order_id: int
    comparison: OrderComparison
    detail: str | None = None
    """Why it is as it is, for a person; without the buyer's data."""
    broken: tuple[Invariant, ...] = ()
    is_known: bool = True
    """False if neither side has heard of the order."""
    is_outage: bool = False
    """The third party can't be asked for the moment; this order is not to blame."""

    @property
    def verdict(self) -> Verdict:
        return self.comparison.verdict


def compare(ours: OurSide, theirs: BookEntry | None, resolution: Resolution = EXACT) -> OrderComparison:
    """`theirs` is None if the third party doesn't know the order. Amounts are equal as it keeps them."""
    possible = _possible(ours)
    delivered, final = possible[0], possible[-1]
    if _same(final, theirs, resolution):
        return OrderComparison(Verdict.AGREES, final, theirs)
    if any(_same(each, theirs, resolution) for each in possible):
        return OrderComparison(Verdict.IN_FLIGHT, final, theirs)
    if theirs is None:
        return OrderComparison(Verdict.MISSING_THERE, delivered, None)
    if not ours.version:
        return OrderComparison(Verdict.MISSING_HERE, None, theirs)
    is_status_possible = any(each and each.status is theirs.status for each in possible)
    return OrderComparison(Verdict.AMOUNT if is_status_possible else Verdict.STATE, delivered, theirs)


def unanswered(ours: OurSide) -> OrderComparison:
    """The third party couldn't be asked."""
    return OrderComparison(Verdict.UNKNOWN, _possible(ours)[0], None)


def moving(ours: OurSide, theirs: BookEntry | None) -> OrderComparison:
    """Each time that we looked our own side had moved in between."""
    return OrderComparison(Verdict.IN_FLIGHT, _possible(ours)[-1], theirs)


def broken_invariants(ours: OurSide) -> list[Invariant]:
    """Those that don't hold; none in every state that the domain can decide."""
    kinds = [call.kind for call in ours.asked]
    ends = [place for place, kind in enumerate(kinds) if kind in _ENDS]
    broken = []
    if kinds.count(EffectKind.CREATE) > 1:
        broken.append(Invariant.CREATED_ONCE)
    if kinds and kinds[0] is not EffectKind.CREATE:
        broken.append(Invariant.CREATED_FIRST)
    if len(ends) > 1:
        broken.append(Invariant.ENDED_ONCE)
    if ends and any(kind not in _AFTER_END for kind in kinds[ends[0] :]):
        broken.append(Invariant.NOTHING_AFTER_END)
    if any(
        kind is EffectKind.CORRECT and EffectKind.COMPLETE not in kinds[:place] for place, kind in enumerate(kinds)
    ):
        broken.append(Invariant.CORRECTED_AFTER_CREDIT)
    if not _credits_match(ours.asked):
        broken.append(Invariant.CREDIT_IS_CASHBACK)
    if not _ledger_matches(ours):
        broken.append(Invariant.LEDGER_IS_STORE)
    return broken


@dataclass(slots=True)
class Credits:
    """How many completed orders there are, and their cashback: by the events, and by what the ledger credits."""

    orders: int = 0
    owed: Decimal = ZERO
    credits: int = 0
    credited: Decimal = ZERO

    def add(self, ours: OurSide) -> None:
        """Counts what the projection has passed, so that both sums are of the same calls."""
        owed = [call for call in ours.asked if call.is_projected]
        self.orders += _credits(owed)
        self.owed = total((self.owed, _credited(owed)))
        self.credits += _credits(ours.noted)
        self.credited = total((self.credited, _credited(ours.noted)))

    @property
    def match(self) -> bool:
        return (self.orders, self.owed) == (self.credits, self.credited)


_ENDS = {EffectKind.CANCEL, EffectKind.COMPLETE}
_AFTER_END = {*_ENDS, EffectKind.CORRECT}


def _possible(ours: OurSide) -> list[BookEntry | None]:
    """Where the third party may stand: after the last call that it has answered, or after one of those behind it.

    Without the calls that a person has given up.
    """
    states = {call.version: call.state for call in ours.noted}
    calls = [call for call in ours.asked if states.get(call.version) is not CallState.SKIPPED]
    answered = [place for place, call in enumerate(calls, 1) if states.get(call.version) is CallState.DELIVERED]
    return _book_entries(calls)[max(answered, default=0) :]


def _book_entries(calls: Iterable[AskedCall]) -> list[BookEntry | None]:
    """Before the first call, and after each."""
    standings: list[BookEntry | None] = [None]
    for call in calls:
        before = standings[-1]
        match call.kind:
            case EffectKind.CREATE | EffectKind.UPDATE:
                after = BookEntry(Status.PENDING, call.amount)
            case EffectKind.COMPLETE | EffectKind.CORRECT:
                after = BookEntry(Status.COMPLETED, call.amount)
            case EffectKind.CANCEL:
                after = BookEntry(Status.CANCELLED, before.amount if before else None)
            case _:
                assert_never(call.kind)
        standings.append(after)
    return standings


def _same(ours: BookEntry | None, theirs: BookEntry | None, resolution: Resolution) -> bool:
    """Of a cancelled order nothing is owed: the third party may keep its amount, or say zero."""
    if ours is None or theirs is None or ours.status is not theirs.status:
        return ours is theirs
    if ours.status is Status.CANCELLED and theirs.amount == ZERO:
        return True
    return resolution.is_same_amount(ours.amount, theirs.amount)


def _credits_match(asked: Sequence[AskedCall]) -> bool:
    agreed: Decimal | None = None
    for call in asked:
        if call.kind is EffectKind.COMPLETE and call.amount != agreed:
            return False
        if call.kind not in _AFTER_END:
            agreed = call.amount
    return True


def _ledger_matches(ours: OurSide) -> bool:
    asked = {call.version: (call.kind, call.amount) for call in ours.asked}
    noted = {call.version: (call.kind, call.amount) for call in ours.noted}
    due = {call.version for call in ours.asked if call.is_projected}
    return due <= noted.keys() and all(asked.get(version) == call for version, call in noted.items())


def _credits(calls: Iterable[AskedCall | NotedCall]) -> int:
    return sum(call.kind is EffectKind.COMPLETE for call in calls)


def _credited(calls: Iterable[AskedCall | NotedCall]) -> Decimal:
    """What an order's calls credit in the end: a correction says the whole amount anew."""
    credited = ZERO
    for call in calls:
        match call.kind:
            case EffectKind.COMPLETE:
                credited = total((credited, call.amount or ZERO))
            case EffectKind.CORRECT:
                credited = call.amount or ZERO
            case _:
                pass
    return credited
