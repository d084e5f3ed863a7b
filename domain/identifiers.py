"""Names of streams and calls: functions of the order alone, so that every process finds the same ones."""

from functools import lru_cache
from uuid import UUID, uuid5

from domain.messages import Message

MAX_ORDER_ID = 2**63 - 1

# A UUID of version 8 (RFC 9562, section 5.8) with the order id in its low bits: streams of orders created one
# after another lie side by side in the index, and the order id can be read back from the stream's name.
_PREFIX = 0xCA5B_BACC << 96 | 8 << 76 | 2 << 62
_LOW_BITS = 62
_KEPT_STREAM_IDS = 50_000  # to make one takes longer than to fold an event


@lru_cache(maxsize=_KEPT_STREAM_IDS)
def stream_id(order_id: int) -> UUID:
    """The originator id of an order's stream. Raises ValueError outside 1 … 2⁶³−1 (contract.md, section 1)."""
    if not 1 <= order_id <= MAX_ORDER_ID:
        raise ValueError(f"an order id is a whole number from 1 to 2^63-1, not {order_id}")
    high, low = divmod(order_id, 1 << _LOW_BITS)
    return UUID(int=_PREFIX | high << 64 | low)


def order_id_of(originator_id: UUID) -> int:
    """The inverse of `stream_id`."""
    value = originator_id.int ^ _PREFIX
    return (value >> 64) << _LOW_BITS | value & ((1 << _LOW_BITS) - 1)


def idempotency_key(originator_id: UUID, call: str, message: Message) -> UUID:
    """The key of the call of this kind that follows from a message (contract.md, section 2).

    It depends on the order, the kind of call and what the message says, so that every store that is filled from
    the topic finds the same one, in whatever order the messages arrive. Two facts with the same content (A, then B,
    then A again) differ by their number, or by the publisher's own identity where there is no number.
    """
    return key_of(originator_id, call, message.digest, message.identity, message.sequence)


def key_of(originator_id: UUID, call: str, digest: str, identity: str, sequence: int | None) -> UUID:
    """The same, of the parts of a message on which it depends."""
    what = f"{call}/{digest}"
    if sequence is not None:
        what += f"/sequence/{sequence}"
    elif identity != digest:
        what += f"/id/{identity}"
    return uuid5(originator_id, what)


def idempotency_key_by_version(originator_id: UUID, originator_version: int) -> UUID:
    """The key that calls had in ledgers written before version 0.2."""
    return uuid5(originator_id, str(originator_version))
