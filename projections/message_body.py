"""What stands in a stored message's body, piece by piece and byte for byte.

Nothing more is read than the way to it: what else stands in a body can neither change nor stop us.
"""

import re
from typing import Final

import msgspec

from domain.messages import Message

REGISTRY_PREFIX_BYTES: Final = 5
"""What serializers of a schema registry put before a value: a zero, and the schema's id in four bytes."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Every escape, so that the end of one is never taken for the beginning of another.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_REPLACEMENT: Final = rb"\ufffd"


class _Item(msgspec.Struct):
    product: msgspec.Raw = msgspec.field(name="productItem")


class _Payload(msgspec.Struct):
    items: list[_Item] = msgspec.field(name="orderItemsWithDiscountSummaryItems")


_payload = msgspec.json.Decoder(_Payload)


def json_of(value: bytes) -> bytes:
    """A record's value, without what a schema registry's serializer puts before it: no JSON begins with a zero."""
    return value[REGISTRY_PREFIX_BYTES:] if value.startswith(b"\0") else value


def payload_of(message: Message) -> msgspec.Raw:
    """The payload as received, wherever in the body it stands.

    But for halves of surrogate pairs, which only members that nobody knows can hold: they are no text, and few can
    read them. Here they are U+FFFD.
    """
    found = msgspec.Raw(_without_half_pairs(json_of(message.body)))
    for name in message.payload_path:
        found = _object.decode(found)[name]
    return found


def product_items(message: Message) -> list[msgspec.Raw]:
    """The product items of a CREATED or an UPDATED as received."""
    return [item.product for item in _payload.decode(payload_of(message)).items]


def _without_half_pairs(json: bytes) -> bytes:
    if b"\\ud" not in json and b"\\uD" not in json:
        return json
    return _ESCAPE.sub(lambda found: _REPLACEMENT if found["half"] else found[0], json)
