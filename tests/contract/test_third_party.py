"""What every third party must do, the real client over the sandbox as well as the one in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Final, Protocol, TypeVar

import pytest

from adapters.third_party_api.client import ThirdPartyClient
from domain.effects import EffectKind
from projections.delivery.ports import Answer, Call, Found, Lookup, NotFound, Outcome, ThirdParty
from tests.support import third_party_server
from tests.support.fake_ledger import call, lifecycle
from tests.support.fake_third_party import FINE, HANG, FakeThirdParty, Fault

TIMEOUT_SECONDS: Final = 20.0
SHORT_SECONDS: Final = 0.3

T = TypeVar("T")
Scenario = Callable[[ThirdParty], Awaitable[T]]


class World(Protocol):
    """A third party, what goes wrong there, and what it has done."""

    def run(self, scenario: Scenario[T], timeout_seconds: float = TIMEOUT_SECONDS) -> T: ...
    def breaks(self, fault: Fault) -> None:
        """Every call from now on meets the fault."""

    @property
    def applied(self) -> list[tuple[int, str]]:
        """Order id and path of every call that took effect."""

    @property
    def violations(self) -> list[str]: ...


class InMemory:
    def __init__(self) -> None:
        self._fake = FakeThirdParty()

    def run(self, scenario: Scenario[T], timeout_seconds: float = TIMEOUT_SECONDS) -> T:
        self._fake.timeout_seconds = timeout_seconds

        async def main() -> T:
            return await scenario(self._fake)

        return asyncio.run(main())

    def breaks(self, fault: Fault) -> None:
        self._fake.plan = lambda _: fault
        self._fake.lookup_plan = lambda _: fault

    @property
    def applied(self) -> list[tuple[int, str]]:
        return self._fake.applied

    @property
    def violations(self) -> list[str]:
        return self._fake.violations


class OverHttp:
    def __init__(self, server: third_party_server.ThirdParty) -> None:
        self._server = server

    def run(self, scenario: Scenario[T], timeout_seconds: float = TIMEOUT_SECONDS) -> T:
        async def main() -> T:
            url = f"http://127.0.0.1:{self._server.port}"
            async with ThirdPartyClient(url, token=None, timeout_seconds=timeout_seconds, concurrency=64) as client:
                return await scenario(client)

        return asyncio.run(main())

    def breaks(self, fault: Fault) -> None:
        hangs = fault == HANG
        self._server.faults(
            errorRate=int(fault.status is not None),
            errorStatus=fault.status or 503,
            retryAfterSeconds=int(fault.retry_after) if fault.retry_after else None,
            lostAnswerRate=int(fault.lost_answer),
            hangRate=int(hangs),
            latencyMs=0 if hangs else fault.before_seconds * 1000,
            lateRate=int(fault.late_seconds > 0),
            lateMs=fault.late_seconds * 1000,
        )

    @property
    def applied(self) -> list[tuple[int, str]]:
        return [(each["orderId"], each["path"]) for each in self._server.show("calls")["calls"] if each["applied"]]

    @property
    def violations(self) -> list[str]:
        return self._server.violations()


@pytest.fixture(params=["memory", pytest.param("http", marks=pytest.mark.slow)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield InMemory()
        return
    with third_party_server.serving() as server:
        yield OverHttp(server)


def one_after_the_other(*calls: Call) -> Scenario[list[Answer]]:
    async def scenario(third_party: ThirdParty) -> list[Answer]:
        return [await third_party.send(each) for each in calls]

    return scenario


def at_once(*calls: Call) -> Scenario[list[Answer]]:
    async def scenario(third_party: ThirdParty) -> list[Answer]:
        return await asyncio.gather(*(third_party.send(each) for each in calls))

    return scenario


def looked_up(*order_ids: int) -> Scenario[list[Lookup]]:
    async def scenario(third_party: ThirdParty) -> list[Lookup]:
        return [await third_party.lookup(order_id) for order_id in order_ids]

    return scenario


def outcomes(answers: list[Answer]) -> list[Outcome]:
    return [answer.outcome for answer in answers]


def test_a_lifecycle_is_delivered(world: World) -> None:
    """Call by call, with a 2xx each."""
    answers = world.run(one_after_the_other(*lifecycle(1)))
    assert outcomes(answers) == [Outcome.DELIVERED] * 3
    assert [answer.status for answer in answers] == [201, 200, 200]
    assert [path for _, path in world.applied] == [
        "/v1/cashbacks",
        "/v1/cashbacks/1",
        "/v1/cashbacks/1/complete",
    ]
    assert world.violations == []


CORRECTED: Final = (EffectKind.CREATE, EffectKind.COMPLETE, EffectKind.CORRECT)


def test_a_completed_order_is_corrected(world: World) -> None:
    """It stays completed, with the amount and the date of the correction; the same one again changes nothing."""
    calls = lifecycle(1, CORRECTED)
    answers = world.run(one_after_the_other(*calls, calls[-1]))
    assert outcomes(answers) == [Outcome.DELIVERED] * 4
    assert [path for _, path in world.applied][-1] == "/v1/cashbacks/1/correct"
    assert world.run(looked_up(1)) == [Found("COMPLETED", Decimal("6.50"), "2025-02-28T13:00:00.000000003Z")]
    assert world.violations == []


def test_a_call_that_comes_again_is_delivered_and_takes_effect_once(world: World) -> None:
    """The key makes it the same call, even after the order has ended."""
    calls = lifecycle(1)
    answers = world.run(one_after_the_other(*calls, *calls, calls[0]))
    assert outcomes(answers) == [Outcome.DELIVERED] * 7
    assert len(world.applied) == 3
    assert world.violations == []


@pytest.mark.parametrize(
    ("calls", "status"),
    [
        ([call(1, 1, EffectKind.UPDATE)], 404),
        ([*lifecycle(1), call(1, 4, EffectKind.CANCEL)], 409),
        ([call(1, 1), call(1, 2, EffectKind.CORRECT)], 409),
        ([call(1, 1), call(1, 2, EffectKind.CANCEL), call(1, 3, EffectKind.CORRECT)], 409),
    ],
    ids=["unknown order", "ended order", "correction of a pending order", "correction of a cancelled order"],
)
def test_a_call_that_is_not_legal_is_refused(world: World, calls: list[Call], status: int) -> None:
    """And takes no effect; the text says why."""
    answer = world.run(one_after_the_other(*calls))[-1]
    assert (answer.outcome, answer.status) == (Outcome.REFUSED, status)
    assert "code" in answer.text
    assert len(world.applied) == len(calls) - 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (500, Outcome.FAILED),
        (503, Outcome.FAILED),
        (408, Outcome.FAILED),
        (425, Outcome.FAILED),
        (429, Outcome.FAILED),
        (401, Outcome.UNAUTHORIZED),
        (403, Outcome.UNAUTHORIZED),
        (400, Outcome.REFUSED),
        (409, Outcome.REFUSED),
        (422, Outcome.REFUSED),
    ],
)
def test_an_error_takes_no_effect_and_the_next_attempt_may(world: World, status: int, outcome: Outcome) -> None:
    """The statuses' meanings are those of contract.md."""
    world.breaks(Fault(status=status))
    [answer] = world.run(one_after_the_other(call(1, 1)))
    assert (answer.outcome, answer.status) == (outcome, status)
    assert answer.retry_after_seconds is None
    assert world.applied == []
    world.breaks(FINE)
    assert outcomes(world.run(one_after_the_other(call(1, 1)))) == [Outcome.DELIVERED]


def test_the_third_partys_wish_to_wait_is_passed_on(world: World) -> None:
    """In seconds."""
    world.breaks(Fault(status=429, retry_after="7"))
    [answer] = world.run(one_after_the_other(call(1, 1)))
    assert (answer.outcome, answer.retry_after_seconds) == (Outcome.FAILED, 7.0)


def test_a_lost_answer_leaves_the_call_in_doubt(world: World) -> None:
    """It has taken effect, nobody told us, and the same call again finds that out."""
    world.breaks(Fault(lost_answer=True))
    [answer] = world.run(one_after_the_other(call(1, 1)))
    assert (answer.outcome, answer.status) == (Outcome.IN_DOUBT, None)
    assert len(world.applied) == 1
    world.breaks(FINE)
    assert outcomes(world.run(one_after_the_other(call(1, 1)))) == [Outcome.DELIVERED]
    assert len(world.applied) == 1
    assert world.violations == []


def test_a_call_that_hangs_is_in_doubt(world: World) -> None:
    """When its time is up; and trying again at once is no overlap."""
    world.breaks(HANG)
    answers = world.run(one_after_the_other(call(1, 1), call(1, 1)), SHORT_SECONDS)
    assert outcomes(answers) == [Outcome.IN_DOUBT] * 2
    world.breaks(FINE)
    assert outcomes(world.run(one_after_the_other(call(1, 1)))) == [Outcome.DELIVERED]
    assert world.violations == []


def test_a_late_call_is_carried_out_though_its_caller_has_left(world: World) -> None:
    """After its time in a proxy's queue; before, the third party knows nothing of it."""

    async def scenario(third_party: ThirdParty) -> Answer:
        answer = await third_party.send(call(1, 1))
        assert world.applied == []
        async with asyncio.timeout(60):
            while not world.applied:  # noqa: ASYNC110 - what it does can only be asked for
                await asyncio.sleep(0.05)
        return answer

    world.breaks(Fault(late_seconds=4.0))
    assert world.run(scenario, SHORT_SECONDS).outcome is Outcome.IN_DOUBT
    world.breaks(FINE)
    assert outcomes(world.run(one_after_the_other(call(1, 1)))) == [Outcome.DELIVERED]
    assert len(world.applied) == 1
    assert world.violations == []


def test_the_second_of_two_calls_with_one_key_is_in_flight(world: World) -> None:
    """As long as the first is at work; only that one takes effect."""
    world.breaks(Fault(before_seconds=1.0))
    answers = world.run(at_once(call(1, 1), call(1, 1)))
    assert sorted(outcomes(answers)) == [Outcome.DELIVERED, Outcome.IN_FLIGHT]
    assert len(world.applied) == 1


def test_many_calls_at_once_each_get_their_own_answer(world: World) -> None:
    """Half of them are not legal."""
    calls = [call(order_id, 1, (EffectKind.CREATE, EffectKind.UPDATE)[order_id % 2]) for order_id in range(2, 42)]
    answers = world.run(at_once(*calls))
    assert outcomes(answers) == [Outcome.DELIVERED, Outcome.REFUSED] * 20
    assert sorted(order_id for order_id, _ in world.applied) == list(range(2, 42, 2))


def test_a_lookup_shows_how_each_order_stands(world: World) -> None:
    """Its status, its exact amount, the last date; and that an order isn't known. It changes nothing."""
    cancelled = [call(3, 1), call(3, 2, EffectKind.CANCEL)]
    world.run(one_after_the_other(call(1, 1), *lifecycle(2), *cancelled))
    assert world.run(looked_up(1, 2, 3, 4)) == [
        Found("PENDING", Decimal("6.50"), "2025-02-28T13:00:00.000000001Z"),
        Found("COMPLETED", Decimal("6.50"), "2025-02-28T13:00:00.000000003Z"),
        Found("CANCELLED", Decimal("6.50"), "2025-02-28T13:00:00.000000002Z"),
        NotFound(),
    ]
    assert len(world.applied) == 6
    assert world.violations == []


def test_a_lookup_that_fails_says_why(world: World) -> None:
    """As a call does; never that the order is unknown."""
    world.run(one_after_the_other(call(1, 1)))
    for status, outcome in (
        (503, Outcome.FAILED),
        (429, Outcome.FAILED),
        (401, Outcome.UNAUTHORIZED),
        (400, Outcome.REFUSED),
    ):
        world.breaks(Fault(status=status))
        [answer] = world.run(looked_up(1))
        assert isinstance(answer, Answer)
        assert (answer.outcome, answer.status) == (outcome, status)


def test_a_lookup_without_an_answer_shows_nothing(world: World) -> None:
    """When its time is up, or the connection is cut."""
    for fault in (HANG, Fault(lost_answer=True)):
        world.breaks(fault)
        [answer] = world.run(looked_up(1), SHORT_SECONDS)
        assert isinstance(answer, Answer)
        assert (answer.outcome, answer.status) == (Outcome.IN_DOUBT, None)
