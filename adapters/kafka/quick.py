"""The quick way to what a payload says, for the messages that are as they should be.

The models in `wire.py` are the rule. They cost more than all the rest of reading a message, so most messages are
looked at here first, by the same rules or stricter ones; None leaves the judgement, and its reasons, to the models.
tests/property/test_round_trips.py holds the two against each other.
"""

from decimal import Decimal
from typing import Any, Final, TypeGuard

from adapters.kafka.wire import ITEMS, MAX_REASON_LENGTH, MAX_TEXT_LENGTH, Facts
from domain.identifiers import MAX_ORDER_ID
from domain.messages import Kind
from domain.money import item_cashback

# Well within what money.py calculates with: such a number need not be looked at digit by digit.
_MAX_AMOUNT: Final = 10**15
_MIN_FRACTION: Final = Decimal("0.000001")
_MAX_AMOUNT_LENGTH: Final = 24  # characters


def quick_facts(kind: Kind, payload: dict[str, Any]) -> Facts | None:
    """What the payload says; None if it isn't plain to see that it's right."""
    get = payload.get
    order_id, transaction_id, date = get("orderId"), get("transactionId"), get("transactionDate")
    store_no, buyer_id = get("storeNo"), get("buyerId")
    if type(order_id) is not int or not 1 <= order_id <= MAX_ORDER_ID:
        return None
    if not _is_text(transaction_id) or type(date) is not str:
        return None
    if kind is Kind.CANCELLED or kind is Kind.COMPLETED:
        reason = get("reason")
        if not (store_no is None or _is_text(store_no)) or not (buyer_id is None or _is_text(buyer_id)):
            return None
        if not (reason is None or _is_text(reason, MAX_REASON_LENGTH)):
            return None
        return Facts(order_id, transaction_id, date, store_no, buyer_id, reason)
    if not _is_text(store_no) or not _is_text(buyer_id):
        return None
    items = get(ITEMS)
    if type(items) is not list or (not items and kind is Kind.CREATED):
        return None
    cashbacks = []
    for item in items:
        cashback = _cashback(item)
        if cashback is None:
            return None
        cashbacks.append(cashback)
    return Facts(order_id, transaction_id, date, store_no, buyer_id, None, tuple(cashbacks))


def _cashback(item: Any) -> Decimal | None:
    product = item.get("productItem") if type(item) is dict else None
    if type(product) is not dict:
        return None
    get = product.get
    quantity: Any = get("quantity")
    price: Any = get("originalPrice")
    final: Any = get("finalTotalPrice")
    if not (_is_text(get("externalProductId")) and _is_text(get("unit"))) or not quantity:
        return None
    for amount in (quantity, price, final, get("discountedPrice"), get("vatRate")):
        if type(amount) is int:  # it counts as the Decimal that it becomes in the first calculation
            if not 0 <= amount <= _MAX_AMOUNT:
                return None
        elif not _is_plain(amount):
            return None
    return item_cashback(price, quantity, final)


def _is_text(value: Any, longest: int = MAX_TEXT_LENGTH) -> TypeGuard[str]:
    return type(value) is str and len(value) <= longest and "\x00" not in value


def _is_plain(amount: Any) -> bool:
    is_fit = type(amount) is Decimal and _MIN_FRACTION <= amount <= _MAX_AMOUNT
    return is_fit and len(str(amount)) <= _MAX_AMOUNT_LENGTH
