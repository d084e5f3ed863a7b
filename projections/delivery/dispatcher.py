"""Delivery: strict order within an order, many orders at once, each call until it is answered.

Nothing is sent without a lease that outlasts the call and a session that lives, nothing is forgotten until the
ledger has it: after a crash the session ends, or the lease does, and the next dispatcher sends the same call with
the same key.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import structlog

from domain.ports import StoreUnavailable
from projections.delivery.breaker import Breaker, BreakerState
from projections.delivery.ports import Claim, Ledger, Settlement, ThirdParty
from projections.delivery.rate_limiter import RateLimiter
from projections.delivery.sender import DeliveryListener, DeliveryPolicy, Sender
from projections.waiting import wait_for_event

IDLE_SECONDS: Final = 1.0
"""The longest that a due call waits for a dispatcher that missed its wake-up."""
MIN_IDLE_SECONDS: Final = 0.02
"""The shortest pause after an empty claim: what looks due may just be in another dispatcher's hands."""
OUTAGE_SECONDS: Final = 0.5
MAX_SETTLED_AT_ONCE: Final = 500
MAX_UNSETTLED: Final = 2000
"""Nothing more is claimed while so many claims wait to be settled."""
CALLS_SHARE_OF_DRAIN: Final = 0.75
"""Of the time to stop in, for the calls under way; the rest is for settling them."""
FREE_DOUBTFUL_SECONDS: Final = 60.0
"""How soon orders go on that another process, which holds them still, has parked as doubtful."""
SHOWN_WAIT_SECONDS: Final = 5.0
"""A shorter wait that the third party asks for isn't worth a word."""

_LEDGER_AWAY: Final = "waiting for the ledger"

__all__ = ["DeliveryPolicy", "Dispatcher"]

log = structlog.get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Dispatcher:
    """Claims due orders, calls, settles. One in a process is enough; any number of processes may run one."""

    def __init__(  # noqa: PLR0913 - its parts, each replaceable in tests
        self,
        ledger: Ledger,
        third_party: ThirdParty,
        policy: DeliveryPolicy,
        listener: DeliveryListener,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
        rng: random.Random | None = None,
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._listener = listener
        self._monotonic = monotonic
        self._breaker = Breaker(policy.concurrency, monotonic=monotonic, on_change=self._breaker_changed)
        self._reported_breaker = BreakerState.CLOSED
        self._rate_limiter = RateLimiter(policy.calls_per_second, monotonic=monotonic)
        self._sender = Sender(
            third_party,
            policy,
            listener,
            self._breaker,
            self._rate_limiter,
            monotonic=monotonic,
            now=now,
            rng=rng or random.Random(),  # noqa: S311 - only spreads retries
            is_stopping=lambda: self._stop.is_set(),  # noqa: PLW0108 - `run` is given another event
            pause=self._pause,
            holds=ledger.holds,
        )
        self._working: set[asyncio.Task[None]] = set()
        self._settlements: asyncio.Queue[Settlement] = asyncio.Queue()
        self._unsettled = 0
        self._unsettled_why: str | None = None
        """Why what was sent can't be settled, as long as it can't."""
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        """Set when an order that we had settled may have its next call due."""
        self._freed_at = -math.inf

    async def run(self, stop: asyncio.Event, *, drain_seconds: float = 20.0) -> None:
        """Delivers until `stop` is set; then ends the calls under way, settles them and returns.

        A call that takes too long for that is given up, in doubt. Raises what the ledger raises beside
        StoreUnavailable, after it has set `stop` and drained.
        """
        self._stop = stop
        settler = asyncio.create_task(self._settle_all())
        claimer = asyncio.create_task(self._claim_all())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((settler, claimer, stopped), return_when=asyncio.FIRST_COMPLETED)
            await self._drain(settler, claimer, drain_seconds)
        finally:
            tasks = (settler, claimer, stopped, *self._working)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain(self, settler: asyncio.Task[None], claimer: asyncio.Task[None], drain_seconds: float) -> None:
        begun = self._monotonic()

        def left_seconds(share: float) -> float:
            return max(0.0, begun + drain_seconds * share - self._monotonic())

        self._stop.set()
        # What the claimer still brings is given back unsent.
        await asyncio.wait((claimer,), timeout=left_seconds(CALLS_SHARE_OF_DRAIN))
        if self._working:
            await asyncio.wait(self._working, timeout=left_seconds(CALLS_SHARE_OF_DRAIN))
        unfinished = [task for task in (claimer, *self._working) if not task.done()]
        for task in unfinished:
            task.cancel()  # a call is noted as in doubt
        await asyncio.gather(*unfinished, return_exceptions=True)
        settled = asyncio.create_task(self._settlements.join())
        await asyncio.wait((settled, settler), timeout=left_seconds(1.0), return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        for task in (settler, claimer):
            if task.done() and not task.cancelled():
                task.result()  # raises what ended it
        if self._unsettled:
            log.warning("stopped before all was settled; the leases will run out", left=self._unsettled)

    async def _claim_all(self) -> None:
        while not self._stop.is_set():
            await self._free_doubtful()
            await self._step()

    async def _free_doubtful(self) -> None:
        """Where doubtful orders are paid, those that were held before."""
        now = self._monotonic()
        if self._policy.holds_doubtful or now - self._freed_at < FREE_DOUBTFUL_SECONDS:
            return
        with suppress(StoreUnavailable):
            await self._ledger.free_doubtful()
            self._freed_at = now

    async def _step(self) -> None:
        """Claims what there is room for, or waits for room, for work, or for the end of an outage."""
        held_seconds = max(self._breaker.held_seconds, self._rate_limiter.held_seconds)
        if held_seconds > 0:
            self._report()
            await self._pause(held_seconds)
            return
        room = self._breaker.limit() - len(self._working)
        slots = self._rate_limiter.slots()
        room = room if slots is None else min(room, slots)
        if room <= 0:
            await asyncio.wait(self._working, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            return
        if self._unsettled >= MAX_UNSETTLED:
            await self._wait_for_work(IDLE_SECONDS)
            return
        # The lease counts from before we ask for it, on our own clock: it can only end too early.
        claimed_at, epoch = self._monotonic(), self._breaker.epoch
        try:
            # The orders longest due may be those that always fail: they mustn't hold the breaker open for ever.
            by_chance = self._breaker.state is not BreakerState.CLOSED
            claims, next_due_seconds = await self._ledger.claim(room, by_chance=by_chance)
        except StoreUnavailable as error:
            log.warning("the ledger can't be reached; nothing is sent", error=str(error))
            self._listener.push_state(_LEDGER_AWAY, str(error))
            await self._pause(OUTAGE_SECONDS)
            return
        self._report()
        for claim in claims:
            task = asyncio.create_task(self._work(claim, claimed_at, epoch))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        if slots is not None:
            await asyncio.sleep(0)  # each takes its turn before we count what is left
        if len(claims) < room:
            self._breaker.underused()
            if next_due_seconds is None and not self._working:
                self._breaker.idle()
            await self._wait_for_work(IDLE_SECONDS if next_due_seconds is None else next_due_seconds)

    async def _wait_for_work(self, seconds: float) -> None:
        seconds = min(IDLE_SECONDS, max(MIN_IDLE_SECONDS, seconds))
        events = (self._ledger.wait(seconds), self._stop.wait(), self._wake.wait())
        waiting = [asyncio.ensure_future(event) for event in events]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                future.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        self._wake.clear()

    async def _pause(self, seconds: float) -> None:
        await wait_for_event(self._stop, seconds)

    async def _work(self, claim: Claim, claimed_at: float, epoch: int) -> None:
        settlement = await self._sender.deliver_claim(claim, claimed_at, epoch)
        self._unsettled += 1
        self._settlements.put_nowait(settlement)

    def _report(self) -> None:
        breaker = self._breaker
        self._listener.rate_changed(self._rate_limiter.calls_per_second)
        if self._unsettled_why is not None:  # others may be claimed all the same
            self._listener.push_state(_LEDGER_AWAY, self._unsettled_why)
        elif breaker.state is not BreakerState.CLOSED:
            self._listener.push_state(f"{breaker.reason}; breaker {breaker.state}")
        elif self._rate_limiter.asked_to_wait_seconds > SHOWN_WAIT_SECONDS:
            self._listener.push_state("the third party asks us to wait")
        else:
            self._listener.push_state("sending")

    def _breaker_changed(self, breaker: Breaker) -> None:
        """The probes that fail are no news."""
        before, after = self._reported_breaker, breaker.state
        if after is BreakerState.OPEN and before is not BreakerState.PROBING:
            log.error("breaker opened", reason=breaker.reason)
        elif after is BreakerState.CLOSED:
            log.info("breaker closed")
        self._reported_breaker = after
        self._listener.breaker_changed(after, breaker.reason)
        self._report()

    async def _settle_all(self) -> None:
        """Writes settlements as they come, as many at once as have gathered."""
        while True:
            batch = [await self._settlements.get()]
            while len(batch) < MAX_SETTLED_AT_ONCE and not self._settlements.empty():
                batch.append(self._settlements.get_nowait())
            await self._settle(batch)
            self._unsettled -= len(batch)
            for _ in batch:
                self._settlements.task_done()

    async def _settle(self, batch: list[Settlement]) -> None:
        while True:
            try:
                lost = await self._ledger.settle(batch)
            except StoreUnavailable as error:
                log.warning("the ledger can't be reached; what was sent is kept to be settled", error=str(error))
                self._unsettled_why = str(error)
                self._report()
                await asyncio.sleep(OUTAGE_SECONDS)
                continue
            self._unsettled_why = None
            if lost:
                log.warning("leases were lost before their calls were settled; others send them again", orders=lost)
            soonest = min((each.wait_seconds for each in batch if each.parked_reason is None), default=IDLE_SECONDS)
            if soonest < IDLE_SECONDS:  # else the next claim tells when it will be
                asyncio.get_running_loop().call_later(soonest, self._wake.set)
            return
