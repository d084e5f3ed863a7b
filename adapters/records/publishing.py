"""Messages that go to a topic, and where the broker has put them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send; without a `partition` the key decides, as in Java's default partitioner."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where the broker has put a message."""

    topic: str
    key: bytes
    partition: int
    offset: int
