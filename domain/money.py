"""Money: exact decimals, rounded only where contract.md, section 5, says that a till rounds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import (
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Clamped,
    Context,
    Decimal,
    InvalidOperation,
    Overflow,
    Underflow,
)
from enum import StrEnum
from functools import cached_property
from typing import Final

from domain.errors import BadAmount, UnknownCurrency

MAX_DIGITS = 80
"""Significant digits that a price or a quantity may have; a quotient of DECIMAL128 has 34."""
MAX_EXPONENT = 40
"""How far from the decimal point a digit may stand, to either side."""

# A product has up to 160 digits, and a sum of a million of them six more: within the limits nothing is rounded
# unless `quantize` is asked to.
_exact: Final = Context(prec=400, traps=[InvalidOperation, Overflow, Underflow, Clamped])

ZERO: Final = Decimal(0)


class Rounding(StrEnum):
    """How a till rounds a price to the minor unit."""

    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    DOWN = "down"


_MODES: Final[Mapping[Rounding, str]] = {
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
    Rounding.DOWN: ROUND_DOWN,
}

# ISO 4217, list one of January 2026: the codes by the number of decimals of the minor unit. Without the codes that
# stand for no means of payment (metals, funds, testing).
_DECIMALS: Final[Mapping[int, str]] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC"
    " CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR"
    " JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD"
    " NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN"
    " SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_DECIMALS_OF: Final = {code: decimals for decimals, codes in _DECIMALS.items() for code in codes.split()}


@dataclass(frozen=True)
class Till:
    """How the shop's tills calculate. Raises UnknownCurrency for a code that ISO 4217 doesn't know."""

    currency: str = "TRY"
    rounding: Rounding = Rounding.HALF_UP

    def __post_init__(self) -> None:
        if self.currency not in _DECIMALS_OF:
            raise UnknownCurrency(self.currency)

    @cached_property
    def decimals(self) -> int:
        """Of the minor unit."""
        return _DECIMALS_OF[self.currency]

    @cached_property
    def minor_unit(self) -> Decimal:
        return Decimal(1).scaleb(-self.decimals)

    @cached_property
    def _mode(self) -> str:
        return _MODES[self.rounding]

    @cached_property
    def _zero(self) -> Decimal:
        return ZERO.scaleb(-self.decimals)

    def item_cashback(
        self, original_price: Decimal | int, quantity: Decimal | int, final_total_price: Decimal | int
    ) -> Decimal:
        """What an item earns, in whole minor units (contract.md, section 5).

        `originalPrice × quantity` as the till rounds it, less `finalTotalPrice`; what is finer than the minor unit
        is cut off. Below zero by at most one minor unit, the till has rounded otherwise: zero. Further below, the
        amount is given as it is, and the message is to be refused.
        """
        unit = self.minor_unit
        price = _exact.multiply(original_price, quantity).quantize(unit, self._mode, _exact)
        earned = _exact.subtract(price, final_total_price).quantize(unit, ROUND_DOWN, _exact)
        return self._zero if -unit <= earned <= ZERO else earned


DEFAULT_TILL: Final = Till()


def is_implausible_price(
    discounted_price: Decimal | int | None, quantity: Decimal | int, final_total_price: Decimal | int
) -> bool:
    """True if `finalTotalPrice` is less than half or more than double of `discountedPrice × quantity`.

    The two should agree but for the till's rounding and a coupon; so far apart, one of them is a publisher's
    mistake. A `discountedPrice` of zero says nothing.
    """
    if not discounted_price:
        return False
    expected = _exact.multiply(discounted_price, quantity)
    doubled = _exact.add(final_total_price, final_total_price)
    return doubled < expected or final_total_price > _exact.add(expected, expected)


def check_amount(number: Decimal | int) -> Decimal:
    """Gives the number as a Decimal; raises BadAmount if it can't be calculated with exactly."""
    amount = Decimal(number)
    _, digits, exponent = amount.as_tuple()
    if not isinstance(exponent, int):
        raise BadAmount("not a finite number")
    if len(digits) > MAX_DIGITS or not -MAX_EXPONENT <= exponent <= MAX_EXPONENT:
        raise BadAmount(f"more than {MAX_DIGITS} digits, or digits more than {MAX_EXPONENT} places from the point")
    return amount


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum; zero for no amounts."""
    result = ZERO
    for amount in amounts:
        result = _exact.add(result, amount)
    return result
