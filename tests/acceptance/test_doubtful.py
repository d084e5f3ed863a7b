"""Hold before paying, with real processes from the event store to the sandbox third party's books."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from domain.messages import Kind
from tests.support.decoding import read
from tests.support.event_store import append, sql
from tests.support.messages import History, product, record_of
from tests.support.processes import Apps
from tests.support.sandbox_process import Sandbox, start_push, start_sandbox

pytestmark = pytest.mark.slow

PUSH: Final[dict[str, object]] = {"third_party_timeout_seconds": 4, "push_lease_seconds": 10, "log_format": "json"}
DOUBTFUL: Final = (
    record_of(Kind.CREATED),
    record_of(Kind.CREATED, offset=1, at_ns=1, items=[product(final=300)]),
    record_of(Kind.UPDATED, offset=2, at_ns=2, items=[product(final=309)]),
    record_of(Kind.COMPLETED, offset=3, at_ns=3),
)
"""A second CREATED says another amount."""
HELD: Final = "SELECT count(*) FROM delivery WHERE parked_reason = 'doubtful'"


@pytest.fixture
def apps(tmp_path: Path, database_url: str) -> Iterator[Apps]:
    apps = Apps(tmp_path, {"database_url": database_url, **PUSH})
    yield apps
    apps.close()


@pytest.fixture
def order_id(database_url: str) -> int:
    """Of an order in doubt that was completed."""
    history = History(*map(read, DOUBTFUL))
    append(database_url, history.events)
    return history.order.order_id


def paths(sandbox: Sandbox) -> list[str]:
    """What the third party was asked for, in the order in which it was."""
    return [f"{call['method']} {call['path']}" for call in sandbox.calls]


def status(sandbox: Sandbox, order_id: int) -> tuple[Any, ...]:
    [order] = [each for each in sandbox.show("orders")["orders"] if each["orderId"] == order_id]
    return order["status"], order["cashbackAmount"]


def test_nothing_is_completed_until_a_person_has_settled_the_doubt(
    apps: Apps, database_url: str, order_id: int
) -> None:
    """Whatever dies meanwhile; what a person decides reaches the process that is at work."""
    sandbox = start_sandbox(apps)
    before = ["POST /v1/cashbacks", f"PUT /v1/cashbacks/{order_id}"]
    push = start_push(apps, sandbox)
    push.wait_until(lambda: sql(database_url, HELD) == [(1,)], "the completion is held")
    push.kill()
    push = start_push(apps, sandbox)
    push.wait_until(lambda: "sending" in push.output, "another process is at work")
    assert paths(sandbox) == before
    assert status(sandbox, order_id) == ("PENDING", 3)

    refused = apps.run("retry", str(order_id))
    assert (refused.returncode, "settle the doubt first" in refused.stderr) == (1, True)
    foretold = json.loads(apps.run("settle", str(order_id), "--dry-run", "--json").stdout)
    assert [(each["kind"], each["cashbackAmount"]) for each in foretold["calls"]] == [("complete", 3)]
    assert paths(sandbox) == before

    settled = apps.run("settle", str(order_id), "--reason", "the first amount is right")
    assert settled.returncode == 0, settled.stderr
    push.wait_until(lambda: len(paths(sandbox)) > len(before), "the completion is sent")
    assert paths(sandbox) == [*before, f"POST /v1/cashbacks/{order_id}/complete"]
    push.wait_until(lambda: status(sandbox, order_id) == ("COMPLETED", 3), "it is in the books")
    assert sandbox.show("violations")["violations"] == []
    assert apps.run("rebuild", "--check").returncode == 0


def test_where_doubtful_orders_are_paid_those_that_were_held_are_paid_too(
    apps: Apps, database_url: str, order_id: int
) -> None:
    """As soon as a process begins that is told so."""
    sandbox = start_sandbox(apps)
    push = start_push(apps, sandbox)
    push.wait_until(lambda: sql(database_url, HELD) == [(1,)], "the completion is held")
    push.kill()
    paying = start_push(apps, sandbox, doubtful_orders="pay")
    paying.wait_until(lambda: status(sandbox, order_id) == ("COMPLETED", 3), "it is in the books")
    assert sandbox.show("violations")["violations"] == []
