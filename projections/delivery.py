"""Delivery: strict order within an order, many orders at once, each call until it is answered.

Nothing is sent without a lease that outlasts the call, nothing is forgotten until the ledger has it: after a crash
the lease runs out, and the next dispatcher sends the same call with the same key.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from domain.ports import StoreUnavailable
from projections.ports import Answer, Attempt, Call, Claim, Ledger, Outcome, Settlement, ThirdParty
from projections.retrying import RetryPolicy

IDLE_SECONDS: Final = 1.0
"""The longest that a due call waits for a dispatcher that missed its wake-up."""
MIN_IDLE_SECONDS: Final = 0.02
"""The shortest pause after an empty claim: what looks due may just be in another dispatcher's hands."""
OUTAGE_SECONDS: Final = 0.5
HOLD_BASE_SECONDS: Final = 1.0
HOLD_MAX_SECONDS: Final = 30.0
MAX_SETTLED_AT_ONCE: Final = 500
MAX_UNSETTLED: Final = 2000
"""Nothing more is claimed while so many claims wait to be settled."""
CALLS_SHARE_OF_DRAIN: Final = 0.75
"""Of the time to stop in, for the calls under way; the rest is for settling them."""

_CREDENTIALS_TAKEN: Final = {Outcome.DELIVERED, Outcome.IN_FLIGHT, Outcome.REFUSED}

log = structlog.get_logger(__name__)


class Observer(Protocol):
    """Who wants to know how delivery goes on; called on the event loop."""

    def attempt_ended(self, attempt: Attempt) -> None: ...
    def order_parked(self, claim: Claim, reason: str) -> None: ...
    def push_state(self, state: str) -> None:
        """`sending`, or in a few words what it waits for."""


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """Limits of one dispatcher."""

    concurrency: int = 64
    call_timeout_seconds: float = 10.0
    """The longest that `ThirdParty.send` takes."""
    lease_seconds: float = 60.0
    """As the ledger grants it."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Dispatcher:
    """Claims due orders, calls, settles. One in a process is enough; any number of processes may run one."""

    def __init__(  # noqa: PLR0913 - its parts, each replaceable in tests
        self,
        ledger: Ledger,
        third_party: ThirdParty,
        policy: DeliveryPolicy,
        observer: Observer,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        dice: random.Random | None = None,
    ) -> None:
        self._ledger = ledger
        self._third_party = third_party
        self._policy = policy
        self._observer = observer
        self._monotonic = monotonic
        self._dice = dice or random.Random()  # noqa: S311 - only spreads retries
        self._working: set[asyncio.Task[None]] = set()
        self._settlements: asyncio.Queue[Settlement] = asyncio.Queue()
        self._unsettled = 0
        self._refusals = 0
        """How often in a row our credentials were refused; while there are any, one call at a time probes."""
        self._hold_until = 0.0
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        """Set when an order that we had settled may have its next call due."""

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
            await self._step()

    async def _step(self) -> None:
        """Claims what there is room for, or waits for room, for work, or for the end of an outage."""
        held_seconds = self._hold_until - self._monotonic()
        if held_seconds > 0:
            await self._pause(held_seconds)
            return
        room = (1 if self._refusals else self._policy.concurrency) - len(self._working)
        if room <= 0:
            await asyncio.wait(self._working, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            return
        if self._unsettled >= MAX_UNSETTLED:
            await self._wait_for_work(IDLE_SECONDS)
            return
        # The lease counts from before we ask for it, on our own clock: it can only end too early.
        claimed_at = self._monotonic()
        try:
            claims, next_due_seconds = await self._ledger.claim(room)
        except StoreUnavailable as error:
            log.warning("the ledger can't be reached; nothing is sent", error=str(error))
            self._observer.push_state("waiting for the ledger")
            await self._pause(OUTAGE_SECONDS)
            return
        if not self._refusals:
            self._observer.push_state("sending")
        for claim in claims:
            task = asyncio.create_task(self._work(claim, claimed_at + self._policy.lease_seconds))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        if len(claims) < room:
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
        try:
            await asyncio.wait_for(self._stop.wait(), timeout=seconds)
        except TimeoutError:
            return

    async def _work(self, claim: Claim, lease_ends: float) -> None:
        """The calls of one order, one after the other, until one isn't delivered or the lease gets too short."""
        attempts: list[Attempt] = []
        settled_version, spent = claim.settled_version, claim.attempts
        for call in claim.calls:
            if not self._may_send(lease_ends):
                break
            attempt = await self._attempt(call)
            attempts.append(attempt)
            if attempt.answer.outcome is not Outcome.DELIVERED:
                self._settle_later(self._not_delivered(claim, attempts, settled_version, spent))
                return
            settled_version, spent = call.version, 0
        self._settle_later(Settlement(claim, tuple(attempts), settled_version, spent, wait_seconds=0.0))

    def _settle_later(self, settlement: Settlement) -> None:
        self._unsettled += 1
        self._settlements.put_nowait(settlement)

    def _may_send(self, lease_ends: float) -> bool:
        now = self._monotonic()
        fits = now + self._policy.call_timeout_seconds < lease_ends
        return fits and now >= self._hold_until and not self._stop.is_set()

    async def _attempt(self, call: Call) -> Attempt:
        started_at, started = datetime.now(UTC), time.perf_counter()
        try:
            answer = await self._third_party.send(call)
        except asyncio.CancelledError:
            answer = Answer(Outcome.IN_DOUBT, None, "we stopped before the answer came")
        except Exception as error:  # our own mistake; it must not stop the other orders
            log.exception("a call failed by an error of ours", order_id=call.order_id, version=call.version)
            answer = Answer(Outcome.IN_DOUBT, None, f"an error of ours: {type(error).__name__}")
        if answer.outcome in _CREDENTIALS_TAKEN:
            self._refusals = 0
        attempt = Attempt(call, started_at, round((time.perf_counter() - started) * 1000), answer)
        self._observer.attempt_ended(attempt)
        return attempt

    def _not_delivered(self, claim: Claim, attempts: list[Attempt], settled_version: int, spent: int) -> Settlement:
        answer = attempts[-1].answer
        retry = self._policy.retry
        wait_seconds, parked_reason = 0.0, None
        match answer.outcome:
            case Outcome.UNAUTHORIZED:
                wait_seconds = self._hold(answer)
            case Outcome.IN_FLIGHT:
                wait_seconds = retry.wait_seconds(spent + 1, answer.retry_after_seconds, self._dice)
            case Outcome.REFUSED:
                spent += 1
                parked_reason = f"refused with status {answer.status}"
            case _:
                spent += 1
                wait_seconds = retry.wait_seconds(spent, answer.retry_after_seconds, self._dice)
                if spent >= retry.max_attempts:
                    parked_reason = f"{spent} attempts failed; the last: {answer.status or answer.outcome}"
        if parked_reason is not None:
            self._observer.order_parked(claim, parked_reason)
        return Settlement(claim, tuple(attempts), settled_version, spent, wait_seconds, parked_reason)

    def _hold(self, answer: Answer) -> float:
        """Stops all sending for a while: longer each time in a row. Says for how many seconds."""
        if self._monotonic() >= self._hold_until:
            self._refusals += 1
        seconds = min(HOLD_MAX_SECONDS, HOLD_BASE_SECONDS * 2.0 ** min(self._refusals - 1, 30))
        self._hold_until = max(self._hold_until, self._monotonic() + seconds)
        self._observer.push_state("the third party refuses our credentials")
        log.error(
            "the third party refuses our credentials: all calls are held", status=answer.status, seconds=seconds
        )
        return seconds

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
                self._observer.push_state("waiting for the ledger")
                await asyncio.sleep(OUTAGE_SECONDS)
                continue
            if lost:
                log.warning("leases were lost before their calls were settled; others send them again", orders=lost)
            soonest = min((each.wait_seconds for each in batch if each.parked_reason is None), default=IDLE_SECONDS)
            if soonest < IDLE_SECONDS:  # else the next claim tells when it will be
                asyncio.get_running_loop().call_later(soonest, self._wake.set)
            return
