"""Commands run in the test's own process: as typed, without the time that an interpreter takes to start."""

import io
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog

from app import app, main
from tests.support.processes import bare_environment


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def run_here(*arguments: str, folder: Path, settings: Mapping[str, object]) -> Ended:
    """In a folder where no `.env` of the developer's lies. For the main thread."""
    out, err = _stream(), _stream()
    with _alone(folder, bare_environment(settings)), redirect_stdout(out), redirect_stderr(err):
        try:
            main(partial(app, list(arguments), prog_name="app.py"))
        except SystemExit as ended:
            code = ended.code
    for stream in (out, err):
        stream.flush()
    assert isinstance(code, int | None)
    return Ended(code or 0, _said(out), _said(err))


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), "utf-8")


def _said(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


@contextmanager
def _alone(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """What a command does to its process is undone."""
    root = logging.getLogger()
    logs, handlers, level = structlog.get_config(), root.handlers, root.level
    with pytest.MonkeyPatch.context() as changed:
        changed.chdir(folder)
        for name in os.environ.keys() - environment.keys():
            changed.delenv(name)
        for name, value in environment.items():
            changed.setenv(name, value)
        try:
            yield
        finally:
            structlog.configure(**logs)
            root.handlers, root.level = handlers, level
