"""JSON in the one form that all spellings of the same content have, and its digest.

A number becomes an int, or a Decimal without trailing zeros: `2.50`, `2.5` and `25e-1` are the same number.
"""

from collections import Counter
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation, Overflow, Underflow
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from domain.exact_json import read_all
from domain.messages import Kind

_MAX_PLAIN_LENGTH: Final = len("1740749766.026732837")
_KEPT_NUMBERS: Final = 16_384
_MAX_INTEGER_DIGITS: Final = 4300  # Python's own limit for reading and writing an int
_BACKSLASH: Final = b"\\"
_ESCAPED_NUL: Final = b"\\u0000"
_APART: Final = "half surrogate pairs"
# Wide enough for any literal that fits into a message; what is too wide to calculate with is refused by money.py.
_any_size = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation, Overflow, Underflow])


def _number(text: str) -> Decimal | int | msgspec.Raw:
    try:
        number = _any_size.normalize(_any_size.create_decimal(text))
    except ArithmeticError:  # an exponent beyond all measure: what is paid for can't have it
        return msgspec.Raw(text.encode())
    is_integer = number.adjusted() < _MAX_INTEGER_DIGITS and number == number.to_integral_value()
    return int(number) if is_integer else number


class _NotPlain(Exception):
    pass


# Prices come again and again. What isn't plain isn't kept: long literals would fill the memory.
@lru_cache(maxsize=_KEPT_NUMBERS)
def _plain_number(text: str) -> Decimal | int | msgspec.Raw:
    if len(text) > _MAX_PLAIN_LENGTH or text[0] == "-" or "e" in text or "E" in text:
        raise _NotPlain
    return _number(text)


_plain_decoder = msgspec.json.Decoder(float_hook=_plain_number)
_decoder = msgspec.json.Decoder(float_hook=_number)
_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="number")


def read(value: bytes) -> tuple[Any, bool]:
    """What the JSON says, and whether it is plain: no text holds U+0000, and all Decimals are from 0 on and have
    at most 20 digits, so that they can be calculated with as they are. (Of its ints that says nothing.)

    Raises msgspec.DecodeError, UnicodeError, RecursionError or ValueError if it isn't JSON.
    """
    try:
        if _BACKSLASH not in value or _ESCAPED_NUL not in value:
            try:
                return _plain_decoder.decode(value), True
            except _NotPlain:
                pass
        return _decoder.decode(value), False
    except (msgspec.DecodeError, UnicodeError) as error:
        try:
            return read_all(value.decode(), _number), False
        except (UnicodeError, ValueError):
            raise error from None  # which says better what is wrong


class Members(dict[str, Any]):
    """A JSON object that remembers which of its members stood in it more than once."""

    repeated: frozenset[str] = frozenset()

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> "Members":
        members = cls(pairs)
        if len(members) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            members.repeated = frozenset(name for name, count in counts.items() if count > 1)
        return members


def read_members(value: bytes) -> Any:
    """What the JSON says, its objects as Members; numbers are of no account here. Raises what `read` raises."""
    return read_all(value.decode(), str, Members.of)


def write(kind: Kind, happened_at_ns: int, payload: dict[str, Any]) -> bytes:
    """Equal for equal content, whatever the order of the members and the spelling of numbers and date."""
    content = [kind, happened_at_ns, payload | {"transactionDate": None}]
    try:
        return _encoder.encode(content)
    except UnicodeEncodeError:
        return _encoder.encode([*_as_octets(content), _APART])


def digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _as_octets(value: Any) -> Any:
    """With texts that can be written as UTF-8 whatever they hold, and differ where they differed."""
    match value:
        case str():
            return value.encode("utf-8", "surrogatepass").decode("latin-1")
        case list():
            return [_as_octets(each) for each in value]
        case dict():
            return {_as_octets(name): _as_octets(each) for name, each in value.items()}
        case _:
            return value
