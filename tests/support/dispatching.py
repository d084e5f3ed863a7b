"""Dispatchers over the in-memory ledger and third party, in virtual time."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from projections.delivery.breaker import BreakerState
from projections.delivery.dispatcher import DeliveryPolicy, Dispatcher
from projections.delivery.ports import Answer, Attempt, Call, Claim, Outcome
from projections.delivery.retry import RetryPolicy
from tests.support.fake_ledger import FakeLedger, FakeLedgerSession
from tests.support.fake_third_party import TIMEOUT_SECONDS, FakeThirdParty
from tests.support.virtual_time import now

LEASE_SECONDS: Final = 30.0
LONG_SECONDS: Final = 3 * 3600.0
"""Of virtual time: longer than anything that we wait for."""
POLICY: Final = DeliveryPolicy(
    concurrency=8,
    call_timeout_seconds=TIMEOUT_SECONDS,
    lease_seconds=LEASE_SECONDS,
    retry=RetryPolicy(max_attempts=4, base_seconds=0.5, max_seconds=8.0),
)


class Watcher:
    """Notes what a dispatcher reports."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.parked: dict[int, str] = {}
        self.states: list[str] = []
        self.breaker: list[BreakerState] = [BreakerState.CLOSED]
        self.rates: list[float] = []
        self.why: str | None = None

    def attempt_ended(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def order_parked(self, claim: Claim, reason: str) -> None:
        self.parked[claim.order_id] = reason

    def push_state(self, state: str, why: str | None = None) -> None:
        self.why = why
        if self.states[-1:] != [state]:
            self.states.append(state)

    def breaker_changed(self, state: BreakerState, why: str) -> None:
        self.breaker.append(state)

    def rate_changed(self, calls_per_second: float) -> None:
        if self.rates[-1:] != [calls_per_second]:
            self.rates.append(calls_per_second)


class Running:
    """One dispatcher at work."""

    def __init__(
        self, dispatcher: Dispatcher, drain_seconds: float, session: FakeLedgerSession, ledger: FakeLedger
    ) -> None:
        self._session = session
        self._ledger = ledger
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(dispatcher.run(self._stop, drain_seconds=drain_seconds))

    async def stop(self) -> None:
        """Drains."""
        self._stop.set()
        await self.task
        self.lose_session()

    def lose_session(self) -> None:
        self._ledger.end_session(self._session.session)

    async def kill(self) -> None:
        """As SIGKILL would: nothing that it has in hand is settled."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.lose_session()


class World:
    """Make it inside a running loop."""

    def __init__(self, *, policy: DeliveryPolicy = POLICY, ledger: FakeLedger | None = None) -> None:
        self.policy = policy
        self.ledger = ledger or FakeLedger(
            now, lease_seconds=policy.lease_seconds, call_timeout_seconds=policy.call_timeout_seconds
        )
        self.third_party = FakeThirdParty(timeout_seconds=policy.call_timeout_seconds)
        self.watcher = Watcher()

    def start(self, *, seed: int = 1, concurrency: int | None = None, drain_seconds: float = 20.0) -> Running:
        policy = replace(self.policy, concurrency=concurrency or self.policy.concurrency)
        session = FakeLedgerSession(self.ledger)
        dispatcher = Dispatcher(
            session, self.third_party, policy, self.watcher, monotonic=now, rng=random.Random(seed)
        )
        return Running(dispatcher, drain_seconds, session, self.ledger)

    async def until(self, condition: Callable[[], bool], *, every_seconds: float = 0.05) -> None:
        async with asyncio.timeout(LONG_SECONDS):
            while not condition():  # noqa: ASYNC110 - it's virtual time that is polled
                await asyncio.sleep(every_seconds)

    async def deliver_all(self) -> None:
        """With one dispatcher, until nothing waits any more."""
        running = self.start()
        await self.until(lambda: self.ledger.is_settled)
        await running.stop()

    def outcomes(self, order_id: int) -> list[Outcome]:
        return [attempt.answer.outcome for attempt in self.ledger.attempts_of(order_id)]

    def numbers(self, order_id: int) -> list[int]:
        """Of its attempts, as they are told."""
        return [attempt.number for attempt in self.ledger.attempts_of(order_id)]

    def versions_sent(self, order_id: int) -> list[int]:
        return [call.version for call in self.third_party.sent if call.order_id == order_id]


class Breaking(FakeThirdParty):
    """Raises, which a third party never should."""

    async def send(self, call: Call) -> Answer:
        if call.order_id == 1:
            raise RuntimeError("a mistake of ours")
        return await super().send(call)
