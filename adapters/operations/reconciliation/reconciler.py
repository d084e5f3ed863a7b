"""Comparing orders with the third party's books, one by one, while messages and calls go on.

Our side is read before the lookup and after it. If it has moved in between, the two sides are not of one moment,
and the order is looked at again.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog
from eventsourcing.persistence import MapperDeserialisationError

from adapters.operations.rate import StepRate
from adapters.postgres.reconciliation import PostgresReconciliation
from domain.lifecycle import Status
from projections.delivery.ports import Answer, Found, Lookup, Outcome, ThirdParty
from projections.delivery.retry import RetryPolicy
from projections.reconciliation import (
    BROKEN,
    BookEntry,
    Credits,
    Finding,
    Invariant,
    OrderComparison,
    OurSide,
    Verdict,
    broken_invariants,
    compare,
    moving,
    unanswered,
)
from projections.resolution import EXACT, Resolution

LOOKUPS_AT_ONCE: Final = 8
MAX_LOOKS: Final = 3
"""At an order that moves all the time."""
RETRY: Final = RetryPolicy(max_attempts=3, base_seconds=0.5, max_seconds=5.0)
"""For a lookup that fails."""
MAX_WAIT_SECONDS: Final = 30.0
"""However long the third party asks us to wait."""

log = structlog.get_logger(__name__)


class ReconcileListener(Protocol):
    """Who wants to know what is found; called on the event loop."""

    def order_compared(self, verdict: Verdict) -> None: ...
    def invariant_broken(self, order_id: int, *broken: Invariant) -> None:
        """The order has been stopped."""


@dataclass(slots=True)
class ReconcileCounts:
    """What comparisons have come to so far."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    broken: Counter[Invariant] = field(default_factory=Counter)
    credits: Credits = field(default_factory=Credits)

    @property
    def orders(self) -> int:
        return self.verdicts.total()

    @property
    def real(self) -> int:
        return sum(count for verdict, count in self.verdicts.items() if verdict.is_real)


class Reconciler:
    """For one event loop. Keeps what it finds, and stops orders whose invariants are broken."""

    def __init__(  # noqa: PLR0913 - its parts, and how it asks
        self,
        books: PostgresReconciliation,
        third_party: ThirdParty,
        listener: ReconcileListener,
        *,
        per_second: float,
        retry: RetryPolicy = RETRY,
        resolution: Resolution = EXACT,
        rng: random.Random | None = None,
    ) -> None:
        """At most `per_second` lookups, repeated ones counted."""
        self._books = books
        self._third_party = third_party
        self._listener = listener
        self._retry = retry
        self._resolution = resolution
        self._pace = StepRate(per_second)
        self._room = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self._rng = rng or random.Random()  # noqa: S311 - it spreads retries, it guards nothing

    async def compare(self, order_ids: Sequence[int], tally: ReconcileCounts) -> list[Finding]:
        """A few orders, each once. Raises StoreUnavailable; then all of them may be compared again."""
        looked = await asyncio.gather(*map(self._in_turn, order_ids), return_exceptions=True)
        failed = next((each for each in looked if isinstance(each, BaseException)), None)
        if failed is not None:
            raise failed
        findings = []
        for finding, ours in (each for each in looked if not isinstance(each, BaseException)):
            findings.append(finding)
            tally.verdicts[finding.verdict] += 1
            tally.broken.update(finding.broken)
            if ours is not None:
                tally.credits.add(ours)
            self._listener.order_compared(finding.verdict)
        await self._books.keep(findings)
        for finding in findings:
            if finding.broken:
                await self._stop(finding.order_id, finding.broken)
        return findings

    async def _in_turn(self, order_id: int) -> tuple[Finding, OurSide | None]:
        async with self._room:
            try:
                return await self._look(order_id)
            except MapperDeserialisationError:
                nothing = OrderComparison(Verdict.UNKNOWN, None, None)
                return Finding(order_id, nothing, "our event store has an event that can't be read"), None

    async def _look(self, order_id: int) -> tuple[Finding, OurSide]:
        theirs = None
        after = await self._books.ours(order_id)
        for _ in range(MAX_LOOKS):
            before = after
            answer = await self._lookup(order_id)
            if isinstance(answer, Answer):
                return self._unanswered(before, answer), before
            theirs = BookEntry(Status(answer.status), answer.cashback_amount) if isinstance(answer, Found) else None
            after = await self._books.ours(order_id)
            if before == after:
                return self._found(after, compare(after, theirs, self._resolution), None), after
        return self._found(after, moving(after, theirs), "our own side moved each time that we looked"), after

    @staticmethod
    def _unanswered(ours: OurSide, answer: Answer) -> Finding:
        """Without the answer's text, which may be about a buyer."""
        why = answer.text if answer.status is None else f"answered with status {answer.status}"
        return Finding(
            ours.order_id,
            unanswered(ours),
            f"the lookup failed: {why}",
            tuple(broken_invariants(ours)),
            is_outage=answer.outcome is not Outcome.REFUSED,
        )

    @staticmethod
    def _found(ours: OurSide, comparison: OrderComparison, detail: str | None) -> Finding:
        is_known = ours.version > 0 or comparison.theirs is not None
        return Finding(ours.order_id, comparison, detail, tuple(broken_invariants(ours)), is_known=is_known)

    async def _lookup(self, order_id: int) -> Lookup:
        attempts = 0
        while True:
            await asyncio.sleep(self._pace.wait_seconds(1, asyncio.get_running_loop().time()))
            answer = await self._third_party.lookup(order_id)
            attempts += 1
            if not isinstance(answer, Answer) or answer.outcome in {Outcome.REFUSED, Outcome.UNAUTHORIZED}:
                return answer
            if attempts >= self._retry.max_attempts:
                return answer
            wait_seconds = self._retry.wait_seconds(attempts, answer.retry_after_seconds, self._rng)
            await asyncio.sleep(min(wait_seconds, MAX_WAIT_SECONDS))

    async def _stop(self, order_id: int, broken: Sequence[Invariant]) -> None:
        if await self._books.stop_order(order_id, BROKEN + ", ".join(broken)):
            self._listener.invariant_broken(order_id, *broken)
