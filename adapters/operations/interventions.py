"""What a person decides about one order: to settle its doubts, or to release messages that wait in vain.

The decision is pure (domain/intervention.py). Its events and the record of the action are one transaction;
the calls that follow go out as any others do.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from adapters.kafka.consumer.intake import MAX_DECIDING_ROUNDS
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.interventions import PostgresInterventions, Waiting
from adapters.records.actions import Action, ActionRequest
from adapters.records.errors import NothingToDo, OrderChanged, UnknownOrder
from adapters.records.operators import ActionKind
from adapters.records.parking import WaitingCall
from domain import intervention
from domain.decision import DEFAULT_POLICY, Policy
from domain.effects import EffectKind
from domain.events import CreateGivenUp, DoubtSettled, GapAccepted, OrderEvent
from domain.intervention import (
    Author,
    NothingToRelease,
    NothingToRepair,
    NothingToSettle,
    Numbers,
    NumbersNotMissing,
    format_numbers,
    missing_numbers,
)
from domain.order import OpenDoubt, Order, fold
from domain.ports import StaleOrder, StoreUnavailable
from projections.delivery.ports import Call
from projections.doubt_marks import DOUBTFUL
from projections.feed import Recorded
from projections.intended_calls import intended_calls

Decide = Callable[[Order, Author, int], tuple[OrderEvent, ...]]
"""From the order as it is, who decides, and the time in nanoseconds."""


@dataclass(frozen=True, slots=True)
class InterventionReport:
    """What was done, or, with `dry_run`, what would be."""

    kind: ActionKind
    dry_run: bool
    before: Order
    after: Order
    events: Sequence[OrderEvent]
    calls: Sequence[Call]
    """Those that follow, the calls held back until now among them, in their order."""
    warnings: Sequence[str]

    @property
    def doubts(self) -> Sequence[OpenDoubt]:
        """Those that are settled, or that a release leaves behind."""
        return self.before.open_doubts if self.kind is ActionKind.SETTLE else self.after.open_doubts

    @property
    def given_up(self) -> Sequence[str]:
        """What will never come: sequence numbers, and CREATED."""
        given_up = [
            format_numbers((each.first, each.last)) for each in self.events if isinstance(each, GapAccepted)
        ]
        return [*given_up, *["CREATED" for each in self.events if isinstance(each, CreateGivenUp)]]

    @property
    def closed(self) -> int:
        """Messages that are closed, unpaid."""
        gone = any(isinstance(each, CreateGivenUp) for each in self.events)
        return sum(held.is_closed for held in self.after.held) if gone else 0


class InterventionService:
    """For one event loop; the store's work is done on threads."""

    def __init__(
        self,
        orders: PostgresInterventions,
        store: OrderApplication,
        *,
        policy: Policy = DEFAULT_POLICY,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`policy` is that of intake."""
        self._orders = orders
        self._store = store
        self._policy = policy
        self._clock_ns = clock_ns

    async def settle(
        self, order_id: int, asked: ActionRequest, *, dry_run: bool = False, bulk_id: UUID | None = None
    ) -> InterventionReport:
        """Raises UnknownOrder, OrderChanged, NothingToDo, AnswerLost or StoreUnavailable; DoneBefore if this bulk
        replay has done it."""

        def decide(order: Order, author: Author, now_ns: int) -> tuple[OrderEvent, ...]:
            return intervention.settle(order, author, now_ns=now_ns)

        return await self._intervene(ActionKind.SETTLE, order_id, asked, decide, dry_run=dry_run, bulk_id=bulk_id)

    async def release(
        self,
        order_id: int,
        asked: ActionRequest,
        *,
        numbers: Numbers | None = None,
        dry_run: bool = False,
        bulk_id: UUID | None = None,
    ) -> InterventionReport:
        """Raises what `settle` raises."""

        def decide(order: Order, author: Author, now_ns: int) -> tuple[OrderEvent, ...]:
            return intervention.release(order, author, now_ns=now_ns, numbers=numbers, policy=self._policy)

        return await self._intervene(ActionKind.RELEASE, order_id, asked, decide, dry_run=dry_run, bulk_id=bulk_id)

    async def repair(self, order_id: int, asked: ActionRequest, *, dry_run: bool = False) -> InterventionReport:
        """Raises what `settle` raises."""

        def decide(order: Order, author: Author, now_ns: int) -> tuple[OrderEvent, ...]:
            return intervention.repair(order, author, now_ns=now_ns)

        return await self._intervene(ActionKind.REPAIR, order_id, asked, decide, dry_run=dry_run, bulk_id=None)

    async def _intervene(  # noqa: PLR0913 - what both have in common
        self,
        kind: ActionKind,
        order_id: int,
        asked: ActionRequest,
        decide: Decide,
        *,
        dry_run: bool,
        bulk_id: UUID | None,
    ) -> InterventionReport:
        author = Author(asked.by.name, asked.reason)
        seen: Sequence[OpenDoubt] | None = None
        for _ in range(MAX_DECIDING_ROUNDS):
            waiting = await self._orders.waiting(order_id, asked, bulk_id)
            order = (await asyncio.to_thread(self._store.load, [order_id]))[order_id]
            if not order.version:
                raise UnknownOrder(order_id)
            if order.missing and kind is not ActionKind.REPAIR:
                lacking = ", ".join(map(format_numbers, order.missing))
                raise NothingToDo(f"order {order_id} lacks the versions {lacking} of its stream: `repair` it first")
            if kind is ActionKind.SETTLE and seen is not None and seen != order.open_doubts:
                raise OrderChanged(order_id)  # nobody has looked at the new doubt
            seen = order.open_doubts
            try:
                events = decide(order, author, self._clock_ns())
            except (NothingToSettle, NothingToRelease, NumbersNotMissing, NothingToRepair) as error:
                raise NothingToDo(f"{error}{_what_is_true(order, waiting)}") from error
            report = _report(kind, order, events, waiting, dry_run=dry_run)
            if dry_run:
                return report
            try:
                await self._orders.commit(self._store, events, _action(report, asked, waiting, bulk_id))
            except StaleOrder:
                continue
            return report
        raise StoreUnavailable(f"other processes changed the order {MAX_DECIDING_ROUNDS} times running")


def _report(
    kind: ActionKind, order: Order, events: Sequence[OrderEvent], waiting: Waiting, *, dry_run: bool
) -> InterventionReport:
    after = order if kind is ActionKind.REPAIR else fold(order, events) or order
    new = [
        Call(each.order_id, each.version, each.effect.kind, each.effect.key, each.body)
        for each in intended_calls([Recorded(0, event) for event in events])
    ]
    held_back = waiting.calls if kind is ActionKind.SETTLE else ()
    calls = [*[each.call for each in held_back], *new]
    warnings = _warnings(after, waiting, held_back, calls)
    return InterventionReport(kind, dry_run, order, after, events, calls, warnings)


_AFTER_REPAIR: Final = "what the lost events said is not known: have the shop publish the order's messages again"


def _warnings(after: Order, waiting: Waiting, held_back: Sequence[WaitingCall], calls: Sequence[Call]) -> list[str]:
    """Why calls that follow don't go out at once."""
    warnings = [_AFTER_REPAIR] if after.missing else []
    if calls and waiting.parked_reason is not None and waiting.parked_reason != DOUBTFUL:
        warnings.append(f"the order stays parked: {waiting.parked_reason}")
    if after.open_doubts and any(call.kind is EffectKind.COMPLETE for call in calls):
        warnings.append("the order is doubtful: where doubtful orders are held, its completion waits for `settle`")
    if any(each.maybe_done for each in held_back):
        warnings.append("a call may have been carried out already; it is sent again with the same key")
    return warnings


def _what_is_true(order: Order, waiting: Waiting) -> str:
    """Behind the reason why nothing is to be done: what somebody might have meant instead."""
    if order.waiting:
        gaps = ", ".join(map(format_numbers, missing_numbers(order)))
        missing = f"missing: {gaps}" if gaps else "without a CREATED"
        return f"; it has {len(order.waiting)} held, {missing}"
    if order.open_doubts:
        return f"; it is doubtful: {', '.join(sorted(order.doubts))}"
    if waiting.parked_reason is not None:
        return f"; it is parked: {waiting.parked_reason}"
    return f"; it is {order.status}, and nothing about it is open"


def _action(report: InterventionReport, asked: ActionRequest, waiting: Waiting, bulk_id: UUID | None) -> Action:
    detail: dict[str, Any] = {"events": [event.TOPIC for event in report.events], "calls": len(report.calls)}
    for event in report.events:
        if isinstance(event, DoubtSettled):
            detail["settled"] = [f"{doubt}@{version}" for doubt, version in event.settled]
    if report.given_up:
        detail["givenUp"] = list(report.given_up)
    return Action(
        kind=report.kind,
        asked=asked,
        order_id=report.before.order_id,
        version=report.events[0].originator_version,
        state_before=waiting.state,
        state_after="due" if waiting.parked_reason == DOUBTFUL and not report.after.open_doubts else waiting.state,
        bulk_id=bulk_id,
        detail=detail,
    )
