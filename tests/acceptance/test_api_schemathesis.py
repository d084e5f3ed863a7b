"""The API does what its description says: schemathesis asks a real service for all that it allows, and for more."""

import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

import pytest

from adapters.records.jobs import Selection
from domain.messages import Kind
from tests.conftest import MakeTopic
from tests.support import local_http
from tests.support.bulk import previewed, started
from tests.support.clusters import Cluster
from tests.support.messages import record, record_of
from tests.support.processes import REPOSITORY, App, Apps, bare_environment
from tests.support.running_api import RecordingThirdParty, deliver, refuse, tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN: Final = "all-of-it-is-open"
CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
ORDERS: Final = range(1, 9)
PARKED: Final = range(1, 5)
LIMIT_SECONDS: Final = 240.0
SHOWN_CHARACTERS: Final = 20_000


@pytest.fixture
def service(tmp_path: Path, database_url: str, broker: Cluster, topic: MakeTopic) -> Iterator[App]:
    """The role `api` over a few orders: delivered, parked, in quarantine, in bulk replays."""
    life = (Kind.CREATED, Kind.UPDATED, Kind.COMPLETED)
    records = [
        record_of(kind, order_id=each, offset=10 * each + step, at_ns=step)
        for each in ORDERS
        for step, kind in enumerate(life)
    ]
    tell(database_url, *records, *(record(b"{", offset=1000 + each) for each in ORDERS))
    deliver(database_url, RecordingThirdParty(refuse(*PARKED)))
    previewed(database_url, Selection(frozenset(ORDERS)))
    started(database_url, ORDERS[-1], rate_per_second=0.1)
    settings = {"kafka_bootstrap": broker.bootstrap, "kafka_topic": topic(), "database_url": database_url}
    with Apps(tmp_path, settings) as apps:
        app = apps.start("serve", "--only", "api", api_token=TOKEN, api_port=0, log_format="json")
        app.wait_for("listening")
        yield app


def url_of(service: App) -> str:
    return next(str(line["url"]) for line in service.log if line["event"] == "listening")


def seconds(to: HTTPConnection) -> float:
    """Of one request."""
    before = time.monotonic()
    to.request("GET", "/livez")
    to.getresponse().read()
    return time.monotonic() - before


def test_a_kept_connection_is_as_quick_as_a_new_one(service: App) -> None:
    """Nobody waits for the acknowledgement of anything. (With 40 ms of it, it takes twenty times as long.)

    The two in turns, so that what else the machine does hinders both.
    """
    address = urlsplit(url_of(service)).netloc
    kept = HTTPConnection(address)
    pairs = [(seconds(kept), seconds(HTTPConnection(address))) for _ in range(25)]
    assert median(each for each, _ in pairs) < 5 * median(each for _, each in pairs)
    kept.close()


def test_every_endpoint_does_what_the_description_says(service: App, tmp_path: Path) -> None:
    """All checks that there are, by examples, limits, chance, and by following one answer into the next request."""
    url = url_of(service)
    served = local_http.get(f"{url}/api/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"})
    description = tmp_path / "openapi.json"
    description.write_bytes(served.content)
    asked = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
            *("run", str(description), "--url", url, "--checks", "all"),
            *("--workers", "1", "--continue-on-failure"),
        ],
        cwd=tmp_path,
        env=bare_environment({}) | {"HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY), "API_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert asked.returncode == 0, (asked.stdout + asked.stderr)[-SHOWN_CHARACTERS:]
    assert not service.has_logged("request failed", status=500)
