"""What a payload must hold, as models (contract.md, section 1).

docs/schemas and docs/asyncapi.json are made from them (`python -m scripts.asyncapi`). What is checked beyond the
types stands beside it as JSON Schema, as far as JSON Schema can say it.
"""

from decimal import Decimal
from typing import Annotated, Final

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from domain.identifiers import MAX_ORDER_ID
from domain.messages import Kind
from domain.money import DEFAULT_TILL, check_amount

MAX_TEXT_LENGTH: Final = 256
"""Characters in an id, a store number or a transaction id; a longer one can't be indexed."""
MAX_REASON_LENGTH: Final = 4096
ITEMS: Final = "orderItemsWithDiscountSummaryItems"
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


def _as_number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a JSON number")  # noqa: TRY004 - pydantic turns a ValueError into its own
    return check_amount(value)


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
    discounted_price: Annotated[_NotNegative, Field(alias="discountedPrice")]
    final_total_price: Annotated[_NotNegative, Field(alias="finalTotalPrice")]
    vat_rate: Annotated[_NotNegative, Field(alias="vatRate")]


class _Item(_Wire):
    product_item: Annotated[_ProductItem, Field(alias="productItem")]


class _Payload(_Wire):
    order_id: Annotated[int, Field(alias="orderId", ge=1, le=MAX_ORDER_ID)]
    transaction_id: Annotated[_Text, Field(alias="transactionId")]
    transaction_date: Annotated[
        str,
        Field(
            alias="transactionDate",
            description="When it was published: RFC 3339 with up to nine fractional digits.",
            json_schema_extra={"pattern": _DATE_PATTERN},
        ),
    ]


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What a message needs to know of its payload."""

    order_id: int
    transaction_id: str
    transaction_date: str
    store_no: str | None
    buyer_id: str | None
    reason: str | None = None
    cashbacks: tuple[Decimal, ...] | None = None
    """Of each item; None where a payload has none."""


class Ended(_Payload):
    store_no: Annotated[_Text | None, Field(alias="storeNo")] = None
    buyer_id: Annotated[_Text | None, Field(alias="buyerId")] = None
    reason: Annotated[
        str | None,
        Field(max_length=MAX_REASON_LENGTH, json_schema_extra=_WITHOUT_NUL),
        BeforeValidator(_without_nul),
    ] = None

    def facts(self) -> Facts:
        return Facts(
            self.order_id, self.transaction_id, self.transaction_date, self.store_no, self.buyer_id, self.reason
        )


class Updated(_Payload):
    store_no: Annotated[_Text, Field(alias="storeNo")]
    buyer_id: Annotated[_Text, Field(alias="buyerId")]
    items: Annotated[list[_Item], Field(alias=ITEMS, description="The whole new list.")]

    def facts(self) -> Facts:
        products = (item.product_item for item in self.items)
        cashbacks = tuple(
            DEFAULT_TILL.item_cashback(each.original_price, each.quantity, each.final_total_price) for each in products
        )
        return Facts(
            self.order_id, self.transaction_id, self.transaction_date, self.store_no, self.buyer_id, None, cashbacks
        )


class Created(Updated):
    items: Annotated[list[_Item], Field(alias=ITEMS, min_length=1)]


WIRE_TYPES: Final[dict[Kind, type[Updated | Ended]]] = {
    Kind.CREATED: Created,
    Kind.UPDATED: Updated,
    Kind.CANCELLED: Ended,
    Kind.COMPLETED: Ended,
}
