"""What waits for a person, by what causes it."""

from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

MAX_CAUSES: Final = 20
"""Shown: those with the most."""


class Cause(NamedTuple):
    """So many orders or messages with the same cause."""

    name: str
    """A reason, or the class of a difference."""
    topic: str | None
    """Of messages."""
    number: int
    """As far as is counted: adapters.records.status.MAX_COUNTED in all."""
    amount: Decimal | None
    """The cashback of these orders; of differences, by how much the two sides differ."""
    since: datetime
    """Of the oldest."""
