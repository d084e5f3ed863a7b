"""Calls in doubt, judged by what the third party shows of their order: against the sandbox's own strict books."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.effects import EffectKind
from domain.exact_json import dumps
from domain.instants import format_instant, parse_instant
from projections.delivery.doubt import DoubtRuling, maybe_done_after, settle_doubt
from projections.delivery.ports import Answer, Attempt, AttemptKind, Call, Found, NotFound, Outcome
from projections.resolution import Resolution
from tests.support.fake_third_party import FakeThirdParty

DATE_NS = 1_740_747_600_000_000_000


def made(version: int, kind: EffectKind, amount: Decimal, date_ns: int) -> Call:
    body: dict[str, object] = {"orderId": 1, "transactionId": "t", "transactionDate": format_instant(date_ns)}
    if kind is not EffectKind.CANCEL:
        body["cashbackAmount"] = amount
    if kind is EffectKind.CORRECT:
        body["reason"] = "updated after completion"
    if kind in {EffectKind.CREATE, EffectKind.UPDATE}:
        body |= {"storeNo": "1", "buyerId": "2", "items": []}
    return Call(1, version, kind, UUID(int=version), dumps(body))


@st.composite
def lives(draw: st.DrawFn, *, ties: bool) -> list[Call]:
    """The calls of one order as we send them: dates never go back, the end has the amount that is pending, and only
    what was completed is corrected."""
    kinds = [EffectKind.CREATE, *[EffectKind.UPDATE] * draw(st.integers(0, 3))]
    end = draw(st.sampled_from((None, EffectKind.CANCEL, EffectKind.COMPLETE)))
    kinds += [end] if end else []
    if end is EffectKind.COMPLETE:
        kinds += [EffectKind.CORRECT] * draw(st.integers(0, 3))
    amount, date_ns, calls = Decimal(0), DATE_NS, []
    for version, kind in enumerate(kinds, start=1):
        date_ns += draw(st.integers(0 if ties else 1, 2))
        if kind not in {EffectKind.CANCEL, EffectKind.COMPLETE}:
            amount = draw(st.sampled_from((Decimal(5), Decimal("5.0"), Decimal("7.25"), Decimal("8.0051"))))
        calls.append(made(version, kind, amount, date_ns))
    return calls


async def sent(third_party: FakeThirdParty, call: Call) -> None:
    assert (await third_party.send(call)).outcome is Outcome.DELIVERED


async def books_after(calls: Sequence[Call]) -> FakeThirdParty:
    """A third party that has carried these out, and has forgotten every key since."""
    third_party = FakeThirdParty()
    third_party.key_retention_seconds = 0
    for call in calls:
        await sent(third_party, call)
    return third_party


async def found_by(third_party: FakeThirdParty) -> Found | NotFound:
    found = await third_party.lookup(1)
    assert not isinstance(found, Answer)
    return found


@given(calls=lives(ties=True), data=st.data())
def test_whatever_was_carried_out_everything_is_in_the_end_and_once(calls: list[Call], data: st.DataObject) -> None:
    """Any part of a queue may have been carried out: what is missing is sent, nothing else; nothing is illegal,
    nothing is paid twice, and no person is needed."""
    carried_out = data.draw(st.integers(0, len(calls)))

    async def main() -> None:
        third_party = await books_after(calls[:carried_out])
        for place, call in enumerate(calls):
            verdict = settle_doubt(call, await found_by(third_party), calls[place + 1 :])
            assert verdict.ruling is not DoubtRuling.PARK
            if verdict.ruling is DoubtRuling.SEND_AGAIN:
                await sent(third_party, call)
        assert third_party.violations == []
        assert await found_by(third_party) == await found_by(await books_after(calls))

    asyncio.run(main())


@dataclass(frozen=True)
class Keeping:
    """What a third party keeps of what it is told."""

    resolution: Resolution
    is_rounded: bool

    def kept(self, said: Found | NotFound) -> Found | NotFound:
        if isinstance(said, NotFound):
            return said
        tick_ns = 10 ** (9 - self.resolution.date_digits)
        instant_ns = parse_instant(said.last_transaction_date) + (tick_ns // 2 if self.is_rounded else 0)
        amount = said.cashback_amount.quantize(
            self.resolution.till.minor_unit, ROUND_HALF_UP if self.is_rounded else ROUND_DOWN
        )
        return Found(said.status, amount, format_instant(instant_ns // tick_ns * tick_ns))


keepings = st.builds(Keeping, st.builds(Resolution, date_digits=st.sampled_from((0, 3, 6, 8, 9))), st.booleans())


@given(calls=lives(ties=True), keeping=keepings, data=st.data())
def test_a_third_party_that_keeps_less_needs_no_person_either(
    calls: list[Call], keeping: Keeping, data: st.DataObject
) -> None:
    """Whatever part of a queue was carried out: in the end each order stands as it must, to the minor unit."""
    carried_out = data.draw(st.integers(0, len(calls)))

    async def main() -> None:
        third_party = await books_after(calls[:carried_out])
        for place, call in enumerate(calls):
            found = keeping.kept(await found_by(third_party))
            verdict = settle_doubt(call, found, calls[place + 1 :], keeping.resolution)
            assert verdict.ruling is not DoubtRuling.PARK
            if verdict.ruling is DoubtRuling.SEND_AGAIN:
                await sent(third_party, call)
        assert third_party.violations == []
        ours = keeping.kept(await found_by(await books_after(calls)))
        theirs = keeping.kept(await found_by(third_party))
        assert isinstance(ours, Found)
        assert isinstance(theirs, Found)
        assert (ours.status, ours.cashback_amount) == (theirs.status, theirs.cashback_amount)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("digits", "ruling"),
    [(9, DoubtRuling.PARK), (6, DoubtRuling.DELIVERED), (7, DoubtRuling.PARK), (0, DoubtRuling.DELIVERED)],
)
def test_a_date_that_was_cut_off_is_that_of_the_call(digits: int, ruling: DoubtRuling) -> None:
    """As finely as the third party is said to keep dates."""
    call = made(1, EffectKind.CREATE, Decimal("25.08745"), DATE_NS + 987)
    found = Found("PENDING", Decimal("25.09"), format_instant(DATE_NS))
    assert settle_doubt(call, found, resolution=Resolution(date_digits=digits)).ruling is ruling


@given(calls=lives(ties=False), data=st.data())
def test_the_verdict_is_true(calls: list[Call], data: st.DataObject) -> None:
    """Delivered means carried out, sent again means not; also where later calls are unknown, which at worst leaves
    it to a person."""
    carried_out = data.draw(st.integers(0, len(calls)))
    place = data.draw(st.integers(0, min(carried_out, len(calls) - 1)))
    known = data.draw(st.integers(place, len(calls)))

    async def main() -> None:
        third_party = await books_after(calls[:carried_out])
        ruling = settle_doubt(calls[place], await found_by(third_party), calls[place + 1 : known]).ruling
        if ruling is DoubtRuling.PARK:
            assert carried_out > max(known, place + 1)
        else:
            assert ruling is (DoubtRuling.DELIVERED if carried_out > place else DoubtRuling.SEND_AGAIN)

    asyncio.run(main())


PENDING = Found("PENDING", Decimal("6.50"), format_instant(DATE_NS))


@pytest.mark.parametrize(
    ("kind", "lookup"),
    [
        (EffectKind.UPDATE, NotFound()),
        (EffectKind.COMPLETE, NotFound()),
        (EffectKind.CREATE, Found("PENDING", Decimal(7), PENDING.last_transaction_date)),
        (EffectKind.CREATE, Found("PENDING", PENDING.cashback_amount, format_instant(DATE_NS - 1))),
        (EffectKind.CREATE, Found("CANCELLED", PENDING.cashback_amount, PENDING.last_transaction_date)),
        (EffectKind.UPDATE, Found("PENDING", Decimal(7), format_instant(DATE_NS + 1))),
        (EffectKind.UPDATE, Found("COMPLETED", PENDING.cashback_amount, PENDING.last_transaction_date)),
        (EffectKind.COMPLETE, Found("COMPLETED", Decimal(7), PENDING.last_transaction_date)),
        (EffectKind.COMPLETE, Found("PENDING", Decimal(7), PENDING.last_transaction_date)),
        (EffectKind.COMPLETE, Found("CANCELLED", PENDING.cashback_amount, PENDING.last_transaction_date)),
        (EffectKind.CANCEL, Found("COMPLETED", PENDING.cashback_amount, PENDING.last_transaction_date)),
        (EffectKind.CANCEL, Found("PENDING", PENDING.cashback_amount, format_instant(DATE_NS + 1))),
        (EffectKind.CORRECT, NotFound()),
        (EffectKind.CORRECT, Found("COMPLETED", Decimal(7), format_instant(DATE_NS + 1))),
        (EffectKind.CORRECT, Found("PENDING", PENDING.cashback_amount, PENDING.last_transaction_date)),
        (EffectKind.CORRECT, Found("CANCELLED", PENDING.cashback_amount, PENDING.last_transaction_date)),
        (EffectKind.UPDATE, Found("PENDING", PENDING.cashback_amount, "yesterday")),
        (EffectKind.UPDATE, Found("FROZEN", PENDING.cashback_amount, PENDING.last_transaction_date)),
    ],
)
def test_what_we_cannot_have_done_is_left_to_a_person(kind: EffectKind, lookup: Found | NotFound) -> None:
    """Nobody but us should change an order there. The reason says what was found."""
    verdict = settle_doubt(made(2, kind, PENDING.cashback_amount, DATE_NS), lookup)
    assert verdict.ruling is DoubtRuling.PARK
    assert verdict.found == ("no such order" if isinstance(lookup, NotFound) else verdict.found)
    assert isinstance(lookup, NotFound) or lookup.status in verdict.found


@pytest.mark.parametrize(
    ("amount", "date_ns", "ruling"),
    [
        ("6.5", DATE_NS, DoubtRuling.DELIVERED),
        ("6.50", DATE_NS + 1, DoubtRuling.DELIVERED),
        ("6.50", DATE_NS - 1, DoubtRuling.SEND_AGAIN),  # it was credited so before; to say it again changes nothing
        ("7", DATE_NS - 1, DoubtRuling.SEND_AGAIN),
        (
            "7",
            DATE_NS,
            DoubtRuling.SEND_AGAIN,
        ),  # an update from before the completion is told with the completion's date
    ],
)
def test_a_correction_is_judged_by_amount_and_date(amount: str, date_ns: int, ruling: DoubtRuling) -> None:
    """The completed order's own date is that of the last call that was carried out."""
    call = made(2, EffectKind.CORRECT, PENDING.cashback_amount, DATE_NS)
    assert settle_doubt(call, Found("COMPLETED", Decimal(amount), format_instant(date_ns))).ruling is ruling


DELIVERED, UNKNOWN, IN_FLIGHT = Outcome.DELIVERED, Outcome.IN_DOUBT, Outcome.IN_FLIGHT
LOOKUP = Outcome.FOUND


@pytest.mark.parametrize(
    ("before", "attempts", "after"),
    [
        (False, [(Outcome.FAILED, 503)], False),
        (False, [(Outcome.FAILED, None)], False),
        (False, [(Outcome.REFUSED, 422)], False),
        (False, [(Outcome.FAILED, 500)], True),
        (False, [(Outcome.FAILED, 504)], True),
        (False, [(UNKNOWN, None)], True),
        (False, [(IN_FLIGHT, 409)], True),
        (False, [(DELIVERED, 200)], True),
        (True, [(Outcome.FAILED, 503)], True),
        (True, [(LOOKUP, 200)], True),
        (True, [(LOOKUP, 200), (Outcome.FAILED, 503)], False),
        (True, [(LOOKUP, 200), (UNKNOWN, None)], True),
    ],
)
def test_what_an_attempt_does_to_the_doubt(
    *, before: bool, attempts: list[tuple[Outcome, int | None]], after: bool
) -> None:
    """It stays until a lookup has shown that the call may be sent again, and comes back with an unknown outcome."""
    call = made(1, EffectKind.CREATE, Decimal(5), DATE_NS)
    made_attempts = [
        Attempt(
            call,
            datetime.now(UTC),
            1,
            Answer(outcome, status, ""),
            AttemptKind.LOOKUP if outcome is LOOKUP else AttemptKind.CALL,
        )
        for outcome, status in attempts
    ]
    assert maybe_done_after(made_attempts, before=before) is after
