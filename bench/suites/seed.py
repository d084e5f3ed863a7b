"""Delivery against the way of the story that we start from: one call at a time on each partition."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from adapters.kafka.producer.partitioner import partition_for
from bench import messages
from bench.arithmetic import Figure
from bench.laboratory import Laboratory
from bench.pushing import CALLS_PER_ORDER, Pushing, orders_for, pushing
from bench.stores import events_of, queues_of
from domain.events import OrderEvent
from projections.delivery.ports import Call

NAME: Final = "seed"
TITLE: Final = "Push against one call at a time per partition"
PARTITIONS: Final = 6
CONCURRENCY: Final = 512
SPARE: Final = 1.5
"""More orders than are needed: partitions don't get the same number."""
ABOUT: Final = (
    "The story's way: a consumer of each of six partitions that makes one call at a time. Its calls are made by"
    " the same HTTP client from memory: neither Kafka nor a database slows it down. Ours: one process of `serve"
    f" --only push` with CASHBACK_PUSH_CONCURRENCY={CONCURRENCY}; concurrency is across orders, so partitions"
    " don't bound it."
)
_TARGETS: Final = {10: (3.0, 5.0), 100: (25.0, 50.0)}


def run(lab: Laboratory) -> None:
    with pushing(lab, settings={"push_concurrency": CONCURRENCY}) as parts:
        for latency_ms in lab.scale.seed_latencies_ms:
            parts.party.faults(latencyMs=latency_ms)
            must, aim = _TARGETS[latency_ms]
            figure = Figure(
                f"push-seed-{latency_ms}ms",
                f"push at {latency_ms} ms",
                "one call at a time on each of six partitions",
                "calls/s",
                must,
                aim,
                waits=True,
            )
            many = orders_for(lab.scale.push_seconds, latency_ms, CONCURRENCY)
            each = round(lab.scale.push_seconds * 1000 / latency_ms)
            lab.compare(figure, partial(_ours, parts, many), partial(_one_at_a_time, parts, each))


def _ours(parts: Pushing, orders: int) -> float:
    return parts.ours(events_of(messages.lifecycles_of(orders)))


def _one_at_a_time(parts: Pushing, calls_each: int) -> float:
    """As many calls on each partition, so that all six are at work to the end."""
    orders = round(PARTITIONS * calls_each / CALLS_PER_ORDER * SPARE) + PARTITIONS
    queues = by_partition(events_of(messages.lifecycles_of(orders)))
    shortest = min(calls_each, *map(len, queues))
    return parts.bare([queue[:shortest] for queue in queues], concurrency=PARTITIONS)


def by_partition(events: Sequence[OrderEvent]) -> list[list[Call]]:
    """The calls in the order of their messages, on the partitions that Java's partitioner gives them."""
    calls = {(call.order_id, call.version): call for queue in queues_of(events) for call in queue}
    partitions: list[list[Call]] = [[] for _ in range(PARTITIONS)]
    for event in events:
        order_id = event.order_id
        if (call := calls.get((order_id, event.originator_version))) is not None:
            partitions[partition_for(str(order_id).encode(), PARTITIONS)].append(call)
    return partitions
