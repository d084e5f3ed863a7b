"""The demo as people start it: through make, from scripts, on a terminal; and how it ends, however it is ended."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, Signals

import pytest

from sandbox.servers.postgres import NOBODY
from tests.support.processes import REPOSITORY, bare_environment, command
from tests.support.waiting import children_of, gone, wait_until

pytestmark = pytest.mark.slow

# Whoever runs the tests may ignore these signals (nohup, or `&` in a script), and then so would what we start.
UNIGNORED = ("env", "--default-signal=INT,HUP")
# What `make demo` does once .venv is there: `-o` takes the target `setup` for done.
MAKE = ("make", "--silent", "-C", str(REPOSITORY), "-o", "setup", f"PY={sys.executable}", "demo")
CALLS_ARE_MADE = re.compile(r"calls [1-9]")
AT_THE_END = "all stopped after"
ROWS, COLUMNS = 24, 80


class Demo:
    """A running demo, what it has written, and the processes that belong to it."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def text(self) -> str:
        return self._output.read_text("utf-8", "replace")

    def wait_until_calls_are_made(self) -> None:
        self.wait_until(lambda: CALLS_ARE_MADE.search(self.text) is not None, "the first calls")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        def met() -> bool:
            assert condition() or self.process.poll() is None, f"it ended before {what}:\n{self.text}"
            return condition()

        wait_until(met, what)

    def wait(self) -> int:
        """The exit code of what was started."""
        wait_until(lambda: self.process.poll() is not None, f"the end; so far:\n{self.text}")
        return self.process.returncode

    def family(self) -> list[int]:
        """Itself and all that descend from it."""
        return [self.process.pid, *_descendants(self.process.pid)]

    def member(self, *words: str) -> int:
        """The process whose command line, after the program, begins with these words."""
        (found,) = (pid for pid in self.family() if _arguments(pid)[: len(words)] == list(words))
        return found


Start = Callable[..., Demo]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: whatever a test leaves in it, the next run must cope with."""
    return tmp_path_factory.mktemp("var") / "demo"


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts demos with their output in a file, and ends those that still run after the test."""
    started: list[Demo] = []

    def start(
        argv: Sequence[str], settings: Mapping[str, object] | None = None, terminal: int | None = None
    ) -> Demo:
        output = tmp_path / f"output-{len(started)}"
        with output.open("wb") as file:
            out = file if terminal is None else terminal
            process = subprocess.Popen(
                [*UNIGNORED, *argv],
                cwd=tmp_path,  # where no `.env` of the developer's lies
                env=bare_environment({"demo_folder": folder} | dict(settings or {})) | {"TERM": "xterm"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        started.append(Demo(process, output))
        return started[-1]

    yield start
    for demo in started:
        for pid in reversed(demo.family()):
            if not gone(pid):
                os.kill(pid, SIGKILL)
        demo.process.wait()


def test_a_run_with_exit_reconciles(start: Start) -> None:
    """Through make: all orders of the run, order by order, and 0 only because the books are equal."""
    demo = start([*MAKE, "ARGS=--orders 300 --exit"])

    assert demo.wait() == 0, demo.text
    assert "this run: 300 of 300 orders ended as they must, on both sides" in demo.text
    assert "0 violations, 0 parked orders" in demo.text
    assert AT_THE_END in demo.text


@pytest.mark.parametrize(
    ("argv", "member", "number"),
    [
        (MAKE, ("--silent",), SIGINT),  # make does not hand it on
        (MAKE, ("--silent",), SIGKILL),
        (["sh", "-c", '"$@" & wait', "sh", *MAKE], ("app.py", "demo"), SIGINT),  # where sh lets SIGINT be ignored
        (["nohup", *MAKE], ("--silent",), SIGTERM),
    ],
    ids=["make alone interrupted", "make killed", "in the background of a script", "under nohup"],
)
def test_however_it_is_started_and_ended_nothing_is_left(
    start: Start, argv: Sequence[str], member: tuple[str, ...], number: Signals
) -> None:
    """Every process that was there is gone, and all were stopped in good order."""
    demo = start(argv)
    demo.wait_until_calls_are_made()
    family = demo.family()

    os.kill(demo.member(*member), number)

    wait_until(lambda: demo.process.poll() is not None and all(map(gone, family)), f"the end:\n{demo.text}")
    assert len(family) > 10
    assert AT_THE_END in demo.text
    assert "Traceback" not in demo.text


def test_a_killed_demo_leaves_no_process_and_the_next_run_makes_good(start: Start) -> None:
    """SIGKILL in the midst; then a run with faults delivers what was left, too, and finds the books equal."""
    killed = start(command("demo", "--rate", "100"))
    killed.wait_until_calls_are_made()
    family = killed.family()
    os.kill(killed.process.pid, SIGKILL)
    assert killed.wait() == -SIGKILL
    wait_until(lambda: all(map(gone, family)), "the end of all")

    faults = ["--error-rate", "0.2", "--lost-answer-rate", "0.05"]
    following = start(command("demo", "--orders", "200", "--exit", *faults))

    assert following.wait() == 0, following.text
    assert "what an earlier one left unread on it is lost, and that is accepted" in following.text
    assert "this run: 200 of 200 orders ended as they must, on both sides" in following.text
    assert "in doubt" in following.text
    assert len(family) > 10
    in_all = re.search(r"│ all +│ +([\d,]+) │ +│ +([\d,]+) │", following.text)
    assert in_all is not None
    assert in_all[1] == in_all[2]
    assert int(in_all[1].replace(",", "")) > 200


def test_a_second_demo_at_the_same_time_takes_another_folder_and_a_dead_part_ends_the_first(start: Start) -> None:
    """Both work; later the service of the first is killed: one line says so, and all of it is stopped."""
    first = start(command("demo"))
    first.wait_until_calls_are_made()
    second = start(command("demo", "--orders", "50", "--exit"))
    assert second.wait() == 0, second.text
    assert "in use by another demo" in second.text
    assert "this run: 50 of 50 orders" in second.text

    family = first.family()
    os.kill(first.member(str(REPOSITORY / "app.py"), "serve"), SIGKILL)

    assert first.wait() == 1
    assert f"error: service: ended with {-SIGKILL}\n" in first.text
    assert "Traceback" not in first.text
    assert all(map(gone, family))


def test_on_a_terminal_it_draws_itself_and_ends_with_ctrl_c(start: Start) -> None:
    """In 24 lines of 80 characters; ended by its user it leaves with 0."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    os.set_blocking(controller, False)
    drawn = bytearray()

    def shows(text: str) -> bool:
        with suppress(BlockingIOError):
            drawn.extend(os.read(controller, 65_536))
        return text in drawn.decode("utf-8", "replace")

    demo = start([sys.executable, "-c", ON_ITS_TERMINAL, *command("demo")], terminal=terminal)
    demo.wait_until(lambda: shows("from the decision"), "the latency")
    family = demo.family()
    os.write(controller, b"\x03")

    wait_until(lambda: shows(AT_THE_END), "the end")
    assert demo.wait() == 0
    assert all(map(gone, family))
    os.close(terminal)
    os.close(controller)
    frames = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode("utf-8", "replace")).split("order cashback demo")
    assert len(frames) > 2
    assert "Traceback" not in frames[-1]


# Makes the terminal that is its output the one that it is controlled by, as a shell's child has it.
ON_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(1, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_run_it(start: Start, tmp_path: Path) -> None:
    """PostgreSQL then runs as that user. The user may only look into root's folders, where Python may lie."""
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY.uid, NOBODY.gid)
    become = ["setpriv", f"--reuid={NOBODY.uid}", f"--regid={NOBODY.gid}", "--clear-groups"]
    look = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]

    demo = start(
        [*become, *look, *command("demo", "--orders", "50", "--exit")], {"demo_folder": home / "var" / "demo"}
    )

    assert demo.wait() == 0, demo.text
    assert (home / "var" / "demo" / "postgres" / "data").stat().st_uid == NOBODY.uid


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "said"),
    [
        ([], {"database_url": "postgresql://127.0.0.1:1/none"}, 3, "error: can't reach PostgreSQL:"),
        (["--reset"], {"database_url": "postgresql://127.0.0.1:1/none"}, 1, "error: --reset:"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    start: Start, arguments: list[str], settings: dict[str, object], code: int, said: str
) -> None:
    """And what was started before is stopped."""
    demo = start(command("demo", *arguments), settings)

    assert demo.wait() == code
    last = demo.text.splitlines()[-1]
    assert last.startswith(said)
    assert "Traceback" not in demo.text


def test_a_hang_up_ends_it(start: Start) -> None:
    """As when the terminal's window is closed while it starts."""
    demo = start(command("demo"))
    demo.wait_until(lambda: "broker" in demo.text, "the first part")
    family = demo.family()
    os.kill(demo.process.pid, SIGHUP)

    assert demo.wait() == 0
    assert AT_THE_END in demo.text
    wait_until(lambda: all(map(gone, family)), "the end of all")


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = children_of(pid)
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children:
        yield child
        yield from _descendants(child)


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[1:]
    except (FileNotFoundError, ProcessLookupError):
        return []
