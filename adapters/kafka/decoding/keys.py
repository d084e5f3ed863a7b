"""A record's key: the order id, in what serializers of JVM clients make of it (contract.md, section 1)."""

import re
from typing import Final

from domain.identifiers import MAX_ORDER_ID

_DECIMAL: Final = re.compile(rb'("?)([1-9][0-9]{0,18})\1')
_TEXT: Final = re.compile(rb"[\x20-\x7e\x80-\xff]*")
_LONG_BYTES: Final = 8
_INT_BYTES: Final = 4


def is_key_of(order_id: int, key: bytes) -> bool:
    """True for the decimal, the decimal in JSON quotes, and 8 or 4 bytes big-endian.

    The order id is known, so that a key of 8 or 4 digits can't be taken for another number than the one it says.
    """
    decimal = b"%d" % order_id
    if key == decimal or key == b'"%s"' % decimal:
        return True
    return len(key) in {_LONG_BYTES, _INT_BYTES} and int.from_bytes(key, "big") == order_id


def order_id_of_key(key: bytes | None) -> int | None:
    """What the key alone says, where the payload can't be read; bytes that could as well be a text say nothing."""
    if key is None:
        return None
    found = _DECIMAL.fullmatch(key)
    if found is not None:
        order_id = int(found[2])
    elif len(key) in {_LONG_BYTES, _INT_BYTES} and not _TEXT.fullmatch(key):
        order_id = int.from_bytes(key, "big")
    else:
        return None
    return order_id if 1 <= order_id <= MAX_ORDER_ID else None
