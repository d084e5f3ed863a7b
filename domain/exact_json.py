"""JSON in which a number stays the decimal that was written.

Python's own `json` reads `19.99` as a float and can't write a `Decimal`. Here a literal with a point or an
exponent is read as a `Decimal`, digits and trailing zeros kept, and written as a JSON number again.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

_MAX_INTEGER_DIGITS = 4300  # Python's own limit for reading and writing an int


class InvalidJson(ValueError):
    """The text isn't JSON (RFC 8259), isn't UTF-8, or is nested too deep to read."""


def read_all(
    text: str, number: Callable[[str], Any], pairs: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Reads all that the grammar of JSON allows, also what msgspec refuses: half of a surrogate pair (`"\\ud800"`),
    and integers of any size. It takes several times as long.

    `number` makes something of a number's literal, and `pairs` of an object's members. Raises ValueError or
    RecursionError.
    """
    return json.loads(text, parse_float=number, parse_int=number, parse_constant=_refuse, object_pairs_hook=pairs)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _number(literal: str) -> Any:
    """What is beyond a Decimal is written again as it is."""
    try:
        return Decimal(literal)
    except ArithmeticError:
        return msgspec.Raw(literal.encode())


_decoder = msgspec.json.Decoder(float_hook=_number)
_encoder = msgspec.json.Encoder(decimal_format="number")


def loads(text: bytes | str) -> Any:
    """Reads JSON; integers come as `int`, other numbers as `Decimal`, never as `float`.

    Beyond all measure: an integer of more than 4300 digits is a `Decimal`, and a number whose exponent no `Decimal`
    has a `msgspec.Raw`. Both are written again as they were.
    """
    try:
        try:
            return _decoder.decode(text)
        except msgspec.ValidationError:  # an integer that is too large for it
            return read_all(text if isinstance(text, str) else text.decode(), _any_number)
    except (msgspec.DecodeError, UnicodeError, ArithmeticError, RecursionError, ValueError) as error:
        raise InvalidJson(str(error) or type(error).__name__) from error


def _any_number(literal: str) -> Any:
    is_integer = literal.lstrip("-").isdigit() and len(literal) <= _MAX_INTEGER_DIGITS
    return int(literal) if is_integer else _number(literal)


def dumps(value: Any) -> bytes:
    """Writes compact JSON as UTF-8; a `Decimal` becomes a number with all its digits."""
    return _encoder.encode(value)
