"""The database goes back in time under the running service, and everything becomes right by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.order_service.lifecycles import OrderMessage, lifecycles, outcome
from sandbox.servers.embedded_kafka import EmbeddedBroker, create_topic
from sandbox.servers.free_port import LOOPBACK, free_port
from tests.support import local_http
from tests.support.messages import NOON_NS
from tests.support.processes import App, Apps, quick_group
from tests.support.rewinding import Kind, rewindable
from tests.support.running_intake import new_group
from tests.support.sandbox_process import Sandbox, start_sandbox, undelivered
from tests.support.stored import messages_read
from tests.support.streams import outgoing, publish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOPIC = "orders"
ORDERS = 240


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "broker") as server:
        create_topic(server.bootstrap, TOPIC, 4)
        yield server


@pytest.mark.parametrize("kind", list(Kind))
def test_a_service_whose_database_goes_back_in_time_pays_everybody_once(
    broker: EmbeddedBroker, tmp_path: Path, kind: Kind
) -> None:
    """Two processes, with messages and calls under way. They say so, read again what was lost, and call again with
    the same keys: every order is right, and nobody is credited twice."""
    messages = list(lifecycles(1, ORDERS, first_order_id=1, started_at_ns=NOON_NS))
    with rewindable(kind, tmp_path / "database") as database:
        settings = {
            "kafka_group": new_group(),
            "kafka_config": quick_group(),
            "database_url": database.url,
            "kafka_bootstrap": broker.bootstrap,
            "kafka_topic": TOPIC,
            "intake_batch_size": 20,
            "third_party_timeout_seconds": 1,
            "push_lease_seconds": 3,
        }
        with Apps(tmp_path, settings) as apps:
            books = start_sandbox(apps)
            ports = [free_port(), free_port()]
            roles = ("intake,push", "intake,push,api")
            services = [
                apps.start("serve", "--only", role, third_party_url=books.url, probes_port=port, api_port=port)
                for role, port in zip(roles, ports, strict=True)
            ]
            say(broker, messages[: len(messages) // 3])
            settled(services[0], database.url, len(messages) // 3)
            database.keep()
            say(broker, messages[len(messages) // 3 : -len(messages) // 6])
            services[0].wait_until(
                lambda: messages_read(database.url, TOPIC) > len(messages) // 2,
                "more than half of the messages read",
            )
            database.go_back()
            say(broker, messages[-len(messages) // 6 :])

            settled(services[0], database.url, len(messages))
            assert {each["orderId"]: (each["status"], each["cashbackAmount"]) for each in orders_of(books)} == (
                outcome(messages)
            )
            assert books.show("violations")["violations"] == []
            services[0].wait_until(lambda: all(readiness(port)[0] == 200 for port in ports), "readiness")
            for service, port in zip(services, ports, strict=True):
                assert service.has_logged("the database has gone back in time; starting over from it")
                assert readiness(port)[1]["databaseRewound"]
                assert rewinds(port) > 0
            services[1].wait_until(lambda: apps.run("rebuild", "--check").returncode == 0, "lists as the events")
            assert [service.terminate() for service in services] == [0, 0]


def say(broker: EmbeddedBroker, messages: list[OrderMessage]) -> None:
    publish(broker.bootstrap, [outgoing(TOPIC, message) for message in messages])


def settled(service: App, url: str, messages: int) -> None:
    service.wait_until(lambda: messages_read(url, TOPIC) == messages, f"{messages} messages read")
    service.wait_until(lambda: undelivered(url) == 0, "all calls made")


def orders_of(books: Sandbox) -> list[dict[str, object]]:
    return list(books.show("orders")["orders"])


def readiness(port: int) -> tuple[int, dict[str, object]]:
    answer = local_http.get(f"http://{LOOPBACK}:{port}/readyz")
    return answer.status_code, answer.json()


def rewinds(port: int) -> float:
    text = local_http.get(f"http://{LOOPBACK}:{port}/metrics").text
    name = "cashback_database_rewinds_total{"
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))
