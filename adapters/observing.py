"""Hears what the parts of a process report, and passes it on: to metrics, health, the console and the log."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from adapters.health import Health
from adapters.kafka.losses import Stop
from adapters.lines import log_attempt
from adapters.metrics import Metrics
from adapters.watching import ProcessState
from domain.ports import Partition
from projections.breaker import BreakerState
from projections.ports import Attempt, Claim
from projections.reconciling import Invariant, Verdict

if TYPE_CHECKING:
    from adapters.kafka.intake import Outcome

log = structlog.get_logger(__name__)


class Observer:
    """Hears what the parts report, and keeps metrics and health."""

    def __init__(self, metrics: Metrics, health: Health, state: ProcessState) -> None:
        self.metrics = metrics
        self.health = health
        self.state = state
        self.rate_changed: Callable[[float], None] = metrics.rate_changed
        self._log = log.bind()
        self.batch_stored: Callable[[Outcome, float], None] = metrics.batch_stored
        self.dead_letters_copied: Callable[[int], None] = metrics.dead_letters_copied
        self.dead_letter_skipped: Callable[[], None] = metrics.dead_letter_skipped
        self.dead_letters_waiting: Callable[[int], None] = metrics.dead_letters_waiting

    def attempt_ended(self, attempt: Attempt) -> None:
        self.metrics.attempt_ended(attempt)
        log_attempt(attempt, self._log)

    def positions_changed(self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]) -> None:
        self.metrics.positions_changed(positions, ends)
        self.state.positions_changed(positions, ends)

    def intake_state(self, state: str) -> None:
        self.health.part("intake", state)

    def partition_stopped(self, partition: str, why: Stop | None) -> None:
        self.health.partition_stopped(partition, why)
        self.metrics.partitions_stopped(stop.loss for stop in self.health.stopped_partitions.values())

    def dead_letters_state(self, state: str) -> None:
        self.health.part("dead letters", state, aside=True)

    def push_state(self, state: str) -> None:
        self.health.part("push", state)

    def breaker_changed(self, state: BreakerState) -> None:
        self.metrics.breaker_changed(state)
        self.state.breaker = state

    def order_parked(self, claim: Claim, reason: str) -> None:
        self.metrics.order_parked()
        log.warning("order parked", order_id=claim.order_id, reason=reason)

    def order_compared(self, verdict: Verdict) -> None:
        self.metrics.order_compared(verdict)

    def audit_state(self, state: str) -> None:
        self.health.part("audit", state, aside=True)

    def invariant_broken(self, order_id: int, *broken: Invariant) -> None:
        self.metrics.invariants_broken(broken)
        log.error("an invariant is broken: the order is stopped", order_id=order_id, invariants=broken)

    def projected(self, name: str, events: int, seconds: float) -> None:
        self.health.part(f"projection {name}", "running")
        self.metrics.events_projected(name, events, seconds)

    def projection_waits(self, name: str, why: str) -> None:
        self.health.part(f"projection {name}", "waiting for the event store")
        log.warning("a projection can't reach the event store; trying again", projection=name, error=why)
