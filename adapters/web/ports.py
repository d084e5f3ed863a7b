"""What the HTTP API stands on."""

from collections.abc import Callable
from typing import Protocol

from adapters.postgres.queries import (
    OrderFilter,
    OrderRecord,
    ParkedRow,
    QuarantinedMessage,
    QuarantineRow,
    QuarantineState,
)
from adapters.replay import ReplayReport
from projections.orders import OrderRow
from projections.replay import Mode

MetricsText = Callable[[], tuple[bytes, str]]
"""The body and content type of `GET /metrics`."""


class Health(Protocol):
    """The condition of this process."""

    def live(self) -> bool:
        """False if the process must be restarted."""

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether it can do its work, and details by part."""


class Queries(Protocol):
    """Every method raises domain.ports.StoreUnavailable in an outage. Pages begin at `start`, included."""

    async def orders(self, wanted: OrderFilter, start: int | None, limit: int) -> list[OrderRow]: ...
    async def order(self, order_id: int) -> OrderRecord | None: ...
    async def parked(self, start: int | None, limit: int) -> list[ParkedRow]: ...
    async def quarantine(
        self, state: QuarantineState | None, start: int | None, limit: int
    ) -> list[QuarantineRow]: ...
    async def quarantined(self, quarantine_id: int) -> QuarantinedMessage | None: ...


class Replays(Protocol):
    """See adapters.replay.ReplayService for what is raised."""

    async def replay(self, order_id: int, mode: Mode, *, dry_run: bool, reason: str) -> ReplayReport: ...
