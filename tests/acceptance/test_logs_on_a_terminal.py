"""The service on a terminal, and the same service away from one."""

import json
import os
import pty
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from sandbox.servers.free_port import LOOPBACK
from tests.support.fake_ledger import lifecycle
from tests.support.ledgers import OnPostgres
from tests.support.processes import bare_environment, command
from tests.support.third_party_server import ThirdParty, serving
from tests.support.waiting import DEADLINE_SECONDS, wait_until

CHUNK_BYTES: Final = 65536
REFUSED_ORDER: Final = 2

pytestmark = pytest.mark.slow


@pytest.fixture
def third_party() -> Iterator[ThirdParty]:
    with serving() as running:
        running.faults(rejectOrders=[REFUSED_ORDER])
        yield running


@contextmanager
def serving_push(folder: Path, database_url: str, party: ThirdParty, *, terminal: bool) -> Iterator[list[bytes]]:
    """What it writes, in pieces; whole when it has ended."""
    settings = {"database_url": database_url, "third_party_url": f"http://{LOOPBACK}:{party.port}"}
    reading, writing = pty.openpty() if terminal else os.pipe()
    pieces: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(reading, CHUNK_BYTES):
                pieces.append(piece)
        except OSError:  # so a terminal says that nobody writes to it any more
            pass

    child = subprocess.Popen(
        command("serve", "--only", "push"),
        cwd=folder,
        env=bare_environment(settings) | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
    )
    os.close(writing)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield pieces
        child.terminate()
        assert child.wait(DEADLINE_SECONDS) == 0
    finally:
        child.kill()
        child.wait()
        reader.join(DEADLINE_SECONDS)
        os.close(reading)


def test_lines_are_for_people_on_a_terminal_and_json_elsewhere(
    tmp_path: Path, database_url: str, third_party: ThirdParty
) -> None:
    """Each call is a line either way: with its time, its level in colour, and its fields by their names."""
    ledger = OnPostgres(database_url)
    ledger.add(*lifecycle(1), *lifecycle(REFUSED_ORDER))
    with serving_push(tmp_path, database_url, third_party, terminal=True) as shown:
        wait_until(lambda: b"order parked" in b"".join(shown), "the refused order")
        wait_until(lambda: b"".join(shown).count(b"delivered") == 3, "the other's calls")
    text = b"".join(shown).decode()
    assert "\x1b[" in text
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert not [line for line in lines if line.startswith("{")]
    calls = [line for line in lines if re.match(r"\S+Z \[(info|warning) *\] call ", line)]
    assert len(calls) == 4, text
    assert sorted(re.findall(r"(?:attempt|order_id|outcome|version)=(\w+)", line) for line in calls) == [
        ["1", "1", "delivered", "1"],
        ["1", "1", "delivered", "2"],
        ["1", "1", "delivered", "3"],
        ["1", "2", "refused", "1"],
    ]

    ledger.add(*lifecycle(3))
    with serving_push(tmp_path, database_url, third_party, terminal=False) as piped:
        wait_until(lambda: b"".join(piped).count(b"delivered") == 3, "all calls")
    objects = [json.loads(line) for line in b"".join(piped).splitlines()]
    assert [each["version"] for each in objects if each["event"] == "call"] == [1, 2, 3]
    assert all({"event", "level", "timestamp"} <= each.keys() for each in objects)
