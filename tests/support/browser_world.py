"""One service as it runs for real, with a broker, a database and a third party, and orders whose stories are worth
a look. Everything is prepared once for all tests of this package."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import httpx

from adapters.records.publishing import Outgoing
from domain.exact_json import loads
from domain.instants import NANOSECONDS_PER_SECOND, format_instant
from domain.messages import Kind
from sandbox.servers.embedded_kafka import create_topic
from tests.support import local_http
from tests.support.event_store import sql
from tests.support.messages import payload_of, product, value_of
from tests.support.processes import App, Apps, quick_group
from tests.support.running_intake import new_group
from tests.support.sandbox_process import Sandbox, start_sandbox
from tests.support.streams import publish
from tests.support.waiting import wait_until

TOKEN: Final = "operators-and-nobody-else"
READ_TOKEN: Final = "readers-may-come-too"
STORY: Final = 24_323_523
"""Held, then created, called again and again, completed; then an update came too late."""
PARKED: Final = 24_323_600
HELD: Final = 24_323_601
BUYER: Final = "buyer-4711"
PLAIN: Final = range(1000, 1120)
"""More than two pages of orders about which there is nothing to say."""
ADDED: Final = 24_400_000
"""From this id on: orders that a test adds to the world that all of them share."""
MIN_FAILED_CALLS: Final = 3
POISON: Final = b'{"type": "CREATED", \x00\xff\xfe "payload": nonsense}'
_MINUTE_NS: Final = 60 * NANOSECONDS_PER_SECOND


def transaction(order_id: int, number: int = 0) -> str:
    return str(uuid5(UUID(int=0), f"{order_id}/{number}"))


@dataclass
class World:
    """Where everything is."""

    url: str
    database_url: str
    bootstrap: str
    topic: str
    sandbox: Sandbox
    service: App
    begun_ns: int

    def said(
        self, kind: Kind, order_id: int, *, minute: float = 0, number: int = 0, partition: int = 0, **what: Any
    ) -> Outgoing:
        """A message that happened at this minute of the story."""
        at = format_instant(self.begun_ns + round(minute * _MINUTE_NS))
        what = {"transactionId": transaction(order_id, number), "transactionDate": at} | what
        value = value_of(kind, payload_of(kind, order_id=order_id, **what))
        return Outgoing(self.topic, b"%d" % order_id, value, partition=partition)

    def publish(self, *messages: Outgoing) -> None:
        publish(self.bootstrap, messages)

    def invent_an_hour(self) -> None:
        """Samples like those of a service that has been at work for an hour."""
        self.sql(
            "INSERT INTO console_sample (step, taken_at, numbers) SELECT extract(epoch FROM at)::bigint / 5, at,"
            " jsonb_build_object('messages', -round(ago * 40 + 900 * sin(ago / 240.0)),"
            "  'attempts', -round(ago * 38 + 900 * sin(ago / 260.0)),"
            "  'lag', greatest(0, round(400 * sin(ago / 170.0) - 250)),"
            "  'waiting', jsonb_build_object('number', greatest(0, round(90 * sin(ago / 200.0) - 30))),"
            "  'held', jsonb_build_object('number', round(3 + 2 * sin(ago / 400.0))),"
            "  'parked', jsonb_build_object('number', (ago < 1500)::int))"
            " FROM (SELECT ago, now() - ago * interval '1 s' AS at FROM generate_series(60, 3590, 5) AS g (ago))"
            " AS t ON CONFLICT DO NOTHING"
        )

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return sql(self.database_url, statement, *parameters)

    def calls_of(self, order_id: int) -> list[dict[str, Any]]:
        """As the third party saw them."""
        return [call for call in self.sandbox.calls if call["orderId"] == order_id]

    def there(self, order_id: int) -> dict[str, Any] | None:
        """How the order stands in the third party's books; None if it isn't there."""
        url = f"{self.sandbox.url}/v1/cashbacks/{order_id}"
        answer = local_http.get(url)
        return None if answer.status_code == 404 else dict(loads(answer.raise_for_status().content))

    def stands(self, order_id: int, *settled: int) -> bool:
        """Whether just these versions of its calls are settled, and nothing is due."""
        calls = self.sql("SELECT version, settled_at IS NOT NULL FROM effect WHERE order_id = %s", order_id)
        return sorted(version for version, is_settled in calls if is_settled) == list(settled)

    def is_parked(self, order_id: int) -> bool:
        return bool(self.sql("SELECT 1 FROM delivery WHERE order_id = %s AND parked_at IS NOT NULL", order_id))

    def actions(self, order_id: int) -> list[tuple[str, str, str]]:
        """Who did what to it, and why; in this order."""
        asked = "SELECT action, operator, reason FROM operator_action WHERE order_id = %s ORDER BY id"
        return [(action, who, why) for action, who, why in self.sql(asked, order_id)]

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return local_http.request(method, f"{self.url}{path}", headers=headers, **more)


@contextmanager
def playing(folder: Path, database_url: str, bootstrap: str) -> Iterator[World]:
    topic = f"cashback-{secrets.token_hex(4)}"
    create_topic(bootstrap, topic, 2)
    settings = {
        "database_url": database_url,
        "kafka_bootstrap": bootstrap,
        "kafka_topic": topic,
        "kafka_group": new_group(),
        "kafka_config": quick_group(),
        "push_backoff_base_seconds": 0.05,
        "push_backoff_max_seconds": 0.2,
        "push_max_attempts": 50,
        "third_party_timeout_seconds": 4,
        "push_lease_seconds": 10,
        "api_port": 0,
        "api_token": TOKEN,
        "api_read_token": READ_TOKEN,
        "log_format": "json",
    }
    with Apps(folder, settings) as apps:
        sandbox = start_sandbox(apps)
        service = apps.start("serve", third_party_url=sandbox.url)
        service.wait_for("listening")
        url = next(line["url"] for line in service.log if line["event"] == "listening")
        world = World(url, database_url, bootstrap, topic, sandbox, service, time.time_ns() - 60 * _MINUTE_NS)
        _play(world)
        yield world


def _play(world: World) -> None:
    items = [product(2, 156, 306), product(1, 19.5, 18, externalProductId="4004", unit="PC")]
    poison = Outgoing(world.topic, b"%d" % PARKED, POISON, (("ce_id", b"a-bad-day"),), partition=0)
    world.sandbox.faults(errorRate=1)
    world.publish(
        world.said(Kind.UPDATED, STORY, minute=2, number=1, items=items, buyerId=BUYER),
        world.said(Kind.CREATED, STORY, minute=0, number=0, buyerId=BUYER),
    )
    world.service.wait_until(lambda: _attempts(world, STORY) >= MIN_FAILED_CALLS, "the call failed some times")
    world.sandbox.faults(errorRate=0, rejectOrders=[PARKED])
    world.publish(
        world.said(Kind.COMPLETED, STORY, minute=30, number=2),
        world.said(Kind.CREATED, PARKED, minute=5),
        world.said(Kind.UPDATED, HELD, minute=6),
        poison,
        *(world.said(Kind.CREATED, order_id, minute=7, buyerId=f"buyer-{order_id}") for order_id in PLAIN),
    )
    wait_until(lambda: _status(world, STORY) == "COMPLETED", "the order is completed")
    world.publish(world.said(Kind.UPDATED, STORY, minute=3, number=3, partition=1, buyerId=BUYER))
    world.service.wait_until(lambda: _is_told(world), "everything is told, but for what stands still")


def _attempts(world: World, order_id: int) -> int:
    [(number,)] = world.sql("SELECT count(*) FROM attempt WHERE order_id = %s", order_id)
    return int(number)


def _status(world: World, order_id: int) -> str | None:
    found = world.sql("SELECT status FROM orders WHERE order_id = %s", order_id)
    return found[0][0] if found else None


def _is_told(world: World) -> bool:
    [numbers] = world.sql(
        "SELECT (SELECT count(*) FROM delivery WHERE settled_version = head_version),"
        " (SELECT count(*) FROM delivery WHERE parked_at IS NOT NULL), (SELECT count(*) FROM quarantine),"
        " (SELECT count(*) FROM orders WHERE doubts <> '{}'), (SELECT count(*) FROM orders WHERE held > 0),"
        " (SELECT count(*) FROM console_sample WHERE numbers -> 'parked' ->> 'number' = '1'),"
        " (SELECT count(*) FROM service_process WHERE state ->> 'ready' = 'true')"
    )
    return numbers[:5] == (len(PLAIN) + 1, 1, 1, 1, 1) and all(numbers[5:])
