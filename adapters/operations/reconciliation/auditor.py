"""The auditor: walks over all orders, round and round, and compares each with the third party's books.

One process audits at a time. Orders with an open difference are looked at again every minute, wherever the walk is.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from adapters.operations.reconciliation.reconciler import ReconcileCounts, ReconcileListener, Reconciler
from adapters.postgres.reconciliation import AuditLock, PostgresReconciliation, audit_lock
from domain.ports import StoreUnavailable
from projections.waiting import run_until

ORDERS_PER_STEP: Final = 50
OPEN_PER_STEP: Final = 25
"""So that the walk goes on however many differences are open."""
STALE_SECONDS: Final = 60.0
STANDBY_SECONDS: Final = 10.0
"""How soon another process goes on when the one that audits is gone."""
OUTAGE_SECONDS: Final = 5.0
ROUND_PAUSE_SECONDS: Final = 1.0
FORGET_EVERY_SECONDS: Final = 3600.0

log = structlog.get_logger(__name__)


class AuditListener(ReconcileListener, Protocol):
    def audit_state(self, state: str, why: str | None = None) -> None:
        """`running`, `standing by`, or in a few words what it waits for."""


class Auditor:
    """For one event loop."""

    def __init__(
        self,
        database_url: str,
        books: PostgresReconciliation,
        reconciler: Reconciler,
        listener: AuditListener,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        self._database_url = database_url
        self._books = books
        self._reconciler = reconciler
        self._listener = listener
        self._stale_seconds = stale_seconds
        self._forgot_at = float("-inf")
        self._tally = ReconcileCounts()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; a comparison under way is given up, which harms nobody."""
        await run_until(stop, self._audit())

    async def _audit(self) -> None:
        while True:
            try:
                async with audit_lock(self._database_url) as lock:
                    if lock is not None:
                        await self._walk(lock)
            except StoreUnavailable as error:
                self._listener.audit_state("waiting for the database", str(error))
                await asyncio.sleep(OUTAGE_SECONDS)
            else:
                self._listener.audit_state("standing by")
                await asyncio.sleep(STANDBY_SECONDS)

    async def _walk(self, lock: AuditLock) -> None:
        """Until the lock is lost."""
        place = await self._books.place()
        while await lock.is_held():
            await self._forget()
            order_ids = await self._books.order_ids(None, place, ORDERS_PER_STEP)
            again = await self._books.open_and_stale(self._stale_seconds, OPEN_PER_STEP)
            if not await self._compare(sorted({*order_ids, *again})):
                continue
            if order_ids:
                place = order_ids[-1]
                await self._books.move_place(place)
            elif place:
                self._end_round()
                place = 0
                await self._books.move_place(place)
            if len(order_ids) < ORDERS_PER_STEP:
                await asyncio.sleep(ROUND_PAUSE_SECONDS)

    async def _compare(self, order_ids: Sequence[int]) -> bool:
        """False if the third party doesn't answer: then nothing is gained by going on."""
        findings = await self._reconciler.compare(order_ids, self._tally) if order_ids else []
        if findings and all(finding.is_outage for finding in findings):
            self._listener.audit_state("waiting for the third party")
            await asyncio.sleep(OUTAGE_SECONDS)
            return False
        self._listener.audit_state("running")
        return True

    def _end_round(self) -> None:
        tally = self._tally
        counts = {verdict.value: count for verdict, count in sorted(tally.verdicts.items())}
        sums = {"owed": f"{tally.credits.owed:f}", "credited": f"{tally.credits.credited:f}"}
        is_fine = not tally.real and not tally.broken and tally.credits.match
        (log.info if is_fine else log.warning)("audit round over", orders=tally.orders, **counts, **sums)
        self._tally = ReconcileCounts()

    async def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._forgot_at >= FORGET_EVERY_SECONDS:
            await self._books.forget()
            self._forgot_at = now
