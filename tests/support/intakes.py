"""Intakes over a store in memory, and what they did."""

from collections.abc import Mapping

from adapters.kafka.consumer.intake import BatchOutcome, Intake, Limits
from adapters.kafka.decoding.decoder import Reason
from domain.decision import Policy
from domain.messages import Kind
from domain.order import Order
from domain.ports import Partition
from tests.support.memory_store import MemoryStore
from tests.support.messages import NOW_NS, ORDER_ID, partition_of, record_of

P0, P1 = partition_of(0), partition_of(1)
LIFECYCLE = [
    record_of(Kind.CREATED, offset=0),
    record_of(Kind.UPDATED, offset=1, at_ns=1),
    record_of(Kind.COMPLETED, offset=2, at_ns=2),
]


def intake_of(
    store: MemoryStore, *partitions: Partition, limits: Limits | None = None, policy: Policy | None = None
) -> Intake:
    intake = Intake(store, limits=limits, policy=policy or Policy(), clock_ns=lambda: NOW_NS)
    intake.assign(partitions or [P0])
    return intake


def counted(decisions: Mapping[str, int], quarantined: Mapping[Reason, int] | None = None) -> tuple[object, object]:
    return dict(decisions), dict(quarantined or {})


def counts(outcome: BatchOutcome) -> tuple[object, object]:
    return dict(outcome.decisions), dict(outcome.quarantined)


def order_in(store: MemoryStore, order_id: int = ORDER_ID) -> Order:
    return MemoryStore.load(store, [order_id])[order_id]
