"""JSON in which a number stays the decimal that was written.

Python's own `json` reads `19.99` as a float and can't write a `Decimal`. Here a literal with a point or an
exponent is read as a `Decimal`, digits and trailing zeros kept, and written as a JSON number again.
"""

from decimal import Decimal
from typing import Any

import msgspec


class InvalidJson(ValueError):
    """The text isn't JSON (RFC 8259), isn't UTF-8, or is nested too deep to read."""


_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def loads(text: bytes | str) -> Any:
    """Reads JSON; integers come as `int` of any size, other numbers as `Decimal`, never as `float`."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, ArithmeticError, RecursionError, ValueError) as error:
        raise InvalidJson(str(error) or type(error).__name__) from error


def dumps(value: Any) -> bytes:
    """Writes compact JSON as UTF-8; a `Decimal` becomes a number with all its digits."""
    return _encoder.encode(value)
