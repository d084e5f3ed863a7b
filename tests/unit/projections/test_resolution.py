"""When the third party's books say the same as ours, though it keeps less than we tell it."""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.money import DEFAULT_TILL, Till
from projections.resolution import EXACT, Resolution

JPY = Resolution(Till("JPY"))


@pytest.mark.parametrize(
    ("resolution", "ours", "theirs", "is_same"),
    [
        (EXACT, "6.00", "6", True),
        (EXACT, "6.00", "6.000", True),
        (EXACT, "6.00", "6.01", False),
        (EXACT, "6.00", "6.001", False),  # we said whole minor units: who has more was told something else
        (EXACT, "25.08745", "25.08745", True),
        (EXACT, "25.08745", "25.09", True),
        (EXACT, "25.08745", "25.08", True),
        (EXACT, "25.08745", "25.1", False),
        (EXACT, "25.08745", "25.087", False),
        (EXACT, "6.004", "6.00", True),
        (EXACT, "6.004", "6.01", False),
        (EXACT, "6.005", "6.01", True),
        (JPY, "6.4", "6", True),
        (JPY, "6.5", "7", True),
        (JPY, "6.5", "6.5", True),
        (JPY, "6", "6.01", False),
    ],
)
def test_amounts_are_the_same_in_minor_units(
    resolution: Resolution, ours: str, theirs: str, *, is_same: bool
) -> None:
    """Ours, or what a third party that keeps minor units makes of it; nothing between."""
    assert resolution.is_same_amount(Decimal(ours), Decimal(theirs)) is is_same


def test_no_amount_is_the_same_as_none() -> None:
    """A cancel says none."""
    assert EXACT.is_same_amount(None, None)
    assert not EXACT.is_same_amount(None, Decimal(0))
    assert not EXACT.is_same_amount(Decimal(0), None)


@given(
    ours=st.decimals(0, 10**6, places=5),
    mode=st.sampled_from([ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP]),
    away=st.sampled_from([Decimal(0), Decimal("0.01"), Decimal("0.02")]),
)
def test_whichever_way_cents_are_rounded_they_are_the_same(ours: Decimal, mode: str, away: Decimal) -> None:
    """And an amount a whole cent beyond both ways is another one."""
    kept = ours.quantize(DEFAULT_TILL.minor_unit, mode)
    assert EXACT.is_same_amount(ours, kept)
    assert not EXACT.is_same_amount(ours, kept + Decimal("0.02") + away)


@given(
    digits=st.integers(0, 9),
    ours_ns=st.integers(-(10**18), 2 * 10**18),
    later_ns=st.integers(0, 10**10),
    is_rounded=st.booleans(),
)
def test_a_date_that_was_kept_less_finely_is_neither_missed_nor_passed(
    digits: int, ours_ns: int, later_ns: int, *, is_rounded: bool
) -> None:
    """Cut off or rounded. One that a tick or more lies between is told apart in any case."""
    tick_ns = int(10 ** (9 - digits))
    resolution = Resolution(date_digits=digits)

    def kept(instant_ns: int) -> int:
        return (instant_ns + (tick_ns // 2 if is_rounded else 0)) // tick_ns * tick_ns

    assert resolution.has_reached(kept(ours_ns), ours_ns)
    assert not resolution.is_past(kept(ours_ns), ours_ns)
    assert resolution.has_reached(kept(ours_ns + later_ns), ours_ns)
    if later_ns >= 2 * tick_ns:
        assert resolution.is_past(kept(ours_ns + later_ns), ours_ns)
        assert not resolution.has_reached(kept(ours_ns), ours_ns + later_ns)


@given(ours_ns=st.integers(0, 2 * 10**18), theirs_ns=st.integers(0, 2 * 10**18))
def test_with_all_digits_dates_are_exact(ours_ns: int, theirs_ns: int) -> None:
    """The default."""
    assert EXACT.has_reached(theirs_ns, ours_ns) is (theirs_ns >= ours_ns)
    assert EXACT.is_past(theirs_ns, ours_ns) is (theirs_ns > ours_ns)
