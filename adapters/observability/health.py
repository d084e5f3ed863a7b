"""What the process knows about its own condition, for `/readyz` and the log."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import structlog

from domain.losses import StoppedPartition
from domain.ports import RewindSign

READY: Final = frozenset({"reading", "sending", "running", "listening", "copying", "standing by"})
"""States in which a part does its work; every other one says in words what it waits for."""

log = structlog.get_logger(__name__)


class Health:
    """The state of each part of this process. For use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._aside: set[str] = set()
        self._stopped_partitions: dict[str, StoppedPartition] = {}
        self._rewound: dict[str, str] | None = None
        self._dead: str | None = None

    def part(self, name: str, state: str, *, aside: bool = False) -> None:
        """Notes a part's state, and logs it if it's new. A part `aside` is shown, and may wait without the process
        being any less ready."""
        with self._lock:
            if aside:
                self._aside.add(name)
            before = self._states.get(name)
            self._states[name] = state
        if before != state:
            (log.info if state in READY else log.warning)("state", part=name, state=state)

    def partition_stopped(self, partition: str, why: StoppedPartition | None) -> None:
        """Notes that a partition stands still; None: it goes on, or is no concern of this process any more."""
        with self._lock:
            if why is None:
                self._stopped_partitions.pop(partition, None)
            else:
                self._stopped_partitions[partition] = why

    def database_rewound(self, sign: RewindSign, found: str) -> None:
        """Notes that the database has gone back in time. It is told until the process ends: what people did since
        that moment is for people to do again."""
        with self._lock:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            self._rewound = {"at": at, "sign": sign.value, "found": found}

    def died(self, part: str) -> None:
        """A part ended by an error of ours: only a restart helps."""
        with self._lock:
            self._dead = part

    @property
    def stopped_partitions(self) -> Mapping[str, StoppedPartition]:
        with self._lock:
            return dict(self._stopped_partitions)

    def live(self) -> bool:
        """False if the process must be restarted."""
        with self._lock:
            return self._dead is None

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether all parts do their work, and what each of them does or waits for."""
        with self._lock:
            ready = (
                self._dead is None
                and not self._stopped_partitions
                and bool(self._states)
                and all(state in READY for name, state in self._states.items() if name not in self._aside)
            )
            stopped = {
                partition: {"error": stop.loss.value, "detail": stop.detail}
                for partition, stop in self._stopped_partitions.items()
            }
            details: dict[str, object] = {"parts": dict(self._states), "stoppedPartitions": stopped}
            return ready, details | ({"databaseRewound": dict(self._rewound)} if self._rewound else {})
