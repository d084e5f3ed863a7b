"""Where the demo shows itself: a terminal, or something that only takes lines."""

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Final, Protocol

from rich.console import Console, RenderableType
from rich.live import Live

from sandbox.demo.numbers import Numbers
from sandbox.demo.program import readable
from sandbox.demo.view import Scene, line, render, where
from sandbox.servers.supervisor import PartError

LINE_INTERVAL_SECONDS: Final = 2.0
PLAIN_COLUMNS: Final = 120
OUTPUT_GONE: Final = frozenset({errno.EPIPE, errno.EIO, errno.ENXIO})
"""Errors of a write to a pipe that nobody reads any more, or to a terminal that was closed."""


class Show(Protocol):
    """Shows the numbers. The last ones are shown in any case."""

    def __call__(self, numbers: Numbers, uptime_seconds: float, *, last: bool = False) -> None: ...


class Screen:
    """Standard output; complaints go to standard error."""

    def __init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # not every terminal takes every character
        self._is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._console = Console() if self._is_terminal else Console(width=PLAIN_COLUMNS, no_color=True)

    def report(self, text: str) -> None:
        """One line, there at once."""
        print(text, flush=True)  # noqa: T201 - this is the program's output

    def show(self, what: RenderableType) -> None:
        self._console.print(what)

    @contextmanager
    def live(self, scene: Scene) -> Iterator[Show]:
        """What it yields shows the numbers: in place on a terminal, else as a line now and then."""
        if not self._is_terminal:
            for place in where(scene):
                self.report(place)
            yield self._lines()
            return
        with Live(console=self._console, auto_refresh=False) as live:

            def draw(numbers: Numbers, uptime_seconds: float, *, last: bool = False) -> None:  # noqa: ARG001 - each is shown
                live.update(render(scene, numbers, uptime_seconds), refresh=True)

            yield draw

    def _lines(self) -> Show:
        due_at = 0.0

        def write(numbers: Numbers, uptime_seconds: float, *, last: bool = False) -> None:
            nonlocal due_at
            if last or time.monotonic() >= due_at:
                due_at = time.monotonic() + LINE_INTERVAL_SECONDS
                self.report(line(numbers, uptime_seconds))

        return write

    def complain(self, error: PartError) -> None:
        """One line that says what is wrong, then the end of the part's log."""
        with suppress(OSError):
            sys.stderr.write(f"error: {error.part}: {' '.join(error.reason.split())}\n")
            for entry in readable(error.log_tail):
                sys.stderr.write(f"  {entry}\n")
            sys.stderr.flush()

    def abandon(self) -> None:
        """Nobody is there to read: whatever is still written goes nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
