"""What the console stands on: the same queries and commands as the API, and a few of its own."""

from dataclasses import dataclass
from typing import Protocol

from adapters.operations.ports import (
    Actions,
    EndedSessions,
    Interventions,
    Jobs,
    MoneyMayBeWrong,
    Parking,
    QuarantineOperations,
    Queries,
    Reconciliation,
    Replays,
    Statements,
)
from adapters.records.orders import OrderFilter
from adapters.records.search import SearchResult
from adapters.records.status import ListedOrder, ProcessRow, Sample
from domain.money import Till


class ConsoleQueries(Protocol):
    """See adapters.postgres.service_status.PostgresConsole. Raises domain.ports.StoreUnavailable in an outage."""

    async def orders(
        self, wanted: OrderFilter, *, parked: bool, start: int | None, upwards: bool, limit: int
    ) -> list[ListedOrder]: ...
    async def about_orders(self) -> int: ...
    async def find(self, text: str) -> SearchResult: ...
    async def samples(self, seconds: float) -> list[Sample]: ...
    async def processes(self) -> list[ProcessRow]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleParts:
    """All of it."""

    queries: Queries
    console: ConsoleQueries
    replays: Replays
    jobs: Jobs
    reconciliation: Reconciliation
    money_may_be_wrong: MoneyMayBeWrong
    statements: Statements
    parking: Parking
    interventions: Interventions
    quarantining: QuarantineOperations
    may_compare: bool
    """Whether the third party can be asked how an order stands."""
    actions: Actions
    ended_sessions: EndedSessions
    till: Till
    """That of intake."""
