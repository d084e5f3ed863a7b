"""The dispatcher when the third party is down, stumbles over an order, or wants fewer calls."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from domain.ports import StoreUnavailable
from projections.delivery.breaker import HOLD_MAX_SECONDS, BreakerState
from projections.delivery.ports import Call, Settlement
from projections.delivery.retry import RetryPolicy
from tests.support.dispatching import POLICY, World
from tests.support.fake_ledger import FakeLedger, call, lifecycle
from tests.support.fake_third_party import FINE, HANG, Fault
from tests.support.virtual_time import now, run

HOURS = 3 * 3600.0
DOWN = [
    *(Fault(status=503), Fault(status=500), Fault(status=307), Fault(status=302)),
    *(Fault(unreachable=True), Fault(lost_answer=True), HANG),
]


class Ups:
    """Down from one moment to another, with a second's latency."""

    def __init__(self, fault: Fault, begins: float, ends: float) -> None:
        self.calls_while_down = 0
        self._fault, self._begins, self._ends = fault, begins, ends

    def __call__(self, _: Call) -> Fault:
        if self._begins <= now() < self._ends:
            self.calls_while_down += 1
            return self._fault
        return Fault(before_seconds=1)


@pytest.mark.parametrize("fault", DOWN)
def test_hours_of_an_outage_park_nobody(fault: Fault) -> None:
    """Only the first failures may cost an attempt, then one call at a time probes; in the end all is delivered."""

    async def main() -> None:
        world = World(policy=replace(POLICY, retry=RetryPolicy(3, 0.5, 8.0)))
        world.third_party.plan = ups = Ups(fault, 5, HOURS)
        for order_id in range(1, 41):
            world.ledger.add(*lifecycle(order_id))
        running = world.start()
        await asyncio.sleep(HOURS)
        assert world.watcher.parked == {}
        assert sum(cursor.attempts for cursor in world.ledger.cursors.values()) <= 2
        assert ups.calls_while_down <= HOURS / HOLD_MAX_SECONDS + 40
        assert {*world.watcher.states[-2:]} <= {
            f"{reason}; breaker {state}"
            for reason in (world.watcher.states[-1].split(";")[0],)
            for state in ("open", "probing")
        }
        await world.until(lambda: world.ledger.is_settled)
        await running.stop()
        assert now() < HOURS + HOLD_MAX_SECONDS + 120
        assert world.third_party.violations == []
        assert all(cursor.settled_version == 3 for cursor in world.ledger.cursors.values())
        assert world.watcher.breaker[-1] is BreakerState.CLOSED

    run(main)


@pytest.mark.parametrize("fault", [each for each in DOWN if not each.lost_answer])
def test_an_outage_does_not_park_the_only_order_either(fault: Fault) -> None:
    """In the middle of a quiet night."""

    async def main() -> None:
        world = World()
        world.ledger.add(call(2, 1))
        running = world.start()
        await asyncio.sleep(600)
        world.third_party.plan = Ups(fault, 0, HOURS)
        world.ledger.add(*lifecycle(1))
        await asyncio.sleep(HOURS - 600)
        await world.until(lambda: world.ledger.is_settled)
        await running.stop()
        assert now() > HOURS
        assert world.watcher.parked == {}
        assert BreakerState.OPEN in world.watcher.breaker

    run(main)


def test_the_way_back_is_a_ramp() -> None:
    """One probe at a time; then never more calls at once than twice as many as have just succeeded."""

    async def main() -> None:
        world = World()
        for order_id in range(1, 61):
            world.ledger.add(*lifecycle(order_id))
        world.third_party.plan = Ups(Fault(status=503, before_seconds=1), 0, 100)
        running = world.start(concurrency=16)
        await asyncio.sleep(100)
        world.third_party.most_under_way = 0
        answered = len(world.third_party.applied)
        while (done := len(world.third_party.applied) - answered) < 60:
            assert world.third_party.most_under_way <= max(1, 2 * done)
            await asyncio.sleep(0.1)
        assert world.third_party.most_under_way == 16
        assert world.watcher.breaker[-3:] == [BreakerState.PROBING, BreakerState.RAMPING, BreakerState.CLOSED]
        await running.stop()

    run(main)


@pytest.mark.parametrize("state", [BreakerState.OPEN, BreakerState.PROBING, BreakerState.RAMPING])
def test_where_no_call_waits_any_more_nothing_is_held_back(state: BreakerState) -> None:
    """Other processes have made them all. Whether the third party is up again the next call will show."""

    async def main() -> None:
        world = World()
        world.third_party.plan = Ups(Fault(status=503), 0, 8)
        for order_id in range(1, 41):
            world.ledger.add(*lifecycle(order_id))
        running = world.start()
        await world.until(lambda: world.watcher.breaker[-1] is state)
        for cursor in world.ledger.cursors.values():
            cursor.settled_version, cursor.lease = 3, None
        await asyncio.sleep(HOLD_MAX_SECONDS)
        assert world.watcher.breaker[-1] is BreakerState.CLOSED
        assert world.watcher.states[-1] == "sending"
        await running.stop()

    run(main)


def test_orders_that_always_fail_do_not_keep_the_breaker_open_before_the_others() -> None:
    """A hundred of them have been due for longest, so the breaker opens at once; four hundred others are there."""

    async def main() -> None:
        world = World()
        bad = range(1, 101)
        world.third_party.plan = lambda sent: Fault(
            status=500 if sent.order_id in bad else None, before_seconds=0.01
        )
        for order_id in bad:
            world.ledger.add(*lifecycle(order_id))
        await asyncio.sleep(1.0)
        for order_id in range(101, 501):
            world.ledger.add(*lifecycle(order_id))
        running = world.start()
        good = [world.ledger.cursors[order_id] for order_id in range(101, 501)]
        began = asyncio.get_running_loop().time()
        await world.until(lambda: not any(cursor.is_waiting for cursor in good))
        assert (
            asyncio.get_running_loop().time() - began < 60
        )  # of virtual time; it's 2400 if those longest due go first
        await running.stop()

    run(main)


def test_an_order_that_is_always_sent_elsewhere_is_not_parked_and_comes_seldom() -> None:
    """It is the address that is wrong; the others flow."""

    async def main() -> None:
        world = World()
        world.ledger.add(*lifecycle(1))
        world.third_party.plan = lambda call: Fault(status=307) if call.order_id == 1 else FINE
        running = world.start()
        for order_id in range(2, 3600):
            world.ledger.add(call(order_id, 1))
            await asyncio.sleep(1)
        await running.stop()
        assert world.watcher.parked == {}
        assert world.watcher.breaker == [BreakerState.CLOSED]
        assert len(world.ledger.attempts_of(2)) == len(world.ledger.attempts_of(3000)) == 1
        assert 3600 / POLICY.retry.max_seconds / 2 < len(world.versions_sent(1)) < 3600

    run(main)


def test_one_order_that_always_fails_stops_nobody_and_is_parked() -> None:
    """After its attempts, while a steady flow of others is answered."""

    async def main() -> None:
        world = World()
        world.third_party.plan = lambda sent: Fault(status=500 if sent.order_id == 1 else None, before_seconds=0.1)
        running = world.start()
        for order_id in (2, 1, *range(3, 200)):
            world.ledger.add(*lifecycle(order_id))
            await asyncio.sleep(0.2)
        await world.until(lambda: world.ledger.is_settled)
        await running.stop()
        assert world.watcher.parked == {1: "4 attempts failed; the last: 500"}
        assert world.watcher.breaker == [BreakerState.CLOSED]
        assert len(world.outcomes(1)) == POLICY.retry.max_attempts

    run(main)


def throttling(limit_per_second: int, retry_after: str | None) -> Callable[[Call], Fault]:
    """429 for whatever is too much within a second; the others take a tenth of one."""
    seconds: dict[int, int] = {}

    def plan(_: Call) -> Fault:
        second = int(now())
        seconds[second] = seconds.get(second, 0) + 1
        too_many = seconds[second] > limit_per_second
        return Fault(status=429, retry_after=retry_after) if too_many else Fault(before_seconds=0.1)

    return plan


@pytest.mark.parametrize("retry_after", [None, "7"])
def test_a_third_party_that_wants_fewer_calls_gets_fewer(retry_after: str | None) -> None:
    """Few are refused, nobody is parked, no attempt is spent, and what it takes is nearly used up."""

    async def main() -> None:
        world = World(policy=replace(POLICY, retry=RetryPolicy(max_attempts=2)))
        for order_id in range(1, 401):
            world.ledger.add(*lifecycle(order_id))
        world.third_party.plan = throttling(20, retry_after)
        running = world.start()
        await world.until(lambda: world.ledger.is_settled)
        await running.stop()
        refused = len(world.third_party.sent) - 1200
        assert refused < 120
        assert world.watcher.parked == {}
        assert world.watcher.breaker == [BreakerState.CLOSED]
        assert now() < 1200 / 20 * (3 if retry_after is None else 6)

    run(main)


def test_a_wish_to_wait_holds_all_orders() -> None:
    """Not only the one that was told; calls under way end, and nothing else goes out before its time."""

    async def main() -> None:
        world = World()
        for order_id in range(1, 41):
            world.ledger.add(*lifecycle(order_id))
        left = [Fault(status=429, retry_after="300")]
        sent_at: list[float] = []

        def plan(_: Call) -> Fault:
            sent_at.append(now())
            return left.pop() if left else Fault(before_seconds=1)

        world.third_party.plan = plan
        await world.deliver_all()
        assert [at for at in sent_at if 0.1 < at < 300] == []
        assert "the third party asks us to wait" in world.watcher.states
        assert all(cursor.attempts == 0 for cursor in world.ledger.cursors.values())

    run(main)


def test_a_wish_to_wait_is_granted_up_to_a_limit() -> None:
    """For all orders as for one."""

    async def main() -> None:
        world = World(policy=replace(POLICY, retry=RetryPolicy(retry_after_max_seconds=50)))
        world.ledger.add(call(1, 1), call(2, 1))
        faults = [Fault(status=503, retry_after="1000"), Fault(status=429, retry_after="1000")]
        world.third_party.plan = lambda _: faults.pop() if faults else FINE
        await world.deliver_all()
        assert 50 <= now() < 60

    run(main)


def test_no_more_calls_go_out_in_a_second_than_configured() -> None:
    """And nearly as many do, though each order's calls follow each other and each takes a while."""

    async def main() -> None:
        world = World(policy=replace(POLICY, calls_per_second=20.0))
        for order_id in range(1, 101):
            world.ledger.add(*lifecycle(order_id))
        sent_at: list[float] = []

        def plan(_: Call) -> Fault:
            sent_at.append(now())
            return Fault(before_seconds=0.2)

        world.third_party.plan = plan
        await world.deliver_all()
        assert max(sum(start <= at < start + 1 for at in sent_at) for start in sent_at) <= 20 + 2
        assert now() < 300 / 20 * 1.2
        assert world.ledger.lost_leases == 0

    run(main)


def test_calls_that_would_wait_for_longer_than_their_lease_are_given_back() -> None:
    """A limit of one call in a minute and a half is slow, but nothing spins and nothing is lost."""

    async def main() -> None:
        world = World(policy=replace(POLICY, calls_per_second=1 / 90))
        world.ledger.add(*lifecycle(1), *lifecycle(2))
        await world.deliver_all()
        assert 5 * 90 <= now() < 6 * 90
        assert world.ledger.claims < 60
        assert all(each.attempts for each in world.ledger.settlements), "nothing is claimed before its turn"
        assert world.ledger.lost_leases == 0

    run(main)


class LockedLedger(FakeLedger):
    """Gives orders out, and can't take down what became of them before a certain moment."""

    settles_from = 100.0

    async def settle(self, settlements: Sequence[Settlement]) -> int:
        if now() < self.settles_from:
            raise StoreUnavailable("canceling statement due to lock timeout")
        return await super().settle(settlements)


def test_a_ledger_that_takes_no_settlement_is_waited_for_though_it_gives_orders_out() -> None:
    """It's said all the time, not only between two claims."""

    async def main() -> None:
        world = World(ledger=LockedLedger(now, lease_seconds=POLICY.lease_seconds))
        world.ledger.add(*lifecycle(1))
        running = world.start()
        await world.until(lambda: world.watcher.states[-1:] == ["waiting for the ledger"])
        told = len(world.watcher.states)
        world.ledger.add(*lifecycle(2))
        await asyncio.sleep(LockedLedger.settles_from - now() - 1)
        assert len(world.watcher.states) == told
        assert world.watcher.why == "canceling statement due to lock timeout"
        assert world.third_party.sent, "orders were given out"
        await world.until(lambda: world.ledger.is_settled)
        await running.stop()
        assert world.watcher.states[-1] == "sending"

    run(main)
