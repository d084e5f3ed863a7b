"""One of our own commands as a child of the demo."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sandbox.demo.folder import REPOSITORY
from sandbox.servers.supervisor import Child, Command, PartError

READY_SECONDS: Final = 60.0
POLL_INTERVAL_SECONDS: Final = 0.01
MAX_SHOWN_LINES: Final = 5
MAX_SHOWN_CHARACTERS: Final = 300


class Program:
    """`python app.py ARGUMENTS` with its own log, which must be JSON lines. Told to stop, it has `stop_seconds`."""

    def __init__(self, name: str, arguments: Sequence[str], *, log: Path, stop_seconds: float) -> None:
        self.name = name
        self.log = log
        self._arguments = arguments
        self._stop_seconds = stop_seconds
        self._child: Child | None = None

    def start(self, env: Mapping[str, str]) -> None:
        """Starts it, or starts it again when it has ended."""
        self.stop(0)
        argv = [sys.executable, str(REPOSITORY / "app.py"), *self._arguments]
        self._child = Child.start(Command(name=self.name, argv=argv, log=self.log, env=env))

    @property
    def pid(self) -> int:
        assert self._child is not None, "not started"
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        assert self._child is not None, "not started"
        return self._child.exit_code

    def check(self) -> None:
        """Raises PartError if it has ended."""
        if self._child is not None:
            self._child.check()

    def check_success(self) -> None:
        """Raises PartError if it has ended with anything but 0."""
        if self._child is not None and self._child.exit_code != 0:
            self._child.check()

    def stop(self, within_seconds: float) -> None:
        """Does nothing when it was never started, or the second time."""
        if self._child is not None:
            self._child.stop(min(within_seconds, self._stop_seconds))

    def wait_until_listening(self, deadline_seconds: float = READY_SECONDS) -> str:
        """The URL that it listens on, once it says so in its log. Raises PartError."""
        deadline = time.monotonic() + deadline_seconds
        while True:
            for entry in _entries(self.log):
                if entry.get("event") == "listening":
                    return str(entry["url"])
            self.check()
            if time.monotonic() > deadline:
                raise PartError(self.name, f"not ready within {deadline_seconds:.0f} s", self._tail())
            time.sleep(POLL_INTERVAL_SECONDS)

    def last_entry(self, event: str) -> dict[str, Any] | None:
        """Its last log line with this event; None if there is none."""
        return next((entry for entry in reversed([*_entries(self.log)]) if entry.get("event") == event), None)

    def _tail(self) -> str:
        return self._child.log_tail() if self._child is not None else ""


def readable(log_tail: str) -> list[str]:
    """The last lines of a log for people: no traces, and what matters of a JSON line."""
    lines = [_in_words(line)[:MAX_SHOWN_CHARACTERS] for line in log_tail.splitlines()]
    return [line for line in lines if line.strip() and not line.startswith(("Traceback", "  "))][-MAX_SHOWN_LINES:]


def _in_words(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line.rstrip()
    if not isinstance(entry, dict):
        return line.rstrip()
    trace = str(entry.pop("exception", "")).strip().splitlines()
    details = " ".join(
        f"{name}={value}" for name, value in entry.items() if name not in {"event", "level", "timestamp"}
    )
    words = [str(entry.get("level", "")), str(entry.get("event", "")), details, trace[-1] if trace else ""]
    return " ".join(word for word in words if word)


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a log that are JSON objects."""
    for line in log.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n") and line.startswith(b"{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue
