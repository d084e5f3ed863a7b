"""Help, the version, and what they may load: who presses the tabulator or asks for help shouldn't wait."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest
from typer.main import get_group

from adapters.observability.version import VERSION
from app import app
from domain.exact_json import dumps, loads
from domain.messages import Kind
from sandbox.order_service.single_message import SingleMessage
from tests.support.commands import run_here
from tests.support.decoding import read
from tests.support.messages import record

ROOT: Final = Path(__file__).parents[3]
SLOW: Final = {"adapters.settings", "asyncio", "confluent_kafka", "fastapi", "httpx", "psycopg", "pydantic", "rich"}
LOADED: Final = f"""
import runpy, sys
sys.argv = ["app.py", "--help"]
try:
    runpy.run_path("app.py", run_name="__main__")
except SystemExit:
    pass
print(sorted({SLOW!r} & sys.modules.keys()), file=sys.stderr)
"""


def test_help_loads_nothing_that_it_does_not_need() -> None:
    """No settings, no database, nothing that draws."""
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert "Usage: app.py" in done.stdout


def test_commands_are_listed_by_what_they_are_for(tmp_path: Path) -> None:
    """Each once, with its whole sentence; options have no types that say nothing."""
    help_text = run_here("--help", folder=tmp_path, settings={}).out
    headings = [line for line in help_text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Options:",
        "Run the service:",
        "Look:",
        "Repair:",
        "Repair many orders:",
        "Play the rest of the world:",
    ]
    listed = re.findall("^  ([a-z][a-z-]*)  ", help_text, re.MULTILINE)
    assert {"serve", "orders", "money-may-be-wrong", "replay-many", "demo"} <= set(listed)
    assert len(listed) == len(set(listed)) == len(get_group(app).commands)
    assert "<bool>" not in help_text + run_here("orders", "--help", folder=tmp_path, settings={}).out


def test_the_version_is_told(tmp_path: Path) -> None:
    """Without any setting."""
    assert run_here("--version", folder=tmp_path, settings={}) == (0, f"{VERSION}\n", "")


def test_a_single_message_is_one_of_the_topic() -> None:
    """With the amounts exact, and whatever is paid."""
    said = SingleMessage(24_323_523, Kind.CREATED, 1, Decimal("305.50"))
    value = dumps({"type": said.kind, "payload": said.payload(datetime(2025, 2, 28, tzinfo=UTC))})
    assert read(record(value, key=b"24323523")).cashback == Decimal("6.50")
    assert loads(value)["payload"]["transactionDate"] == "2025-02-28T00:00:00Z"


@pytest.mark.parametrize(
    "arguments",
    [
        "--order 7",
        "--kind CREATED",
        "--order 7 --kind CREATED --orders 3",
        "--order 7 --kind CREATED --chaos all",
        "--sequence 3",
        "--order 7 --kind CREATED --to-pay nothing",
    ],
)
def test_one_message_goes_with_no_lifecycles(tmp_path: Path, arguments: str) -> None:
    """One line says so, before anything is connected to."""
    done = run_here("simulate", *arguments.split(), folder=tmp_path, settings={})
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
