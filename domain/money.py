"""Exact money: a result that would need rounding is an error, never a nearly right amount."""

from collections.abc import Iterable
from decimal import Clamped, Context, Decimal, Inexact, InvalidOperation, Overflow, Underflow

from domain.errors import BadAmount

MAX_DIGITS = 38
"""Significant digits that a price or a quantity may have."""
MAX_EXPONENT = 30
"""How far from the decimal point a digit may stand, to either side."""

# Products have up to 76 digits, and a sum of a million of them six more: nothing within the limits is rounded.
_exact = Context(prec=200, traps=[Inexact, InvalidOperation, Overflow, Underflow, Clamped])

ZERO = Decimal(0)


def check_amount(number: Decimal | int) -> Decimal:
    """Gives the number as a Decimal; raises BadAmount if it can't be calculated with exactly."""
    amount = Decimal(number)
    _, digits, exponent = amount.as_tuple()
    if not isinstance(exponent, int):
        raise BadAmount("not a finite number")
    if len(digits) > MAX_DIGITS or not -MAX_EXPONENT <= exponent <= MAX_EXPONENT:
        raise BadAmount(f"more than {MAX_DIGITS} digits, or digits more than {MAX_EXPONENT} places from the point")
    return amount


def item_cashback(
    original_price: Decimal | int, quantity: Decimal | int, final_total_price: Decimal | int
) -> Decimal:
    """`originalPrice × quantity − finalTotalPrice` (contract.md, section 1), exact; may be negative."""
    return _exact.subtract(_exact.multiply(original_price, quantity), final_total_price)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum; zero for no amounts."""
    result = ZERO
    for amount in amounts:
        result = _exact.add(result, amount)
    return result
