"""Metrics: what operators see of intake, projections and delivery."""

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

from prometheus_client.parser import text_string_to_metric_families

from adapters.kafka.intake import Outcome as IntakeOutcome
from adapters.metrics import Metrics
from domain.effects import EffectKind
from domain.ports import Partition
from projections.ports import Answer, Attempt, Call, Outcome

P0, P1, P2 = (Partition("orders", "some-id", number) for number in range(3))
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
    metrics = Metrics()
    metrics.positions_changed({P0: 5, P1: None}, {P0: 9, P1: 4})
    metrics.positions_changed({P0: 9, P2: 7}, {P0: 9, P1: 8})

    found = {name: value for name, value in samples(metrics).items() if "orders" in name}
    assert found == {
        ("cashback_intake_position", "0", "orders"): 9,
        ("cashback_intake_position", "2", "orders"): 7,
        ("kafka_consumergroup_lag", "0", "orders"): 0,
    }


def test_a_partition_from_its_beginning_lags_by_all_that_lies_on_it() -> None:
    """And an end that is older than our position is no negative lag."""
    metrics = Metrics()
    metrics.positions_changed({P0: None, P1: 7}, {P0: 4, P1: 5})
    found = samples(metrics)
    assert found["kafka_consumergroup_lag", "0", "orders"] == 4
    assert found["kafka_consumergroup_lag", "1", "orders"] == 0


def test_attempts_are_counted_by_kind_and_outcome() -> None:
    """With their durations in seconds; parked orders and projected events are counted too."""
    metrics = Metrics()
    for outcome in (Outcome.FAILED, Outcome.DELIVERED, Outcome.DELIVERED):
        metrics.attempt_ended(attempt(outcome))
    metrics.order_parked()
    metrics.events_projected("orders", 7, 0.1)
    metrics.partitions_stopped(2)

    found = samples(metrics)
    assert found["cashback_call_attempts_total", "create", "failed"] == 1
    assert found["cashback_call_attempts_total", "create", "delivered"] == 2
    assert found["cashback_call_seconds_sum", "create"] == 0.75
    assert found["cashback_parked_orders_total",] == 1
    assert found["cashback_projection_events_total", "orders"] == 7
    assert found["cashback_intake_stopped_partitions",] == 2


def test_neither_an_order_nor_a_buyer_is_ever_a_label() -> None:
    """Each would be a series of its own, and a buyer's is nobody's business."""
    metrics = Metrics()
    metrics.attempt_ended(attempt(Outcome.REFUSED))
    metrics.batch_stored(IntakeOutcome(1, Counter({"cashback-created": 1})), 0.1)
    body, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    assert str(ORDER_ID).encode() not in body
    assert BUYER.encode() not in body
