"""Decoding in tests, and the example message of contract.md."""

from adapters.kafka.decoding.decoder import DEFAULT_MAX_MESSAGE_BYTES, Unreadable, decode
from adapters.kafka.decoding.record import Record
from domain.messages import Message

SEED = b"""{
"payload": {
"orderId": 24323523,
"storeNo": "54645",
"orderItemsWithDiscountSummaryItems": [
{
"productItem": {
"externalProductId": "67867",
"quantity": 2,
"unit": "KG",
"originalPrice": 156,
"discountedPrice": 153,
"finalTotalPrice": 306,
"vatRate": 1
}
}
],
"buyerId": "1234",
"transactionId": "5661042b-cc39-4567-a264-265943097139",
"transactionDate": "2025-02-28T13:36:06.026732837Z"
},
"type": "CREATED"
}"""


def read(source: Record) -> Message:
    found = decode(source)
    assert isinstance(found, Message), found
    return found


def refused(source: Record, *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> Unreadable:
    found = decode(source, max_message_bytes=max_message_bytes)
    assert isinstance(found, Unreadable), found
    return found
