"""How the demo is told to end: Ctrl-C, SIGTERM, a hang-up, or the end of the `make` that started it."""

import os
import re
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAKE_NAMES: Final = frozenset({"make", "gmake"})
SAME_SECONDS: Final = 0.5
"""Signals so close together are one: `make` hands on what the terminal has sent to us too."""


class EndRequested(KeyboardInterrupt):
    """Raised by the signal handler wherever the main thread is; a second Ctrl-C raises it again."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


class Signals:
    """Handlers in force from `install` on, also where the shell started us with SIGINT ignored (`… &` in a script).

    Under nohup SIGHUP stays ignored: that is what nohup is for.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._received_at = -SAME_SECONDS
        self._make = _parent_make()
        self._handled_by_make = _handled_signals(self._make) if self._make is not None else 0

    def install(self) -> None:
        for number in SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._request_end)

    def check(self) -> None:
        """Raises EndRequested if a signal came whose exception got lost (Python drops those raised in finalizers),
        and when the `make` that started us has been told to end, or was killed.

        GNU make hands on SIGTERM, but not the SIGINT or SIGHUP that is sent to itself alone: it gives up its
        handler, and waits for us.
        """
        if self._received is not None:
            raise EndRequested(self._received)
        if self._make is None:
            return
        if os.getppid() != self._make:
            raise EndRequested(signal.SIGTERM)
        given_up = self._handled_by_make & ~_handled_signals(self._make)
        for number in SIGNALS:
            if given_up & _bit(number):
                raise EndRequested(number)

    def ignore(self) -> None:
        """For the very end: everything is stopped, and a late signal is not worth a trace."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _request_end(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._received_at >= SAME_SECONDS:
            self._received, self._received_at = signal.Signals(number), now
            raise EndRequested(self._received)


def _parent_make() -> int | None:
    """Our parent's process id if it is the `make` that runs our rule."""
    parent = os.getppid()
    try:
        name = Path(f"/proc/{parent}/comm").read_text().strip()
    except OSError:
        return None
    return parent if "MAKELEVEL" in os.environ and name in MAKE_NAMES else None


def _handled_signals(process_id: int) -> int:
    """The set of signals that a process has handlers for, one bit each; 0 if it is gone."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(found[1], 16) if found else 0


def _bit(number: signal.Signals) -> int:
    return 1 << (number - 1)
