"""The story that we start from, run for real: four topics, a lag on the creates, and a consumer that calls the
third party straight away. Then this service over the same four topics with the same messages. Side by side.

`python -m bench.seed_story [--orders N]`
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from confluent_kafka import Consumer
from rich.console import Console
from rich.table import Table

from adapters.kafka.producer.publisher import Publisher
from adapters.postgres.migrate import migrate
from adapters.records.publishing import Outgoing
from bench.references.straight_through import call_at_once, decoded
from domain.exact_json import loads
from domain.messages import Kind, Message
from sandbox.order_service.lifecycles import OrderMessage, lifecycles
from sandbox.servers.embedded_kafka import EmbeddedBroker, create_topic
from sandbox.servers.free_port import free_port
from sandbox.servers.postgres import EmbeddedPostgres
from sandbox.servers.supervisor import Supervisor

ROOT = Path(__file__).parent.parent
PARTITIONS = 3
DEADLINE_SECONDS = 180
TOPICS = {kind: f"order-cashback-{kind.lower()}" for kind in Kind}
# The creates lag: whoever reads them starts when the others have read everything.
LAGGING = Kind.CREATED


def main() -> None:
    """Prints one table: the seed's way and ours."""
    parser = argparse.ArgumentParser(prog="python -m bench.seed_story", description=__doc__)
    parser.add_argument("--orders", type=int, default=300)
    options = parser.parse_args()
    messages = list(lifecycles(1, options.orders, first_order_id=1, started_at_ns=time.time_ns(), stamped=False))
    with tempfile.TemporaryDirectory() as name, Supervisor() as supervisor:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
        postgres = supervisor.add(EmbeddedPostgres(folder / "postgres"))
        broker = supervisor.add(EmbeddedBroker(folder / "broker"))
        url, bootstrap = postgres.start(), broker.start()
        migrate(url)
        for topic in TOPICS.values():
            create_topic(bootstrap, topic, PARTITIONS)
        with _third_party() as base_url:
            theirs = _straightforward(bootstrap, base_url, dict(broker.client_config), messages)
            theirs |= _books(base_url)
        with _third_party() as base_url:
            ours = _service(bootstrap, base_url, url, json.dumps(dict(broker.client_config)), messages)
            ours |= _books(base_url)
    _show(options.orders, len(messages), theirs, ours)


def _straightforward(
    bootstrap: str, base_url: str, config: dict[str, str], messages: Sequence[OrderMessage]
) -> dict[str, Any]:
    """A consumer a topic that calls at once, logs an exception and goes on, as the story tells."""
    _publish(bootstrap, messages)
    failures: Counter[int] = Counter()
    with httpx.Client(base_url=base_url) as client:
        for kind in (*(kind for kind in Kind if kind is not LAGGING), LAGGING):
            expected = sum(message.kind == kind for message in messages)
            for message in _read(bootstrap, config, TOPICS[kind], expected):
                status = call_at_once(client, message)
                if not httpx.codes.is_success(status):
                    failures[status] += 1
    return {"failed calls": sum(failures.values()), "of them 404": failures[404]}


def _service(
    bootstrap: str, base_url: str, url: str, config: str, messages: Sequence[OrderMessage]
) -> dict[str, Any]:
    """This service over the same topics; the messages lie there already, creates and all."""
    settings = {
        "KAFKA_BOOTSTRAP": bootstrap,
        "KAFKA_TOPIC": ",".join(TOPICS.values()),
        "KAFKA_CONFIG": config,
        "DATABASE_URL": url,
        "THIRD_PARTY_URL": base_url,
    }
    environment = os.environ | {f"CASHBACK_{name}": value for name, value in settings.items()}
    command = [sys.executable, str(ROOT / "app.py"), "serve", "--only", "intake,push"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        orders = len({message.order_id for message in messages})
        _wait_until(lambda: _settled(base_url) == orders, process)
    finally:
        process.terminate()
        process.wait(30)
    with psycopg.connect(url) as connection:
        failed = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE status = 404) FROM attempt WHERE outcome <> 'delivered'"
        ).fetchone()
    assert failed is not None
    return {"failed calls": failed[0], "of them 404": failed[1]}


def _settled(base_url: str) -> int:
    totals = loads(httpx.get(f"{base_url}/_sandbox/totals").content)["byStatus"]
    return int(totals["COMPLETED"]) + int(totals["CANCELLED"])


def _wait_until(condition: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert process.poll() is None, "the service has ended"
        assert time.monotonic() < deadline, "the service did not finish in time"
        time.sleep(0.1)


def _publish(bootstrap: str, messages: Sequence[OrderMessage]) -> None:
    with Publisher(bootstrap) as publisher:
        for message in messages:
            publisher.publish(Outgoing(TOPICS[Kind(message.kind)], message.key, message.value, message.headers))
        publisher.flush(60)


def _read(bootstrap: str, config: dict[str, str], topic: str, expected: int) -> Iterator[Message]:
    consumer = Consumer(
        {**config, "bootstrap.servers": bootstrap, "group.id": uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    try:
        while expected:
            record = consumer.poll(1.0)
            if record is None or record.error():
                continue
            expected -= 1
            yield decoded(record, topic)
    finally:
        consumer.close()


def _books(base_url: str) -> dict[str, Any]:
    totals = loads(httpx.get(f"{base_url}/_sandbox/totals").content)
    return {
        "orders completed": totals["byStatus"]["COMPLETED"],
        "orders cancelled": totals["byStatus"]["CANCELLED"],
        "orders left pending": totals["byStatus"]["PENDING"],
        "money credited": totals["creditedAmount"],
        "violations": totals["violations"],
    }


@contextmanager
def _third_party() -> Iterator[str]:
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(ROOT / "app.py"), "third-party", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        _wait_until(lambda: _answers(base_url), process)
        yield base_url
    finally:
        process.terminate()
        process.wait(10)


def _answers(base_url: str) -> bool:
    try:
        return httpx.get(f"{base_url}/_sandbox/totals").is_success
    except httpx.TransportError:
        return False


def _show(orders: int, messages: int, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    table = Table(title=f"{orders} orders, {messages} messages on four topics, a lag on the creates")
    for column in ("", "calls straight away", "this service"):
        table.add_column(column, justify="right" if column else "left")
    for name, value in theirs.items():
        table.add_row(name, str(value), str(ours[name]))
    Console().print(table)


if __name__ == "__main__":
    main()
