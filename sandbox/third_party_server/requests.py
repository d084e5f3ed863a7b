"""What a call of the third party's API says: bodies read strictly, as contract.md (section 2) lists them.

Members that aren't listed are refused, except inside `items`, whose objects are taken as they come.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Any, assert_never

import msgspec

MAX_ORDER_ID = 2**63 - 1
MAX_AMOUNT_DIGITS_BEFORE_POINT = 150
MAX_AMOUNT_DIGITS_AFTER_POINT = 100

OrderId = Annotated[int, msgspec.Meta(ge=1, le=MAX_ORDER_ID)]

_ORDER_ID = re.compile(r"[1-9][0-9]{0,18}")
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?!24)\d\d:\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # fromisoformat looks at the rest, but takes 24:00 since Python 3.13
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MAX_WRITTEN_ZEROS = 100
_CANONICAL_DIGITS = Context(prec=10_000, traps=[])


class InvalidRequest(ValueError):
    """The path or the body isn't a call that the API knows; the text says where and why."""


class Operation(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    CANCEL = "cancel"
    COMPLETE = "complete"
    CORRECT = "correct"


@dataclass(frozen=True, slots=True)
class CashbackRequest:
    """`amount`, `store_no` and `buyer_id` are None where the operation doesn't carry them."""

    operation: Operation
    order_id: int
    transaction_date: str
    instant_ns: int
    amount: Decimal | None
    store_no: str | None
    buyer_id: str | None


class _Change(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    order_id: OrderId
    store_no: str
    buyer_id: str
    transaction_id: str
    transaction_date: str
    cashback_amount: Any  # Any, because a field typed Decimal would also take a string
    items: list[dict[str, Any]]


class _Cancel(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    order_id: OrderId
    transaction_id: str
    transaction_date: str
    reason: str | msgspec.UnsetType = msgspec.UNSET


class _Complete(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    order_id: OrderId
    transaction_id: str
    transaction_date: str
    cashback_amount: Any


class _Correct(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    order_id: OrderId
    transaction_id: str
    transaction_date: str
    cashback_amount: Any
    reason: str


def _canonical_number(text: str) -> int | Decimal:
    """6.0, 6.00 and 6 are one number; past 10,000 digits differences are no longer seen."""
    number = Decimal(text).normalize(_CANONICAL_DIGITS)
    exponent = number.as_tuple().exponent
    return int(number) if isinstance(exponent, int) and 0 <= exponent < _MAX_WRITTEN_ZEROS else number


_change = msgspec.json.Decoder(_Change, float_hook=Decimal)
_cancel = msgspec.json.Decoder(_Cancel, float_hook=Decimal)
_complete = msgspec.json.Decoder(_Complete, float_hook=Decimal)
_correct = msgspec.json.Decoder(_Correct, float_hook=Decimal)
_anything = msgspec.json.Decoder(float_hook=_canonical_number)
_sorted = msgspec.json.Encoder(order="sorted", decimal_format="number")


def parse_order_id(text: str) -> int:
    """An order id in a path: decimal, no sign, no leading zero, at most 2^63 - 1."""
    if not _ORDER_ID.fullmatch(text) or int(text) > MAX_ORDER_ID:
        raise InvalidRequest("the order id in the path isn't an integer from 1 to 2^63-1")
    return int(text)


def parse(operation: Operation, path_order_id: int | None, body: bytes) -> CashbackRequest:
    """Reads a call's body; raises InvalidRequest, also when the path names another order than the body."""
    try:
        request = _parse(operation, body)
    except InvalidRequest:
        raise
    except (ValueError, ArithmeticError, RecursionError) as error:  # also numbers beyond what Python can hold
        raise InvalidRequest(f"the body isn't a valid {operation}: {error}") from error
    if path_order_id is not None and request.order_id != path_order_id:
        raise InvalidRequest(f"the path names order {path_order_id}, the body order {request.order_id}")
    return request


def _parse(operation: Operation, body: bytes) -> CashbackRequest:
    call: _Change | _Cancel | _Complete | _Correct
    amount = store_no = buyer_id = None
    match operation:
        case Operation.CREATE | Operation.UPDATE:
            call = _change.decode(body)
            amount, store_no, buyer_id = _amount(call.cashback_amount), call.store_no, call.buyer_id
        case Operation.CANCEL:
            call = _cancel.decode(body)
        case Operation.COMPLETE:
            call = _complete.decode(body)
            amount = _amount(call.cashback_amount)
        case Operation.CORRECT:
            call = _correct.decode(body)
            amount = _amount(call.cashback_amount)
        case _:
            assert_never(operation)
    instant_ns = parse_instant_ns(call.transaction_date)
    return CashbackRequest(operation, call.order_id, call.transaction_date, instant_ns, amount, store_no, buyer_id)


def _amount(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise InvalidRequest("cashbackAmount isn't a number")
    amount = Decimal(value)
    exponent = amount.as_tuple().exponent
    if amount < 0:
        raise InvalidRequest("cashbackAmount is negative")
    if (
        not isinstance(exponent, int)
        or exponent < -MAX_AMOUNT_DIGITS_AFTER_POINT
        or amount.adjusted() >= MAX_AMOUNT_DIGITS_BEFORE_POINT
    ):
        raise InvalidRequest("cashbackAmount has too many digits")
    return amount


def parse_instant_ns(text: str) -> int:
    """An RFC 3339 date-time as nanoseconds since 1970, exact; a leap second is the second that follows it.

    Not the service's own reader: a mistake there must show here as calls in the wrong order.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise InvalidRequest("transactionDate isn't an RFC 3339 date-time with at most nine fractional digits")
    day, hour_and_minute, second, fraction, offset = match.groups()
    leap_seconds = 1 if second == "60" else 0
    try:
        moment = datetime.fromisoformat(f"{day}T{hour_and_minute}:{int(second) - leap_seconds:02}{offset.upper()}")
    except ValueError as error:
        raise InvalidRequest(f"transactionDate: {error}") from error
    seconds = (moment - _EPOCH) // _SECOND + leap_seconds
    return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def digest(method: str, path: str, body: bytes) -> bytes:
    """Equal for two calls that say the same: method, path, and body as JSON.

    The order of members, white space and the spelling of numbers (6 or 6.0) don't matter. A body that isn't
    JSON is taken byte for byte.
    """
    try:
        canonical = _sorted.encode(_anything.decode(body))
    except (ValueError, ArithmeticError, RecursionError):
        canonical = body
    return blake2b(b"%b %b\n%b" % (method.encode(), path.encode(), canonical), digest_size=16).digest()
