"""A file of JSON lines that lets the sandbox third party keep its books across restarts."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domain.exact_json import InvalidJson, dumps, loads

MAX_JOURNAL_BYTES = 4 * 1024**3


class JournalError(RuntimeError):
    """The journal can't be used: another process has it open, or a line in its midst isn't readable."""


class Journal:
    """Appends reach the operating system before `append` returns: a killed process loses nothing that it
    answered; a machine that loses its power may (there is no fsync).

    A last line that was torn is dropped when the file is opened; it never was answered.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise JournalError(f"{path}: another third party is writing this journal") from error
        self._size_bytes = os.fstat(self._file.fileno()).st_size

    @property
    def is_full(self) -> bool:
        return self._size_bytes >= MAX_JOURNAL_BYTES

    def records(self) -> Iterator[dict[str, Any]]:
        """Every whole line in order; to be read to its end before the first `append`."""
        good_bytes = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = loads(line)
                except InvalidJson as error:
                    if good_bytes + len(line) == self._size_bytes:
                        break
                    raise JournalError(f"{self._path}: line {number} can't be read: {error}") from error
                good_bytes += len(line)
                yield record
        self._cut_to(good_bytes)

    def append(self, record: dict[str, Any]) -> None:
        """Raises OSError when the line can't be written whole; the file is then as it was before."""
        line = dumps(record) + b"\n"
        written = 0
        try:
            written = self._file.write(line)
        finally:
            if written != len(line):
                self._cut_to(self._size_bytes)
        if written != len(line):
            raise OSError(f"{self._path}: only {written} of {len(line)} bytes could be written")
        self._size_bytes += len(line)

    def clear(self) -> None:
        self._cut_to(0)

    def close(self) -> None:
        self._file.close()

    def _cut_to(self, size_bytes: int) -> None:
        os.ftruncate(self._file.fileno(), size_bytes)
        self._size_bytes = size_bytes
