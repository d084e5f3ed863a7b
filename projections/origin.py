"""The header `cashback-origin`: the place at which a message that we publish again was first received.

`topic@topic-id/partition/offset/timestamp`, e.g. `orders@pEB9cZOsTNKCkjX1hhnqLg/3/1042/1740749766027`. The
timestamp is Kafka's own of that record, in milliseconds, and `-` where it had none. In the names everything but
letters, digits and `_.-~` is percent-encoded. An origin has one spelling, and nothing else is taken for it.
"""

import re
from typing import Final
from urllib.parse import quote, unquote

from domain.messages import Message, Origin

ORIGIN_HEADER: Final = "cashback-origin"
_FORM: Final = re.compile(r"([^@/]*)@([^@/]*)/(\d{1,10})/(\d{1,19})/(-|-?\d{1,19})", re.ASCII)
_NO_TIMESTAMP: Final = "-"
_MAX_PARTITION: Final = 2**31 - 1
_MAX_INT64: Final = 2**63 - 1


class BadOrigin(Exception):
    """The header holds something else."""


def origin_of(message: Message) -> Origin | None:
    """Where the message was first received. None where nobody knows: it is a copy that doesn't say."""
    if message.origin is not None or message.replay is not None:
        return message.origin
    return Origin(message.topic, message.topic_id, message.partition, message.offset, message.timestamp_ms)


def write_origin(origin: Origin) -> bytes:
    timestamp = _NO_TIMESTAMP if origin.timestamp_ms is None else origin.timestamp_ms
    names = f"{quote(origin.topic, safe='')}@{quote(origin.topic_id, safe='')}"
    return f"{names}/{origin.partition}/{origin.offset}/{timestamp}".encode()


def read_origin(text: bytes) -> Origin:
    """Raises BadOrigin."""
    found = _FORM.fullmatch(text.decode("latin-1"))
    if found is None:
        raise BadOrigin
    topic, topic_id, partition, offset, timestamp = found.groups()
    timestamp_ms = None if timestamp == _NO_TIMESTAMP else int(timestamp)
    origin = Origin(unquote(topic), unquote(topic_id), int(partition), int(offset), timestamp_ms)
    is_within = origin.partition <= _MAX_PARTITION and max(origin.offset, abs(timestamp_ms or 0)) <= _MAX_INT64
    if not is_within or write_origin(origin) != text:
        raise BadOrigin
    return origin
