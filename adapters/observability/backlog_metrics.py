"""What waits and what stands still in the whole service, as metrics. Processes with the role `api` tell it.

Each of them asks the database for itself, so the same numbers come from all: take the greatest, not the sum.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from adapters.observability.trouble import Trouble
from adapters.records.status import Backlog
from projections.waiting import wait_for_event

SAMPLE_SECONDS: Final = 15.0
_UP_TO: Final = "10001 stands for all above 10000"


class BacklogMetrics(Collector):
    """Gauges of the last sample. Without a sample there are none: an alert on what isn't there can tell."""

    def __init__(self) -> None:
        self.sample: Backlog | None = None

    def collect(self) -> Iterable[Metric]:
        sample = self.sample
        return [] if sample is None else [*_numbers(sample), *_cases(sample), *_ages(sample), *_lags(sample)]


def _numbers(sample: Backlog) -> list[Metric]:
    return [
        GaugeMetricFamily(name, f"{what}; {_UP_TO}", value=value)
        for name, what, value in (
            ("cashback_orders_waiting", "Orders with a call due or to be tried again", sample.waiting.number),
            ("cashback_orders_parked", "Orders whose calls stand still until a person acts", sample.parked.number),
            ("cashback_orders_held", "Orders with messages that wait for earlier ones", sample.held.number),
            ("cashback_orders_doubtful", "Orders that a person should look at", sample.doubtful),
            ("cashback_orders_different", "Orders that differ from the third party's books", sample.different),
            (
                "cashback_quarantine_messages",
                "Messages that can't be read, not yet dealt with",
                sample.quarantined.number,
            ),
        )
    ]


def _cases(sample: Backlog) -> list[Metric]:
    orders = GaugeMetricFamily(
        "cashback_money_may_be_wrong_orders", f"Orders whose money may be wrong, by why; {_UP_TO}", labels=["kind"]
    )
    amount = GaugeMetricFamily(
        "cashback_money_at_stake", "The money in those orders, in the shop's currency", labels=["kind"]
    )
    for kind, total in sample.money_may_be_wrong.items():
        orders.add_metric([kind], total.number)
        amount.add_metric([kind], float(total.amount))
    return [orders, amount]


def _ages(sample: Backlog) -> list[Metric]:
    return [
        GaugeMetricFamily(name, f"Age of the oldest {what}, 0 if there is none", value=standing.age_seconds)
        for name, what, standing in (
            (
                "cashback_oldest_undelivered_call_seconds",
                "call that is neither delivered nor parked",
                sample.waiting,
            ),
            ("cashback_oldest_parked_order_seconds", "order parked, since then", sample.parked),
            ("cashback_oldest_held_order_seconds", "held message", sample.held),
            ("cashback_oldest_quarantined_message_seconds", "message in quarantine", sample.quarantined),
        )
    ]


def _lags(sample: Backlog) -> list[Metric]:
    events = GaugeMetricFamily(
        "cashback_projection_lag_events", "Events that a projection hasn't handled yet", labels=["projection"]
    )
    seconds = GaugeMetricFamily(
        "cashback_projection_lag_seconds",
        "Age of the first event that a projection hasn't handled yet",
        labels=["projection"],
    )
    for name, lag in sample.projections.items():
        events.add_metric([name], lag.events)
        seconds.add_metric([name], lag.seconds)
    return [events, seconds]


async def watch_backlog(
    ask: Callable[[], Awaitable[Backlog]],
    metrics: BacklogMetrics,
    stop: asyncio.Event,
    *,
    every_seconds: float = SAMPLE_SECONDS,
) -> None:
    """Takes samples until `stop` is set, whatever goes wrong with one."""
    trouble = Trouble("what waits can't be counted")
    while not stop.is_set():
        sample = None
        with trouble:
            sample = await ask()
        metrics.sample = sample
        await wait_for_event(stop, every_seconds)
