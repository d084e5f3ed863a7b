"""Delivery with orders that fail for good: the others must not notice."""

from functools import partial
from typing import Final

from bench import messages
from bench.arithmetic import Figure
from bench.failing_third_party import always_fails
from bench.laboratory import CONCURRENCY, Laboratory
from bench.pushing import orders_for, pushing
from bench.stores import events_of

NAME: Final = "failing"
TITLE: Final = "Push with orders that fail for good"
LATENCY_MS: Final = 10
RETRIES: Final = {
    "push_max_attempts": 6,
    "push_backoff_base_seconds": 0.1,
    "push_backoff_max_seconds": 1.0,
}
ABOUT: Final = (
    "The rate of the healthy orders' calls while so many per cent of all orders fail for good, against the same"
    " number of healthy orders alone, in the same run. Of the failing orders one half"
    " always gets a 500 and is tried again, the other half a 422. They are tried again much sooner than by"
    f" default (6 times within about 2 s), so that they are in the way all the time. Latency {LATENCY_MS} ms."
)
_MUST: Final = {1: 0.9, 10: 0.8}


def run(lab: Laboratory) -> None:
    healthy = orders_for(lab.scale.push_seconds, LATENCY_MS, CONCURRENCY)
    for percent in lab.scale.failing_percents:
        figure = Figure(
            f"push-failing-{percent}pct",
            f"push, {percent} % of the orders failing",
            "the healthy orders alone",
            "calls/s of healthy orders",
            _MUST[percent],
        )
        lab.compare(figure, partial(_push, lab, healthy, percent), partial(_push, lab, healthy, 0))


def _push(lab: Laboratory, healthy: int, percent: int) -> float:
    """In a database of their own: no failing order is left for the next."""
    with pushing(lab, failing=True, settings=RETRIES) as parts:
        parts.party.faults(latencyMs=LATENCY_MS)
        return parts.ours(events_of(mixed(healthy, percent)), healthy=lambda order_id: not always_fails(order_id))


def mixed(healthy: int, percent: int) -> list[messages.TopicMessage]:
    """The messages of so many healthy orders, and of failing ones among them, which are so many per cent of all."""
    failing = round(healthy * percent / (100 - percent))
    spacing = max(1, round(10 / percent)) if percent else 1
    found: list[messages.TopicMessage] = []
    while healthy > 0:
        for lifecycle in messages.by_order(messages.lifecycles_of(messages.TEMPLATE_ORDERS)):
            order_id = lifecycle[0].order_id
            if not always_fails(order_id) and healthy > 0:
                healthy -= 1
                found += lifecycle
            elif always_fails(order_id) and failing > 0 and order_id // 10 % spacing == 0:
                failing -= 1
                found += lifecycle
    return found
