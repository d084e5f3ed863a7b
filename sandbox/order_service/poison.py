"""Records that nobody can read. Each would be a good message of an order that there isn't, but for one thing."""

from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any, Final

from adapters.kafka.decoding.decoder import Reason
from adapters.kafka.producer.order_publisher import Encoded, encode
from domain import exact_json
from domain.instants import format_instant
from domain.messages import Kind
from sandbox.order_service.lifecycles import MAX_ORDER_ID

POISON_HEADER: Final = "sandbox-poison"
"""Marks them, so that the demo can tell its own from others: `RUN/NUMBER`."""

_ITEM: Final = {
    "externalProductId": "67867",
    "quantity": Decimal("1.250"),
    "unit": "KG",
    "originalPrice": Decimal("156.00"),
    "discountedPrice": Decimal("153.00"),
    "finalTotalPrice": Decimal("191.25"),
    "vatRate": Decimal(1),
}


def poison(run: str, number: int, at_ns: int, chance: Random) -> Encoded:
    """The run's poison with this number. Its order id counts down from the greatest, where no run's orders are."""
    order_id = MAX_ORDER_ID - number
    payload: dict[str, Any] = {
        "orderId": order_id,
        "storeNo": "54645",
        "orderItemsWithDiscountSummaryItems": [{"productItem": dict(_ITEM)}],
        "buyerId": "1234",
        "transactionId": f"poison-{run}-{number}",
        "transactionDate": format_instant(at_ns),
    }
    key, value, headers = encode(Kind.CREATED, payload, sequence=None)
    headers = (*headers, (POISON_HEADER, f"{run}/{number}".encode()))
    _, spoil = chance.choice(POISONS)
    return spoil(Encoded(key, value, headers))


def _cut_off(good: Encoded) -> Encoded:
    return good._replace(value=good.value[:-2])


def _empty(good: Encoded) -> Encoded:
    return good._replace(value=b"")


def _unknown_type(good: Encoded) -> Encoded:
    return _rewritten(good, type="PAID")


def _strange_key(good: Encoded) -> Encoded:
    return good._replace(key=b"order-" + good.key)


def _no_order_id(good: Encoded) -> Encoded:
    return _rewritten(good, payload=_payload(good) | {"orderId": None})


def _amount_as_text(good: Encoded) -> Encoded:
    return _with_item(good, originalPrice="156,00")


def _amount_below_zero(good: Encoded) -> Encoded:
    return _with_item(good, finalTotalPrice=Decimal("-0.01"))


def _no_such_day(good: Encoded) -> Encoded:
    return _rewritten(good, payload=_payload(good) | {"transactionDate": "2025-02-30T12:00:00Z"})


def _no_items(good: Encoded) -> Encoded:
    return _rewritten(good, payload=_payload(good) | {"orderItemsWithDiscountSummaryItems": []})


def _number_zero(good: Encoded) -> Encoded:
    return good._replace(headers=(*good.headers, ("sequence", b"0")))


POISONS: Final[tuple[tuple[Reason, Callable[[Encoded], Encoded]], ...]] = (
    ("not_json", _cut_off),
    ("not_json", _empty),
    ("unknown_type", _unknown_type),
    ("key_mismatch", _strange_key),
    ("no_order_id", _no_order_id),
    ("bad_amount", _amount_as_text),
    ("bad_amount", _amount_below_zero),
    ("bad_date", _no_such_day),
    ("bad_payload", _no_items),
    ("bad_header", _number_zero),
)
"""Each with the reason that the quarantine gives for it."""


def _rewritten(good: Encoded, **members: Any) -> Encoded:
    return good._replace(value=exact_json.dumps(exact_json.loads(good.value) | members))


def _with_item(good: Encoded, **members: Any) -> Encoded:
    line = {"productItem": dict(_ITEM) | members}
    return _rewritten(good, payload=_payload(good) | {"orderItemsWithDiscountSummaryItems": [line]})


def _payload(good: Encoded) -> dict[str, Any]:
    payload: dict[str, Any] = exact_json.loads(good.value)["payload"]
    return payload
