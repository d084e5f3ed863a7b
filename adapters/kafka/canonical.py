"""JSON in the one form that all spellings of the same content have, and its digest.

A number becomes an int, or a Decimal without trailing zeros: `2.50`, `2.5` and `25e-1` are the same number.
"""

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation, Overflow, Underflow
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from domain.messages import Kind

_MAX_PLAIN_LENGTH: Final = 16
_KEPT_NUMBERS: Final = 16_384
_MAX_INTEGER_DIGITS: Final = 4300  # Python's own limit for reading and writing an int
_ESCAPED_NUL: Final = b"\\u0000"
# Wide enough for any literal that fits into a message; what is too wide to calculate with is refused by money.py.
_any_size = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation, Overflow, Underflow])


def _number(text: str) -> Decimal | int:
    number = _any_size.normalize(_any_size.create_decimal(text))
    is_integer = number.adjusted() < _MAX_INTEGER_DIGITS and number == number.to_integral_value()
    return int(number) if is_integer else number


class _NotPlain(Exception):
    pass


# Prices come again and again. What isn't plain isn't kept: long literals would fill the memory.
@lru_cache(maxsize=_KEPT_NUMBERS)
def _plain_number(text: str) -> Decimal | int:
    if len(text) > _MAX_PLAIN_LENGTH or text[0] == "-" or "e" in text or "E" in text:
        raise _NotPlain
    return _number(text)


_plain_decoder = msgspec.json.Decoder(float_hook=_plain_number)
_decoder = msgspec.json.Decoder(float_hook=_number)
_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="number")


def read(value: bytes) -> tuple[Any, bool]:
    """What the JSON says, and whether it is plain: no text holds U+0000, and all Decimals are from 0 on and have
    less than 16 digits, so that they can be calculated with as they are. (Of its ints that says nothing.)

    Raises msgspec.DecodeError, UnicodeError, ArithmeticError, RecursionError or ValueError if it isn't JSON.
    """
    if _ESCAPED_NUL not in value:
        try:
            return _plain_decoder.decode(value), True
        except _NotPlain:
            pass
    return _decoder.decode(value), False


def digest(kind: Kind, happened_at_ns: int, payload: dict[str, Any]) -> str:
    """Equal for equal content, whatever the order of the members and the spelling of numbers and date."""
    content = [kind, happened_at_ns, payload | {"transactionDate": None}]
    return blake2b(_encoder.encode(content), digest_size=16).hexdigest()
