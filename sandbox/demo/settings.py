"""What is played, and the settings of the demo's own processes."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from adapters.settings import PREFIX, Settings
from domain.exact_json import dumps
from sandbox.order_service.chaos import Chaos, Disorder, Stage
from sandbox.order_service.lifecycles import OrderMessage, Status, lifecycles, outcome
from sandbox.order_service.simulator import schedule_of

DRAIN_SECONDS: Final = 3.0
# What a killed run had under way is due again when its leases end: the next run should not wait a minute for it.
CALL_TIMEOUT_SECONDS: Final = 5.0
LEASE_SECONDS: Final = 11.0
# Joining a group takes the embedded broker half of the session's time-out.
CONSUMER_CONFIG: Final = {"session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}
FAULTY_BACKOFF_BASE_SECONDS: Final = 0.05
FAULTY_BACKOFF_MAX_SECONDS: Final = 1.0
PARKED_BY_BAD_LUCK: Final = 1e-12
"""How likely it may be that one call fails as often as it takes to park its order."""
MIN_ATTEMPTS: Final = 12
MAX_ATTEMPTS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What to play. `rate` is in orders a second, None for as fast as it goes; no `orders` is for ever."""

    orders: int | None
    rate: float | None
    seed: int
    first_order_id: int
    error_rate: float = 0.0
    lost_answer_rate: float = 0.0
    chaos: Chaos = field(default_factory=Chaos)

    def simulation(self) -> list[str]:
        """The arguments of `app.py` that play it."""
        arguments = ["simulate", "--seed", str(self.seed), "--first-order-id", str(self.first_order_id)]
        if self.orders is not None:
            arguments += ["--orders", str(self.orders)]
        if self.rate is not None:
            arguments += ["--rate", str(self.rate)]
        if self.chaos.kinds:
            arguments += ["--chaos", str(self.chaos)]
        return arguments

    def expected(self, *, corrections: bool = False) -> dict[int, tuple[Status, Decimal]]:
        """Where each order must end, by the generator's own account: no disorder changes it."""
        return outcome(self._lifecycles(), corrections=corrections)

    def expected_poison(self) -> int:
        """How many records of the run nobody can read."""
        if Disorder.POISON not in self.chaos.kinds:
            return 0
        stage = Stage(self.chaos, self.seed, schedule_of(self.rate), self.first_order_id)
        for _ in stage.disturb(self._lifecycles()):
            pass
        return stage.counts[Disorder.POISON]

    def _lifecycles(self) -> Iterator[OrderMessage]:
        first, schedule = self.first_order_id, schedule_of(self.rate)
        return lifecycles(
            self.seed,
            self.orders,
            first_order_id=first,
            started_at_ns=0,
            schedule=schedule,
            returns=Disorder.RETURNS in self.chaos.kinds,
        )

    def faults(self) -> dict[str, float]:
        """For `PUT /_sandbox/faults`; empty if there are none."""
        faults = {"errorRate": self.error_rate, "lostAnswerRate": self.lost_answer_rate}
        return faults if any(faults.values()) else {}

    @property
    def attempts_needed(self) -> int:
        """Attempts after which a call has failed by bad luck only with a probability that can be forgotten."""
        failing = 1 - (1 - self.error_rate) * (1 - self.lost_answer_rate)
        if not 0 < failing < 1:
            return MIN_ATTEMPTS
        return min(MAX_ATTEMPTS, max(MIN_ATTEMPTS, math.ceil(math.log(PARKED_BY_BAD_LUCK) / math.log(failing))))


def service_settings(settings: Settings, scenario: Scenario, broker_config: Mapping[str, Any]) -> dict[str, Any]:
    """The service's settings that suit a demo, by field; none that the user has set.

    `broker_config`: what the embedded broker needs of a consumer, empty for any other broker.
    """
    suited: dict[str, Any] = {"shutdown_timeout_seconds": DRAIN_SECONDS}
    if not {"third_party_timeout_seconds", "push_lease_seconds"} & settings.model_fields_set:
        suited |= {"third_party_timeout_seconds": CALL_TIMEOUT_SECONDS, "push_lease_seconds": LEASE_SECONDS}
    if scenario.faults():
        suited |= {
            "push_max_attempts": scenario.attempts_needed,
            "push_backoff_base_seconds": FAULTY_BACKOFF_BASE_SECONDS,
            "push_backoff_max_seconds": FAULTY_BACKOFF_MAX_SECONDS,
        }
    if Disorder.RETURNS in scenario.chaos.kinds:
        suited["third_party_corrections"] = True
    suited = {field: value for field, value in suited.items() if field not in settings.model_fields_set}
    if broker_config:
        suited["kafka_config"] = {**broker_config, **CONSUMER_CONFIG, **settings.kafka_config}
    return suited


def environment(settings: Settings, fields: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Our own environment with the fields given; the log in the form in which the demo reads it."""
    level = "debug" if settings.log_level == "debug" else "info"
    fields = {"log_format": "json", "log_level": level, **(fields or {})}
    return {**os.environ, **{f"{PREFIX}{name.upper()}": _text(value) for name, value in fields.items()}}


def _text(value: Any) -> str:
    match value:
        case dict():
            return dumps(value).decode()
        case bool():
            return "on" if value else "off"
        case _:
            return str(value)
