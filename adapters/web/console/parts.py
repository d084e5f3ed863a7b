"""What the console stands on: the same queries and commands as the API, and a few of its own."""

from dataclasses import dataclass
from typing import Protocol

from adapters.postgres.console import ListedOrder, ProcessRow, Sample
from adapters.postgres.queries import OrderFilter
from adapters.web.ports import Actions, BulkReplays, Queries, Reconciliation, Replays


class ConsoleQueries(Protocol):
    """See adapters.postgres.console.PostgresConsole. Raises domain.ports.StoreUnavailable in an outage."""

    async def orders(
        self, wanted: OrderFilter, *, parked: bool, start: int | None, upwards: bool, limit: int
    ) -> list[ListedOrder]: ...
    async def about_orders(self) -> int: ...
    async def order_exists(self, order_id: int) -> bool: ...
    async def orders_of_transaction(self, transaction_id: str) -> list[int]: ...
    async def samples(self, seconds: float) -> list[Sample]: ...
    async def processes(self) -> list[ProcessRow]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleParts:
    """All of it."""

    queries: Queries
    console: ConsoleQueries
    replays: Replays
    bulk: BulkReplays
    reconciliation: Reconciliation
    actions: Actions
