"""Prometheus metrics. Units are in the names; no order and no buyer is ever a label."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from adapters.kafka.intake import Outcome as IntakeOutcome
from domain.ports import Partition
from projections.ports import Attempt

_BATCH_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_CALL_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """All of one process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
            ["topic", "partition"],
            registry=self.registry,
        )
        self._stopped = Gauge(
            "cashback_intake_stopped_partitions",
            "Partitions that stand still because messages may be lost",
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
        self._parked = self._counter("cashback_parked_orders", "Orders parked by this process")

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
        _replace(self._positions, {each: position or 0 for each, position in positions.items()})
        _replace(self._lag, {each: max(0, end - (positions[each] or 0)) for each, end in known.items()})

    def partitions_stopped(self, count: int) -> None:
        self._stopped.set(count)

    def events_projected(self, projection: str, events: int, seconds: float) -> None:
        self._projected.labels(projection).inc(events)
        self._projection_batches.labels(projection).observe(seconds)

    def attempt_ended(self, attempt: Attempt) -> None:
        kind = attempt.call.kind.value
        self._attempts.labels(kind, attempt.answer.outcome.value).inc()
        self._attempt_seconds.labels(kind).observe(attempt.duration_ms / 1000)

    def order_parked(self) -> None:
        self._parked.inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=_BATCH_BUCKETS, registry=self.registry)


def _replace(gauge: Gauge, values: Mapping[Partition, int]) -> None:
    """Never empty in between: somebody may be reading it just now."""
    shown = {(partition.topic, str(partition.number)): value for partition, value in values.items()}
    for labels, value in shown.items():
        gauge.labels(*labels).set(value)
    for sample in next(iter(gauge.collect())).samples:
        labels = sample.labels["topic"], sample.labels["partition"]
        if labels not in shown:
            gauge.remove(*labels)
