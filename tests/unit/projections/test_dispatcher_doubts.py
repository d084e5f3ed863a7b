"""Calls in doubt once the third party may have forgotten their keys: looked up, then settled, sent, or parked."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from domain.effects import EffectKind
from projections.delivery.dispatcher import DeliveryPolicy
from projections.delivery.doubt import trusted_key_seconds
from projections.delivery.ports import AttemptKind, Call, Outcome
from tests.support.dispatching import LEASE_SECONDS, POLICY, World
from tests.support.fake_ledger import KINDS, call, lifecycle
from tests.support.fake_third_party import FINE, HANG, TIMEOUT_SECONDS, Fault
from tests.support.virtual_time import run

FORGETFUL: Final = replace(POLICY, key_retention_seconds=TIMEOUT_SECONDS)
"""No call in doubt is ever sent again without a lookup."""
DAY: Final = replace(POLICY, key_retention_seconds=24 * 3600.0)


def forgetful(policy: DeliveryPolicy = FORGETFUL) -> World:
    """The third party forgets as soon as the policy says that it may."""
    world = World(policy=policy)
    world.third_party.key_retention_seconds = world.policy.key_retention_seconds - TIMEOUT_SECONDS
    return world


def once_each(fault: Fault) -> Callable[[Call], Fault]:
    """The fault befalls each call's first attempt."""
    seen: set[tuple[int, int]] = set()

    def plan(sent: Call) -> Fault:
        is_first = (sent.order_id, sent.version) not in seen
        seen.add((sent.order_id, sent.version))
        return fault if is_first else FINE

    return plan


CANCELLED: Final = (EffectKind.CREATE, EffectKind.UPDATE, EffectKind.CANCEL)
CORRECTED: Final = (EffectKind.CREATE, EffectKind.COMPLETE, EffectKind.CORRECT)


@pytest.mark.parametrize("kinds", [KINDS, CANCELLED, CORRECTED])
def test_a_call_whose_answer_was_lost_is_found_to_be_done(kinds: tuple[EffectKind, ...]) -> None:
    """It isn't sent again; the lookup is in the record, and the next call follows."""

    async def main() -> None:
        world = forgetful()
        world.ledger.add(*lifecycle(1, kinds))
        world.third_party.plan = once_each(Fault(lost_answer=True))
        await world.deliver_all()
        assert world.versions_sent(1) == [1, 2, 3]
        lookups = world.ledger.attempts_of(1, AttemptKind.LOOKUP)
        assert [each.answer.outcome for each in lookups] == [Outcome.FOUND] * 3
        assert lookups[0].answer.text == "PENDING with 6.50 of 2025-02-28T13:00:00.000000001Z"
        assert world.ledger.cursors[1].delivered == {1, 2, 3}
        assert world.third_party.violations == []

    run(main)


@pytest.mark.parametrize("kinds", [KINDS, CANCELLED, CORRECTED])
def test_a_call_that_was_not_carried_out_is_sent_again(kinds: tuple[EffectKind, ...]) -> None:
    """With its old key, after a lookup."""

    async def main() -> None:
        world = forgetful()
        world.ledger.add(*lifecycle(1, kinds))
        world.third_party.plan = once_each(HANG)
        await world.deliver_all()
        assert world.versions_sent(1) == [1, 1, 2, 2, 3, 3]
        assert len(world.third_party.looked_up) == len(world.third_party.applied) == 3
        assert world.third_party.violations == []

    run(main)


def test_within_the_retention_the_same_call_goes_out_again_without_a_lookup() -> None:
    """The third party knows it by its key."""

    async def main() -> None:
        world = forgetful(DAY)
        world.ledger.add(*lifecycle(1))
        world.third_party.plan = once_each(Fault(lost_answer=True))
        await world.deliver_all()
        assert world.versions_sent(1) == [1, 1, 2, 2, 3, 3]
        assert world.third_party.looked_up == []
        assert world.third_party.violations == []

    run(main)


def test_the_retention_counts_from_the_first_sending() -> None:
    """A call that has failed for a day and was once in doubt is looked up; one that surely failed is just sent."""

    async def main() -> None:
        world = forgetful(DAY)
        world.ledger.add(call(1, 1), call(2, 1))
        world.third_party.plan = lambda sent: Fault(lost_answer=True) if sent.order_id == 1 else Fault(status=503)
        running = world.start()
        await world.until(lambda: len(world.third_party.sent) == 2)
        world.third_party.plan = lambda _: Fault(unreachable=True)
        world.third_party.lookup_plan = lambda _: Fault(unreachable=True)
        await asyncio.sleep(DAY.trusted_key_seconds - 60)
        assert world.third_party.looked_up == []
        await asyncio.sleep(120)
        assert set(world.third_party.looked_up) == {1}
        world.third_party.looked_up.clear()
        world.third_party.plan = lambda _: FINE
        world.third_party.lookup_plan = lambda _: FINE
        await world.until(lambda: world.ledger.is_settled)
        await running.stop()
        assert world.third_party.looked_up == [1]
        assert len(world.third_party.applied) == 2
        assert world.third_party.violations == []
        assert world.watcher.parked == {}

    run(main)


def test_a_request_that_a_proxy_keeps_is_not_carried_out_after_its_key_is_forgotten() -> None:
    """Sent at 93 s it would be carried out at 121 s, and keys are remembered for 120 s: it isn't sent any more."""

    async def main() -> None:
        world = World(policy=replace(POLICY, key_retention_seconds=120))
        world.third_party.key_retention_seconds = 120
        world.ledger.add(call(1, 1))
        world.third_party.plan = once_each(Fault(lost_answer=True))
        world.third_party.lookup_plan = lambda _: Fault(unreachable=True)
        running = world.start()
        await world.until(lambda: len(world.third_party.applied) == 1)
        world.third_party.plan = lambda _: Fault(unreachable=True)
        await asyncio.sleep(90)
        world.third_party.plan = lambda _: Fault(late_seconds=28)
        world.third_party.lookup_plan = lambda _: FINE
        await asyncio.sleep(120)
        await running.stop()
        assert world.third_party.violations == []
        assert world.ledger.cursors[1].delivered == {1}

    run(main)


def test_a_key_is_trusted_for_less_than_it_is_remembered() -> None:
    """By ten time-outs or a twentieth, whichever is more."""
    assert trusted_key_seconds(24 * 3600, 10) == 24 * 3600 * 0.95
    assert trusted_key_seconds(3600, 60) == 3000
    assert trusted_key_seconds(101, 10) == 1
    assert trusted_key_seconds(100, 10) == trusted_key_seconds(0, 10) == 0


def test_a_crash_after_a_call_leaves_it_in_doubt() -> None:
    """Nobody knows how far the process had got: all of its calls are looked up before anything is sent."""

    async def main() -> None:
        world = forgetful()
        world.ledger.add(*lifecycle(1))
        world.third_party.plan = lambda sent: Fault(after_seconds=5) if sent.version == 2 else FINE
        running = world.start()
        await world.until(lambda: len(world.third_party.applied) == 2)
        await running.kill()
        assert world.ledger.attempts == []
        world.third_party.plan = lambda _: FINE
        await world.deliver_all()
        assert world.versions_sent(1) == [1, 2, 3]
        assert world.ledger.lost == lifecycle(1)
        assert world.third_party.looked_up == [1, 1, 1]
        assert world.third_party.violations == []

    run(main)


def test_calls_behind_a_lost_claim_are_not_looked_up() -> None:
    """Those of an order that was given back unsent neither."""

    async def main() -> None:
        world = forgetful()
        world.ledger.add(call(1, 1))
        world.third_party.plan = lambda _: Fault(before_seconds=5)
        running = world.start()
        await asyncio.sleep(1)
        await running.kill()
        world.third_party.plan = lambda _: FINE
        world.ledger.add(call(1, 2), call(2, 1))
        await world.deliver_all()
        assert world.third_party.looked_up == [1]
        assert world.versions_sent(1) == [1, 1, 2]

    run(main)


def test_what_fits_nothing_is_parked_with_what_was_found() -> None:
    """Somebody else has changed the order there: a person must see it."""

    async def main() -> None:
        world = forgetful()
        world.ledger.add(*lifecycle(1), *lifecycle(2))
        world.third_party.plan = lambda sent: HANG if (sent.order_id, sent.version) == (1, 1) else FINE
        running = world.start()
        await world.until(lambda: len(world.third_party.sent) == 4)
        world.third_party.plan = lambda _: FINE
        for foreign in (call(1, 1), call(1, 2, EffectKind.CANCEL)):
            await world.third_party.send(replace(foreign, key=call(3, foreign.version).key))
        await world.until(lambda: world.ledger.is_settled)
        await running.stop()
        assert world.ledger.cursors[1].parked_reason == (
            "in doubt for longer than the third party surely remembers keys, 0 h;"
            " a lookup found CANCELLED with 6.50 of 2025-02-28T13:00:00.000000002Z"
        )
        assert world.ledger.cursors[2].settled_version == 3

    run(main)


def test_without_lookups_it_is_left_to_a_person() -> None:
    """Nothing is sent again."""

    async def main() -> None:
        world = World(policy=replace(FORGETFUL, lookups=False))
        world.ledger.add(*lifecycle(1), *lifecycle(2))
        world.third_party.plan = lambda sent: HANG if sent.order_id == 1 else FINE
        await world.deliver_all()
        assert world.versions_sent(1) == [1]
        assert world.third_party.looked_up == []
        assert str(world.ledger.cursors[1].parked_reason).endswith(" h, and lookups are switched off")
        assert world.watcher.parked == {1: world.ledger.cursors[1].parked_reason}

    run(main)


def test_a_lookup_that_fails_is_tried_again_as_a_call_is() -> None:
    """And parks the order after its attempts, or when it's refused; the call isn't sent meanwhile."""

    async def main() -> None:
        world = forgetful()
        world.ledger.add(call(1, 1), call(2, 1), call(3, 1))
        world.third_party.plan = lambda sent: Fault(lost_answer=True) if sent.order_id < 3 else FINE
        faults = {1: Fault(status=500), 2: Fault(status=405)}
        world.third_party.lookup_plan = lambda order_id: faults[order_id]
        await world.deliver_all()
        assert world.ledger.cursors[1].parked_reason == "4 attempts failed; the last: 500"
        assert str(world.ledger.cursors[2].parked_reason).endswith("; lookup refused with status 405")
        assert len(world.third_party.sent) == 3

    run(main)


def test_calls_that_are_to_be_sent_again_too_late_are_not() -> None:
    """A redelivery that had to wait until the keys were forgotten finds that all is done."""

    async def main() -> None:
        world = forgetful(DAY)
        world.ledger.add(*lifecycle(1))
        await world.deliver_all()
        await asyncio.sleep(DAY.trusted_key_seconds - 2 * LEASE_SECONDS)
        world.third_party.plan = lambda _: Fault(unreachable=True)
        running = world.start()
        world.ledger.set_back(1, 1)
        await asyncio.sleep(3 * LEASE_SECONDS)
        world.third_party.plan = lambda _: FINE
        await world.until(lambda: world.ledger.is_settled)
        await running.stop()
        assert world.third_party.looked_up == [1, 1, 1]
        assert world.third_party.violations == []
        assert len(world.third_party.applied) == 3

    run(main)
