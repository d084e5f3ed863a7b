"""Waiting for what other processes do: for a condition, with a deadline, never for a while."""

import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_SECONDS = 60.0
POLL_INTERVAL_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(POLL_INTERVAL_SECONDS)


def gone(pid: int) -> bool:
    """No such process, or one that has ended and waits for its new parent to notice."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
