"""A shell that stays open from one command to the next, as a reader's terminal does."""

import os
import pty
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGKILL
from typing import Final

from tests.support.waiting import gone, wait_until

TIMEOUT_SECONDS: Final = 90.0
POLL_INTERVAL_SECONDS: Final = 0.01
STOP_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Result:
    """Of one command; its two streams apart."""

    exit_code: int
    output: str
    complaints: str


class Shell:
    """bash. Commands see a terminal as their standard input, and files as their outputs."""

    def __init__(self, folder: Path, environment: Mapping[str, str], logs: Path) -> None:
        self._logs = logs
        self._count = 0
        self._background: list[tuple[int, Path]] = []
        self._terminal, standard_input = pty.openpty()
        script, self._script = os.pipe()
        with (logs / "shell.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", f"/dev/fd/{script}"],
                cwd=folder,
                env=dict(environment),
                stdin=standard_input,
                stdout=log,
                stderr=log,
                pass_fds=[script],
                start_new_session=True,
            )
        os.close(standard_input)
        os.close(script)

    def run(self, command: str) -> Result:
        output, complaints, code = self._files()
        source = self._source(command)
        self._write(f". {source} > {output} 2> {complaints}; echo $? > {code}.new; mv {code}.new {code}\n")
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not code.exists():
            assert self._process.poll() is None, f"the shell ended with {command!r}"
            assert time.monotonic() < deadline, (
                f"no end within {TIMEOUT_SECONDS} s: {command}\n{output.read_text()}"
            )
            time.sleep(POLL_INTERVAL_SECONDS)
        return Result(int(code.read_text()), output.read_text("utf-8"), complaints.read_text("utf-8"))

    def start(self, command: str, until: str) -> str:
        """Leaves it running, once what it writes has a match of `until`. Answers what it has written."""
        output, _, code = self._files()
        output.touch()  # the shell may tell the process before it has opened its file
        source = self._source(command)
        # A signal that the shell ignores for what runs in the background would be ignored by our programs too.
        inner = f"env --default-signal=INT setsid bash -c {shlex.quote(f'. {source}')}"
        self._write("export -f $(declare -F | cut -d' ' -f3) 2> /dev/null\n")
        self._write(f"{inner} > {output} 2>&1 & echo $! > {code}\n")
        wait_until(lambda: code.exists() and code.read_text().endswith("\n"), f"the start of {command!r}")
        pid = int(code.read_text())
        self._background.append((pid, output))

        def is_ready() -> bool:
            return re.search(until, output.read_text("utf-8")) is not None

        wait_until(lambda: is_ready() or gone(pid), f"{until!r} of {command!r}")
        written = output.read_text("utf-8")
        assert re.search(until, written), f"{command!r} has ended:\n{written}"
        return written

    def stop_background(self) -> list[str]:
        """As Ctrl-C does, the last one first. Answers what each has written."""
        written = []
        while self._background:
            pid, output = self._background.pop()
            deadline = time.monotonic() + STOP_SECONDS
            for number in (SIGINT, SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(pid, number)
                while not gone(pid) and time.monotonic() < deadline:
                    time.sleep(POLL_INTERVAL_SECONDS)
                deadline += STOP_SECONDS
            written.append(output.read_text("utf-8"))
        return written

    def answer(self, text: str) -> None:
        """For a command that asks."""
        os.write(self._terminal, text.encode())

    def close(self) -> None:
        self.stop_background()
        os.close(self._script)
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def _files(self) -> tuple[Path, Path, Path]:
        self._count += 1
        stem = f"{self._count:03}-{secrets.token_hex(2)}"
        return self._logs / f"{stem}.out", self._logs / f"{stem}.err", self._logs / f"{stem}.code"

    def _source(self, command: str) -> Path:
        path = self._logs / f"{self._count:03}.sh"
        path.write_text(command + "\n", "utf-8")
        return path

    def _write(self, line: str) -> None:
        os.write(self._script, line.encode())
