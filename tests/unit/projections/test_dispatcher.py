"""The dispatcher: order within an order, concurrency across orders, and what each answer leads to."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from domain.effects import EffectKind
from projections.delivery.breaker import BreakerState
from projections.delivery.ports import Call, Outcome
from projections.delivery.retry import RetryPolicy
from projections.doubt_marks import DOUBTFUL
from tests.support.dispatching import POLICY, Breaking, World
from tests.support.fake_ledger import call, lifecycle
from tests.support.fake_third_party import FINE, HANG, Fault
from tests.support.virtual_time import now, run

UPDATES = [EffectKind.CREATE, *[EffectKind.UPDATE] * 8, EffectKind.COMPLETE]


def only(order_id: int, fault: Fault) -> Callable[[Call], Fault]:
    """The fault befalls one order's calls."""
    return lambda sent: fault if sent.order_id == order_id else FINE


def first(times: int, fault: Fault) -> Callable[[Call], Fault]:
    """The fault befalls the first so many calls."""
    left = [fault] * times
    return lambda _: left.pop() if left else FINE


class TestOrderAndConcurrency:
    def test_the_calls_of_an_order_go_out_one_after_the_other(self) -> None:
        """In the order of their versions, each once, also when there are more than one claim holds."""

        async def main() -> None:
            world = World()
            world.ledger.add(*reversed(lifecycle(1, UPDATES)))
            world.third_party.plan = lambda _: Fault(before_seconds=1)
            await world.deliver_all()
            assert world.versions_sent(1) == list(range(1, 11))
            assert world.third_party.violations == []
            assert world.ledger.cursors[1].delivered == set(range(1, 11))

        run(main)

    def test_many_orders_are_called_at_once_but_never_more_than_allowed(self) -> None:
        """As many as `concurrency`, and that many are really reached."""

        async def main() -> None:
            world = World()
            for order_id in range(1, 41):
                world.ledger.add(*lifecycle(order_id))
            world.third_party.plan = lambda _: Fault(before_seconds=1)
            await world.deliver_all()
            assert world.third_party.most_under_way == 8
            assert world.third_party.violations == []
            assert now() < 40 * 3 / 8 * 1.5

        run(main)

    def test_a_failing_order_stands_still_alone(self) -> None:
        """The others don't wait for it, not even in the same claim."""

        async def main() -> None:
            world = World()
            for order_id in range(1, 6):
                world.ledger.add(*lifecycle(order_id))
            world.third_party.plan = only(3, Fault(status=503))
            running = world.start(concurrency=2)
            await world.until(
                lambda: all(world.ledger.cursors[order_id].settled_version == 3 for order_id in (1, 2, 4, 5))
            )
            assert world.versions_sent(3).count(1) == len(world.versions_sent(3)) > 0
            world.third_party.plan = lambda _: FINE
            await world.until(lambda: world.ledger.is_settled)
            await running.stop()
            assert world.third_party.violations == []

        run(main)

    def test_every_attempt_has_the_same_key_and_body(self) -> None:
        """Whatever the answer was, and whoever sends it."""

        async def main() -> None:
            world = World()
            faults = [Fault(status=500), HANG, Fault(lost_answer=True)]
            world.ledger.add(call(1, 1))
            world.third_party.plan = lambda _: faults.pop() if faults else FINE
            await world.deliver_all()
            assert world.third_party.sent == [call(1, 1)] * 4
            assert [path for _, path in world.third_party.applied] == ["/v1/cashbacks"]

        run(main)

    def test_a_call_that_becomes_due_while_its_order_is_at_work_goes_out_next(self) -> None:
        """Without waiting for the lease to end."""

        async def main() -> None:
            world = World()
            world.ledger.add(call(1, 1))
            world.third_party.plan = lambda _: Fault(before_seconds=2)
            running = world.start()
            await world.until(lambda: len(world.third_party.sent) == 1)
            world.ledger.add(call(1, 2))
            await world.until(lambda: world.ledger.is_settled)
            assert now() < 6
            await running.stop()

        run(main)


class TestFailures:
    @pytest.mark.parametrize(
        ("fault", "outcome"),
        [
            (Fault(status=500), Outcome.FAILED),
            (Fault(status=503), Outcome.FAILED),
            (Fault(status=425), Outcome.FAILED),
            (Fault(lost_answer=True), Outcome.IN_DOUBT),
            (HANG, Outcome.IN_DOUBT),
        ],
    )
    def test_an_order_is_parked_after_exactly_so_many_attempts(self, fault: Fault, outcome: Outcome) -> None:
        """If others are answered. With the reason; its later calls stand behind it, and the other orders flow."""

        async def main() -> None:
            world = World()
            world.ledger.add(call(3, 1))
            running = world.start()
            await world.until(lambda: world.ledger.is_settled)
            world.ledger.add(*lifecycle(1), *lifecycle(2))
            world.third_party.plan = only(1, fault)
            await world.until(lambda: world.ledger.is_settled)
            await running.stop()
            assert world.outcomes(1) == [outcome] * POLICY.retry.max_attempts
            assert world.numbers(1) == [1, 2, 3, 4]
            assert set(world.versions_sent(1)) == {1}
            reason = world.ledger.cursors[1].parked_reason
            assert reason is not None
            assert reason.startswith("4 attempts failed; the last: ")
            assert world.watcher.parked == {1: reason}
            assert world.ledger.cursors[2].settled_version == 3
            assert world.watcher.breaker == [BreakerState.CLOSED]

        run(main)

    @pytest.mark.parametrize("fault", [Fault(unreachable=True), Fault(status=429)])
    def test_what_no_order_can_help_costs_none_an_attempt(self, fault: Fault) -> None:
        """That nobody could be reached, or that there were too many calls."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(1), *lifecycle(2))
            world.third_party.plan = only(1, fault)
            running = world.start()
            await asyncio.sleep(600)
            assert len(world.outcomes(1)) > 3 * POLICY.retry.max_attempts
            assert world.numbers(1) == [*range(1, len(world.outcomes(1)) + 1)]
            assert (world.ledger.cursors[1].attempts, world.ledger.cursors[2].settled_version) == (0, 3)
            world.third_party.plan = lambda _: FINE
            await world.until(lambda: world.ledger.is_settled)
            await running.stop()
            assert world.watcher.parked == {}

        run(main)

    def test_attempts_are_counted_for_each_call(self) -> None:
        """A delivered call gives the next one all its attempts again."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(1))
            seen: dict[int, int] = {}

            def plan(sent: Call) -> Fault:
                seen[sent.version] = seen.get(sent.version, 0) + 1
                return Fault(status=500) if seen[sent.version] < POLICY.retry.max_attempts else FINE

            world.third_party.plan = plan
            await world.deliver_all()
            assert seen == dict.fromkeys((1, 2, 3), POLICY.retry.max_attempts)
            assert world.numbers(1) == [*range(1, POLICY.retry.max_attempts + 1)] * 3
            assert world.watcher.parked == {}
            assert world.third_party.violations == []

        run(main)

    @pytest.mark.parametrize("status", [400, 404, 409, 410, 422])
    def test_a_refused_call_parks_its_order_at_once(self, status: int) -> None:
        """One attempt, and nothing behind it goes out."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(1), *lifecycle(2))
            world.third_party.plan = only(1, Fault(status=status))
            await world.deliver_all()
            assert world.outcomes(1) == [Outcome.REFUSED]
            assert world.ledger.cursors[1].parked_reason == f"refused with status {status}"
            assert world.ledger.cursors[2].settled_version == 3

        run(main)

    def test_a_call_in_flight_is_waited_for(self) -> None:
        """It spends no attempt, however long the other side takes."""

        async def main() -> None:
            world = World()
            world.third_party.plan = first(1, Fault(before_seconds=9))
            elsewhere = asyncio.create_task(world.third_party.send(call(1, 1)))
            await world.until(lambda: len(world.third_party.sent) == 1)
            world.ledger.add(call(1, 1))
            await world.deliver_all()
            assert (await elsewhere).outcome is Outcome.DELIVERED
            *waited, last = world.outcomes(1)
            assert last is Outcome.DELIVERED
            assert set(waited) == {Outcome.IN_FLIGHT}
            assert len(waited) > POLICY.retry.max_attempts
            assert len(world.third_party.applied) == 1

        run(main)

    def test_the_third_party_is_not_called_before_it_wants_to_be(self) -> None:
        """Its `Retry-After` counts, even beyond the cap of our own waits."""

        async def main() -> None:
            world = World()
            world.ledger.add(call(1, 1))
            world.third_party.plan = first(1, Fault(status=429, retry_after="100"))
            await world.deliver_all()
            assert 100 <= now() < 102
            assert len(world.third_party.sent) == 2

        run(main)

    def test_an_error_of_ours_in_one_order_does_not_stop_the_others(self) -> None:
        """It counts as an attempt in doubt, and in the end the order is parked for a person to see."""

        async def main() -> None:
            world = World()
            world.third_party = Breaking()
            world.ledger.add(*lifecycle(1), *lifecycle(2))
            await world.deliver_all()
            assert world.outcomes(1) == [Outcome.IN_DOUBT] * 4
            assert world.ledger.attempts_of(1)[0].answer.text == "an error of ours: RuntimeError"
            assert world.ledger.cursors[2].settled_version == 3

        run(main)


class TestRefusedCredentials:
    @pytest.mark.parametrize("status", [401, 403])
    def test_no_order_is_to_blame_when_our_credentials_are_refused(self, status: int) -> None:
        """Everything is held, one call at a time probes, no attempt is spent; then all goes on."""

        async def main() -> None:
            world = World(policy=replace(POLICY, retry=RetryPolicy(max_attempts=1)))
            for order_id in range(1, 21):
                world.ledger.add(*lifecycle(order_id))
            world.third_party.plan = lambda _: Fault(status=status, before_seconds=0.2)
            running = world.start(concurrency=8)
            await asyncio.sleep(600)
            sent = len(world.third_party.sent)
            world.third_party.most_under_way = 0
            await asyncio.sleep(600)
            assert world.third_party.most_under_way == 1
            assert 600 / 31 <= len(world.third_party.sent) - sent <= 600 / 30
            assert world.watcher.states[0] == "sending"
            assert set(world.watcher.states[1:]) == {
                "the third party refuses our credentials; breaker open",
                "the third party refuses our credentials; breaker probing",
            }
            world.third_party.plan = lambda _: Fault(before_seconds=0.2)
            await world.until(lambda: world.ledger.is_settled)
            await running.stop()
            assert world.watcher.parked == {}
            assert world.third_party.most_under_way == 8
            assert world.watcher.states[-1] == "sending"

        run(main)

    def test_orders_at_work_send_no_further_call_once_another_is_refused_our_credentials(self) -> None:
        """Their calls under way end; the next ones wait with all the others."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(1), call(2, 1))
            sent_at: list[tuple[int, int, float]] = []

            def plan(sent: Call) -> Fault:
                sent_at.append((sent.order_id, sent.version, now()))
                refused = sent.order_id == 2 and now() < 1
                return Fault(before_seconds=0.5, status=401) if refused else Fault(before_seconds=1)

            world.third_party.plan = plan
            await world.deliver_all()
            assert [each[:2] for each in sent_at[:2]] == [(1, 1), (2, 1)]
            assert all(at >= 1.5 for _, _, at in sent_at[2:])
            assert world.third_party.violations == []

        run(main)

    def test_a_probe_that_is_refused_for_its_own_sake_ends_the_hold(self) -> None:
        """Who says no to the call has taken the credentials."""

        async def main() -> None:
            world = World()
            world.ledger.add(call(1, 1))
            world.third_party.plan = first(1, Fault(status=403))
            running = world.start()
            await world.until(lambda: len(world.third_party.sent) == 1)
            for order_id in range(2, 9):
                world.ledger.add(call(order_id, 1))
            world.third_party.plan = lambda _: Fault(status=422, before_seconds=9)
            await world.until(lambda: world.ledger.is_settled)
            await running.stop()
            assert now() < 5 * 9, "one probe, then two at once, then the others"

        run(main)


class TestDoubtfulOrders:
    def test_all_but_the_complete_of_a_doubtful_order_is_sent(self) -> None:
        """That waits for a person, and what comes behind it waits with it."""

        async def main() -> None:
            world = World()
            world.ledger.mark(7, is_doubtful=True)
            world.ledger.add(*lifecycle(7), call(7, 4, EffectKind.CANCEL))
            await world.deliver_all()
            assert world.versions_sent(7) == [1, 2]
            assert world.watcher.parked == {7: DOUBTFUL}
            assert world.ledger.cursors[7].parked_reason == DOUBTFUL

        run(main)

    def test_it_is_sent_as_soon_as_the_doubt_is_settled(self) -> None:
        """By the dispatcher that is at work."""

        async def main() -> None:
            world = World()
            world.ledger.mark(7, is_doubtful=True)
            world.ledger.add(*lifecycle(7))
            running = world.start()
            await world.until(lambda: world.ledger.cursors[7].parked_reason == DOUBTFUL)
            world.ledger.mark(7, is_doubtful=False)
            await world.until(lambda: world.ledger.cursors[7].settled_version == 3)
            await running.stop()
            assert world.versions_sent(7) == [1, 2, 3]

        run(main)

    def test_a_completion_that_was_delivered_is_sent_again_whatever_is_in_doubt_since(self) -> None:
        """A person has asked for it, and nobody is paid twice: the key is the same."""

        async def main() -> None:
            world = World()
            world.ledger.add(*lifecycle(7))
            await world.deliver_all()
            world.ledger.mark(7, is_doubtful=True)
            world.ledger.set_back(7, 1)
            await world.deliver_all()
            assert world.versions_sent(7) == [1, 2, 3, 1, 2, 3]
            assert world.watcher.parked == {}

        run(main)

    def test_a_cancelled_order_waits_for_nobody(self) -> None:
        """Nothing is paid."""

        async def main() -> None:
            world = World()
            world.ledger.mark(7, is_doubtful=True)
            world.ledger.add(*lifecycle(7, (EffectKind.CREATE, EffectKind.CANCEL)))
            await world.deliver_all()
            assert world.versions_sent(7) == [1, 2]

        run(main)

    def test_where_doubtful_orders_are_paid_nothing_waits_not_even_what_was_held_before(self) -> None:
        """Nor what another process, which knows nothing of it yet, holds still a moment later."""

        async def main() -> None:
            world = World(policy=replace(POLICY, holds_doubtful=False))
            for order_id in (7, 8, 9):
                world.ledger.mark(order_id, is_doubtful=True)
                world.ledger.add(*lifecycle(order_id))
            world.ledger.cursors[7].parked_reason = world.ledger.cursors[9].parked_reason = DOUBTFUL
            running = world.start()
            await world.until(lambda: all(world.ledger.cursors[each].settled_version == 3 for each in (7, 8, 9)))
            world.ledger.add(*lifecycle(10))
            world.ledger.cursors[10].parked_reason = DOUBTFUL
            await world.until(lambda: world.ledger.cursors[10].settled_version == 3)
            await running.stop()
            assert world.watcher.parked == {}

        run(main)
