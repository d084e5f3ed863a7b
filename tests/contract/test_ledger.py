"""What every effect ledger must do, on PostgreSQL as well as in memory."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest

from domain.effects import EffectKind
from domain.ports import StoreUnavailable
from projections.delivery.ports import Answer, Attempt, AttemptKind, Claim, Ledger, Outcome, Settlement
from projections.doubt_marks import DOUBTFUL
from tests.support.fake_ledger import CALLS_PER_CLAIM, call, lifecycle
from tests.support.ledgers import (
    GRACE_SECONDS,
    LEASE_SECONDS,
    InMemory,
    LedgerWorld,
    OnPostgres,
    Recorded,
    Standing,
)

SLACK_SECONDS = 50.0
"""A slow machine may take so long between two statements."""
PATIENT_SECONDS = 60.0


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.slow)])
def world(request: pytest.FixtureRequest) -> LedgerWorld:
    return InMemory() if request.param == "memory" else OnPostgres(request.getfixturevalue("database_url"))


def attempt(claim: Claim, number: int, outcome: Outcome, status: int | None = None) -> Attempt:
    return Attempt(claim.calls[number], datetime.now(UTC), 12, Answer(outcome, status, "said"))


def delivered(claim: Claim, calls: int = CALLS_PER_CLAIM) -> Settlement:
    """Its first calls, one attempt each."""
    done = claim.calls[:calls]
    attempts = tuple(attempt(claim, number, Outcome.DELIVERED, 200) for number in range(len(done)))
    return Settlement(claim, attempts, done[-1].version, spent_attempts=0, wait_seconds=0.0)


def failed(claim: Claim, wait_seconds: float = 0.0, outcome: Outcome = Outcome.FAILED) -> Settlement:
    """Its first call."""
    attempts = (attempt(claim, 0, outcome, 503 if outcome is Outcome.FAILED else None),)
    return Settlement(claim, attempts, claim.settled_version, claim.attempts + 1, wait_seconds)


def parked(claim: Claim, reason: str = "refused") -> Settlement:
    attempts = (attempt(claim, 0, Outcome.REFUSED, 422),)
    return Settlement(claim, attempts, claim.settled_version, claim.attempts + 1, 0.0, reason)


def looked_up(claim: Claim, outcome: Outcome) -> Attempt:
    """On behalf of its first call."""
    return Attempt(claim.calls[0], datetime.now(UTC), 12, Answer(outcome, None, "said"), AttemptKind.LOOKUP)


def assert_in_doubt(claim: Claim, seconds: dict[int, float]) -> None:
    """These versions, for about so many seconds, never for less."""
    assert set(claim.doubts) == set(seconds)
    for version, expected in seconds.items():
        assert expected <= claim.doubts[version] < expected + SLACK_SECONDS


async def claim_one(ledger: Ledger) -> Claim:
    [claim], _ = await ledger.claim(10)
    return claim


class TestClaiming:
    def test_where_nothing_is_due_nothing_is_claimed(self, world: LedgerWorld) -> None:
        """And nobody knows of anything to come."""

        async def scenario(ledger: Ledger) -> None:
            assert await ledger.claim(10) == ([], None)

        world.run(scenario)

    def test_a_claim_has_the_next_calls_of_an_order_in_their_order(self, world: LedgerWorld) -> None:
        """As they were noted, with key and body; a limited number of them."""
        calls = [call(7, version) for version in (1, 2, 4, 7, 8, 9)]
        world.add(*calls)

        async def scenario(ledger: Ledger) -> None:
            claim = await claim_one(ledger)
            assert (claim.order_id, claim.settled_version, claim.attempts) == (7, 0, 0)
            assert claim.calls == tuple(calls[:CALLS_PER_CLAIM])
            assert await ledger.settle([delivered(claim, 2)]) == 0
            again = await claim_one(ledger)
            assert (again.settled_version, again.calls) == (2, tuple(calls[2:]))
            assert again.token != claim.token

        world.run(scenario)

    def test_a_claimed_order_is_nobody_elses_until_the_lease_ends(self, world: LedgerWorld) -> None:
        """Then it may be claimed again, as it was."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            first = await claim_one(ledger)
            claims, due_in_seconds = await ledger.claim(10)
            assert claims == []
            assert due_in_seconds is not None
            assert LEASE_SECONDS - SLACK_SECONDS < due_in_seconds <= LEASE_SECONDS
            world.elapse(LEASE_SECONDS)
            second = await claim_one(ledger)
            assert (second.calls, second.attempts) == (first.calls, first.attempts)
            assert second.token != first.token

        world.run(scenario)

    def test_no_more_orders_are_claimed_than_asked_for(self, world: LedgerWorld) -> None:
        """Those that have waited longest come first."""
        for order_id in (5, 3, 9, 1, 7):
            world.add(*lifecycle(order_id))
            world.elapse(1)

        async def scenario(ledger: Ledger) -> None:
            taken = [sorted(claim.order_id for claim in (await ledger.claim(2))[0]) for _ in range(4)]
            assert taken == [[3, 5], [1, 9], [7], []]

        world.run(scenario)

    def test_a_claim_by_chance_is_not_always_of_the_order_that_has_waited_longest(self, world: LedgerWorld) -> None:
        """But it always finds one if there is any."""
        world.add(*(call(order_id, 1) for order_id in range(1, 21)))

        async def scenario(ledger: Ledger) -> None:
            firsts = set()
            for _ in range(15):
                [claim], _ = await ledger.claim(1, by_chance=True)
                firsts.add(claim.order_id)
                world.elapse(LEASE_SECONDS)
            assert len(firsts) > 1

        world.run(scenario)

    def test_many_who_claim_at_once_never_get_the_same_order(self, world: LedgerWorld) -> None:
        """And together they get all that they ask for, round after round."""
        world.add(*(call(order_id, 1) for order_id in range(1, 201)))

        async def scenario(ledger: Ledger) -> None:
            for _ in range(20):
                found = await asyncio.gather(*(ledger.claim(40) for _ in range(4)))
                rest, _ = await ledger.claim(200)  # those that were in others' hands just then
                taken = [claim.order_id for claims in (*(claims for claims, _ in found), rest) for claim in claims]
                assert Counter(taken) == Counter(range(1, 201))
                world.elapse(LEASE_SECONDS)

        world.run(scenario)


class TestSettling:
    def test_a_delivered_order_is_done(self, world: LedgerWorld) -> None:
        """Nothing of it is due any more, and every attempt is in the record."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            assert await ledger.settle([delivered(await claim_one(ledger))]) == 0
            assert await ledger.claim(10) == ([], None)

        world.run(scenario)
        assert world.standing(7) == Standing(3, 0, None, is_leased=False)
        assert world.attempts() == [Recorded(7, version, "delivered", 200, 12) for version in (1, 2, 3)]

    def test_a_failed_call_waits_for_its_time(self, world: LedgerWorld) -> None:
        """The next claim knows how many attempts were spent."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([failed(await claim_one(ledger), wait_seconds=1000)])
            claims, due_in_seconds = await ledger.claim(10)
            assert claims == []
            assert due_in_seconds is not None
            assert 1000 - SLACK_SECONDS < due_in_seconds <= 1000
            world.elapse(1000)
            claim = await claim_one(ledger)
            assert (claim.attempts, len(claim.calls)) == (1, 3)

        world.run(scenario)
        assert world.attempts() == [Recorded(7, 1, "failed", 503, 12)]

    def test_a_claim_tells_how_often_its_calls_were_sent_before(self, world: LedgerWorld) -> None:
        """Also those that nobody was to blame for; a lookup is no sending."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            claim = await claim_one(ledger)
            assert claim.sendings == {}
            attempts = (attempt(claim, 0, Outcome.DELIVERED), attempt(claim, 1, Outcome.FAILED, 429))
            await ledger.settle([Settlement(claim, attempts, 1, 0, 0.0)])
            claim = await claim_one(ledger)
            assert claim.sendings == {2: 1}
            attempts = (looked_up(claim, Outcome.NOT_FOUND), attempt(claim, 0, Outcome.FAILED, 503))
            await ledger.settle([Settlement(claim, attempts, 1, 1, 0.0)])
            assert (await claim_one(ledger)).sendings == {2: 2}

        world.run(scenario)

    def test_a_claim_that_was_not_used_is_given_back(self, world: LedgerWorld) -> None:
        """At once, as it was."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            claim = await claim_one(ledger)
            await ledger.settle([Settlement(claim, (), claim.settled_version, claim.attempts, 0.0)])
            assert (await claim_one(ledger)).calls == claim.calls

        world.run(scenario)
        assert world.attempts() == []

    def test_a_parked_order_stands_still(self, world: LedgerWorld) -> None:
        """However long, and also when more calls come; the others flow."""
        world.add(*lifecycle(7), *lifecycle(8))

        async def scenario(ledger: Ledger) -> None:
            claims, _ = await ledger.claim(10)
            await ledger.settle([parked(each) if each.order_id == 7 else delivered(each) for each in claims])
            world.add(call(7, 4), call(8, 4))
            world.elapse(10**6)
            assert (await claim_one(ledger)).order_id == 8

        world.run(scenario)
        assert world.standing(7) == Standing(0, 1, "refused", is_leased=False)

    def test_a_lease_that_was_lost_changes_nothing_but_the_record(self, world: LedgerWorld) -> None:
        """Not the cursor, not the other's lease, whatever came of the calls."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            slow = await claim_one(ledger)
            world.elapse(LEASE_SECONDS)
            quick = await claim_one(ledger)
            assert await ledger.settle([parked(slow)]) == 1
            assert world.standing(7) == Standing(0, 0, None, is_leased=True)
            assert await ledger.settle([delivered(quick)]) == 0
            assert await ledger.settle([failed(slow)]) == 1

        world.run(scenario)
        assert world.standing(7) == Standing(3, 0, None, is_leased=False)
        assert Counter(each.outcome for each in world.attempts()) == {"delivered": 3, "refused": 1, "failed": 1}

    def test_what_is_settled_again_stands_in_the_record_once(self, world: LedgerWorld) -> None:
        """As after a commit of which no answer came; a later attempt at the same call is another one."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            settlement = failed(await claim_one(ledger))
            assert await ledger.settle([settlement]) == 0
            assert await ledger.settle([settlement]) == 1
            assert await ledger.settle([delivered(await claim_one(ledger))]) == 0

        world.run(scenario)
        assert world.standing(7) == Standing(3, 0, None, is_leased=False)
        outcomes = [(each.version, each.outcome) for each in world.attempts()]
        assert outcomes == [(1, "failed"), (1, "delivered"), (2, "delivered"), (3, "delivered")]

    @pytest.mark.parametrize("slow_first", [True, False])
    def test_of_two_claims_of_one_order_settled_together_only_the_last_counts(
        self, world: LedgerWorld, *, slow_first: bool
    ) -> None:
        """After an outage longer than the lease a dispatcher has both in hand."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            slow = await claim_one(ledger)
            world.elapse(LEASE_SECONDS)
            settlements = [parked(slow), delivered(await claim_one(ledger))]
            assert await ledger.settle(settlements if slow_first else settlements[::-1]) == 1

        world.run(scenario)
        assert world.standing(7) == Standing(3, 0, None, is_leased=False)
        assert len(world.attempts()) == 4

    def test_many_are_settled_at_once(self, world: LedgerWorld) -> None:
        """Each with its own result."""
        for order_id in range(1, 31):
            world.add(*lifecycle(order_id))
        ways = (delivered, failed, parked)

        async def scenario(ledger: Ledger) -> None:
            claims, _ = await ledger.claim(100)
            assert await ledger.settle([ways[claim.order_id % 3](claim) for claim in claims]) == 0

        world.run(scenario)
        expected = (
            Standing(3, 0, None, is_leased=False),
            Standing(0, 1, None, is_leased=False),
            Standing(0, 1, "refused", is_leased=False),
        )
        assert [world.standing(order_id) for order_id in range(1, 31)] == [expected[n % 3] for n in range(1, 31)]


class TestDoubts:
    def test_a_call_that_was_never_sent_is_in_no_doubt(self, world: LedgerWorld) -> None:
        """Neither is one that surely wasn't carried out, nor one whose claim was given back."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            claim = await claim_one(ledger)
            assert claim.doubts == {}
            await ledger.settle([failed(claim)])
            claim = await claim_one(ledger)
            assert claim.doubts == {}
            await ledger.settle([Settlement(claim, (), 0, 1, 0.0)])
            assert (await claim_one(ledger)).doubts == {}

        world.run(scenario)
        assert world.lost() == []

    def test_a_call_without_an_answer_is_in_doubt_from_its_first_sending_on(self, world: LedgerWorld) -> None:
        """Also after attempts that surely failed; the calls behind it are in no doubt."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            for age_seconds, outcome in ((None, Outcome.FAILED), (None, Outcome.IN_DOUBT), (1000, Outcome.FAILED)):
                claim = await claim_one(ledger)
                assert_in_doubt(claim, {} if age_seconds is None else {1: age_seconds})
                await ledger.settle([failed(claim, outcome=outcome)])
                world.elapse(500)
            assert_in_doubt(await claim_one(ledger), {1: 1500})

        world.run(scenario)

    def test_the_calls_of_a_claim_that_was_never_settled_are_in_doubt(self, world: LedgerWorld) -> None:
        """Since that claim, also after further ones like it; calls that came later are not. The record says so."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await claim_one(ledger)
            world.add(call(7, 4))
            for age_seconds in (LEASE_SECONDS, 2 * LEASE_SECONDS):
                world.elapse(LEASE_SECONDS)
                claim = await claim_one(ledger)
                assert len(claim.calls) == 4
                first = dict.fromkeys((1, 2, 3), age_seconds)
                assert_in_doubt(claim, first if age_seconds == LEASE_SECONDS else {**first, 4: LEASE_SECONDS})

        world.run(scenario)
        assert world.lost() == [(7, 1), (7, 2), (7, 3), (7, 1), (7, 2), (7, 3), (7, 4)]
        assert world.attempts() == []

    def test_only_the_calls_that_a_lost_claim_held_are_in_doubt(self, world: LedgerWorld) -> None:
        """The others of a long queue can't have been sent."""
        world.add(*(call(7, version) for version in range(1, 10)))

        async def scenario(ledger: Ledger) -> None:
            assert await ledger.settle([delivered(await claim_one(ledger), 1)]) == 0
            await claim_one(ledger)
            world.elapse(LEASE_SECONDS)
            claim = await claim_one(ledger)
            assert_in_doubt(claim, dict.fromkeys((2, 3, 4, 5), LEASE_SECONDS))
            await ledger.settle([delivered(claim)])
            assert_in_doubt(await claim_one(ledger), {})

        world.run(scenario)

    def test_a_call_that_is_sent_after_a_lookup_was_not_carried_out_before(self, world: LedgerWorld) -> None:
        """What comes of the sending decides; its first sending stays where it was."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([failed(await claim_one(ledger), outcome=Outcome.IN_DOUBT)])
            world.elapse(500)
            for outcome, expected in ((Outcome.FAILED, {}), (Outcome.IN_DOUBT, {1: 500.0})):
                claim = await claim_one(ledger)
                attempts = (looked_up(claim, Outcome.NOT_FOUND), attempt(claim, 0, outcome))
                await ledger.settle([Settlement(claim, attempts, 0, 2, 0.0)])
                claim = await claim_one(ledger)
                assert_in_doubt(claim, expected)
                await ledger.settle([Settlement(claim, (), 0, 2, 0.0)])

        world.run(scenario)

    def test_a_lookup_can_settle_a_call(self, world: LedgerWorld) -> None:
        """It is in the record, and is no attempt at the call."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([failed(await claim_one(ledger), outcome=Outcome.IN_DOUBT)])
            claim = await claim_one(ledger)
            await ledger.settle([Settlement(claim, (looked_up(claim, Outcome.FOUND),), 1, 0, 0.0)])
            claim = await claim_one(ledger)
            assert [each.version for each in claim.calls] == [2, 3]
            assert_in_doubt(claim, {})

        world.run(scenario)
        assert [(each.kind, each.outcome) for each in world.attempts()] == [
            ("call", "in_doubt"),
            ("lookup", "found"),
        ]

    def test_a_delivered_call_that_is_to_be_sent_again_is_in_doubt(self, world: LedgerWorld) -> None:
        """It was carried out; how long ago tells whether the third party will know."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([delivered(await claim_one(ledger), 2)])
            world.elapse(1000)
            world.set_back(7, 1)
            assert_in_doubt(await claim_one(ledger), {1: 1000, 2: 1000})

        world.run(scenario)

    def test_calls_under_way_when_their_order_is_set_back_are_in_doubt(self, world: LedgerWorld) -> None:
        """Their holder's settlement won't count, so the next one must know."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([delivered(await claim_one(ledger), 2)])
            at_work = await claim_one(ledger)
            world.set_back(7, 1)
            assert await ledger.settle([delivered(at_work)]) == 1
            world.elapse(LEASE_SECONDS)
            assert_in_doubt(await claim_one(ledger), dict.fromkeys((1, 2, 3), LEASE_SECONDS))

        world.run(scenario)


class TestNewCalls:
    def test_an_order_that_stood_idle_is_due_at_once(self, world: LedgerWorld) -> None:
        """With what is new."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([delivered(await claim_one(ledger))])
            world.add(call(7, 4))
            assert (await claim_one(ledger)).calls == (call(7, 4),)

        world.run(scenario)

    def test_an_order_that_stood_idle_gets_in_line(self, world: LedgerWorld) -> None:
        """Behind those that have been waiting meanwhile."""
        world.add(call(7, 1))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([delivered(await claim_one(ledger))])
            world.elapse(10)
            world.add(call(8, 1))
            world.elapse(10)
            world.add(call(7, 2))
            assert [(await ledger.claim(1))[0][0].order_id for _ in range(2)] == [8, 7]

        world.run(scenario)

    def test_an_order_at_work_is_due_when_it_is_settled(self, world: LedgerWorld) -> None:
        """Not before, and without waiting for the lease to end."""
        world.add(call(7, 1))

        async def scenario(ledger: Ledger) -> None:
            claim = await claim_one(ledger)
            world.add(call(7, 2))
            assert (await ledger.claim(10))[0] == []
            await ledger.settle([delivered(claim)])
            assert (await claim_one(ledger)).calls == (call(7, 2),)

        world.run(scenario)

    def test_an_order_that_waits_keeps_its_time(self, world: LedgerWorld) -> None:
        """New calls don't make an order come sooner that is to be left alone."""
        world.add(call(7, 1))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([failed(await claim_one(ledger), wait_seconds=1000)])
            world.add(call(7, 2))
            assert (await ledger.claim(10))[0] == []
            world.elapse(1000)
            assert (await claim_one(ledger)).calls == (call(7, 1), call(7, 2))

        world.run(scenario)

    def test_a_call_that_is_noted_twice_is_there_once(self, world: LedgerWorld) -> None:
        """A projection may read events again; what was delivered stays delivered."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([delivered(await claim_one(ledger))])
            world.add(*lifecycle(7))
            assert await ledger.claim(10) == ([], None)

        world.run(scenario)

    def test_waiting_ends_when_calls_become_due(self, world: LedgerWorld) -> None:
        """Long before its time."""

        async def scenario(ledger: Ledger) -> None:
            await ledger.claim(10)
            waiting = asyncio.create_task(ledger.wait(10 * PATIENT_SECONDS))
            async with asyncio.timeout(PATIENT_SECONDS):
                version = 0
                while not waiting.done():
                    version += 1  # again, as the first may come before anybody listens
                    world.add(call(7, version))
                    await asyncio.wait([waiting], timeout=0.1)

        world.run(scenario)

    def test_waiting_ends_by_itself(self, world: LedgerWorld) -> None:
        """Without an error."""

        async def scenario(ledger: Ledger) -> None:
            await asyncio.wait_for(ledger.wait(0.01), PATIENT_SECONDS)

        world.run(scenario)


class TestSettingBack:
    def test_an_order_whose_cursor_is_set_back_sends_its_calls_again(self, world: LedgerWorld) -> None:
        """From that call on, with the same keys and bodies, at once."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([delivered(await claim_one(ledger))])
            world.set_back(7, 2)
            claim = await claim_one(ledger)
            assert (claim.settled_version, claim.calls) == (1, tuple(lifecycle(7)[1:]))
            await ledger.settle([delivered(claim)])

        world.run(scenario)
        assert world.standing(7) == Standing(3, 0, None, is_leased=False)

    def test_a_cursor_that_is_set_back_during_a_call_stays_set_back(self, world: LedgerWorld) -> None:
        """The holder's lease is lost, but until it ends nobody else calls."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([delivered(await claim_one(ledger))])
            world.add(call(7, 4))
            at_work = await claim_one(ledger)
            world.set_back(7, 1)
            assert (await ledger.claim(10))[0] == []
            assert await ledger.settle([delivered(at_work)]) == 1
            assert (await ledger.claim(10))[0] == []
            world.elapse(LEASE_SECONDS)
            assert (await claim_one(ledger)).calls == (*lifecycle(7), call(7, 4))

        world.run(scenario)

    def test_a_parked_order_that_is_set_back_goes_on(self, world: LedgerWorld) -> None:
        """With all its attempts."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([parked(await claim_one(ledger))])
            world.set_back(7, 1)
            claim = await claim_one(ledger)
            assert (claim.attempts, len(claim.calls)) == (0, 3)

        world.run(scenario)

    def test_a_lease_on_calls_that_are_to_be_sent_anyway_stays(self, world: LedgerWorld) -> None:
        """Nothing goes back, so what the holder settles counts."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            claim = await claim_one(ledger)
            world.set_back(7, 1)
            assert await ledger.settle([delivered(claim)]) == 0

        world.run(scenario)
        assert world.standing(7) == Standing(3, 0, None, is_leased=False)


async def claimed(ledger: Ledger, order_id: int) -> Claim:
    """As soon as it can be had."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            claims, _ = await ledger.claim(10)
            for claim in claims:
                if claim.order_id == order_id:
                    return claim
            await asyncio.sleep(0.05)


class TestSessions:
    def test_orders_of_a_session_that_has_ended_are_others_once_its_calls_are_over(
        self, world: LedgerWorld
    ) -> None:
        """Long before the lease ends, not before its last call must be over. What it may have sent is in doubt."""
        world.add(*lifecycle(7))

        async def scenario(first: Ledger, second: Ledger) -> None:
            dead = await claim_one(first)
            await world.end_session(dead.session)
            assert (await second.claim(10))[0] == []
            world.elapse(GRACE_SECONDS)
            claim = await claimed(second, 7)
            assert claim.calls == dead.calls
            assert claim.session != dead.session
            assert_in_doubt(claim, dict.fromkeys((1, 2, 3), GRACE_SECONDS))
            assert await first.settle([delivered(dead)]) == 1
            assert await second.settle([delivered(claim)]) == 0

        world.run_two(scenario)
        assert world.standing(7) == Standing(3, 0, None, is_leased=False)
        assert world.lost() == [(7, 1), (7, 2), (7, 3)]

    def test_orders_of_a_session_that_lives_are_nobody_elses_until_the_lease_ends(self, world: LedgerWorld) -> None:
        """However long the others of its kind are gone."""
        world.add(*lifecycle(7))

        async def scenario(first: Ledger, second: Ledger) -> None:
            await world.end_session((await claim_one(first)).session)
            world.elapse(GRACE_SECONDS)
            claim = await claimed(second, 7)
            world.elapse(GRACE_SECONDS)
            world.add(*lifecycle(8))
            assert (await claimed(first, 8)).session not in {0, claim.session}
            assert await second.holds(claim)
            assert await second.settle([delivered(claim)]) == 0

        world.run_two(scenario)

    def test_no_call_is_begun_in_a_session_that_may_have_ended(self, world: LedgerWorld) -> None:
        """Also when its process has another one."""
        world.add(*lifecycle(7))

        async def scenario(first: Ledger, _: Ledger) -> None:
            before = await claim_one(first)
            assert await first.holds(before)
            await world.end_session(before.session)
            world.add(*lifecycle(8))
            after = await claimed(first, 8)
            assert after.session != before.session
            assert await first.holds(after)
            assert not await first.holds(before)

        world.run_two(scenario)

    def test_what_was_sent_in_a_session_that_has_ended_counts_if_nobody_has_taken_the_order(
        self, world: LedgerWorld
    ) -> None:
        """A process that lost its session tells what came of its last calls."""
        world.add(*lifecycle(7))

        async def scenario(first: Ledger, second: Ledger) -> None:
            claim = await claim_one(first)
            await world.end_session(claim.session)
            world.elapse(GRACE_SECONDS)
            assert await first.settle([delivered(claim, 2)]) == 0
            assert [each.version for each in (await claimed(second, 7)).calls] == [3]

        world.run_two(scenario)

    def test_a_redelivery_does_not_shorten_what_a_session_that_lives_has_claimed(self, world: LedgerWorld) -> None:
        """And one whose session has ended doesn't keep a redelivery waiting for the lease."""
        world.add(*lifecycle(7))

        async def scenario(first: Ledger, second: Ledger) -> None:
            await first.settle([delivered(await claim_one(first), 2)])
            at_work = await claim_one(first)
            world.set_back(7, 1)
            assert (await second.claim(10))[0] == []
            await world.end_session(at_work.session)
            world.elapse(GRACE_SECONDS)
            assert len((await claimed(second, 7)).calls) == 3

        world.run_two(scenario)


class TestOutages:
    def test_an_outage_is_told_as_one_and_loses_nothing(self, world: LedgerWorld) -> None:
        """What couldn't be settled can be settled later."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            claim = await claim_one(ledger)
            world.outage(begins=True)
            with pytest.raises(StoreUnavailable):
                await ledger.settle([delivered(claim)])
            with pytest.raises(StoreUnavailable):
                await ledger.claim(10)
            world.outage(begins=False)
            assert await ledger.settle([delivered(claim)]) == 0

        world.run(scenario)
        assert world.standing(7) == Standing(3, 0, None, is_leased=False)
        assert len(world.attempts()) == 3


def held(claim: Claim, settled_version: int = 0) -> Settlement:
    """Its calls up to this version are delivered, and the next one waits for a person."""
    done = [each for each in claim.calls if each.version <= settled_version]
    attempts = tuple(attempt(claim, number, Outcome.DELIVERED, 200) for number in range(len(done)))
    return Settlement(claim, attempts, settled_version, 0, 0.0, DOUBTFUL)


class TestDoubtfulOrders:
    def test_a_claim_says_whether_its_order_is_doubtful(self, world: LedgerWorld) -> None:
        """Also of a doubt that came before the first call, and of one that was settled."""
        world.mark(7, is_doubtful=True)
        world.mark(9, is_doubtful=True)
        for order_id in (7, 8, 9):
            world.add(*lifecycle(order_id))
        world.mark(9, is_doubtful=False)

        async def scenario(ledger: Ledger) -> None:
            claims, _ = await ledger.claim(10)
            assert {claim.order_id: claim.is_doubtful for claim in claims} == {7: True, 8: False, 9: False}

        world.run(scenario)

    def test_an_order_without_a_call_is_never_claimed(self, world: LedgerWorld) -> None:
        """Whether it is doubtful or not."""
        world.mark(7, is_doubtful=True)
        world.mark(8, is_doubtful=False)

        async def scenario(ledger: Ledger) -> None:
            assert await ledger.claim(10) == ([], None)

        world.run(scenario)

    def test_a_held_order_stands_still_until_the_doubt_is_settled_and_is_due_then(self, world: LedgerWorld) -> None:
        """With the call that was held back first, and what has come since behind it."""
        world.mark(7, is_doubtful=True)
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([held(await claim_one(ledger), 2)])
            world.elapse(PATIENT_SECONDS)
            assert await ledger.claim(10) == ([], None)
            world.mark(7, is_doubtful=True)
            world.add(call(7, 5, EffectKind.UPDATE))
            assert await ledger.claim(10) == ([], None)
            world.mark(7, is_doubtful=False)
            claim = await claim_one(ledger)
            assert [each.version for each in claim.calls] == [3, 5]
            assert claim.doubts == {}

        world.run(scenario)
        assert world.standing(7).parked_reason is None

    def test_a_doubt_that_was_settled_while_the_order_was_claimed_holds_nothing(self, world: LedgerWorld) -> None:
        """Whoever had claimed it still says that it must stand still."""
        world.mark(7, is_doubtful=True)
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            claim = await claim_one(ledger)
            world.mark(7, is_doubtful=False)
            assert await ledger.settle([held(claim, 2)]) == 0
            again = await claim_one(ledger)
            assert [each.version for each in again.calls] == [3]
            assert not again.is_doubtful

        world.run(scenario)

    def test_a_settled_doubt_leaves_an_order_parked_for_another_reason(self, world: LedgerWorld) -> None:
        """That reason is still there."""
        world.mark(7, is_doubtful=True)
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            await ledger.settle([parked(await claim_one(ledger))])
            world.mark(7, is_doubtful=False)
            assert await ledger.claim(10) == ([], None)

        world.run(scenario)
        assert world.standing(7).parked_reason == "refused"

    def test_a_claim_tells_what_had_been_delivered_before_a_person_sent_it_again(self, world: LedgerWorld) -> None:
        """Nobody is paid by it."""
        world.add(*lifecycle(7))

        async def scenario(ledger: Ledger) -> None:
            claim = await claim_one(ledger)
            assert claim.delivered_before == frozenset()
            await ledger.settle([delivered(claim, 2)])
            world.set_back(7, 2)
            assert (await claim_one(ledger)).delivered_before == {2}

        world.run(scenario)

    def test_where_doubtful_orders_are_paid_all_that_were_held_go_on(self, world: LedgerWorld) -> None:
        """And no order that is parked for another reason."""
        for order_id in (7, 8, 9):
            world.mark(order_id, is_doubtful=True)
            world.add(*lifecycle(order_id))

        async def scenario(ledger: Ledger) -> None:
            claims, _ = await ledger.claim(10)
            await ledger.settle([held(claims[0], 2), held(claims[1], 2), parked(claims[2])])
            await ledger.free_doubtful()
            freed, _ = await ledger.claim(10)
            assert {each.order_id: each.is_doubtful for each in freed} == {7: True, 8: True}

        world.run(scenario)
        assert world.standing(9).parked_reason == "refused"
