"""A record as it lies on the topic, before anybody has looked into it."""

from dataclasses import dataclass

from domain.ports import Partition

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One record with its coordinates."""

    partition: Partition
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    def header(self, name: str) -> bytes | None:
        """The first value under this name; None if there is none."""
        return next((value for key, value in self.headers if key == name), None)
