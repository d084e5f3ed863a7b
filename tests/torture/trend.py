"""How much the services take over time: memory, file descriptors, connections."""

import statistics
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

INTERVAL_SECONDS: Final = 1.0
_KIB_PER_MIB: Final = 1024


class Process(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> int:
        """Of whatever runs under this name at the moment; 0 if nothing does."""


class Usage(NamedTuple):
    """Of one process at one moment."""

    at_seconds: float
    memory_mib: float
    descriptors: int
    connections: int


class Trend(NamedTuple):
    first: float
    median: float
    last: float
    slope_per_minute: float
    """Of the line of the least squares."""


def usage_of(pid: int) -> Usage:
    """Raises OSError when it is gone."""
    resident = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    descriptors = connections = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            connections += str(each.readlink()).startswith("socket:")
            descriptors += 1
    return Usage(time.monotonic(), int(resident.split()[1]) / _KIB_PER_MIB, descriptors, connections)


def trend_of(points: Sequence[tuple[float, float]]) -> Trend:
    """Of values at moments in seconds; at least one."""
    values = [value for _, value in points]
    slope = 0.0
    if len({at for at, _ in points}) > 1:
        slope = statistics.linear_regression([at for at, _ in points], values).slope
    return Trend(values[0], statistics.median(values), values[-1], slope * 60)


class Sampler:
    """Looks at each process once a second until it is closed. A process that is away isn't looked at."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self._processes = list(processes)
        self._seen: dict[str, list[Usage]] = {process.name: [] for process in self._processes}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        self._thread.join()

    def trends(self) -> dict[tuple[str, str], Trend]:
        """By process and by what was measured."""
        return {
            (name, what): trend_of([(each.at_seconds, getattr(each, what)) for each in seen])
            for name, seen in self._seen.items()
            if seen
            for what in Usage._fields[1:]
        }

    def _run(self) -> None:
        while not self._done.wait(INTERVAL_SECONDS):
            for process in self._processes:
                with suppress(OSError, StopIteration):
                    self._seen[process.name].append(usage_of(process.pid))
