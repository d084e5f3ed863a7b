"""Bulk replays from the command line and by the service, as real processes."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT
from typing import Any

import pytest

from domain.messages import Kind
from sandbox.servers.embedded_kafka import EmbeddedBroker
from tests.integration.test_replays import read
from tests.support import local_http
from tests.support.messages import record_of
from tests.support.processes import Apps
from tests.support.running_api import sql, tell

pytestmark = pytest.mark.slow

ORDERS = range(1, 21)
STATE = "SELECT state, done, lease_token IS NULL FROM job ORDER BY number DESC LIMIT 1"


@pytest.fixture
def settings(database_url: str, broker: EmbeddedBroker, topic: Callable[..., str]) -> dict[str, Any]:
    """Of a service over a database with twenty orders of two messages each."""
    kinds = (Kind.CREATED, Kind.COMPLETED)
    tell(
        database_url,
        *(record_of(kind, order_id=o, offset=2 * o + n, at_ns=n) for o in ORDERS for n, kind in enumerate(kinds)),
    )
    return {"database_url": database_url, "kafka_bootstrap": broker.bootstrap, "kafka_topic": topic(3)}


def test_a_preview_is_shown_and_done_with_its_token_or_with_a_yes(
    tmp_path: Path, broker: EmbeddedBroker, settings: dict[str, Any]
) -> None:
    """Without either nothing is done: there is no terminal to ask on."""
    (tmp_path / "ids").write_text("\n".join(map(str, ORDERS)) + "\n99\n")
    with Apps(tmp_path, settings) as apps:
        asked = apps.run("replay-many", "--orders", "ids")
        assert asked.returncode == 1
        assert "error: nothing was done" in asked.stderr
        assert "republish: 20 orders (20 COMPLETED)" in asked.stdout
        assert "cashback of these orders: 120" in asked.stdout
        assert "1 of the orders named are left out: 99" in asked.stdout
        token = re.findall(r"token: +(\S+)", asked.stdout)[0]
        assert sql(settings["database_url"], STATE) == [("previewed", 0, True)]

        done = apps.run("replay-many", "--token", token)
        assert (done.returncode, "20 done, 0 failed, of 20 orders" in done.stdout) == (0, True), done.stderr
        assert sql(settings["database_url"], STATE) == [("done", 20, True)]
        again = apps.run("replay-many", "--token", token)
        assert (again.returncode, "is done already: it can't be started" in again.stderr) == (1, True)

        choice = ("--status", "COMPLETED", "--changed-to", "2100-01-01T00:00:00Z")
        dry = apps.run("replay-many", *choice, "--dry-run", "--json")
        assert (dry.returncode, dry.stderr) == (0, "")
        foretold = json.loads(dry.stdout)
        assert (foretold["mode"], foretold["total"], foretold["byStatus"]) == ("republish", 20, {"COMPLETED": 20})
        assert foretold["token"]
        at_once = apps.run("replay-many", "--status", "COMPLETED", "--rate", "1000", "--yes")
        assert (at_once.returncode, "20 done" in at_once.stdout) == (0, True), at_once.stderr

        listed = apps.run("replays")
        states = re.findall(r"^([0-9a-f-]{36})  republish  (done|previewed)  ", listed.stdout, re.MULTILINE)
        assert [state for _, state in states] == ["done", "previewed", "done"], listed.stdout
        replay_id = states[0][0]
        shown = apps.run("replays", replay_id)
        assert shown.stdout.startswith(f"republish {replay_id}: done\n20 done, 0 failed, of 20 orders\n")
        as_json = json.loads(apps.run("replays", replay_id, "--json").stdout)
        assert (as_json["id"], as_json["state"], as_json["done"]) == (replay_id, "done", 20)
    assert len(read(broker, settings["kafka_topic"], 3, 2 * 2 * len(ORDERS))) == 80


def test_an_interrupted_replay_is_cancelled(tmp_path: Path, settings: dict[str, Any]) -> None:
    """By Ctrl-C, and by another command while it runs."""
    with Apps(tmp_path, settings) as apps:
        for end in ("interrupt", "cancel-replay"):
            running = apps.start("replay-many", "--status", "COMPLETED", "--rate", "0.2", "--yes")
            url = settings["database_url"]
            running.wait_until(lambda: sql(url, STATE)[:1] == [("running", 1, False)], "the first order")  # noqa: B023 - called before the next turn
            if end == "interrupt":
                running.signal(SIGINT)
                assert running.wait() == 130
            else:
                ((replay_id,),) = sql(url, "SELECT id FROM job WHERE state = 'running'")
                cancelled = apps.run("cancel-replay", str(replay_id))
                assert (cancelled.returncode, ": cancelled" in cancelled.stdout) == (0, True)
                assert running.wait() == 1
            assert "cancelled\n1 done, 0 failed, of 20 orders" in running.output
            assert sql(url, STATE) == [("cancelled", 1, True)]


def test_the_service_does_what_was_started_and_leaves_the_rest_behind_when_it_stops(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    """With the role `api` alone. The process that comes next goes on."""
    settings |= {"api_port": 0, "log_format": "json"}

    def post(url: str, path: str, body: object) -> Any:
        return local_http.request("POST", f"{url}{path}", json=body).json()

    with Apps(tmp_path, settings) as apps:
        first = apps.start("serve", "--only", "api")
        first.wait_for("listening")
        url = next(line["url"] for line in first.log if line["event"] == "listening")
        options = {"mode": "republish", "select": {"status": "COMPLETED"}, "ratePerSecond": 4, "reason": "a test"}
        preview = post(url, "/api/replays", options)
        assert post(url, f"/api/replays/{preview['id']}/start", {"token": preview["token"]})["state"] == "running"
        first.wait_until(lambda: sql(settings["database_url"], STATE)[0][1] > 0, "the first order")
        assert first.terminate() == 0
        ((state, done, free),) = sql(settings["database_url"], STATE)
        assert (state, free) == ("running", True)
        assert 0 < done < len(ORDERS)
        second = apps.start("serve", "--only", "api")
        second.wait_until(lambda: sql(settings["database_url"], STATE) == [("done", 20, True)], "the end")
        assert second.terminate() == 0
    recorded = "SELECT count(*), sum(items) FROM replay WHERE id = %s"
    assert sql(settings["database_url"], recorded, preview["id"]) == [(len(ORDERS), 2 * len(ORDERS))]
