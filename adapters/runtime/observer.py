"""Hears what the parts of a process report, and passes it on: to metrics, health, the console and the log."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import structlog
from structlog.typing import FilteringBoundLogger

from adapters.observability.health import READY, Health
from adapters.observability.metrics import Metrics
from adapters.runtime.process_status import ProcessState
from domain.losses import StoppedPartition
from domain.ports import Partition, RewindSign
from projections.delivery.breaker import BreakerState
from projections.delivery.ports import Attempt, AttemptKind, Claim, Outcome
from projections.reconciliation import Invariant, Verdict

if TYPE_CHECKING:
    from adapters.kafka.consumer.intake import BatchOutcome as IntakeOutcome

log = structlog.get_logger(__name__)


class ProcessObserver:
    """Hears what the parts report, and keeps metrics and health."""

    def __init__(self, metrics: Metrics, health: Health, state: ProcessState) -> None:
        self.metrics = metrics
        self.health = health
        self.state = state
        self.rate_changed: Callable[[float], None] = metrics.rate_changed
        self._log = log.bind()
        self.batch_stored: Callable[[IntakeOutcome, float], None] = metrics.batch_stored
        self.dead_letters_copied: Callable[[int], None] = metrics.dead_letters_copied
        self.dead_letter_skipped: Callable[[], None] = metrics.dead_letter_skipped
        self.dead_letters_waiting: Callable[[int], None] = metrics.dead_letters_waiting

    def attempt_ended(self, attempt: Attempt) -> None:
        self.health.worked("push")
        self.metrics.attempt_ended(attempt)
        log_attempt(attempt, self._log)

    def positions_changed(self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]) -> None:
        self.metrics.positions_changed(positions, ends)
        self.state.positions_changed(positions, ends)

    def intake_state(self, state: str, why: str | None = None) -> None:
        self.health.part("intake", state, why, in_steps=state in READY)

    def intake_doing(self, what: str) -> None:
        self.health.doing("intake", what)

    def partition_stopped(self, partition: str, why: StoppedPartition | None) -> None:
        self.health.partition_stopped(partition, why)
        self.metrics.partitions_stopped(stop.loss for stop in self.health.stopped_partitions.values())

    def database_rewound(self, sign: RewindSign, found: str) -> None:
        self.health.database_rewound(sign, found)
        self.metrics.database_rewound(sign)
        log.error("the database has gone back in time; starting over from it", sign=sign.value, found=found)

    def dead_letters_state(self, state: str, why: str | None = None) -> None:
        self.health.part("dead letters", state, why, aside=True)

    def push_state(self, state: str, why: str | None = None) -> None:
        self.health.part("push", state, why, in_steps=state in READY)

    def breaker_changed(self, state: BreakerState, why: str) -> None:
        self.metrics.breaker_changed(state)
        self.state.breaker_changed(state, why)

    def order_parked(self, claim: Claim, reason: str) -> None:
        self.metrics.order_parked()
        log.warning("order parked", order_id=claim.order_id, reason=reason)

    def order_compared(self, verdict: Verdict) -> None:
        self.metrics.order_compared(verdict)

    def audit_state(self, state: str, why: str | None = None) -> None:
        self.health.part("audit", state, why, aside=True)

    def invariant_broken(self, order_id: int, *broken: Invariant) -> None:
        self.metrics.invariants_broken(broken)
        log.error("an invariant is broken: the order is stopped", order_id=order_id, invariants=broken)

    def projected(self, name: str, events: int, seconds: float) -> None:
        self.health.part(f"projection {name}", "running", in_steps=True)
        if events:
            self.metrics.events_projected(name, events, seconds)

    def projection_waits(self, name: str, why: str) -> None:
        self.health.part(f"projection {name}", "waiting for the event store", why)
        log.warning("a projection can't reach the event store; trying again", projection=name, error=why)


_GOOD: Final = {Outcome.DELIVERED, Outcome.FOUND, Outcome.NOT_FOUND}


def log_attempt(attempt: Attempt, logger: FilteringBoundLogger) -> None:
    """A warning if it failed. Not what the other side said: that is in the order's timeline.

    The logger is bound once, by the caller: to find it anew takes longer than to find that nobody wants the line.
    """
    call, answer = attempt.call, attempt.answer
    is_good = answer.outcome in _GOOD
    if is_good and not logger.is_enabled_for(logging.INFO):
        return
    say = logger.info if is_good else logger.warning
    say(
        "call",
        order_id=call.order_id,
        version=call.version,
        kind=call.kind.value if attempt.kind is AttemptKind.CALL else attempt.kind.value,
        attempt=attempt.number,
        outcome=answer.outcome.value,
        status=answer.status,
        ms=attempt.duration_ms,
    )
