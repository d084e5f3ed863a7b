"""What the commands of a page meet when a test types them: real servers, an order of the page's own, a shell."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg

from adapters.kafka.producer.order_publisher import OrderPublisher
from adapters.kafka.producer.publisher import Publisher
from adapters.records.publishing import Outgoing
from domain.exact_json import dumps
from domain.instants import format_instant
from domain.messages import Kind
from sandbox.servers.free_port import LOOPBACK, free_port
from sandbox.servers.postgres import installation
from tests.support import local_http
from tests.support.documents import ROOT
from tests.support.messages import NOON_NS, ORDER_ID, SECOND_NS
from tests.support.processes import App, Apps, quick_group
from tests.support.running_intake import new_group
from tests.support.sandbox_process import Sandbox
from tests.support.shells import Shell
from tests.support.waiting import wait_until

FLUSH_SECONDS: Final = 60.0
# Of the sources, what lies in a clone: a page's commands are typed in its folder, but leave nothing there.
HIDDEN: Final = re.compile(r"\.|var$|__pycache__$")
NOT_AT_REST: Final = """
    SELECT (SELECT count(*) FROM stored_events
            WHERE notification_id > (SELECT min(notification_id) FROM projection_position))
         + (SELECT count(*) FROM delivery
            WHERE parked_at IS NULL AND (settled_version < head_version OR lease_token IS NOT NULL))
"""


@dataclass
class Stage:
    """Opens nothing by itself but the shell: a page's scene does."""

    folder: Path
    database_url: str
    bootstrap: str
    topic: str
    third_party: Sandbox
    settings: dict[str, object] = field(default_factory=dict)
    at_the_end: ExitStack = field(default_factory=ExitStack)
    """What a scene must clear away, also when a command fails."""

    def __post_init__(self) -> None:
        self.api_port = free_port()
        self.settings |= {
            "database_url": self.database_url,
            "kafka_bootstrap": self.bootstrap,
            "kafka_topic": self.topic,
            "kafka_group": new_group(),
            "kafka_config": quick_group(),
            "third_party_url": self.third_party.url,
            "api_port": self.api_port,
            "push_backoff_base_seconds": 0.05,
            "push_backoff_max_seconds": 0.2,
        }
        self._stack = ExitStack()
        self._apps = self._stack.enter_context(Apps(self.folder, self.settings))
        self._service: App | None = None
        self._asked = ""
        self._connection: psycopg.Connection
        self.sequences: dict[int, int] = {}

    def open_shell(self, settings: Mapping[str, str]) -> Shell:
        """In a folder that looks like a clone."""
        clone = self.folder / "clone"
        logs = self.folder / "typed"
        clone.mkdir()
        logs.mkdir()
        for path in ROOT.iterdir():
            if not HIDDEN.match(path.name):
                (clone / path.name).symlink_to(path)
        (clone / ".venv").symlink_to(sys.prefix)
        environment = {
            **settings,
            "PATH": f"{sys.prefix}/bin:{installation() / 'bin'}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "API": f"http://localhost:{self.api_port}",
        }
        shell = Shell(clone, environment, logs)
        self._stack.callback(shell.close)
        shell.run('curl() { command curl --silent --show-error --fail-with-body "$@"; }')
        shell.run('make() { command make --silent -o setup "$@"; }')  # .venv is there: another test makes one
        return shell

    def serve(self, *roles: str, **settings: object) -> None:
        """Returns when it does its work."""
        only = ["--only", ",".join(roles)] if roles else []
        self._service = self._apps.start("serve", *only, **settings)
        self._service.wait_for("reading" if not roles or "intake" in roles else "started")
        if not roles or "api" in roles:
            wait_until(self._answers, "an answer of the API")

    def _answers(self) -> bool:
        try:
            return local_http.get(f"http://{LOOPBACK}:{self.api_port}/livez").is_success
        except httpx.TransportError:
            return False

    def stop_serving(self) -> None:
        if self._service is not None:
            assert self._service.terminate() == 0
            self._service = None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of `app.py`, to its end."""
        return self._apps.run(*arguments)

    def say(self, kind: Kind, order_id: int = ORDER_ID, *, cashback: int = 6) -> None:
        """The order's next message; returns when it's decided, and all its calls are done or parked."""
        before = self._events()
        sequence = self.sequences[order_id] = self.sequences.get(order_id, 0) + 1
        item = {
            "externalProductId": "67867",
            "quantity": 2,
            "unit": "KG",
            "originalPrice": 156,
            "discountedPrice": 153,
            "finalTotalPrice": Decimal(312 - cashback),
            "vatRate": 1,
        }
        payload: dict[str, Any] = {
            "orderId": order_id,
            "storeNo": "54645",
            "buyerId": "1234",
            "orderItemsWithDiscountSummaryItems": [{"productItem": item}],
            "transactionId": f"5661042b-cc39-4567-a264-{order_id:012}",
            "transactionDate": format_instant(NOON_NS + sequence * SECOND_NS),
        }
        with Publisher(self.bootstrap) as publisher:
            OrderPublisher(publisher, self.topic).publish(kind, payload, sequence=sequence)
            publisher.flush(FLUSH_SECONDS)
        wait_until(lambda: self._events() > before, f"the decision about {kind}")
        self.settle()

    def publish(self, *values: bytes) -> None:
        """Raw, with the page's order as their key."""
        with Publisher(self.bootstrap) as publisher:
            for value in values:
                publisher.publish(Outgoing(self.topic, b"%d" % ORDER_ID, value))
            publisher.flush(FLUSH_SECONDS)

    def settle(self) -> None:
        """Until every call that is asked for is done, or parked; if nobody makes calls, at once."""
        if self._service is not None:
            wait_until(lambda: self.sql(NOT_AT_REST)[0][0] == 0, "rest")

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """On one connection for all questions; a page may go over to another database."""
        if self._asked != self.database_url:
            self._connection = self._stack.enter_context(psycopg.connect(self.database_url, autocommit=True))
            self._asked = self.database_url
        cursor = self._connection.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def _events(self) -> int:
        return int(self.sql("SELECT count(*) FROM stored_events")[0][0])

    def close(self) -> None:
        try:
            self.at_the_end.close()
        finally:
            self._stack.close()


def valid_value(order_id: int = ORDER_ID) -> bytes:
    """A CREATED without a stamp."""
    item = {"externalProductId": "1", "quantity": 1, "unit": "KG", "originalPrice": 2, "discountedPrice": 1}
    payload = {
        "orderId": order_id,
        "storeNo": "54645",
        "buyerId": "1234",
        "orderItemsWithDiscountSummaryItems": [{"productItem": item | {"finalTotalPrice": 1, "vatRate": 1}}],
        "transactionId": "0f3c1d52-7a44-4d0e-9a53-0a3a3ef2c5b1",
        "transactionDate": format_instant(NOON_NS),
    }
    return dumps({"type": "CREATED", "payload": payload})
