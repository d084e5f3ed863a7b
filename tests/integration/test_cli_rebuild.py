"""The rebuild as a command, and what it needs: little memory, and nothing that could call anybody."""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from adapters.postgres import rebuild as postgres_rebuild
from adapters.postgres.rebuild import rebuild
from domain.exact_json import loads
from tests.support.event_store import append, project, renumbered, sql, streams
from tests.support.processes import REPOSITORY, bare_environment, run_app
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

ORDERS = 2000
"""Enough for their events to be fetched in several portions."""


@pytest.fixture
def told(database_url: str) -> str:
    """A database with four completed orders, projected."""
    append(database_url, streams([1, 2, 3, 4]))
    project(database_url)
    return database_url


def test_it_shows_what_it_found(told: str, tmp_path: Path) -> None:
    """With exit code 0 if all agrees, 1 if there is a difference."""
    agreed = run_app("rebuild", "--check", folder=tmp_path, settings={"database_url": told})
    assert agreed.returncode == 0, agreed.stderr
    assert "4 orders rebuilt from 12 events" in agreed.stdout
    assert "the read models agree" in agreed.stdout
    sql(told, "UPDATE orders SET cashback = 7 WHERE order_id = 2")
    differs = run_app("rebuild", "--check", folder=tmp_path, settings={"database_url": told})
    assert differs.returncode == 1
    assert "order 2: cashback differs from what the events say" in differs.stdout
    assert "1 differences" in differs.stdout
    told_so = run_app("rebuild", "--check", "2", "99", "--json", folder=tmp_path, settings={"database_url": told})
    found = loads(told_so.stdout)
    assert (told_so.returncode, found["differenceCount"], found["missing"]) == (1, 1, 1)
    assert found["differences"] == [{"orderId": 2, "what": "cashback differs from what the events say"}]
    assert found["byStatus"] == {"COMPLETED": {"orders": 1, "cashbackAmount": 6}}
    anew = run_app("rebuild", "--read-models", folder=tmp_path, settings={"database_url": told})
    assert anew.returncode == 0, anew.stderr
    assert rebuild(told, [], lambda *_: None, check=True).differences == []


def test_an_order_that_is_not_there_is_told(told: str, tmp_path: Path) -> None:
    """It's an error to ask for it."""
    missing = run_app("rebuild", "2", "99", folder=tmp_path, settings={"database_url": told})
    assert missing.returncode == 1
    assert "1 of the orders named have no events" in missing.stdout


def test_two_that_make_the_read_model_anew_are_one_too_many(told: str, tmp_path: Path) -> None:
    """The second ends with one line that says why."""
    with psycopg.connect(told) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (postgres_rebuild._REBUILD_LOCK,))
        second = run_app("rebuild", "--read-models", folder=tmp_path, settings={"database_url": told})
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1:] == ["error: the read models are being rebuilt by another process"]


def test_what_could_call_anybody_is_never_even_loaded(told: str, tmp_path: Path) -> None:
    """Neither the client of the third party nor any library that could send something to somebody."""
    for option in ("--check", "--read-models"):
        argv = [sys.executable, "-c", SHOWS_WHAT_IS_LOADED, "rebuild", option]
        done = subprocess.run(
            argv,
            cwd=tmp_path,
            env=bare_environment({"database_url": told}) | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        loaded = set(done.stderr.splitlines()[-1].split())
        assert "adapters.postgres.rebuild" in loaded
        assert {name for name in loaded if name.startswith(COULD_CALL)} == set()


COULD_CALL = (
    "adapters.kafka",
    "adapters.third_party_api",
    "aiohttp",
    "confluent_kafka",
    "fastapi",
    "http.client",
    "httpx",
    "projections.delivery.dispatcher",
    "requests",
    "sandbox",
    "urllib3",
    "uvicorn",
)
SHOWS_WHAT_IS_LOADED = """
import sys
import app

try:
    app.main()
except SystemExit as end:
    sys.stderr.write("\\n" + " ".join(sorted(sys.modules)))
    raise
"""
MEASURED = """
import sys
from pathlib import Path
from adapters.postgres.rebuild import rebuild, rebuild_read_models

ignore = lambda done, total: None
if sys.argv[2] == "read-models":
    result = rebuild_read_models(sys.argv[1], ignore)
else:
    result = rebuild(sys.argv[1], [], ignore, check=sys.argv[2] == "check")
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(result.tally.orders, peak.split()[1])
"""


def test_memory_does_not_grow_with_the_store(database_url: str) -> None:
    """Four times as many orders take about as much of it, whatever is done."""
    some = streams(range(1, ORDERS + 1))

    def peaks(orders: int) -> list[int]:
        found = []
        for way in ("plain", "check", "read-models"):
            argv = [sys.executable, "-c", MEASURED, database_url, way]
            done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=True)
            handled, peak_kib = map(int, done.stdout.split())
            assert handled == orders
            found.append(peak_kib)
        return found

    append(database_url, some)
    project(database_url)
    few = peaks(ORDERS)
    for number in (1, 2, 3):
        append(database_url, renumbered(some, number * ORDERS))
    project(database_url)
    many = peaks(4 * ORDERS)
    assert all(more < 1.2 * less for less, more in zip(few, many, strict=True)), (few, many)
