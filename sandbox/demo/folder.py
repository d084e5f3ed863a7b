"""The folder that a demo has for itself: it keeps the database, the third party's books and all logs."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from domain.errors import CashbackError

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FOLDER_VARIABLE: Final = "CASHBACK_DEMO_FOLDER"
MAX_DEMOS: Final = 9
IN_USE: Final = "in use by another demo"
NOT_OURS: Final = "belongs to another user"


class NoFolder(CashbackError):
    """No folder can be written to, or all are in use."""


class DemoFolder:
    """Locked until this process ends, however it ends.

    `var/demo`, unless CASHBACK_DEMO_FOLDER names another. Where that is in use, or another user's, the next of
    `var/demo-2` … is taken; where `var` can't be written to, one in the folder for temporary files.
    Raises NoFolder.
    """

    def __init__(self) -> None:
        self.passed_over: list[str] = []
        """The folders that were looked at before, each with the reason why not."""
        for series in _series(os.environ.get(FOLDER_VARIABLE)):
            for path in _numbered(series):
                reason = self._take(path)
                if reason is None:
                    self.path = path
                    return
                self.passed_over.append(f"{path}: {reason}")
                if reason not in {IN_USE, NOT_OURS}:
                    break  # it is not this folder, but where it lies
        raise NoFolder(
            f"found no folder for the demo ({'; '.join(self.passed_over)}); {FOLDER_VARIABLE} names another"
        )

    def _take(self, path: Path) -> str | None:
        """Locks it, or says why not. The descriptor is kept open on purpose: the lock ends with the process."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.geteuid() not in {0, path.stat().st_uid}:
                return NOT_OURS
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return IN_USE
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return None


def _series(named: str | None) -> list[Path]:
    if named:
        return [Path(named).absolute()]
    return [REPOSITORY / "var" / "demo", Path(tempfile.gettempdir()) / f"order-cashback-demo-{os.geteuid()}"]


def _numbered(first: Path) -> Iterator[Path]:
    yield first
    for number in range(2, MAX_DEMOS + 1):
        yield first.with_name(f"{first.name}-{number}")
