"""Who hears how reading goes on."""

from collections.abc import Mapping
from typing import Protocol

from adapters.kafka.consumer.intake import BatchOutcome
from domain.losses import StoppedPartition
from domain.ports import Partition, RewindSign


class IntakeListener(Protocol):
    """Who wants to know how reading goes on; called from the consumer's thread."""

    def batch_stored(self, outcome: BatchOutcome, seconds: float) -> None: ...
    def positions_changed(self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]) -> None:
        """The next offset of each partition that we read, and the end of its log where we know it."""
        ...

    def intake_state(self, state: str, why: str | None = None) -> None:
        """`reading`, or in a few words what it waits for. `reading` comes again every second while all is well."""

    def intake_doing(self, what: str) -> None:
        """What it is at, or what hinders it: the reason, if it doesn't say again that it's reading."""

    def partition_stopped(self, partition: str, why: StoppedPartition | None) -> None:
        """It stands still until a person has accepted a loss; None: it goes on, or isn't ours any more."""

    def database_rewound(self, sign: RewindSign, found: str) -> None:
        """The database has gone back in time: what it lacks is read again."""
