"""Children end with us, at the latest when their time is up, and everything is stopped in order."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.servers.supervisor import Child, Command, PartError, Supervisor
from tests.support.processes import kill_stopped_children
from tests.support.waiting import DEADLINE_SECONDS, children_of, gone, wait_until

REPOSITORY = Path(__file__).parents[2]
STOPPED = os.WSTOPPED | os.WNOHANG | os.WNOWAIT


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Starts shell commands as children, and stops them after the test."""
    started: list[Child] = []

    def start(script: str, *, stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)) -> Child:
        log = tmp_path / f"child-{len(started)}.log"
        argv = ["/bin/sh", "-c", script]
        started.append(
            Child.start(Command(name="child", argv=argv, log=log, env={"A": "b"}, stop_signals=stop_signals))
        )
        return started[-1]

    yield start
    for child in started:
        child.stop(0)


class TestChildren:
    def test_a_child_is_out_of_reach_of_the_terminals_interrupt(self, sleeper: Callable[..., Child]) -> None:
        """It leads a session of its own, so Ctrl-C goes to us alone."""
        child = sleeper("sleep 600")

        assert os.getsid(child.pid) == child.pid != os.getsid(0)

    def test_a_child_sees_only_the_environment_that_it_was_given(self, sleeper: Callable[..., Child]) -> None:
        """Nothing of ours leaks into it."""
        child = sleeper("/usr/bin/env")

        assert child.wait(DEADLINE_SECONDS) == 0
        names = {line.split("=")[0] for line in child.log_tail().splitlines()}
        assert names - {"PWD", "_", "SHLVL", "OLDPWD"} == {"A"}  # the others are the shell's own

    def test_a_deaf_child_and_its_children_are_killed_when_the_time_is_up(
        self, sleeper: Callable[..., Child]
    ) -> None:
        """SIGTERM is ignored by both; SIGKILL goes to the whole process group."""
        child = sleeper("trap '' TERM; sleep 600 & echo started; wait; sleep 600")
        wait_until(lambda: "started" in child.log_tail(), "the child's child")
        (grandchild,) = children_of(child.pid)

        child.stop(0.2)

        assert child.exit_code == -signal.SIGKILL
        wait_until(lambda: gone(grandchild), "the end of the child's child")

    def test_a_child_that_a_test_left_standing_still_is_killed_at_its_end(
        self, sleeper: Callable[..., Child]
    ) -> None:
        """And no other one."""
        still, running = sleeper("sleep 600"), sleeper("sleep 600")
        os.kill(still.pid, signal.SIGSTOP)

        wait_until(lambda: os.waitid(os.P_PID, still.pid, STOPPED) is not None, "the child stands still")
        kill_stopped_children()

        assert still.wait(DEADLINE_SECONDS) == -signal.SIGKILL
        assert running.alive

    def test_stopping_twice_does_nothing_the_second_time(self, sleeper: Callable[..., Child]) -> None:
        """The first stop reaps the child; the second must not signal whoever has its number now."""
        child = sleeper("sleep 600")
        child.stop()
        child.stop()

        assert child.exit_code == -signal.SIGTERM

    def test_a_child_that_ended_is_told_with_the_end_of_its_log(self, sleeper: Callable[..., Child]) -> None:
        """`check` carries what the person needs to see."""
        child = sleeper("echo all is lost; exit 7")
        assert child.wait(DEADLINE_SECONDS) == 7

        with pytest.raises(PartError, match="child: ended with 7\nall is lost"):
            child.check()

    def test_the_log_before_is_kept_once(self, tmp_path: Path) -> None:
        """A start begins a new log, so it can't grow over the starts, and keeps one."""
        for word in ("first", "second", "third"):
            child = Child.start(Command(name="c", argv=["/bin/echo", word], log=tmp_path / "log"))
            assert child.wait(DEADLINE_SECONDS) == 0
            child.stop()

        assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.old"]
        assert [(tmp_path / name).read_text() for name in ("log.old", "log")] == ["second\n", "third\n"]

    def test_a_program_that_is_not_there_shows_in_the_log(self, tmp_path: Path) -> None:
        """No traceback: the child has ended, and says why."""
        child = Child.start(Command(name="c", argv=[tmp_path / "nothing"], log=tmp_path / "log"))

        assert child.wait(DEADLINE_SECONDS) not in {0, None}
        assert "nothing" in child.log_tail()
        child.stop()

    def test_a_child_whose_parent_died_before_it_could_ask_for_the_signal_does_not_run(
        self, tmp_path: Path
    ) -> None:
        """We die while another process is forked in between: here its parent is `sh`, not the one it expects."""
        witness = tmp_path / "witness"
        script = f"""
import subprocess, sys
from pathlib import Path
from sandbox.servers.supervisor import Command, _launcher
launcher = _launcher(Command(name="c", argv=[], log=Path("unused")))
code = subprocess.call(["/bin/sh", "-c", '"$@"; exit $?', "sh", *launcher, "/bin/touch", {str(witness)!r}])
sys.exit(code)
"""
        ended = subprocess.run(
            [sys.executable, "-c", script], cwd=REPOSITORY, timeout=DEADLINE_SECONDS, check=False
        )

        assert ended.returncode == 1
        assert not witness.exists()

    def test_children_start_from_the_main_thread_only(self, sleeper: Callable[..., Child]) -> None:
        """The kernel would kill them at the end of the thread that started them."""
        errors: list[Exception] = []

        def start() -> None:
            try:
                sleeper("sleep 600")
            except RuntimeError as error:
                errors.append(error)

        thread = threading.Thread(target=start)
        thread.start()
        thread.join(DEADLINE_SECONDS)

        assert [str(error).split(":")[0] for error in errors] == ["start children from the main thread"]


class ScriptedPart:
    """Writes down when it is stopped and with how much patience; raises what it was given, one each time."""

    def __init__(self, name: str, journal: list[tuple[str, bool]], *errors: BaseException) -> None:
        self.name = name
        self.journal = journal
        self.errors = list(errors)

    def stop(self, within_seconds: float) -> None:
        self.journal.append((self.name, within_seconds > 0))
        if self.errors:
            raise self.errors.pop(0)


class TestSupervisor:
    def test_what_was_started_last_is_stopped_first_and_once(self) -> None:
        """A service goes before the database that it uses."""
        journal: list[tuple[str, bool]] = []
        with Supervisor() as supervisor:
            for name in ("database", "broker", "service"):
                supervisor.add(ScriptedPart(name, journal))
        supervisor.stop()

        assert journal == [("service", True), ("broker", True), ("database", True)]

    def test_a_second_interrupt_ends_the_patience_and_not_the_work(self) -> None:
        """Everything is stopped without more waiting, and then the interrupt comes out."""
        journal: list[tuple[str, bool]] = []
        supervisor = Supervisor()
        supervisor.add(ScriptedPart("database", journal))
        supervisor.add(ScriptedPart("service", journal, KeyboardInterrupt(), KeyboardInterrupt(), SystemExit(1)))

        with pytest.raises(KeyboardInterrupt):
            supervisor.stop()

        assert journal == [("service", True), *[("service", False)] * 3, ("database", False)]

    def test_a_part_that_cannot_be_stopped_does_not_keep_the_others(self) -> None:
        """It is tried twice; its error comes out at the end."""
        journal: list[tuple[str, bool]] = []
        supervisor = Supervisor()
        supervisor.add(ScriptedPart("database", journal))
        supervisor.add(ScriptedPart("service", journal, OSError("no"), OSError("never")))

        with pytest.raises(OSError, match="no"):
            supervisor.stop()

        assert [name for name, _ in journal] == ["service", "service", "database"]
        supervisor.stop()

    def test_deaf_children_are_stopped_within_the_time_for_all(self, sleeper: Callable[..., Child]) -> None:
        """The time is shared: when it is used up, the rest is killed."""
        supervisor = Supervisor()
        children = [supervisor.add(sleeper("trap '' TERM; echo deaf; sleep 600; sleep 600")) for _ in range(3)]
        wait_until(lambda: all("deaf" in child.log_tail() for child in children), "three deaf children")

        supervisor.stop(within_seconds=0.3)

        assert [child.exit_code for child in children] == [-signal.SIGKILL] * 3
