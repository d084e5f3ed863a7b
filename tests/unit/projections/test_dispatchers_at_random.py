"""Several dispatchers over one ledger, with everything going wrong at once, in any order that Hypothesis finds.

What holds always: every call takes effect exactly once, in its order's order, whatever fails, stalls or dies.
Two calls of one order overlap only if a dispatcher stood still between its look at the lease and its call, for
longer than the lease lasts: nobody can prevent that from this side of the wire, the key makes it harmless.
"""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from projections.delivery.dispatcher import DeliveryPolicy
from projections.delivery.ports import AttemptKind, Call, Outcome
from projections.delivery.retry import RetryPolicy
from projections.intended_calls import path_of
from tests.support.dispatching import LEASE_SECONDS, POLICY, Running, World
from tests.support.fake_ledger import lifecycle
from tests.support.fake_third_party import FINE, HANG, TIMEOUT_SECONDS, Fault
from tests.support.virtual_time import now, run

pytestmark = pytest.mark.slow

ORDERS = 8
DISPATCHERS = 3
FAULTY_SECONDS = 300.0
PATIENT = replace(POLICY, retry=RetryPolicy(max_attempts=10**6, base_seconds=0.5, max_seconds=8.0))
FORGOTTEN = replace(PATIENT, key_retention_seconds=TIMEOUT_SECONDS)
"""Keys are of no use: every call in doubt is looked up."""
LATE = replace(PATIENT, key_retention_seconds=20 * TIMEOUT_SECONDS)
"""The third party forgets keys in the middle of the bad weather, and proxies keep requests for half of that."""
STRICT = replace(FORGOTTEN, retry=RetryPolicy(max_attempts=12, base_seconds=0.5, max_seconds=8.0))
"""The default attempts: the first order to fail in an outage pays one, and in each it may be the same."""
OUTAGES = (*(Fault(status=status) for status in (401, 429, 500, 503)), Fault(unreachable=True), HANG)


class Weather:
    """What goes wrong, drawn from one seed."""

    def __init__(self, seed: int, *, stalls: bool) -> None:
        self.rng = random.Random(seed)
        self._stalls = stalls
        self._outage: Fault | None = None

    def fault(self, _: object) -> Fault:
        if now() > FAULTY_SECONDS:
            return FINE
        seconds = self.rng.choice((0, 0.01, 0.5, 3.0, 9.0))
        stall_seconds = self.rng.uniform(0, 2 * LEASE_SECONDS) if self._stalls and self.rng.random() < 0.1 else 0.0
        faults = (
            Fault(before_seconds=seconds),
            Fault(before_seconds=seconds),
            Fault(before_seconds=seconds),
            Fault(status=503, retry_after=self.rng.choice((None, "3"))),
            Fault(status=401),
            Fault(lost_answer=True, before_seconds=seconds),
            Fault(unreachable=True),
            HANG,
        )
        return replace(self.rng.choice(faults), stall_seconds=stall_seconds)

    def outage_fault(self, _: object) -> Fault:
        """Mostly fine, then down for minutes, in whichever way."""
        if self.rng.random() < 0.02 and now() < FAULTY_SECONDS:
            return Fault(lost_answer=True)
        return Fault(before_seconds=self.rng.choice((0.0, 0.1, 2.0))) if self._outage is None else self._outage

    def late_fault(self, _: object) -> Fault:
        if now() > FAULTY_SECONDS:
            return FINE
        late_seconds = self.rng.choice((0.0, self.rng.uniform(0, 9.5 * TIMEOUT_SECONDS)))
        faults = (FINE, FINE, Fault(status=503), Fault(unreachable=True), Fault(lost_answer=True))
        return replace(self.rng.choice(faults), late_seconds=late_seconds)

    async def third_party_outages(self) -> None:
        while now() < FAULTY_SECONDS:
            await asyncio.sleep(self.rng.uniform(1, 60))
            self._outage = self.rng.choice(OUTAGES)
            await asyncio.sleep(self.rng.uniform(1, 600))
            self._outage = None

    def ledger_pause(self) -> float:
        """Mostly short; now and then longer than a lease."""
        if now() > FAULTY_SECONDS:
            return 0.0
        return self.rng.choice((0.0, 0.0, 0.001, 0.1, 2.0, LEASE_SECONDS * 1.2))

    async def outages(self, world: World) -> None:
        while now() < FAULTY_SECONDS:
            await asyncio.sleep(self.rng.uniform(1, 60))
            world.ledger.is_down = True
            await asyncio.sleep(self.rng.uniform(0, LEASE_SECONDS * 1.5))
            world.ledger.is_down = False

    async def lost_sessions(self, running: list[Running]) -> None:
        """The ledger takes a living dispatcher for dead."""
        while now() < FAULTY_SECONDS:
            await asyncio.sleep(self.rng.uniform(1, 30))
            self.rng.choice(running).lose_session()

    async def deaths(self, world: World, running: list[Running]) -> None:
        """Kills a dispatcher or stops it, and starts another."""
        while now() < FAULTY_SECONDS:
            await asyncio.sleep(self.rng.uniform(1, 60))
            victim = running.pop(0)
            await (victim.kill() if self.rng.random() < 0.5 else victim.stop())
            running.append(world.start(seed=self.rng.randrange(10**6), concurrency=4, drain_seconds=5))


def deliver(
    seed: int, *, stalls: bool, deaths: bool, policy: DeliveryPolicy = PATIENT, outages: bool = False
) -> World:
    """Some orders' lifecycles through bad weather; then the sky clears, and all must be delivered.

    The third party forgets keys when the policy says so. `outages`: it's down altogether, or not at all.
    """
    weather = Weather(seed, stalls=stalls)

    async def main() -> World:
        world = World(policy=policy)
        world.third_party.plan = world.third_party.lookup_plan = weather.outage_fault if outages else weather.fault
        world.third_party.key_retention_seconds = policy.key_retention_seconds - TIMEOUT_SECONDS
        world.ledger.pause = weather.ledger_pause
        running = [world.start(seed=number, concurrency=4, drain_seconds=600) for number in range(DISPATCHERS)]
        tasks = [
            asyncio.create_task(weather.outages(world)),
            asyncio.create_task(weather.lost_sessions(running)),
        ]
        if outages:
            tasks.append(asyncio.create_task(weather.third_party_outages()))
        if deaths:
            tasks.append(asyncio.create_task(weather.deaths(world, running)))
        calls = [lifecycle(order_id) for order_id in range(1, ORDERS + 1)]
        while any(calls):
            of_order = weather.rng.choice([each for each in calls if each])
            world.ledger.add(of_order.pop(0))
            await asyncio.sleep(weather.rng.choice((0, 0, 0.1, 5)))
        await asyncio.gather(*tasks)
        await world.until(lambda: world.ledger.is_settled, every_seconds=1.0)
        for each in running:
            await each.stop()
        return world

    with capture_logs():  # hundreds of lines a run: to draw them would take longer than much of what is shown
        return run(main)


def assert_every_call_took_effect_once_in_order(world: World) -> None:
    for order_id in range(1, ORDERS + 1):
        paths = [path for applied_to, path in world.third_party.applied if applied_to == order_id]
        assert paths == [path_of(call.kind, order_id)[1] for call in lifecycle(order_id)]


def recorded_calls(world: World) -> list[Call]:
    return [attempt.call for attempt in world.ledger.attempts if attempt.kind is AttemptKind.CALL]


@given(seed=st.integers(0, 2**32))
def test_no_two_calls_of_an_order_ever_overlap(seed: int) -> None:
    """Failures, lost answers, hanging calls, refused credentials, a ledger that is slow beyond every lease or away:
    the third party has nothing to complain of, and every call that it saw is in the record."""
    world = deliver(seed, stalls=False, deaths=False)
    assert world.third_party.violations == []
    assert_every_call_took_effect_once_in_order(world)
    assert Counter(world.third_party.sent) == Counter(recorded_calls(world))
    assert world.watcher.parked == {}


@given(seed=st.integers(0, 2**32))
def test_dispatchers_that_die_or_stand_still_do_no_harm(seed: int) -> None:
    """Overlaps are all that the third party may see, and only because of those that stood still."""
    world = deliver(seed, stalls=True, deaths=True)
    assert set(world.third_party.violations) <= {"overlap"}
    assert_every_call_took_effect_once_in_order(world)
    assert Counter(recorded_calls(world)) <= Counter(world.third_party.sent)
    delivered = {attempt.call for attempt in world.ledger.attempts if attempt.answer.outcome is Outcome.DELIVERED}
    assert delivered == set(world.third_party.sent)


@given(seed=st.integers(0, 2**32))
def test_dispatchers_that_die_cause_no_overlap_either(seed: int) -> None:
    """A call that was under way when its dispatcher died, or was taken for dead, is over before others call."""
    world = deliver(seed, stalls=False, deaths=True)
    assert world.third_party.violations == []
    assert_every_call_took_effect_once_in_order(world)


@given(seed=st.integers(0, 2**32))
def test_where_keys_are_forgotten_nothing_is_done_twice_either(seed: int) -> None:
    """Dispatchers die, answers get lost, lookups fail as calls do: what is in doubt is looked up, then sent."""
    world = deliver(seed, stalls=False, deaths=True, policy=FORGOTTEN)
    assert world.third_party.violations == []
    assert_every_call_took_effect_once_in_order(world)
    assert world.watcher.parked == {}


@given(seed=st.integers(0, 2**32))
def test_requests_that_come_late_are_carried_out_once(seed: int) -> None:
    """They may overlap with later attempts at the same call, and nothing else."""
    weather = Weather(seed, stalls=False)

    async def main() -> World:
        world = World(policy=LATE)
        world.third_party.plan = weather.late_fault
        world.third_party.key_retention_seconds = LATE.key_retention_seconds
        running = [world.start(seed=number, concurrency=4) for number in range(2)]
        for order_id in range(1, ORDERS + 1):
            world.ledger.add(*lifecycle(order_id))
        await world.until(lambda: world.ledger.is_settled and now() > FAULTY_SECONDS + 10 * TIMEOUT_SECONDS)
        for each in running:
            await each.stop()
        return world

    with capture_logs():
        world = run(main)
    assert set(world.third_party.violations) <= {"overlap"}
    assert_every_call_took_effect_once_in_order(world)


@given(seed=st.integers(0, 2**32))
def test_no_outage_parks_an_order(seed: int) -> None:
    """However often and in whichever way the third party goes down, and while dispatchers die: with the default
    attempts a call."""
    world = deliver(seed, stalls=False, deaths=True, policy=STRICT, outages=True)
    assert world.third_party.violations == []
    assert_every_call_took_effect_once_in_order(world)
    assert world.watcher.parked == {}
