"""Lists on a real terminal of 80 and of 120 columns: no id, amount or state is cut or broken."""

import os
import pty
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from adapters.postgres.migrate import migrate
from sandbox.servers.postgres import create_database, drop_database
from tests.support import hostile_data
from tests.support.hostile_data import AMOUNT, BUYER, FIRST, JOB, QUARANTINED
from tests.support.messages import TOPIC
from tests.support.processes import bare_environment, command
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

PLACE: Final = f"{TOPIC}/11@{QUARANTINED + 7}"
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def hostile(postgres_server: str) -> Iterator[str]:
    database_url = create_database(postgres_server, f"cashback_terminal_{secrets.token_hex(4)}")
    migrate(database_url)
    hostile_data.fill(database_url)
    yield database_url
    drop_database(database_url)


def shown(url: str, folder: Path, columns: int, *arguments: str) -> list[str]:
    """The lines of a command on a terminal so wide."""
    ours, theirs = pty.openpty()
    environment = bare_environment({"database_url": url}) | {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(command(*arguments), cwd=folder, env=environment, stdout=theirs)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the other end is closed
        while some := os.read(ours, 65_536):
            said += some
    os.close(ours)
    assert process.wait(DEADLINE_SECONDS) == 0
    return _COLOURS.sub("", said.decode()).splitlines()


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        ("orders", (str(FIRST), "PENDING", AMOUNT)),
        ("parked", (str(FIRST), "refused", AMOUNT, "account_closed")),
        ("quarantine", (str(QUARANTINED + 7), PLACE)),
        ("differences", (str(FIRST), "missing_there", "COMPLETED 1234567.89", "COMPLETED 1234560.89")),
        ("money-may-be-wrong", (str(FIRST), AMOUNT, "order 2181")),
        ("audit", (str(FIRST), "retry")),
        ("jobs", (str(JOB), "done")),
    ],
)
def test_ids_amounts_and_states_are_whole(
    hostile: str, tmp_path: Path, columns: int, arguments: str, whole: tuple[str, ...]
) -> None:
    """And no line is longer than the terminal, which would break it; each order takes few lines."""
    lines = shown(hostile, tmp_path, columns, *arguments.split())
    assert max(map(len, lines)) <= columns, lines
    for value in whole:
        assert any(value in line for line in lines), (value, lines)
    rows = [line for line in lines if re.match(r".*\d{15}|[0-9a-f]{8}-", line)]
    assert len(lines) <= 3 + 4 * len(rows), lines


def test_a_wide_terminal_has_every_column(hostile: str, tmp_path: Path) -> None:
    """A narrow one says which it leaves out."""
    wide, narrow = (shown(hostile, tmp_path, columns, "orders") for columns in (200, 80))
    assert BUYER in "".join(wide)
    assert BUYER not in "".join(narrow)
    assert "store" in wide[0]
    assert "store" not in narrow[0]
