"""What a projection reads from and writes to. Rows and tracking commit together, or not at all."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from domain.events import OrderEvent

Row_contra = TypeVar("Row_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place among all events: ids grow in the order of commits, with gaps."""

    notification_id: int
    event: OrderEvent
    is_broken: bool = False
    """The event before it isn't in its stream."""


class FeedBatch(Protocol[Row_contra]):
    """Events that a projection has not seen yet, inside an open transaction that holds its tracking."""

    @property
    def events(self) -> Sequence[Recorded]: ...

    def write(self, rows: Sequence[Row_contra]) -> None:
        """Writes the rows that follow from all of the events. Called once."""


class Feed(Protocol[Row_contra]):
    """The event store as one projection sees it."""

    def next_batch(self, limit: int) -> AbstractContextManager[FeedBatch[Row_contra] | None]:
        """At most `limit` events, in the order of commits. Leaving the context commits rows and tracking, or, with
        an exception, neither. None if another process is at this projection just now.
        Raises domain.ports.StoreUnavailable."""

    def wait(self, timeout_seconds: float) -> None:
        """Returns early when events were stored; may return early for no reason. Never raises."""
