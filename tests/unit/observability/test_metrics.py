"""Metrics: what operators see of intake, projections and delivery."""

import asyncio
import math
import platform
import re
import tomllib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import UUID

from prometheus_client.parser import text_string_to_metric_families

from adapters.kafka.consumer.intake import BatchOutcome as IntakeOutcome
from adapters.observability.backlog_metrics import watch_backlog
from adapters.observability.health import Health
from adapters.observability.metrics import Metrics
from adapters.observability.version import VERSION
from adapters.records.money_may_be_wrong import CaseKind, CaseTotal
from adapters.records.status import Backlog, CountAndAge, ProjectionLag
from domain.effects import EffectKind
from domain.ports import Loss, Partition, StoreUnavailable
from projections.delivery.breaker import BreakerState
from projections.delivery.ports import Answer, Attempt, AttemptKind, Call, Outcome
from tests.support.promql import series_of
from tests.support.signals import everything_that_can_be_exported

P0, P1, P2 = (Partition("orders", "some-id", number) for number in range(3))
ROOT: Final = Path(__file__).parents[3]
BACKLOG: Final = {
    *("cashback_orders_waiting", "cashback_orders_parked", "cashback_orders_held", "cashback_orders_doubtful"),
    *("cashback_orders_different", "cashback_quarantine_messages", "cashback_oldest_undelivered_call_seconds"),
    *("cashback_oldest_parked_order_seconds", "cashback_oldest_held_order_seconds"),
    *("cashback_oldest_quarantined_message_seconds", "cashback_projection_lag_events"),
    *("cashback_projection_lag_seconds", "cashback_money_may_be_wrong_orders", "cashback_money_at_stake"),
}
ORDER_ID, BUYER = 24_323_523, "buyer-4711"


def attempt(outcome: Outcome) -> Attempt:
    call = Call(ORDER_ID, 3, EffectKind.CREATE, UUID(int=1), f'{{"buyerId": "{BUYER}"}}'.encode())
    return Attempt(call, datetime(2025, 2, 28, tzinfo=UTC), 250, Answer(outcome, 200, BUYER))


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """By name and label values, in the order of the labels' names."""
    body, _ = metrics.exposition()
    families = text_string_to_metric_families(body.decode())
    found = [each for family in families for each in family.samples]
    return {(each.name, *(value for _, value in sorted(each.labels.items()))): each.value for each in found}


def test_a_stored_batch_is_counted_by_decision_and_by_reason() -> None:
    """Messages, decisions, quarantine, and the time that it took."""
    metrics = Metrics()
    outcome = IntakeOutcome(5, Counter({"cashback-created": 2, "repeat": 1}), Counter({"not_json": 2}))
    metrics.batch_stored(outcome, 0.02)
    metrics.batch_stored(outcome, 40)

    found = samples(metrics)
    assert found["cashback_intake_messages_total",] == 10
    assert found["cashback_decisions_total", "cashback-created"] == 4
    assert found["cashback_decisions_total", "repeat"] == 2
    assert found["cashback_quarantined_messages_total", "not_json"] == 4
    assert found["cashback_intake_batch_seconds_bucket", "0.025"] == 1
    assert found["cashback_intake_batch_seconds_bucket", "30.0"] == 1
    assert found["cashback_intake_batch_seconds_sum",] == 40.02


def test_positions_and_lag_are_those_of_the_partitions_read_now() -> None:
    """One that has moved to another process is told by that one; the lag is told only where the end is known."""
    metrics = Metrics(group="readers")
    metrics.positions_changed({P0: 5, P1: None}, {P0: 9, P1: 4})
    metrics.positions_changed({P0: 9, P2: 7}, {P0: 9, P1: 8})

    found = {name: value for name, value in samples(metrics).items() if "orders" in name}
    assert found == {
        ("cashback_intake_position", "0", "orders"): 9,
        ("cashback_intake_position", "2", "orders"): 7,
        ("kafka_consumergroup_lag", "readers", "0", "orders"): 0,
    }


def test_a_partition_from_its_beginning_lags_by_all_that_lies_on_it() -> None:
    """And an end that is older than our position is no negative lag."""
    metrics = Metrics(group="readers")
    metrics.positions_changed({P0: None, P1: 7}, {P0: 4, P1: 5})
    found = samples(metrics)
    assert found["kafka_consumergroup_lag", "readers", "0", "orders"] == 4
    assert found["kafka_consumergroup_lag", "readers", "1", "orders"] == 0


def test_attempts_are_counted_by_kind_and_outcome() -> None:
    """With their durations in seconds; parked orders and projected events are counted too."""
    metrics = Metrics()
    for outcome in (Outcome.FAILED, Outcome.DELIVERED, Outcome.DELIVERED):
        metrics.attempt_ended(attempt(outcome))
    metrics.order_parked()
    metrics.events_projected("orders", 7, 0.1)

    found = samples(metrics)
    assert found["cashback_call_attempts_total", "create", "failed"] == 1
    assert found["cashback_call_attempts_total", "create", "delivered"] == 2
    assert found["cashback_call_seconds_sum", "create"] == 0.75
    assert found["cashback_parked_orders_total",] == 1
    assert found["cashback_projection_events_total", "orders"] == 7


def test_lookups_are_no_calls() -> None:
    """They are counted as a kind of their own, whatever the call was that they were made for."""
    metrics = Metrics()
    metrics.attempt_ended(replace(attempt(Outcome.FOUND), kind=AttemptKind.LOOKUP))
    found = samples(metrics)
    assert found["cashback_call_attempts_total", "lookup", "found"] == 1
    assert ("cashback_call_attempts_total", "create", "found") not in found


def test_the_breaker_has_one_state_at_a_time_and_the_rate_may_be_unlimited() -> None:
    """All states are there from the start."""
    metrics = Metrics()
    assert samples(metrics)["cashback_push_allowed_calls_per_second",] == math.inf
    for state in BreakerState:
        metrics.breaker_changed(state)
        found = samples(metrics)
        shown = {each: found["cashback_breaker_state", each] for each in BreakerState}
        assert shown == {each: float(each is state) for each in BreakerState}
    metrics.rate_changed(2.5)
    assert samples(metrics)["cashback_push_allowed_calls_per_second",] == 2.5


def test_stopped_partitions_are_counted_by_error_and_every_error_is_there_from_the_start() -> None:
    """An alert can rest on a series that doesn't appear only with the first loss."""
    metrics = Metrics()
    assert {samples(metrics)["cashback_intake_stopped_partitions", loss] for loss in Loss} == {0}

    metrics.partitions_stopped([Loss.LOG_TRUNCATED, Loss.TOPIC_DELETED, Loss.LOG_TRUNCATED])
    metrics.partitions_stopped([Loss.LOG_TRUNCATED, Loss.LOG_TRUNCATED])
    found = samples(metrics)
    assert {loss: found["cashback_intake_stopped_partitions", loss] for loss in Loss} == {
        "log_truncated": 2,
        "position_beyond_end": 0,
        "topic_deleted": 0,
        "topic_recreated": 0,
    }


def test_neither_an_order_nor_a_buyer_is_ever_a_label() -> None:
    """Each would be a series of its own, and a buyer's is nobody's business."""
    metrics = Metrics()
    metrics.attempt_ended(attempt(Outcome.REFUSED))
    metrics.batch_stored(IntakeOutcome(1, Counter({"cashback-created": 1})), 0.1)
    body, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    assert str(ORDER_ID).encode() not in body
    assert BUYER.encode() not in body


def test_what_waits_is_told_only_while_it_is_known() -> None:
    """An old number would look like a new one; what isn't there can be noticed."""
    metrics = Metrics()
    assert not [name for name, *_ in samples(metrics) if name.startswith("cashback_oldest_")]

    metrics.backlog.sample = Backlog(
        waiting=CountAndAge(5, 31.5),
        parked=CountAndAge(2, 600),
        held=CountAndAge(0, 0),
        quarantined=CountAndAge(10_001, 86_400),
        doubtful=3,
        different=1,
        projections={"orders": ProjectionLag(7, 2.5), "third-party": ProjectionLag(0, 0)},
        money_may_be_wrong={CaseKind.DOUBTFUL: CaseTotal(3, Decimal("44.50")), CaseKind.PENDING: CaseTotal()},
    )
    found = samples(metrics)
    assert {key: value for key, value in found.items() if key[0] in BACKLOG} == {
        ("cashback_orders_waiting",): 5,
        ("cashback_orders_parked",): 2,
        ("cashback_orders_held",): 0,
        ("cashback_orders_doubtful",): 3,
        ("cashback_orders_different",): 1,
        ("cashback_quarantine_messages",): 10_001,
        ("cashback_money_may_be_wrong_orders", "doubtful"): 3,
        ("cashback_money_may_be_wrong_orders", "pending"): 0,
        ("cashback_money_at_stake", "doubtful"): 44.5,
        ("cashback_money_at_stake", "pending"): 0,
        ("cashback_oldest_undelivered_call_seconds",): 31.5,
        ("cashback_oldest_parked_order_seconds",): 600,
        ("cashback_oldest_held_order_seconds",): 0,
        ("cashback_oldest_quarantined_message_seconds",): 86_400,
        ("cashback_projection_lag_events", "orders"): 7,
        ("cashback_projection_lag_events", "third-party"): 0,
        ("cashback_projection_lag_seconds", "orders"): 2.5,
        ("cashback_projection_lag_seconds", "third-party"): 0,
    }

    metrics.backlog.sample = None
    assert not [key for key in samples(metrics) if key[0] in BACKLOG]


def test_a_sample_is_taken_until_told_to_stop_and_forgotten_in_an_outage() -> None:
    """The watch goes on: the database comes back."""
    metrics = Metrics()
    none = CountAndAge(0, 0)
    backlog = Backlog(none, none, none, none, 0, 0, {}, {})
    answers: list[Backlog | StoreUnavailable] = [backlog, StoreUnavailable("away"), backlog]
    seen: list[Backlog | None] = []

    async def watch() -> None:
        stop = asyncio.Event()

        async def ask() -> Backlog:
            seen.append(metrics.backlog.sample)
            answer = answers.pop(0)
            if not answers:
                stop.set()
            if isinstance(answer, StoreUnavailable):
                raise answer
            return answer

        async with asyncio.timeout(60):
            await watch_backlog(ask, metrics.backlog, stop, every_seconds=0)

    asyncio.run(watch())
    assert [*seen, metrics.backlog.sample] == [None, backlog, None, backlog]


def test_it_tells_whether_it_is_ready_and_what_runs() -> None:
    """Readiness is asked for at the scrape, not when it was last told."""
    metrics = Metrics(build="4711abc")
    health = Health()
    metrics.readiness(lambda: health.ready()[0])
    assert samples(metrics)["cashback_ready",] == 0

    health.part("intake", "reading")
    found = samples(metrics)
    assert found["cashback_ready",] == 1
    assert found["cashback_build_info", "4711abc", platform.python_version(), VERSION] == 1
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert pyproject["project"]["version"] == VERSION


def test_no_series_tells_only_when_another_began() -> None:
    """`_created` doubles the series of each counter and histogram."""
    metrics = Metrics()
    metrics.attempt_ended(attempt(Outcome.DELIVERED))
    assert not [name for name, *_ in samples(metrics) if name.endswith("_created")]


def test_names_are_ours_or_well_known_and_end_with_their_unit() -> None:
    """As Prometheus asks for: base units, `_total` for what only grows; nothing named after an order or a buyer."""
    families = list(text_string_to_metric_families(everything_that_can_be_exported()))
    assert {each.name.split("_")[0] for each in families} == {"cashback", "kafka", "process"}
    of_kafka = [each for each in families if each.name.startswith("kafka_")]
    assert [(each.name, each.type) for each in of_kafka] == [("kafka_consumergroup_lag", "gauge")]
    for family in families:
        assert family.documentation
        assert not re.search(r"_(ms|millis\w*|minutes|hours|kb|mb|percent)(_|$)", family.name)
        names = {sample.name for sample in family.samples}
        labels = {label for sample in family.samples for label in sample.labels}
        assert not [label for label in labels if re.search("order|buyer|store|key|transaction", label)]
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_bytes"))
            edges = [float(each.labels["le"]) for each in family.samples if each.name.endswith("_bucket")]
            assert (min(edges), max(edges)) == (0.001, math.inf)
            assert {30.0} <= set(edges)
        if family.type == "counter":
            assert names == {f"{family.name}_total"}
        else:
            assert not [name for name in names if name.endswith("_total")]


def test_every_metric_is_described_and_none_that_is_not_there() -> None:
    """docs/signals.md has their names and their labels."""
    series = series_of(everything_that_can_be_exported())
    text = (ROOT / "docs" / "signals.md").read_text("utf-8")
    rows = re.findall(r"^\| `((?:cashback|kafka)_\w+)` \| ([^|]*)\|", text, re.MULTILINE)
    described = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    exported = {
        name.removesuffix("_count"): labels.keys() - {"le"}
        for name, labels in series.items()
        if not name.startswith("process_") and not name.endswith(("_bucket", "_sum"))
    }
    assert described == exported
    assert set(re.findall(r"`(process_\w+)`", text)) == {name for name in series if name.startswith("process_")}
