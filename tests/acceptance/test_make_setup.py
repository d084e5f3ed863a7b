"""`make setup` on a small project of its own: the real script, and a lock file that needs no network."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DEADLINE_SECONDS = 100.0
POLL_INTERVAL_SECONDS = 0.01
TARGETS = [
    "help",
    "setup",
    "demo",
    "test",
    "test-tooling",
    "test-quick",
    "test-full",
    "test-newest",
    "lint",
    "simulate",
    "simulate-mutants",
    "model",
    "torture",
    "bench",
    "sbom",
    "audit",
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a space in its name, as people have."""
    folder = tmp_path / "my project"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "Makefile", folder)
    shutil.copy(REPOSITORY / "scripts" / "setup", folder / "scripts")
    (folder / "requirements.lock").write_text("# nothing is needed\n")
    return folder


def setup_command(python: str | Path = sys.executable) -> list[str]:
    return ["make", "--silent", "setup", f"PYTHON={python}"]


def run(project: Path, command: list[str], path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path, "HOME": str(project)}
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )


def made_at(project: Path) -> int:
    return (project / ".venv" / "setup-done").stat().st_mtime_ns


def fake_python(folder: Path, body: str) -> Path:
    """A program that answers as some interpreter would that this machine has not got."""
    folder.mkdir(exist_ok=True)
    program = folder / "python3"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return program


def test_make_alone_lists_every_target_with_what_it_does(project: Path) -> None:
    """One line each; nothing is installed or started."""
    listed = run(project, ["make"])

    lines = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["make", target] for target in TARGETS]
    assert all(len(line) == 3 for line in lines)
    assert not (project / ".venv").exists()


@pytest.mark.slow
def test_setup_makes_it_once_and_anew_when_the_lock_or_the_place_changes(project: Path) -> None:
    """The second run finds nothing to do; a moved checkout's programs would name the old place."""
    first = run(project, setup_command())
    assert (first.returncode, first.stdout) == (0, "")
    assert "setup: installing" in first.stderr
    made = made_at(project)

    again = run(project, ["make", "--silent", "setup"])  # without PYTHON: the one that it has stays
    assert (again.returncode, again.stderr, made_at(project)) == (0, "", made)

    (project / "requirements.lock").write_text("# still nothing\n")
    changed = run(project, setup_command())
    assert changed.returncode == 0
    assert made_at(project) > made

    moved = project.rename(project.with_name("moved project"))
    assert run(moved, setup_command()).returncode == 0
    shebang = (moved / ".venv" / "bin" / "pip").read_text().splitlines()[:2]
    assert f"{moved}/.venv/bin/" in "".join(shebang)


@pytest.mark.slow
def test_an_interrupted_setup_is_repaired_by_the_next(project: Path) -> None:
    """Killed in the middle, with what it had started; the next one begins anew."""
    setup = subprocess.Popen(
        setup_command(), cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (project / ".venv" / "bin").exists():
        assert setup.poll() is None
        assert time.monotonic() < deadline
        time.sleep(POLL_INTERVAL_SECONDS)
    os.killpg(setup.pid, signal.SIGKILL)
    setup.wait(DEADLINE_SECONDS)
    assert (project / ".venv" / "setup-unfinished").exists()
    assert not (project / ".venv" / "setup-done").exists()

    repaired = run(project, setup_command())

    assert repaired.returncode == 0, repaired.stderr
    assert (project / ".venv" / "setup-done").exists()
    assert not (project / ".venv" / "setup-unfinished").exists()
    assert run(project, [".venv/bin/pip", "--version"]).returncode == 0


@pytest.mark.slow
def test_two_at_once_make_it_once(project: Path) -> None:
    """The second waits, and then finds nothing to do."""
    both = [
        subprocess.Popen(setup_command(), cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [setup.communicate(timeout=DEADLINE_SECONDS)[1] for setup in both]

    assert [setup.returncode for setup in both] == [0, 0]
    assert sum("setup: installing" in text for text in said) == 1


def test_a_python_that_is_too_old_is_refused_in_one_line(project: Path) -> None:
    """It says what is needed, what it looked at, and how to name another; no .venv is begun."""
    old = fake_python(project / "programs", "exit 1")

    refused = run(project, setup_command(old))

    assert refused.returncode != 0
    ours = [line for line in refused.stderr.splitlines() if line.startswith("setup: ")]
    assert ours == [
        f"setup: needs Python 3.11 or newer, found none as: {old} (make setup PYTHON=/path/to/python names another)"
    ]
    assert not (project / ".venv").exists()


def test_a_python_without_venv_is_refused_with_the_package_to_install(project: Path) -> None:
    """As Debian's python3 comes: new enough, and `import ensurepip` fails."""
    bare = fake_python(project / "programs", 'case "$3" in *hashlib*) echo CPython 3.13.5 abc ;; *) exit 1 ;; esac')

    refused = run(project, setup_command(bare))

    assert refused.returncode != 0
    ours = [line for line in refused.stderr.splitlines() if line.startswith("setup: ")]
    assert ours == [
        f"setup: {bare} has no venv module with pip; on Debian and Ubuntu: apt-get install python3-venv"
    ]


@pytest.mark.slow
def test_without_a_name_the_first_python_that_runs_and_fits_is_taken(project: Path) -> None:
    """A version manager's stand-in for a version that it hasn't got is passed over."""
    programs = project / "programs"
    fake_python(programs, "exit 127").rename(programs / "python3.13")
    fake_python(programs, "exit 127").rename(programs / "python3.12")
    fake_python(programs, f'exec {sys.executable} "$@"').rename(programs / "python3.11")

    made = run(project, ["make", "--silent", "setup"], path=f"{programs}:/usr/bin:/bin")

    assert made.returncode == 0, made.stderr
    assert run(project, [".venv/bin/python", "-c", ""]).returncode == 0


def small_wheel(folder: Path) -> Path:
    wheel = folder / "greeting-1.0-py3-none-any.whl"
    information = "greeting-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("greeting.py", "WORD = 'hello'\n")
        archive.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    return wheel


@pytest.mark.slow
def test_only_what_the_lock_was_made_with_is_installed(project: Path) -> None:
    """A package with another hash than the lock's is refused, and nothing counts as done."""
    wheel = small_wheel(project)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = project / "requirements.lock"

    lock.write_text(f"./{wheel.name} --hash=sha256:{'0' * len(digest)}\n")
    refused = run(project, setup_command())
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert "setup: pip could not install requirements.lock" in refused.stderr
    assert not (project / ".venv" / "setup-done").exists()

    lock.write_text(f"./{wheel.name} --hash=sha256:{digest}\n")
    assert run(project, setup_command()).returncode == 0
    greeting = run(project, [".venv/bin/python", "-c", "import greeting; print(greeting.WORD)"])
    assert greeting.stdout == "hello\n"


@pytest.mark.parametrize("exit_code", [0, 3])
def test_demo_hands_its_arguments_over_and_fails_when_the_program_does(project: Path, exit_code: int) -> None:
    """make itself turns every failure into its own exit code 2."""
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / "scripts" / "setup").write_text("#!/bin/sh\n")
    program = fake_python(project / "programs", f'echo "$@"\nexit {exit_code}')
    program.rename(project / ".venv" / "bin" / "python")

    ran = run(project, ["make", "--silent", "demo", "ARGS=--orders 5 --exit"])

    assert ran.stdout == "app.py demo --orders 5 --exit\n"
    assert ran.returncode == (2 if exit_code else 0)


def test_an_interrupt_reaches_the_demo_directly(project: Path) -> None:
    """Its parent is make, no shell in between; Ctrl-C goes to both, and the program ends in its own way."""
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / "scripts" / "setup").write_text("#!/bin/sh\n")
    program = fake_python(project / "programs", f"exec {sys.executable} programs/demo.py")
    program.rename(project / ".venv" / "bin" / "python")
    (project / "programs" / "demo.py").write_text(
        "import os, signal, sys, time\n"
        "def end(*_): print('an orderly end', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGINT, end)\n"
        "print(open(f'/proc/{os.getppid()}/comm').read(), end='', flush=True)\n"
        f"time.sleep({DEADLINE_SECONDS})\n"
    )
    demo = subprocess.Popen(
        ["make", "--silent", "demo"], cwd=project, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert demo.stdout is not None
        assert demo.stdout.readline() == "make\n"
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.stdout.readline() == "an orderly end\n"
        demo.wait(DEADLINE_SECONDS)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
        demo.communicate(timeout=DEADLINE_SECONDS)
