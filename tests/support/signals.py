"""The expressions in deploy/, and a process's metrics with every label and value that they can have."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import yaml

from adapters.kafka.consumer.intake import BatchOutcome as IntakeOutcome
from adapters.observability.metrics import Metrics
from adapters.records.money_may_be_wrong import CaseKind, CaseTotal
from adapters.records.status import Backlog, CountAndAge, ProjectionLag
from domain.effects import EffectKind
from domain.events import type_of_topic
from domain.ports import Loss, Partition
from projections import intended_calls, orders
from projections.delivery.breaker import BreakerState
from projections.delivery.ports import Answer, Attempt, AttemptKind, Call, Outcome
from projections.reconciliation import Invariant, Verdict

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
DASHBOARD: Final = DEPLOY / "grafana" / "dashboard.json"
ALERTS: Final = DEPLOY / "prometheus" / "alerts.yaml"


def panels() -> list[dict[str, Any]]:
    """Without the rows' own lines."""
    return [panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions_of_dashboard() -> Iterator[str]:
    return (target["expr"] for panel in panels() for target in panel["targets"])


def expressions_of_alerts() -> Iterator[str]:
    return (rule["expr"] for rule in alerts())


def everything_that_can_be_exported() -> str:
    """What `/metrics` answers in a process to which everything has happened."""
    metrics = Metrics(group="readers")
    metrics.readiness(lambda: True)
    decisions = Counter([*type_of_topic, "repeat"])
    metrics.batch_stored(IntakeOutcome(1, decisions, Counter(["not_json"])), 0.1)
    metrics.positions_changed({Partition("orders", "some-id", 0): 1}, {Partition("orders", "some-id", 0): 2})
    metrics.partitions_stopped(Loss)
    metrics.dead_letters_copied(1)
    metrics.dead_letter_skipped()
    for projection in (orders.NAME, intended_calls.NAME):
        metrics.events_projected(projection, 1, 0.1)
    for kind in EffectKind:
        for outcome in Outcome:
            call = Call(1, 1, kind, UUID(int=1), b"{}")
            answer = Answer(outcome, None, "")
            metrics.attempt_ended(Attempt(call, datetime.now(UTC), 1, answer))
            metrics.attempt_ended(Attempt(call, datetime.now(UTC), 1, answer, AttemptKind.LOOKUP))
    for state in BreakerState:
        metrics.breaker_changed(state)
    for verdict in Verdict:
        metrics.order_compared(verdict)
    metrics.invariants_broken(Invariant)
    metrics.order_parked()
    one = CountAndAge(1, 1.0)
    lags = {orders.NAME: ProjectionLag(1, 1.0), intended_calls.NAME: ProjectionLag(1, 1.0)}
    metrics.backlog.sample = Backlog(one, one, one, one, 1, 1, lags, dict.fromkeys(CaseKind, CaseTotal(1)))
    return metrics.exposition()[0].decode()
