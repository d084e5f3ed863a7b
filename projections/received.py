"""What stands in a stored message's body, piece by piece and byte for byte.

Nothing more is read than the way to it: what else stands in a body can neither change nor stop us.
"""

import msgspec

from domain.messages import Message

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Item(msgspec.Struct):
    product: msgspec.Raw = msgspec.field(name="productItem")


class _Payload(msgspec.Struct):
    items: list[_Item] = msgspec.field(name="orderItemsWithDiscountSummaryItems")


_payload = msgspec.json.Decoder(_Payload)


def payload_of(message: Message) -> msgspec.Raw:
    """The payload as received, wherever in the body it stands."""
    found = msgspec.Raw(message.body)
    for name in message.payload_path:
        found = _object.decode(found)[name]
    return found


def product_items(message: Message) -> list[msgspec.Raw]:
    """The product items of a CREATED or an UPDATED as received."""
    return [item.product for item in _payload.decode(payload_of(message)).items]
