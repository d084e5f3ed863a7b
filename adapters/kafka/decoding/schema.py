"""What a payload must hold, as models (contract.md, section 1).

docs/schemas and docs/asyncapi.json are made from them (`python -m scripts.asyncapi`). What is checked beyond the
types stands beside it as JSON Schema, as far as JSON Schema can say it. The schemas say what publishers should
send. The models take more, by exact rules: a number of a product item, and the order id, may be in quotes, and what
a `transactionDate` may be says `domain.instants.read_instant`.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic.config import JsonDict

from domain.identifiers import MAX_ORDER_ID
from domain.messages import Kind
from domain.money import Till, check_amount, is_implausible_price

MAX_TEXT_LENGTH: Final = 256
"""Characters in an id, a store number or a transaction id; a longer one can't be indexed."""
MAX_REASON_LENGTH: Final = 4096
ITEMS: Final = "orderItemsWithDiscountSummaryItems"
PRODUCT: Final = "productItem"
AMOUNTS: Final = frozenset({"quantity", "originalPrice", "discountedPrice", "finalTotalPrice", "vatRate"})
"""The numbers of a product item."""
MAX_SEQUENCE_DIGITS: Final = 18
KEY_PATTERN: Final = "^[1-9][0-9]{0,18}$"
SEQUENCE_PATTERN: Final = f"^(?=.{{1,{MAX_SEQUENCE_DIGITS}}}$)0*[1-9][0-9]*$"
_DATE_PATTERN: Final = (
    "^(167[7-9]|16[89][0-9]|1[7-9][0-9]{2}|2[01][0-9]{2}|22[0-5][0-9]|226[0-2])"
    "-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    "[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)([.][0-9]{1,9})?"
    "([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
_WITHOUT_NUL: Final[JsonDict] = {"pattern": "^[^\\u0000]*$"}
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?")
_KEY: Final = re.compile(KEY_PATTERN)


def _as_number(value: object) -> Decimal:
    """A JSON number, or one in quotes: nothing that a number in JSON couldn't be."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        try:
            value = Decimal(value)
        except ArithmeticError:
            raise ValueError("an exponent beyond all measure") from None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a JSON number")  # noqa: TRY004 - pydantic turns a ValueError into its own
    return check_amount(value)


def order_id_in(text: object) -> object:
    """The number in a text that is an order id in plain decimal; anything else as it is."""
    return int(text) if isinstance(text, str) and _KEY.fullmatch(text) else text


def _without_nul(value: object) -> object:
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("must not hold the character U+0000")
    return value


_Text = Annotated[
    str,
    StringConstraints(max_length=MAX_TEXT_LENGTH),
    BeforeValidator(_without_nul),
    Field(json_schema_extra=_WITHOUT_NUL),
]
_Number = Annotated[Decimal, BeforeValidator(_as_number)]
_NotNegative = Annotated[_Number, Field(ge=0)]


class _Wire(BaseModel):
    """Members that we don't know are none of our business; they stay in the body."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _ProductItem(_Wire):
    external_product_id: Annotated[_Text, Field(alias="externalProductId")]
    quantity: Annotated[_Number, Field(gt=0)]
    unit: _Text
    original_price: Annotated[_NotNegative, Field(alias="originalPrice")]
    discounted_price: Annotated[_NotNegative | None, Field(alias="discountedPrice")] = None
    final_total_price: Annotated[_NotNegative, Field(alias="finalTotalPrice")]
    vat_rate: Annotated[_NotNegative | None, Field(alias="vatRate")] = None


class _Item(_Wire):
    product_item: Annotated[_ProductItem, Field(alias=PRODUCT)]


class _Payload(_Wire):
    order_id: Annotated[int, Field(alias="orderId", ge=1, le=MAX_ORDER_ID), BeforeValidator(order_id_in)]
    transaction_id: Annotated[_Text, Field(alias="transactionId")]
    transaction_date: Annotated[
        Any,
        Field(alias="transactionDate"),
        WithJsonSchema(
            {
                "type": "string",
                "description": "When it was published: RFC 3339 with up to nine fractional digits.",
                "pattern": _DATE_PATTERN,
            }
        ),
    ]


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What a message needs to know of its payload."""

    order_id: int
    transaction_id: str
    transaction_date: Any
    """As it stands in the JSON: nobody has looked whether it is one."""
    store_no: str | None
    buyer_id: str | None
    reason: str | None = None
    cashbacks: tuple[Decimal, ...] | None = None
    """Of each item; None where a payload has none."""
    is_implausible: bool = False
    """True if an item's prices contradict each other."""


class Ended(_Payload):
    store_no: Annotated[_Text | None, Field(alias="storeNo")] = None
    buyer_id: Annotated[_Text | None, Field(alias="buyerId")] = None
    reason: Annotated[
        str | None,
        Field(max_length=MAX_REASON_LENGTH, json_schema_extra=_WITHOUT_NUL),
        BeforeValidator(_without_nul),
    ] = None

    def facts(self, till: Till) -> Facts:  # noqa: ARG002 - the other's signature
        return Facts(
            self.order_id, self.transaction_id, self.transaction_date, self.store_no, self.buyer_id, self.reason
        )


class Updated(_Payload):
    store_no: Annotated[_Text, Field(alias="storeNo")]
    buyer_id: Annotated[_Text, Field(alias="buyerId")]
    items: Annotated[list[_Item], Field(alias=ITEMS, description="The whole new list.")]

    def facts(self, till: Till) -> Facts:
        products = [item.product_item for item in self.items]
        return Facts(
            self.order_id,
            self.transaction_id,
            self.transaction_date,
            self.store_no,
            self.buyer_id,
            None,
            tuple(
                till.item_cashback(each.original_price, each.quantity, each.final_total_price) for each in products
            ),
            any(
                is_implausible_price(each.discounted_price, each.quantity, each.final_total_price)
                for each in products
            ),
        )


class Created(Updated):
    items: Annotated[list[_Item], Field(alias=ITEMS, min_length=1)]


def members_of(model: type[BaseModel]) -> frozenset[str]:
    """Their names on the wire."""
    return frozenset(field.alias or name for name, field in model.model_fields.items())


PRODUCT_MEMBERS: Final = members_of(_ProductItem)
WIRE_TYPES: Final[dict[Kind, type[Updated | Ended]]] = {
    Kind.CREATED: Created,
    Kind.UPDATED: Updated,
    Kind.CANCELLED: Ended,
    Kind.COMPLETED: Ended,
}
