"""Money: exact within the limits, and rounded as contract.md, section 5, says that a till rounds."""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import floor
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import BadAmount, CashbackError, UnknownCurrency
from domain.money import (
    DEFAULT_TILL,
    MAX_DIGITS,
    MAX_EXPONENT,
    ZERO,
    Rounding,
    Till,
    check_amount,
    is_implausible_price,
    total,
)

digits = st.integers(min_value=0, max_value=10**MAX_DIGITS - 1)
exponents = st.integers(min_value=-MAX_EXPONENT, max_value=MAX_EXPONENT)
amounts = st.builds(
    lambda number, exponent: Decimal((0, Decimal(number).as_tuple().digits, exponent)), digits, exponents
)
prices = st.builds(lambda number, places: Decimal(number).scaleb(-places), st.integers(0, 10**6), st.integers(0, 4))
tills = st.builds(Till, st.sampled_from(["TRY", "EUR", "JPY", "KWD"]), st.sampled_from(Rounding))
WIDEST: Final = Decimal(f"{'9' * MAX_DIGITS}E{MAX_EXPONENT}")
LEAST: Final = Decimal(f"1E-{MAX_EXPONENT}")


# A till.


@pytest.mark.parametrize(
    ("price", "quantity", "final", "cashback"),
    [
        ("156", "2", "306", "6.00"),
        ("3.33", "0.333", "1.11", "0"),
        ("3.34", "0.334", "1.12", "0"),
        ("19.99", "1.255", "20.08", "5.01"),
        ("19.99", "1.25", "20.005", "4.98"),
        ("1", "1", "1.01", "0"),
        ("1", "1", "1.02", "-0.02"),
        ("1", "1", "1.0199", "0"),
        ("1", "1", "1.0099", "0"),
        ("1", "1", "0.99", "0.01"),
        ("1", "1", "0.9901", "0"),
        ("0.005", "1", "0", "0.01"),
        ("0.0049", "1", "0", "0"),
        ("0.015", "1", "0", "0.02"),
        ("0", "1", "0", "0"),
    ],
)
def test_an_item_earns_what_the_till_makes_of_it(price: str, quantity: str, final: str, cashback: str) -> None:
    """The price is rounded half up to a cent, what is finer than a cent is cut off at the end, and one cent below
    zero is the till's own."""
    found = DEFAULT_TILL.item_cashback(Decimal(price), Decimal(quantity), Decimal(final))
    assert found == Decimal(cashback)
    assert found.as_tuple().exponent == -2
    assert not found.is_signed() or found < ZERO


@pytest.mark.parametrize(
    ("rounding", "price", "cashback"),
    [
        (Rounding.HALF_UP, "0.125", "0.13"),
        (Rounding.HALF_EVEN, "0.125", "0.12"),
        (Rounding.HALF_EVEN, "0.135", "0.14"),
        (Rounding.HALF_EVEN, "0.1250001", "0.13"),
        (Rounding.DOWN, "0.129", "0.12"),
    ],
)
def test_a_till_rounds_as_it_is_set(rounding: Rounding, price: str, cashback: str) -> None:
    """Half up unless told otherwise."""
    assert Till(rounding=rounding).item_cashback(Decimal(price), 1, 0) == Decimal(cashback)


def test_the_words_for_rounding_are_those_of_the_setting() -> None:
    """Contract.md, section 5."""
    assert [rounding.value for rounding in Rounding] == ["half_up", "half_even", "down"]


@pytest.mark.parametrize(
    ("currency", "decimals", "cashback"),
    [
        *(("TRY", 2, "1.24"), ("EUR", 2, "1.24"), ("AED", 2, "1.24"), ("ZWG", 2, "1.24")),
        *(("JPY", 0, "1"), ("CLP", 0, "1"), ("BIF", 0, "1"), ("XPF", 0, "1")),
        *(("BHD", 3, "1.235"), ("TND", 3, "1.235")),
    ],
)
def test_a_currency_has_its_own_minor_unit(currency: str, decimals: int, cashback: str) -> None:
    """As ISO 4217 has it."""
    till = Till(currency)
    assert (till.decimals, till.minor_unit) == (decimals, Decimal(10) ** -decimals)
    assert till.item_cashback(Decimal("1.2350"), 1, 0) == Decimal(cashback)


@pytest.mark.parametrize("code", ["", "try", "TL", "XAU", "XXX", "EURO", "TRY "])
def test_a_code_that_no_currency_has_is_refused(code: str) -> None:
    """By name; gold and testing are no means of payment."""
    with pytest.raises(UnknownCurrency, match="no currency code") as caught:
        Till(code)
    assert caught.value.code == code
    assert isinstance(caught.value, CashbackError)


_MODES: Final = {
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
    Rounding.DOWN: ROUND_DOWN,
}


def rounded(number: Fraction, rounding: Rounding) -> int:
    """A number from 0 on to a whole one."""
    below = floor(number)
    rest = number - below
    if rounding is Rounding.DOWN or rest < Fraction(1, 2):
        return below
    if rest > Fraction(1, 2) or rounding is Rounding.HALF_UP:
        return below + 1
    return below + below % 2


def expected_cashback(till: Till, price: Decimal, quantity: Decimal, final: Decimal) -> Fraction:
    """Contract.md, section 5, in fractions; counted in minor units, and given as an amount."""
    units = Fraction(10**till.decimals)
    earned = rounded(Fraction(price) * Fraction(quantity) * units, till.rounding) - Fraction(final) * units
    whole = floor(earned) if earned >= 0 else -floor(-earned)
    return Fraction(0) if -1 <= whole <= 0 else whole / units


@given(tills, amounts, amounts, amounts)
@example(DEFAULT_TILL, WIDEST, WIDEST, LEAST)
@example(DEFAULT_TILL, LEAST, LEAST, WIDEST)
def test_an_item_of_any_size_is_calculated_by_the_rule(
    till: Till, price: Decimal, quantity: Decimal, final: Decimal
) -> None:
    """As with fractions, for everything within the limits."""
    for amount in (price, quantity, final):
        assert check_amount(amount) == amount
    assert Fraction(till.item_cashback(price, quantity, final)) == expected_cashback(till, price, quantity, final)


@given(tills, prices, prices, prices)
def test_an_item_of_a_shop_is_calculated_by_the_rule(
    till: Till, price: Decimal, quantity: Decimal, final: Decimal
) -> None:
    """Prices and weights as they occur, where the edges of rounding are close."""
    for paid in (final, price * quantity, (price * quantity).quantize(till.minor_unit, _MODES[till.rounding])):
        found = till.item_cashback(price, quantity, paid)
        assert Fraction(found) == expected_cashback(till, price, quantity, paid)
        assert found == found.quantize(till.minor_unit)
    assert found == ZERO  # what the till itself asks for earns nothing


@given(st.lists(st.tuples(amounts, amounts, amounts), max_size=20))
@example([(WIDEST, WIDEST, LEAST)] * 20)
def test_a_sum_is_exact(items: list[tuple[Decimal, Decimal, Decimal]]) -> None:
    """As with fractions, for any list of items within the limits."""
    cashbacks = [DEFAULT_TILL.item_cashback(*item) for item in items]
    assert Fraction(total(cashbacks)) == sum(map(Fraction, cashbacks), Fraction(0))


def test_a_sum_of_very_many_greatest_amounts_is_exact() -> None:
    """Far more items than fit into a message, of the widest numbers, stay inside the precision."""
    widest = DEFAULT_TILL.item_cashback(WIDEST, WIDEST, LEAST)
    assert Fraction(total([widest] * 50_000)) == Fraction(widest) * 50_000


def test_the_sum_of_nothing_is_zero() -> None:
    """An UPDATED may have an empty list."""
    assert total([]) == ZERO


# Prices that contradict each other.


@pytest.mark.parametrize(
    ("discounted", "final", "implausible"),
    [
        ("153", "306", False),
        ("153", "153", False),
        ("153", "152.99", True),
        ("153", "612", False),
        ("153", "612.01", True),
        ("153", "0", True),
        ("0", "5", False),
        (None, "5", False),
    ],
)
def test_less_than_half_or_more_than_double_is_implausible(
    discounted: str | None, final: str, *, implausible: bool
) -> None:
    """Of discountedPrice × quantity, here two pieces; without a discounted price nothing is known."""
    price = None if discounted is None else Decimal(discounted)
    assert is_implausible_price(price, Decimal(2), Decimal(final)) is implausible
    assert is_implausible_price(price, 2, Decimal(final)) is implausible


@given(amounts, amounts, amounts)
@example(WIDEST, WIDEST, LEAST)
@example(WIDEST, WIDEST, WIDEST)
def test_a_price_of_any_size_is_compared_exactly(discounted: Decimal, quantity: Decimal, final: Decimal) -> None:
    """As with fractions."""
    price = Fraction(discounted) * Fraction(quantity)
    expected = bool(discounted) and not price / 2 <= Fraction(final) <= price * 2
    assert is_implausible_price(discounted, quantity, final) is expected


# Limits.


@pytest.mark.parametrize(
    "number",
    [
        *(0, 5, -5, 10**MAX_DIGITS - 1, Decimal("9" * MAX_DIGITS), Decimal("1E+40"), Decimal("1E-40")),
        *(Decimal("0.10"), Decimal("-0.0"), Decimal("142.8571428571428571428571428571429")),
    ],
)
def test_a_number_within_the_limits_is_kept_as_it_is(number: Decimal | int) -> None:
    """Every digit and trailing zero stays; integers become decimals."""
    found = check_amount(number)
    assert isinstance(found, Decimal)
    assert found.as_tuple() == Decimal(number).as_tuple()


@pytest.mark.parametrize(
    "number",
    [
        *(10**80, -(10**80), Decimal("9" * 81), Decimal("1." + "0" * 80)),
        *(Decimal("1E+41"), Decimal("1E-41"), Decimal("0E-41")),
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")),
    ],
)
def test_a_number_just_outside_the_limits_is_refused(number: Decimal | int) -> None:
    """Too many digits, too far from the point, or no number at all: BadAmount, one of our own errors."""
    is_number = isinstance(number, int) or number.is_finite()
    with pytest.raises(
        BadAmount, match="^more than 80 digits, or .* 40 places" if is_number else "^not a finite"
    ) as caught:
        check_amount(number)
    assert isinstance(caught.value, CashbackError)
