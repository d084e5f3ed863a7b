"""Prometheus metrics. Units are in the names; no order and no buyer is ever a label."""

import math
import platform
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from adapters.kafka.consumer.intake import BatchOutcome as IntakeOutcome
from adapters.observability.backlog_metrics import BacklogMetrics
from adapters.observability.version import VERSION
from domain.ports import Loss, Partition, RewindSign
from projections.delivery.breaker import BreakerState
from projections.delivery.ports import Attempt, AttemptKind
from projections.reconciliation import Invariant, Verdict

_BATCH_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_CALL_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """All of one process's metrics, in a registry of their own."""

    def __init__(self, *, group: str = "", build: str = "unknown") -> None:
        """`group` is the consumer group whose lag this process tells."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody looks at
        self.registry = CollectorRegistry()
        self.backlog = BacklogMetrics()
        self.registry.register(self.backlog)
        ProcessCollector(registry=self.registry)
        self._group = group
        Gauge(
            "cashback_build_info",
            "1; the labels say what runs",
            ["version", "build", "python"],
            registry=self.registry,
        ).labels(VERSION, build, platform.python_version()).set(1)
        self._ready = Gauge("cashback_ready", "Whether /readyz answers 200", registry=self.registry)
        self._messages = self._counter("cashback_intake_messages", "Messages read and stored")
        self._decisions = self._counter("cashback_decisions", "Decisions by name", "decision")
        self._quarantined = self._counter("cashback_quarantined_messages", "Messages put in quarantine", "reason")
        self._batches = self._histogram("cashback_intake_batch_seconds", "Deciding and storing one batch")
        self._positions = Gauge(
            "cashback_intake_position",
            "Next offset to read, of the partitions read by this process",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._lag = Gauge(
            "kafka_consumergroup_lag",
            "Messages between our position and the end of the partition as last fetched",
            ["consumergroup", "topic", "partition"],
            registry=self.registry,
        )
        self._stopped = Gauge(
            "cashback_intake_stopped_partitions",
            "Partitions that stand still because messages may be lost",
            ["error"],
            registry=self.registry,
        )
        self.partitions_stopped(())
        self._rewinds = self._counter(
            "cashback_database_rewinds", "Times that the database was seen to have gone back in time", "sign"
        )
        for sign in RewindSign:
            self._rewinds.labels(sign.value)
        self._dead_letters = self._counter(
            "cashback_dead_letters", "Quarantined messages by what became of their copy", "outcome"
        )
        self._dead_letters_waiting = Gauge(
            "cashback_dead_letters_waiting",
            "Quarantined messages not yet copied to the dead-letter topic, counted by the process that copies",
            registry=self.registry,
        )
        self._projected = self._counter(
            "cashback_projection_events", "Events handled by a projection", "projection"
        )
        self._projection_batches = self._histogram(
            "cashback_projection_batch_seconds", "One batch of a projection", "projection"
        )
        self._attempts = self._counter("cashback_call_attempts", "Attempts at calls", "kind", "outcome")
        self._attempt_seconds = Histogram(
            "cashback_call_seconds",
            "Duration of one attempt at a call",
            ["kind"],
            buckets=_CALL_BUCKETS,
            registry=self.registry,
        )
        self._breaker = Gauge(
            "cashback_breaker_state",
            "1 for the state of the breaker over all calls, 0 for the others",
            ["state"],
            registry=self.registry,
        )
        self.breaker_changed(BreakerState.CLOSED)
        self._allowed_rate = Gauge(
            "cashback_push_allowed_calls_per_second",
            "Calls that this process may send in a second",
            registry=self.registry,
        )
        self.rate_changed(math.inf)
        self._parked = self._counter("cashback_parked_orders", "Orders parked by this process")
        self._compared = self._counter(
            "cashback_reconciled_orders", "Comparisons of an order with the third party's books", "class"
        )
        for verdict in Verdict:
            self._compared.labels(verdict.value)
        self._broken = self._counter(
            "cashback_broken_invariants", "Orders stopped because what must always hold doesn't", "invariant"
        )
        for invariant in Invariant:
            self._broken.labels(invariant.value)

    def readiness(self, is_ready: Callable[[], bool]) -> None:
        """Asked at each scrape."""
        self._ready.set_function(is_ready)

    def exposition(self) -> tuple[bytes, str]:
        """The body and content type of `GET /metrics`."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def batch_stored(self, outcome: IntakeOutcome, seconds: float) -> None:
        self._messages.inc(outcome.records)
        self._batches.observe(seconds)
        for decision, count in outcome.decisions.items():
            self._decisions.labels(decision).inc(count)
        for reason, count in outcome.quarantined.items():
            self._quarantined.labels(reason).inc(count)

    def positions_changed(self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]) -> None:
        known = {partition: end for partition, end in ends.items() if partition in positions}
        _replace(self._positions, {_labels(each): position or 0 for each, position in positions.items()})
        lags = {each: max(0, end - (positions[each] or 0)) for each, end in known.items()}
        _replace(self._lag, {(self._group, *_labels(each)): lag for each, lag in lags.items()})

    def partitions_stopped(self, losses: Iterable[Loss]) -> None:
        """The losses for which partitions stand still now, one each."""
        counts = Counts(losses)
        for loss in Loss:
            self._stopped.labels(loss.value).set(counts[loss])

    def database_rewound(self, sign: RewindSign) -> None:
        self._rewinds.labels(sign.value).inc()

    def dead_letters_copied(self, messages: int) -> None:
        self._dead_letters.labels("copied").inc(messages)

    def dead_letter_skipped(self) -> None:
        self._dead_letters.labels("skipped").inc()

    def dead_letters_waiting(self, messages: int) -> None:
        self._dead_letters_waiting.set(messages)

    def events_projected(self, projection: str, events: int, seconds: float) -> None:
        self._projected.labels(projection).inc(events)
        self._projection_batches.labels(projection).observe(seconds)

    def attempt_ended(self, attempt: Attempt) -> None:
        kind = attempt.call.kind.value if attempt.kind is AttemptKind.CALL else attempt.kind.value
        self._attempts.labels(kind, attempt.answer.outcome.value).inc()
        self._attempt_seconds.labels(kind).observe(attempt.duration_ms / 1000)

    def breaker_changed(self, state: BreakerState) -> None:
        for each in BreakerState:
            self._breaker.labels(each.value).set(each is state)

    def rate_changed(self, calls_per_second: float) -> None:
        self._allowed_rate.set(calls_per_second)

    def order_parked(self) -> None:
        self._parked.inc()

    def order_compared(self, verdict: Verdict) -> None:
        self._compared.labels(verdict.value).inc()

    def invariants_broken(self, invariants: Iterable[Invariant]) -> None:
        """All those of one order."""
        for invariant in invariants:
            self._broken.labels(invariant.value).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=_BATCH_BUCKETS, registry=self.registry)


def _labels(partition: Partition) -> tuple[str, str]:
    return partition.topic, str(partition.number)


def _replace(gauge: Gauge, values: Mapping[tuple[str, ...], int]) -> None:
    """Never empty in between: somebody may be reading it just now."""
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
    for sample in next(iter(gauge.collect())).samples:
        labels = tuple(sample.labels.values())
        if labels not in values:
            gauge.remove(*labels)
