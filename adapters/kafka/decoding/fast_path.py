"""The quick way to what a payload says, for the messages that are as they should be.

The models in `schema.py` are the rule. They cost more than all the rest of reading a message, so most messages are
looked at here first, by the same rules or stricter ones; None leaves the judgement, and its reasons, to the models.
tests/property/test_round_trips.py holds the two against each other.
"""

from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from adapters.kafka.decoding.schema import ITEMS, MAX_REASON_LENGTH, MAX_TEXT_LENGTH, Facts
from adapters.msgspec_ready import make_ready
from domain.identifiers import MAX_ORDER_ID
from domain.messages import Kind
from domain.money import Till, is_implausible_price

_Text = Annotated[str, Meta(max_length=MAX_TEXT_LENGTH)]
# Well within what money.py calculates with. An int counts as the Decimal that it becomes in the first calculation.
_Amount = Annotated[int, Meta(ge=0, le=10**15)] | Decimal


class _ProductItem(msgspec.Struct, rename="camel", gc=False):
    external_product_id: _Text
    quantity: _Amount
    unit: _Text
    original_price: _Amount
    final_total_price: _Amount
    discounted_price: _Amount | None = None
    vat_rate: _Amount | None = None


class _Item(msgspec.Struct, rename="camel", gc=False):
    product_item: _ProductItem


class _Payload(msgspec.Struct, rename="camel", gc=False):
    order_id: Annotated[int, Meta(ge=1, le=MAX_ORDER_ID)]
    transaction_id: _Text
    transaction_date: Any


class _Terms(_Payload, rename="camel", kw_only=True, gc=False):
    store_no: _Text
    buyer_id: _Text
    items: list[_Item] = msgspec.field(name=ITEMS)


class _End(_Payload, rename="camel", gc=False):
    store_no: _Text | None = None
    buyer_id: _Text | None = None
    reason: Annotated[str, Meta(max_length=MAX_REASON_LENGTH)] | None = None


make_ready(_Terms, _End)
_NUMBERS: Final = (Decimal,)  # they are there already: a text isn't taken for one


def quick_facts(kind: Kind, payload: dict[str, Any], till: Till) -> Facts | None:
    """What a payload of plain JSON (see canonical_json.py) says; None if it isn't easy to see that it's right."""
    try:
        if kind.is_end:
            end = msgspec.convert(payload, _End, builtin_types=_NUMBERS)
            return Facts(
                end.order_id, end.transaction_id, end.transaction_date, end.store_no, end.buyer_id, end.reason
            )
        terms = msgspec.convert(payload, _Terms, builtin_types=_NUMBERS)
    except msgspec.ValidationError:
        return None
    if not terms.items and kind is Kind.CREATED:
        return None
    cashbacks = []
    is_implausible = False
    for item in terms.items:
        product = item.product_item
        if not product.quantity:
            return None
        quantity, final = product.quantity, product.final_total_price
        cashbacks.append(till.item_cashback(product.original_price, quantity, final))
        is_implausible = is_implausible or is_implausible_price(product.discounted_price, quantity, final)
    return Facts(
        terms.order_id,
        terms.transaction_id,
        terms.transaction_date,
        terms.store_no,
        terms.buyer_id,
        None,
        tuple(cashbacks),
        is_implausible,
    )
