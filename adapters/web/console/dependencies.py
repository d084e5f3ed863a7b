"""What the console stands on: the same queries and commands as the API, and a few of its own."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from adapters.operations.ports import (
    Actions,
    BulkReplays,
    Interventions,
    MoneyMayBeWrong,
    Parking,
    QuarantineOperations,
    Queries,
    Reconciliation,
    Replays,
)
from adapters.records.actions import ActionRequest
from adapters.records.comparisons import Comparison
from adapters.records.orders import OrderFilter
from adapters.records.status import ListedOrder, ProcessRow, Sample
from domain.money import Till


class ConsoleQueries(Protocol):
    """See adapters.postgres.service_status.PostgresConsole. Raises domain.ports.StoreUnavailable in an outage."""

    async def orders(
        self, wanted: OrderFilter, *, parked: bool, start: int | None, upwards: bool, limit: int
    ) -> list[ListedOrder]: ...
    async def about_orders(self) -> int: ...
    async def order_exists(self, order_id: int) -> bool: ...
    async def orders_of_transaction(self, transaction_id: str) -> list[int]: ...
    async def samples(self, seconds: float) -> list[Sample]: ...
    async def processes(self) -> list[ProcessRow]: ...


class Comparisons(Protocol):
    """See adapters.postgres.comparisons.PostgresComparisons for what is raised."""

    async def count(self) -> int: ...
    async def start(self, orders: Collection[int] | None, rate_per_second: float, asked: ActionRequest) -> UUID: ...
    async def cancel(self, comparison_id: UUID, asked: ActionRequest) -> bool: ...
    async def get(self, comparison_id: UUID) -> Comparison | None: ...
    async def page(self, start: int | None, limit: int) -> list[Comparison]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleParts:
    """All of it."""

    queries: Queries
    console: ConsoleQueries
    replays: Replays
    bulk: BulkReplays
    reconciliation: Reconciliation
    money_may_be_wrong: MoneyMayBeWrong
    parking: Parking
    interventions: Interventions
    quarantining: QuarantineOperations
    comparisons: Comparisons | None
    """None where the third party can't be asked how an order stands."""
    actions: Actions
    till: Till
    """That of intake."""
