"""The probes tell "restart me" from "wait": what each condition of a process answers to whoever asks over HTTP."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from adapters.observability.health import Health
from adapters.web.app import create_probes_app
from domain.losses import StoppedPartition
from domain.ports import Loss


def nothing_begun(_: Health) -> None: ...


def all_at_work(health: Health) -> None:
    health.part("intake", "reading")
    health.part("push", "sending")


def intake_in(state: str) -> Callable[[Health], None]:
    def happen(health: Health) -> None:
        all_at_work(health)
        health.part("intake", state)

    return happen


def push_in(state: str) -> Callable[[Health], None]:
    def happen(health: Health) -> None:
        all_at_work(health)
        health.part("push", state)

    return happen


def partition_stopped(health: Health) -> None:
    all_at_work(health)
    health.partition_stopped("orders/3", StoppedPartition(Loss.LOG_TRUNCATED, "begins at 20"))


def aside_waits(health: Health) -> None:
    all_at_work(health)
    health.part("dead letters", "waiting for Kafka", aside=True)


def part_died(health: Health) -> None:
    all_at_work(health)
    health.died("push")


async def asked(health: Health) -> tuple[int, int, Any]:
    app = create_probes_app(health=health, metrics_text=lambda: (b"", "text/plain"), on_loopback=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://probes") as client:
        live, ready = await client.get("/livez"), await client.get("/readyz")
    return live.status_code, ready.status_code, ready.json()


@pytest.mark.parametrize(
    ("happen", "live", "ready"),
    [
        (nothing_begun, 200, 503),
        (all_at_work, 200, 200),
        (intake_in("waiting for Kafka"), 200, 503),
        (intake_in("waiting for the event store"), 200, 503),
        (push_in("waiting for the ledger"), 200, 503),
        (push_in("the third party is down: status 503; breaker open"), 200, 503),
        (partition_stopped, 200, 503),
        (aside_waits, 200, 200),
        (part_died, 503, 503),
    ],
)
def test_only_what_a_restart_helps_asks_for_one(happen: Callable[[Health], None], live: int, ready: int) -> None:
    """Whatever is waited for, the process will go on by itself; what died won't."""
    health = Health()
    happen(health)
    assert asyncio.run(asked(health))[:2] == (live, ready)


def test_what_is_waited_for_is_said_part_by_part() -> None:
    """So that a person knows what to repair."""
    health = Health()
    intake_in("waiting for Kafka")(health)
    health.part("intake", "waiting for Kafka", "connection refused")
    partition_stopped_too = StoppedPartition(Loss.TOPIC_DELETED, "there is none")
    health.partition_stopped("orders/3", partition_stopped_too)
    *_, body = asyncio.run(asked(health))
    assert body == {
        "status": "not ready",
        "parts": {"intake": "waiting for Kafka", "push": "sending"},
        "reasons": {"intake": "connection refused"},
        "stoppedPartitions": {"orders/3": {"error": "topic_deleted", "detail": "there is none"}},
    }
