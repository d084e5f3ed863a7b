"""`app.py` as real processes, the third party among them, watched through their logs and over HTTP."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx

from bench.machine import ROOT
from domain.exact_json import loads
from sandbox.servers.supervisor import Child, Command, PartError

POLL_SECONDS: Final = 0.02
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
_RSS_UNIT_BYTES: Final = 1024


class TimeUp(Exception):
    """Something has not happened within the time that a benchmark gives it."""


def wait_until(condition: Callable[[], bool], what: str, within_seconds: float, *children: Child) -> None:
    """Raises TimeUp, or PartError as soon as one of the children has ended."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            raise TimeUp(f"not within {within_seconds:.0f} s: {what}")
        time.sleep(POLL_SECONDS)


class App:
    """One process of ours; it ends with the context, and with us."""

    _started = 0

    def __init__(self, folder: Path, argv: list[str], settings: Mapping[str, object]) -> None:
        App._started += 1
        ours = {f"CASHBACK_{name.upper()}": str(value) for name, value in settings.items()}
        self.child = Child.start(
            Command(
                name=" ".join(argv[:3]),
                argv=[sys.executable, *argv],
                log=folder / f"app-{App._started}.log",
                env={
                    "PATH": os.environ.get("PATH", ""),
                    "LANG": "C.UTF-8",
                    "PYTHONPATH": str(ROOT),
                    "CASHBACK_LOG_FORMAT": "json",
                    **ours,
                },
                cwd=folder,  # where no `.env` of the developer's lies
            )
        )

    @classmethod
    def of(cls, folder: Path, *arguments: str, **settings: object) -> Self:
        """`python app.py …`."""
        return cls(folder, [str(ROOT / "app.py"), *arguments], settings)

    @classmethod
    def module(cls, folder: Path, name: str, *arguments: str) -> Self:
        """`python -m …`."""
        return cls(folder, ["-m", name, *arguments], {})

    @property
    def lines(self) -> list[dict[str, Any]]:
        whole, _, _ = self.child.command.log.read_text("utf-8", "replace").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def line(self, event: str, within_seconds: float = START_SECONDS, **fields: object) -> dict[str, Any]:
        """The first log line with these fields, waited for. Raises TimeUp or PartError."""
        wanted = {"event": event, **fields}
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [line for line in self.lines if wanted.items() <= line.items()]
            return bool(found)

        wait_until(is_there, f"log line {wanted}", within_seconds, self.child)
        return found[0]

    def result(self, within_seconds: float) -> dict[str, Any]:
        """Its last log line, when it has ended well. Raises TimeUp or PartError."""
        if self.child.wait(within_seconds) is None:
            raise TimeUp(f"not ended within {within_seconds:.0f} s: {self.child.command.name}")
        if self.child.exit_code != 0:
            raise PartError(self.child.command.name, f"ended with {self.child.exit_code}", self.child.log_tail())
        return self.lines[-1]

    @property
    def memory_bytes(self) -> int:
        """What it has in memory now (VmRSS)."""
        status = Path(f"/proc/{self.child.pid}/status").read_text("utf-8")
        return int(status.partition("VmRSS:")[2].split()[0]) * _RSS_UNIT_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.stop(STOP_SECONDS)


class RunningThirdParty:
    """The sandbox, asked over HTTP."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.url = str(app.line("listening")["url"])
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=60)

    def show(self, what: str) -> Any:
        return loads(self._client.get(f"/_sandbox/{what}").raise_for_status().content)

    def faults(self, **faults: Any) -> None:
        self._client.put("/_sandbox/faults", json=faults).raise_for_status()

    def reset(self) -> None:
        """Empty books, no faults."""
        self._client.delete("/_sandbox").raise_for_status()

    @property
    def calls(self) -> int:
        return int(self.show("totals")["calls"])

    def check(self) -> None:
        """Raises AssertionError if it has anything to complain of: what breaks the rules is not worth measuring."""
        violations = self.show("violations")
        assert not violations["count"], violations["violations"][:3]


@contextmanager
def third_party(folder: Path, *, failing: bool = False) -> Iterator[RunningThirdParty]:
    """For as long as the context lasts. `failing`: with orders that always get 500 (bench.failing_third_party)."""
    started = App.module(folder, "bench.failing_third_party") if failing else None
    with started or App.of(folder, "third-party", "--port", "0") as app:
        yield RunningThirdParty(app)
