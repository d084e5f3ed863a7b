"""`app.py` as real processes: started with an environment of their own, watched through their logs, signalled."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any, Final, Self

from sandbox.servers.supervisor import Child, Command
from tests.support.waiting import DEADLINE_SECONDS, POLL_INTERVAL_SECONDS, children_of, wait_until

REPOSITORY: Final = Path(__file__).parents[2]
QUICK_GROUP: Final = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 300, "fetch.wait.max.ms": 20}
"""librdkafka properties for a group that notices the death of a member soon."""
OUTPUT_SHOWN: Final = 4000  # characters


def quick_group(**more: object) -> str:
    """QUICK_GROUP as CASHBACK_KAFKA_CONFIG takes it."""
    return json.dumps(QUICK_GROUP | more)


def bare_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """What a process needs to run, and our settings by their names without the prefix, in lower case."""
    ours = {f"CASHBACK_{name.upper()}": str(value) for name, value in settings.items()}
    return {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"} | ours


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / "app.py"), *arguments]


def run_app(
    *arguments: str, folder: Path, settings: Mapping[str, object] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, in a folder where no `.env` of the developer's lies."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=bare_environment(settings or {}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def kill_stopped_children() -> None:
    """Those of the main thread, which starts all of ours. Who started them reaps them."""
    for pid in children_of(os.getpid()):
        with suppress(FileNotFoundError, ProcessLookupError):
            if "\nState:\tT" in Path(f"/proc/{pid}/status").read_text("utf-8"):
                os.kill(pid, SIGKILL)


class App:
    """One running `app.py`."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.pid = child.pid

    @property
    def output(self) -> str:
        """Everything that it has written so far, to either stream."""
        return self._child.command.log.read_text("utf-8")

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log lines so far; the last one only if it's whole."""
        whole, _, _ = self.output.rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    @property
    def alive(self) -> bool:
        return self._child.alive

    def has_logged(self, event: str, **fields: object) -> bool:
        return self.count(event, **fields) > 0

    def count(self, event: str, **fields: object) -> int:
        wanted = {"event": event, **fields}
        return sum(wanted.items() <= line.items() for line in self.log)

    def wait_until(
        self, condition: Callable[[], bool], what: str, *, within_seconds: float = DEADLINE_SECONDS
    ) -> None:
        """Fails at once if the process ends meanwhile. Either failure shows the end of what it wrote."""
        deadline = time.monotonic() + within_seconds
        while not condition():
            ended = None if self.alive else f"ended with {self._child.exit_code} before {what}"
            late = f"not within {within_seconds} s: {what}" if time.monotonic() > deadline else None
            if ended or late:
                raise AssertionError(f"{ended or late}\n{self.output[-OUTPUT_SHOWN:]}")
            time.sleep(POLL_INTERVAL_SECONDS)

    def wait_for(self, event: str, **fields: object) -> None:
        self.wait_until(lambda: self.has_logged(event, **fields), f"log line {event!r} {fields or ''}")

    def signal(self, number: Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code; negative if a signal killed it."""
        wait_until(lambda: not self.alive, f"the end of process {self.pid}")
        code = self._child.exit_code
        assert code is not None
        self._child.stop()
        return code

    def terminate(self) -> int:
        self.signal(SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """At once, and reaped."""
        self._child.stop(0)


class Apps:
    """Starts processes, and ends those that still run when the test is over. For the main thread."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self._stack = ExitStack()
        self._started = 0

    def start(self, *arguments: str, **settings: object) -> App:
        """Settings given here go over the common ones."""
        return self._start(arguments, bare_environment(self.settings | settings))

    def start_with_wrong_clock(self, by_seconds: float, *arguments: str, **settings: object) -> App:
        folder = Path(__file__).parent / "wrong_clock"
        clock = {"PYTHONPATH": str(folder), "WRONG_CLOCK_SECONDS": str(by_seconds)}
        return self._start(arguments, bare_environment(self.settings | settings) | clock)

    def start_with_descriptors(self, number: int, *arguments: str, **settings: object) -> App:
        """With so many file descriptors, and no way to have more."""
        limit = ["/bin/sh", "-c", f'ulimit -n {number}; exec "$@"', "limited"]
        return self._start(arguments, bare_environment(self.settings | settings), limit)

    def _start(self, arguments: Sequence[str], environment: Mapping[str, str], before: Sequence[str] = ()) -> App:
        self._started += 1
        child = Child.start(
            Command(
                name=f"app.py {arguments[0]}",
                argv=[*before, *command(*arguments)],
                log=self.folder / f"app-{self._started}.log",
                env=environment,
                cwd=self.folder,
            )
        )
        self._stack.callback(child.stop, 0)
        return App(child)

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        return run_app(*arguments, folder=self.folder, settings=self.settings | settings)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
