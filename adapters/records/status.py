"""How the service stands: its processes, its backlog, its numbers over time."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from adapters.records.calls import DeliveryState
from adapters.records.money_may_be_wrong import CaseKind, CaseTotal, Totals
from domain.money import ZERO
from projections.orders import OrderRow

KEPT_SECONDS: Final = 3600
"""Samples; so at most 720."""


SILENT_SECONDS: Final = 20.0
"""A process that hasn't been heard of for so long isn't shown any more."""


MAX_COUNTED: Final = 10_000
"""Counts stop behind it: `more than …`."""


EVENTS_PER_STEP: Final = 5000


class Stalled(msgspec.Struct, frozen=True):
    """What stands still in one place. More than MAX_COUNTED isn't counted; `amount` is at least that much."""

    number: int = 0
    since: datetime | None = None
    """The one that stands for the longest time."""
    amount: Decimal = ZERO


class ServiceCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The whole service at one moment. The first three only ever grow, unless a topic is made again."""

    messages: int = 0
    """Read from the topic."""
    events: int = 0
    attempts: int = 0
    failed_attempts: int = 0
    """Of those since the sample before."""
    unprojected: int = 0
    """Events that a projection hasn't come to yet."""
    lag: int | None = None
    """Messages on the topic that haven't been read; None if no process says."""
    waiting: Stalled = Stalled()
    """Orders with a call due, or to be tried again."""
    held: Stalled = Stalled()
    parked: Stalled = Stalled()
    quarantined: Stalled = Stalled()
    doubtful: int = 0
    differences: int = 0
    """From the third party's books."""
    money_may_be_wrong: Mapping[CaseKind, CaseTotal] = msgspec.field(default_factory=dict)
    """By why."""


class Sample(NamedTuple):
    taken_at: datetime
    numbers: ServiceCounts


class ProcessRow(NamedTuple):
    """A process of the service, as it told."""

    name: str
    roles: list[str]
    state: dict[str, Any]
    started_at: datetime
    seen_at: datetime


class Outage(NamedTuple):
    """The third party can't be called, whatever the order: all calls are held."""

    reason: str
    since: datetime


class ListedOrder(NamedTuple):
    """An order in a list."""

    row: OrderRow
    delivery: DeliveryState
    is_different: bool
    """The third party's books say something else."""


class CountAndAge(NamedTuple):
    """How many, and for how long the one that came first."""

    number: int
    age_seconds: float


class ProjectionLag(NamedTuple):
    """What a projection hasn't handled yet, and the age of the first of it."""

    events: int
    seconds: float


class Backlog(NamedTuple):
    """One moment."""

    waiting: CountAndAge
    """Orders with calls due, or to be tried again. Of very many, those that are due first."""
    parked: CountAndAge
    held: CountAndAge
    quarantined: CountAndAge
    doubtful: int
    different: int
    """Orders on which the third party and we don't agree."""
    projections: Mapping[str, ProjectionLag]
    money_may_be_wrong: Totals
