"""Servers as children of this process: they end with it, however it ends.

A child is started through two small programs that then become it (same process id):

- `setpriv --pdeathsig` (util-linux, essential on Debian and Ubuntu) asks the kernel to signal the child when
  we die, be it by SIGKILL. Python's `preexec_fn` could ask for that too, but it runs Python between fork and
  exec, which can hang as soon as there are threads; a launcher written in Python costs its start each time.
- `sh` then checks that we are still its parent: had we died before `setpriv` asked, nobody would tell it.

The kernel watches the *thread* that forked, so children are started from the main thread only. It forgets the
signal on exec of a set-uid program; none of ours is one.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, TypeVar

POLL_INTERVAL_SECONDS = 0.01
STOP_SECONDS = 5.0
STOP_ALL_SECONDS = 8.0
LOG_TAIL_LINES = 12
LOG_TAIL_BYTES = 8192
PARENT_IS_STILL_THERE = '[ "$PPID" = "$0" ] && exec "$@"'


class PartError(Exception):
    """A part of the sandbox can't be started, or has ended on its own. The first line says what and why."""

    def __init__(self, part: str, reason: str, log_tail: str = "") -> None:
        self.part = part
        self.reason = reason
        self.log_tail = log_tail
        super().__init__(f"{part}: {reason}" + (f"\n{log_tail}" if log_tail else ""))


@dataclass(frozen=True)
class RunAs:
    """Another user for a child of root's, with root's way through folders that are closed to that user.

    Without that a checkout under /root (mode 0700) would be out of the child's reach. `no_setuid_fixup`
    makes access(2), which PostgreSQL asks before it opens anything, count it too.
    """

    uid: int
    gid: int

    def options(self) -> list[str]:
        return [
            f"--reuid={self.uid}",
            f"--regid={self.gid}",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            "--securebits=+no_setuid_fixup",
        ]


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run: its environment is `env` and nothing else, its output goes to the file `log`.

    stop_signals: sent one after the other, with a share of the time each, before SIGKILL.
    death_signal: what the child gets from the kernel when this process dies.
    keep_open: file descriptors that the child inherits.
    """

    name: str
    argv: Sequence[str | Path]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    stop_signals: Sequence[signal.Signals] = (signal.SIGTERM,)
    death_signal: signal.Signals = signal.SIGKILL
    run_as: RunAs | None = None
    keep_open: Sequence[int] = ()


class Child:
    """A running child, leader of a session of its own: a terminal's Ctrl-C reaches only us."""

    def __init__(self, command: Command, process: subprocess.Popen[bytes]) -> None:
        self.command = command
        self.pid = process.pid
        self._process = process

    @classmethod
    def start(cls, command: Command) -> Self:
        """Start it; the log begins anew, the one before is kept with the ending `.old`.

        A program that can't be executed shows as a child that ended, with the reason in its log.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start children from the main thread: they die with the thread that started them")
        with suppress(FileNotFoundError):
            command.log.replace(command.log.with_name(command.log.name + ".old"))
        with command.log.open("wb") as log:
            process = subprocess.Popen(
                [*_launcher(command), *map(str, command.argv)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(command.env),
                cwd=command.cwd,
                pass_fds=command.keep_open,
                start_new_session=True,
            )
        return cls(command, process)

    @property
    def exit_code(self) -> int | None:
        """As `Popen.returncode`. Looks without reaping: until `stop`, nobody else can get its number."""
        if self._process.returncode is not None:
            return self._process.returncode
        ending = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ending is None:
            return None
        return ending.si_status if ending.si_code == os.CLD_EXITED else -ending.si_status

    @property
    def alive(self) -> bool:
        return self.exit_code is None

    def check(self) -> None:
        """Raise PartError with the end of its log if it has ended."""
        if not self.alive:
            raise PartError(self.command.name, f"ended with {self.exit_code}", self.log_tail())

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or None if it still runs then."""
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_SECONDS)
        return self.exit_code

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines of its output, of at most LOG_TAIL_BYTES; empty when there is none."""
        try:
            with self.command.log.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self, within_seconds: float = STOP_SECONDS) -> None:
        """End it: its stop signals, and when the time is up SIGKILL for it and its whole process group.

        Does nothing the second time.
        """
        share = within_seconds / max(1, len(self.command.stop_signals))
        for number in self.command.stop_signals:
            if within_seconds <= 0 or not self.alive:
                break
            os.kill(self.pid, number)
            self.wait(share)
        if self._process.returncode is None:
            # Not reaped yet, so the group's number is still its own.
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


def _launcher(command: Command) -> list[str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise PartError(command.name, "setpriv (package util-linux) not found; the sandbox's servers need Linux")
    death_signal = command.death_signal.name.removeprefix("SIG")
    run_as = command.run_as.options() if command.run_as else []
    return [
        setpriv,
        f"--pdeathsig={death_signal}",
        *run_as,
        "/bin/sh",
        "-c",
        PARENT_IS_STILL_THERE,
        str(os.getpid()),
    ]


class Part(Protocol):
    """Something that the supervisor stops; calling `stop` again must do no harm."""

    def stop(self, within_seconds: float) -> None: ...


P = TypeVar("P", bound=Part)


class Supervisor:
    """Stops what was added, last first, within STOP_ALL_SECONDS in total.

    An interruption while it stops (a second Ctrl-C, SystemExit from a signal handler) or a part that fails to
    stop doesn't end the work: what is left is killed without more waiting, then the exception comes out.
    """

    def __init__(self) -> None:
        self._parts: list[Part] = []

    def add(self, part: P) -> P:
        """Add it *before* it is started, where it can be: a start that is interrupted is stopped too."""
        self._parts.append(part)
        return part

    def stop(self, within_seconds: float = STOP_ALL_SECONDS) -> None:
        deadline = time.monotonic() + within_seconds
        failure: BaseException | None = None
        while self._parts:
            try:
                self._parts[-1].stop(max(0.0, deadline - time.monotonic()))
                self._parts.pop()
            except BaseException as error:  # noqa: BLE001  it is raised again when everything is stopped
                if failure is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
                    self._parts.pop()  # a part that can't even be killed
                failure = failure or error
                deadline = 0.0
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
