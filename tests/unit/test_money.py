"""Exact money: what the limits let in can be calculated without rounding."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import BadAmount, CashbackError
from domain.money import MAX_DIGITS, MAX_EXPONENT, ZERO, check_amount, item_cashback, total

digits = st.integers(min_value=0, max_value=10**MAX_DIGITS - 1)
exponents = st.integers(min_value=-MAX_EXPONENT, max_value=MAX_EXPONENT)
amounts = st.builds(
    lambda number, exponent: Decimal((0, Decimal(number).as_tuple().digits, exponent)), digits, exponents
)


def test_the_example_of_the_article_earns_six() -> None:
    """156 × 2 − 306 = 6."""
    assert item_cashback(Decimal(156), Decimal(2), Decimal(306)) == Decimal(6)


def test_goods_by_weight_earn_exact_fractions() -> None:
    """19.99 × 1.25 − 20.005 = 4.9825, to the last digit."""
    assert item_cashback(Decimal("19.99"), Decimal("1.25"), Decimal("20.005")) == Decimal("4.9825")


def test_a_cashback_may_be_negative() -> None:
    """The domain rejects it; the calculation doesn't hide it."""
    assert item_cashback(Decimal(1), Decimal(1), Decimal("1.01")) == Decimal("-0.01")


def test_the_sum_of_nothing_is_zero() -> None:
    """An UPDATED may have an empty list."""
    assert total([]) == ZERO


@given(amounts, amounts, amounts)
def test_an_item_is_calculated_exactly(price: Decimal, quantity: Decimal, final: Decimal) -> None:
    """As with fractions, for everything within the limits."""
    for amount in (price, quantity, final):
        assert check_amount(amount) == amount
    expected = Fraction(price) * Fraction(quantity) - Fraction(final)
    assert Fraction(item_cashback(price, quantity, final)) == expected


@given(st.lists(st.tuples(amounts, amounts, amounts), max_size=20))
@example([(Decimal("9" * 38 + "E+30"), Decimal("9" * 38 + "E+30"), Decimal("1E-30"))] * 20)
def test_a_sum_is_exact(items: list[tuple[Decimal, Decimal, Decimal]]) -> None:
    """As with fractions, for any list of items within the limits."""
    cashbacks = [item_cashback(*item) for item in items]
    assert Fraction(total(cashbacks)) == sum(map(Fraction, cashbacks), Fraction(0))


def test_a_sum_of_very_many_greatest_amounts_is_exact() -> None:
    """Far more items than fit into a message, of the widest numbers, stay inside the precision."""
    widest = item_cashback(Decimal("9" * 38 + "E+30"), Decimal("9" * 38 + "E+30"), Decimal("1E-30"))
    assert Fraction(total([widest] * 50_000)) == Fraction(widest) * 50_000


@pytest.mark.parametrize(
    "number",
    [0, 5, -5, 10**38 - 1, Decimal("9" * 38), Decimal("1E+30"), Decimal("1E-30"), Decimal("0.10"), Decimal("-0.0")],
)
def test_a_number_within_the_limits_is_kept_as_it_is(number: Decimal | int) -> None:
    """Every digit and trailing zero stays; integers become decimals."""
    found = check_amount(number)
    assert isinstance(found, Decimal)
    assert found.as_tuple() == Decimal(number).as_tuple()


@pytest.mark.parametrize(
    "number",
    [
        *(10**38, -(10**38), Decimal("9" * 39), Decimal("1." + "0" * 38)),
        *(Decimal("1E+31"), Decimal("1E-31"), Decimal("0E-31")),
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")),
    ],
)
def test_a_number_just_outside_the_limits_is_refused(number: Decimal | int) -> None:
    """Too many digits, too far from the point, or no number at all: BadAmount, one of our own errors."""
    is_number = isinstance(number, int) or number.is_finite()
    with pytest.raises(
        BadAmount, match="^more than 38 digits, or .* 30 places" if is_number else "^not a finite"
    ) as caught:
        check_amount(number)
    assert isinstance(caught.value, CashbackError)
