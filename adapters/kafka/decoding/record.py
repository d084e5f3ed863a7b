"""A record as it lies on the topic, before anybody has looked into it."""

from collections.abc import Callable
from operator import methodcaller
from typing import Any, Final

import msgspec
from confluent_kafka import Message

from domain.ports import Partition

Headers = tuple[tuple[str, bytes | None], ...]

UNREADABLE_HEADERS: Final[Headers] = (("cashback-unreadable-headers", None),)
"""Stands for the headers of a record if the name of one isn't UTF-8: the client can't tell us any of them."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record with its coordinates."""

    partition: Partition
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    leader_epoch: int | None = None

    def header(self, name: str) -> bytes | None:
        """The first value under this name; None if there is none."""
        return next((value for key, value in self.headers if key == name), None)


# confluent-kafka 2.16 answers such headers with a broken list, and leaves an error pending. The interpreter notices
# if it makes the call from C, as here (a SystemError), but not always if from Python: then it may crash.
_headers_of: Callable[[Message], Any] = methodcaller("headers")


def record_of(message: Message, partition: Partition) -> Record | None:
    """What the client has fetched; None if it is no record."""
    offset = message.offset()
    if offset is None:
        return None
    _, timestamp_ms = message.timestamp()
    key, value = _as_bytes(message.key()), _as_bytes(message.value())
    return Record(partition, offset, timestamp_ms, key, value, _headers(message), message.leader_epoch())


def _headers(message: Message) -> Headers:
    try:
        headers = _headers_of(message) or ()
    except (SystemError, UnicodeError):
        return UNREADABLE_HEADERS
    return tuple(headers)  # their values come as bytes or None, whatever its stubs say


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
