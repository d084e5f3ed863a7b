"""How finely the third party keeps what we tell it: when its books say the same as ours."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from typing import Final

from domain.money import DEFAULT_TILL, Till

MAX_DATE_DIGITS: Final = 9
_any_amount: Final = Context(prec=400)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What we say is exact; what comes back may have been cut off or rounded."""

    till: Till = DEFAULT_TILL
    date_digits: int = MAX_DATE_DIGITS
    """Fractional digits of a second."""

    def is_same_amount(self, ours: Decimal | None, theirs: Decimal | None) -> bool:
        """True if theirs is ours, or what ours comes to in minor units, rounded half up or cut off.

        All that is credited by now is whole minor units: then only the number itself is the same. Earlier releases
        credited finer amounts, which a third party that keeps cents has rounded in a way of its own. Half up and
        cut off are taken, since half even always comes to one of the two. Anything else is another amount, even by
        less than a minor unit: no rounding makes 6.01 of 6.004.
        """
        if ours is None or theirs is None:
            return ours is theirs
        return theirs in {ours, self._rounded(ours, ROUND_HALF_UP), self._rounded(ours, ROUND_DOWN)}

    def has_reached(self, theirs_ns: int, ours_ns: int) -> bool:
        """True if the third party may have been told this date of ours, or a later one."""
        return theirs_ns >= ours_ns // self._tick_ns * self._tick_ns

    def is_past(self, theirs_ns: int, ours_ns: int) -> bool:
        """True if the third party must have been told a later date than ours."""
        return theirs_ns > (ours_ns + self._tick_ns // 2) // self._tick_ns * self._tick_ns

    def _rounded(self, amount: Decimal, mode: str) -> Decimal:
        return amount.quantize(self.till.minor_unit, mode, _any_amount)

    @property
    def _tick_ns(self) -> int:
        return int(10 ** (MAX_DATE_DIGITS - self.date_digits))


EXACT: Final = Resolution()
