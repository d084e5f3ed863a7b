"""What a person looks for by one text: an order's id or its first digits, a buyer, a transaction, an idempotency
key, a message's place, a message in quarantine."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

MAX_FOUND: Final = 50
"""Of each kind."""
MIN_PREFIX_DIGITS: Final = 3
_PLACE: Final = re.compile(r"([A-Za-z0-9._-]{1,249})[-/ ](\d{1,10})[-@: ](\d{1,18})")


class MessagePlace(NamedTuple):
    """Where Kafka has a message."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """By what each was found; nothing is left out of a kind but beyond MAX_FOUND."""

    orders: Mapping[str, Sequence[int]]
    """Ids by what the text is of them: `order`, `buyer`, `transaction`, `idempotency key`, `message` (its place),
    `beginning`."""
    quarantined: Sequence[int]
    """Ids of messages in quarantine: with this id, or from this place."""

    @property
    def order_ids(self) -> Sequence[int]:
        return list(dict.fromkeys(each for ids in self.orders.values() for each in ids))


def place_of(text: str) -> MessagePlace | None:
    """As people and our pages write it: topic-partition-offset, topic/partition@offset."""
    found = _PLACE.fullmatch(text)
    return MessagePlace(found[1], int(found[2]), int(found[3])) if found else None


def written(text: str) -> list[str]:
    """The text in the ways of writing it in which it is looked for."""
    return list(dict.fromkeys((text, text.lower(), text.upper())))
