"""The dispatcher when the ledger is away or slow, when leases run out, and when it's told to stop."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from domain.effects import EffectKind
from projections.delivery.ports import Claim, Outcome, Settlement
from tests.support.dispatching import LEASE_SECONDS, POLICY, World
from tests.support.fake_ledger import FakeLedger, call, lifecycle
from tests.support.fake_third_party import FINE, HANG, Fault
from tests.support.virtual_time import now, run


def slow(*pauses: float) -> Callable[[], float]:
    """The ledger takes so long for one answer after the other, then none."""
    left = list(reversed(pauses))
    return lambda: left.pop() if left else 0.0


class TestLeases:
    def test_a_lease_too_short_for_a_call_is_not_used(self) -> None:
        """Granted long ago, because the claim's answer was slow in coming: the order is given back unsent."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(1))
            too_long_seconds = LEASE_SECONDS - POLICY.call_timeout_seconds
            world.ledger.pause = slow(too_long_seconds)
            running = world.start()
            await world.until(lambda: world.ledger.settlements != [])
            assert world.ledger.settlements[0].attempts == ()
            await world.until(lambda: world.ledger.is_settled)
            await running.stop()
            assert world.versions_sent(1) == [1, 2, 3]
            assert world.ledger.lost_leases == 0
            assert now() < too_long_seconds + 1

        run(main)

    def test_calls_that_no_longer_fit_into_the_lease_wait_for_the_next_one(self) -> None:
        """Three calls of nine seconds don't fit into thirty, if each may take ten."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(1))
            world.third_party.plan = lambda _: Fault(before_seconds=9)
            await world.deliver_all()
            assert world.versions_sent(1) == [1, 2, 3]
            assert world.ledger.lost_leases == 0
            assert world.ledger.claims >= 2

        run(main)

    def test_what_comes_of_a_lost_lease_changes_nothing_but_the_record(self) -> None:
        """Whoever has the order now goes on as if nothing had happened; the attempts are all there."""

        async def main() -> None:
            world = World()
            world.ledger.add(call(1, 1))
            world.third_party.plan = lambda _: Fault(stall_seconds=LEASE_SECONDS + 5, status=422)
            stalled = world.start()
            await asyncio.sleep(1)
            world.third_party.plan = lambda _: FINE
            other = world.start()
            await world.until(lambda: len(world.ledger.attempts) == 2)
            assert world.outcomes(1) == [Outcome.DELIVERED, Outcome.REFUSED]
            assert world.ledger.cursors[1].parked_reason is None
            assert world.ledger.is_settled
            assert world.ledger.lost_leases == 1
            await stalled.stop()
            await other.stop()

        run(main)

    def test_a_cursor_that_is_set_back_during_a_call_stays_set_back(self) -> None:
        """All calls go out again, with their old keys, and not beside the one that is under way."""

        async def main() -> None:
            world = World()
            world.ledger.add(*(call(1, version) for version in (1, 2, 3)))
            running = world.start()
            await world.until(lambda: world.ledger.is_settled)
            world.third_party.plan = lambda _: Fault(before_seconds=5)
            world.ledger.add(call(1, 4, EffectKind.COMPLETE))
            await world.until(lambda: len(world.third_party.sent) == 4)
            world.ledger.set_back(1, 1)
            await world.until(lambda: world.ledger.is_settled)
            await running.stop()
            assert world.versions_sent(1) == [1, 2, 3, 4, 1, 2, 3, 4]
            assert world.third_party.violations == []
            assert len(world.third_party.applied) == 4

        run(main)


class TestSessions:
    def test_a_dispatcher_that_has_lost_its_session_begins_no_call(self) -> None:
        """It ends the one that is under way and gives the order back: none is under way when another takes over."""

        async def main() -> None:
            world = World(policy=replace(POLICY, lease_seconds=3600))
            world.ledger.add(*(call(1, version) for version in range(1, 5)))
            world.third_party.plan = lambda _: Fault(before_seconds=8)
            first = world.start()
            await world.until(lambda: world.third_party.under_way == 1)
            second = world.start(seed=2)
            first.lose_session()
            await world.until(lambda: world.ledger.settlements != [])
            assert len(world.ledger.settlements[0].attempts) == 1
            await world.until(lambda: world.ledger.is_settled)
            for running in (first, second):
                await running.stop()
            assert world.versions_sent(1) == [1, 2, 3, 4]
            assert world.third_party.violations == []
            assert world.ledger.lost_leases == 0

        run(main)

    def test_the_orders_of_a_dispatcher_that_was_killed_go_on_when_its_calls_are_over(self) -> None:
        """Not before, and long before its leases end."""

        async def main() -> None:
            world = World(policy=replace(POLICY, lease_seconds=3600))
            world.ledger.add(*lifecycle(1))
            world.third_party.plan = lambda _: HANG
            killed = world.start()
            await world.until(lambda: world.third_party.under_way == 1)
            await killed.kill()
            died_at = now()
            world.third_party.plan = lambda _: FINE
            other = world.start(seed=2)
            await asyncio.sleep(POLICY.call_timeout_seconds)
            assert world.versions_sent(1) == [1]
            await world.until(lambda: world.ledger.is_settled)
            assert now() < died_at + 2 * POLICY.call_timeout_seconds
            await other.stop()
            assert world.versions_sent(1) == [1, 1, 2, 3]
            assert world.third_party.violations == []

        run(main)


class TestOutages:
    def test_nothing_is_sent_and_nothing_spent_while_the_ledger_is_away(self) -> None:
        """And when it's back, all goes on by itself."""

        async def main() -> None:
            world = World()
            for order_id in range(1, 20):
                world.ledger.add(*lifecycle(order_id))
            world.ledger.is_down = True
            running = world.start()
            await asyncio.sleep(100)
            assert world.third_party.sent == []
            assert world.watcher.states == ["waiting for the ledger"]
            world.ledger.is_down = False
            await world.until(lambda: world.ledger.is_settled)
            await running.stop()
            assert all(cursor.attempts == 0 for cursor in world.ledger.cursors.values())
            assert len(world.third_party.sent) == len(world.ledger.attempts) == 3 * 19
            assert world.watcher.states[-1] == "sending"

        run(main)

    @pytest.mark.parametrize("seconds", [5.0, LEASE_SECONDS * 3])
    def test_what_was_sent_is_settled_when_the_ledger_is_back(self, seconds: float) -> None:
        """Also after the leases have run out: then the calls are sent again, with their old keys."""

        async def main() -> None:
            world = World()
            for order_id in range(1, 20):
                world.ledger.add(*lifecycle(order_id))
            world.third_party.plan = lambda _: Fault(before_seconds=2)
            running = world.start()
            await asyncio.sleep(3)
            world.ledger.is_down = True
            await asyncio.sleep(seconds)
            assert len(world.third_party.sent) <= 3 * POLICY.concurrency, "no more than was claimed"
            world.ledger.is_down = False
            await world.until(lambda: world.ledger.is_settled)
            await running.stop()
            assert len(world.third_party.sent) == len(world.ledger.attempts)
            assert {attempt.answer.outcome for attempt in world.ledger.attempts} == {Outcome.DELIVERED}
            assert world.third_party.violations == []
            assert len(world.third_party.applied) == 3 * 19
            assert all(cursor.attempts == 0 for cursor in world.ledger.cursors.values())

        run(main)

    def test_a_ledger_that_hands_out_work_but_takes_no_results_gets_no_more_calls(self) -> None:
        """What waits to be settled has a limit."""

        async def main() -> None:
            world = World(ledger=TakesNoResults(now, lease_seconds=LEASE_SECONDS))
            for order_id in range(1, 2601):
                world.ledger.add(call(order_id, 1))
            running = world.start(concurrency=500)
            await asyncio.sleep(LEASE_SECONDS * 5)
            assert 2000 <= len(world.third_party.sent) < 2000 + 500
            await running.kill()

        run(main)

    def test_a_mistake_in_settling_ends_the_dispatcher(self) -> None:
        """It doesn't go on calling while nothing is written down: the process ends, and a new one starts afresh."""

        async def main() -> None:
            world = World(ledger=Broken(now))
            world.ledger.add(*lifecycle(1))
            running = world.start()
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(running.task, 60)

        run(main)


class TestStopping:
    def test_a_stopped_dispatcher_ends_the_calls_under_way_and_begins_no_others(self) -> None:
        """They are settled, and what is left can be claimed at once."""

        async def main() -> None:
            world = World()
            for order_id in range(1, 20):
                world.ledger.add(*lifecycle(order_id))
            world.third_party.plan = lambda _: Fault(before_seconds=5)
            running = world.start()
            await asyncio.sleep(1)
            await running.stop()
            assert len(world.third_party.sent) == len(world.ledger.attempts) == POLICY.concurrency
            assert {attempt.answer.outcome for attempt in world.ledger.attempts} == {Outcome.DELIVERED}
            assert all(cursor.lease is None for cursor in world.ledger.cursors.values())
            assert now() < 7

        run(main)

    def test_a_hanging_call_does_not_keep_it_from_stopping(self) -> None:
        """The call is given up in doubt, is in the record, and its order is free."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(1))
            world.third_party.plan = lambda _: HANG
            running = world.start(drain_seconds=4)
            await asyncio.sleep(1)
            await running.stop()
            assert now() <= 1 + 4
            assert world.outcomes(1) == [Outcome.IN_DOUBT]
            assert world.ledger.cursors[1].lease is None

        run(main)

    def test_a_ledger_that_is_away_does_not_keep_it_from_stopping(self) -> None:
        """What can't be settled is left until its session has ended, and a call of it would be over."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(1))
            world.third_party.plan = lambda _: Fault(before_seconds=2)
            running = world.start(drain_seconds=4)
            await asyncio.sleep(1)
            world.ledger.is_down = True
            await running.stop()
            assert now() < 1 + 4 + 0.1
            assert world.ledger.attempts == []
            world.ledger.is_down = False
            await world.deliver_all()
            assert now() > 5 + POLICY.call_timeout_seconds
            assert world.third_party.violations == []
            assert world.versions_sent(1) == [1, 1, 2, 3]

        run(main)

    def test_a_ledger_that_hangs_does_not_keep_it_from_stopping(self) -> None:
        """Neither in a claim nor in a settlement."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(1))
            world.third_party.plan = lambda _: Fault(before_seconds=2)
            running = world.start(drain_seconds=4)
            await asyncio.sleep(1)
            world.ledger.pause = lambda: 10**6
            await asyncio.sleep(5)
            stopped_at = now()
            await running.stop()
            assert now() < stopped_at + 4 + 0.1

        run(main)

    def test_what_is_claimed_while_it_stops_is_given_back(self) -> None:
        """Unsent, so that nobody has to wait for the end of the lease."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(1))
            world.ledger.pause = lambda: 1
            running = world.start()
            await asyncio.sleep(0.5)
            await running.stop()
            assert world.ledger.claims == 1
            assert world.third_party.sent == []
            assert world.ledger.cursors[1].lease is None

        run(main)

    def test_a_mistake_in_claiming_ends_the_dispatcher(self) -> None:
        """What is under way is still answered and settled."""

        async def main() -> None:
            world = World(ledger=Forgetful(now))
            world.ledger.add(*lifecycle(1))
            world.third_party.plan = lambda _: Fault(before_seconds=2)
            running = world.start()
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(running.task, 60)
            assert world.outcomes(1) == [Outcome.DELIVERED]

        run(main)


class Forgetful(FakeLedger):
    async def claim(
        self, limit: int, *, by_chance: bool = False, session: int = 0
    ) -> tuple[list[Claim], float | None]:
        if self.claims:
            raise ZeroDivisionError
        return await super().claim(limit, session=session)


class TakesNoResults(FakeLedger):
    async def settle(self, settlements: Sequence[Settlement]) -> int:
        await asyncio.sleep(10**6)
        return 0


class Broken(FakeLedger):
    async def settle(self, settlements: Sequence[Settlement]) -> Any:
        return 1 / 0
