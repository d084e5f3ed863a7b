"""What the HTTP API stands on."""

from collections.abc import Callable, Collection
from datetime import date
from typing import Protocol
from uuid import UUID

from adapters.operations.interventions import InterventionReport
from adapters.operations.quarantine import QuarantineReport
from adapters.operations.replay import ReplayReport
from adapters.records.actions import ActionRequest
from adapters.records.audit import ActionRow
from adapters.records.calls import ParkedRow
from adapters.records.causes import Cause
from adapters.records.differences import DifferenceClass, DifferenceRow, DifferenceState
from adapters.records.jobs import ALL_KINDS, BulkMode, Job, Kinds, Preview, Selection
from adapters.records.money_may_be_wrong import Case, CaseKind, CasePlace, CaseSort, Totals
from adapters.records.operators import Operator
from adapters.records.orders import OrderFilter, OrderRecord
from adapters.records.parking import ParkingReport
from adapters.records.quarantine import NO_EDIT, Edit, QuarantinedMessage, QuarantineRow, QuarantineState
from adapters.records.statement import Statement
from domain.intervention import Numbers
from projections.orders import OrderRow
from projections.redelivery import DEFAULT_OPTIONS, RedeliveryOptions
from projections.republication import Mode

MetricsText = Callable[[], tuple[bytes, str]]
"""The body and content type of `GET /metrics`."""


class HealthCheck(Protocol):
    """The condition of this process."""

    def live(self) -> bool:
        """False if the process must be restarted."""

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether it can do its work, and details by part."""


class Queries(Protocol):
    """Every method raises domain.ports.StoreUnavailable in an outage. Pages begin at `start`, included."""

    async def orders(self, wanted: OrderFilter, start: int | None, limit: int) -> list[OrderRow]: ...
    async def order(self, order_id: int) -> OrderRecord | None: ...
    async def parked(self, start: int | None, limit: int, *, reason: str | None = None) -> list[ParkedRow]: ...
    async def quarantine(
        self,
        state: QuarantineState | None,
        start: int | None,
        limit: int,
        *,
        reason: str | None = None,
        topic: str | None = None,
    ) -> list[QuarantineRow]: ...
    async def parked_causes(self) -> list[Cause]: ...
    async def quarantine_causes(self) -> list[Cause]: ...
    async def difference_causes(self) -> list[Cause]: ...
    async def quarantined(self, quarantine_id: int) -> QuarantinedMessage | None: ...


class Replays(Protocol):
    """See adapters.operations.replay.ReplayService for what is raised."""

    async def replay(
        self,
        order_id: int,
        mode: Mode,
        *,
        asked: ActionRequest,
        dry_run: bool,
        options: RedeliveryOptions = DEFAULT_OPTIONS,
    ) -> ReplayReport: ...


class Jobs(Protocol):
    """See adapters.postgres.jobs.PostgresJobs for what is raised."""

    async def preview(
        self,
        mode: BulkMode,
        selection: Selection,
        rate_per_second: float,
        reason: str,
        options: RedeliveryOptions = DEFAULT_OPTIONS,
    ) -> Preview: ...
    async def previewed(self, job_id: UUID) -> Preview: ...
    async def start(self, job_id: UUID | None, token: str | None, *, by: Operator) -> Job: ...
    async def count(self) -> int: ...
    async def compare(
        self, orders: Collection[int] | None, rate_per_second: float, asked: ActionRequest
    ) -> UUID: ...
    async def cancel(
        self, job_id: UUID, *, by: Operator, reason: str | None = None, kinds: Kinds = ALL_KINDS
    ) -> Job: ...
    async def get(self, job_id: UUID, kinds: Kinds = ALL_KINDS) -> Job: ...
    async def page(self, start: int | None, limit: int, kinds: Kinds = ALL_KINDS) -> list[Job]: ...


class Parking(Protocol):
    """See adapters.postgres.parking.PostgresParking for what is raised."""

    async def retry(self, order_id: int, asked: ActionRequest, *, dry_run: bool) -> ParkingReport: ...
    async def skip(
        self, order_id: int, asked: ActionRequest, *, dry_run: bool, version: int | None = None
    ) -> ParkingReport: ...


class Interventions(Protocol):
    """See adapters.operations.interventions.Interventions for what is raised."""

    async def settle(self, order_id: int, asked: ActionRequest, *, dry_run: bool = False) -> InterventionReport: ...
    async def release(
        self, order_id: int, asked: ActionRequest, *, numbers: Numbers | None = None, dry_run: bool = False
    ) -> InterventionReport: ...


class QuarantineOperations(Protocol):
    """See adapters.operations.quarantine.Quarantining for what is raised."""

    async def retry(
        self, quarantine_id: int, asked: ActionRequest, *, edit: Edit = NO_EDIT, dry_run: bool = False
    ) -> QuarantineReport: ...
    async def discard(
        self, quarantine_id: int, asked: ActionRequest, *, dry_run: bool = False
    ) -> QuarantineReport: ...


class EndedSessions(Protocol):
    """See adapters.postgres.ended_sessions.PostgresEndedSessions."""

    async def end(self, session: str, ends_at: int) -> None: ...
    async def has_ended(self, session: str) -> bool: ...


class Actions(Protocol):
    """Raises domain.ports.StoreUnavailable in an outage."""

    async def page(self, order_id: int | None, start: int | None, limit: int) -> list[ActionRow]: ...


class Reconciliation(Protocol):
    """Raises domain.ports.StoreUnavailable in an outage."""

    async def page(
        self, state: DifferenceState, verdict: DifferenceClass | None, start: int | None, limit: int
    ) -> list[DifferenceRow]: ...


class Statements(Protocol):
    """Raises domain.ports.StoreUnavailable in an outage."""

    async def last_day(self) -> date:
        """The last one that is over."""

    async def statement(self, day: date) -> Statement:
        """Raises DayNotBegun."""


class MoneyMayBeWrong(Protocol):
    """Raises domain.ports.StoreUnavailable in an outage."""

    async def page(
        self, kind: CaseKind | None, sort: CaseSort, after: CasePlace | None, limit: int
    ) -> list[Case]: ...
    async def totals(self) -> Totals: ...
