"""Which Python `make test-newest` takes, on machines that have one or another and don't reach Debian's packages."""

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DEADLINE_SECONDS = 100.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The image has 3.14, .venv has 3.11, and setup and pytest only say that they were called."""
    folder = tmp_path / "my project"
    for name in ("Makefile", "scripts/newest_python"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / "deploy").mkdir()
    (folder / "deploy" / "Dockerfile").write_text("ARG PYTHON_IMAGE=python:3.14-slim\nFROM ${PYTHON_IMAGE}\n")
    program(folder / "scripts" / "setup", 'echo "set up ${VENV:-.venv} with $PYTHON"')
    program(folder / ".venv" / "bin" / "python", "echo 11")
    program(folder / ".venv-newest" / "bin" / "python", 'echo "$@"')
    program(folder / "programs" / "apt-get", "exit 100")
    return folder


def program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def python(path: Path, version: str) -> Path:
    """Answers as that version would when it's asked whether it is one."""
    return program(path, f'[ "$4" = {version} ]')


def newest(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{project / 'programs'}:/usr/bin:/bin", "HOME": str(project)}
    return subprocess.run(
        command or ["scripts/newest_python"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )


def test_the_image_s_version_comes_first(project: Path) -> None:
    """A newer one may lack packages; an older one isn't what runs in the end."""
    for minor in (13, 14, 15):
        python(project / "programs" / f"python3.{minor}", f"3.{minor}")
    found = newest(project)
    assert (found.stdout, found.stderr) == (f"{project}/programs/python3.14\n", "")


@pytest.mark.parametrize(
    "place", [".pyenv/versions/3.13.9/bin/python", ".local/share/uv/python/cpython-3.13.9-linux/bin/python"]
)
def test_without_it_the_newest_that_is_there_is_taken(project: Path, place: str) -> None:
    """A version manager's stand-in for what it hasn't got is passed over, what it keeps elsewhere is found."""
    program(project / "programs" / "python3.14", "exit 127")
    python(project / "programs" / "python3.12", "3.12")
    found = newest(project)
    assert found.stdout == f"{project}/programs/python3.12\n"

    kept = python(project / place, "3.13")
    found = newest(project)
    assert found.stdout == f"{kept}\n"
    assert "newest_python: Python 3.14 is neither on this machine nor to be had from Debian here\n" in found.stderr


def test_the_tests_run_on_it_in_an_environment_of_its_own(project: Path) -> None:
    """The other arguments go through."""
    chosen = python(project / "programs" / "python3.14", "3.14")
    ran = newest(project, "make", "--silent", "test-newest", "ARGS=--lf")
    said = ran.stdout.splitlines()
    assert said[-2] == f"set up .venv-newest with {chosen}"
    assert said[-1].startswith("-m pytest ")
    assert said[-1].endswith(" -m not slow tests/unit tests/property --lf")


def test_where_none_is_newer_it_says_so_and_nothing_fails(project: Path) -> None:
    """No test runs twice on one version."""
    python(project / "programs" / "python3.11", "3.11")
    ran = newest(project, "make", "--silent", "test-newest")
    assert ran.stdout.splitlines() == ["set up .venv with "]
    assert ran.stderr.splitlines()[-1] == "newest_python: nothing newer than .venv's Python 3.11 can be had"
