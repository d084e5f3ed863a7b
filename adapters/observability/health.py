"""What the process knows about its own condition, for `/readyz` and the log."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import structlog

from domain.losses import StoppedPartition
from domain.ports import RewindSign

READY: Final = frozenset({"reading", "sending", "running", "listening", "copying", "standing by"})
"""States in which a part does its work; every other one says in words what it waits for."""
STANDING_STILL: Final = "standing still"
"""Shown of a part that should say again and again that it works, and has fallen silent."""
STALLED_AFTER_SECONDS: Final = 30.0

log = structlog.get_logger(__name__)


class Health:
    """The state of each part of this process. For use from any thread."""

    def __init__(
        self,
        stalled_after_seconds: float = STALLED_AFTER_SECONDS,
        *,
        patience: Mapping[str, float] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`patience`: seconds more for single parts, of which one step may take so long."""
        self._lock = threading.Lock()
        self._stalled_after_seconds = stalled_after_seconds
        self._patience = patience or {}
        self._monotonic = monotonic
        self._states: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._worked_at: dict[str, float] = {}
        self._doing: dict[str, str] = {}
        self._stalled: set[str] = set()
        self._aside: set[str] = set()
        self._stopped_partitions: dict[str, StoppedPartition] = {}
        self._rewound: dict[str, str] | None = None
        self._dead: str | None = None

    def part(
        self, name: str, state: str, why: str | None = None, *, aside: bool = False, in_steps: bool = False
    ) -> None:
        """Notes a part's state, and logs it if it's new. A part `aside` is shown, and may wait without the process
        being any less ready. One that works `in_steps` says so after each that succeeded, also if it found nothing
        to do: if it says nothing for long, it isn't ready."""
        with self._lock:
            if aside:
                self._aside.add(name)
            before = STANDING_STILL if name in self._stalled else self._states.get(name)
            self._states[name] = state
            self._stalled.discard(name)
            self._doing.pop(name, None)
            self._worked_at.pop(name, None)
            if in_steps:
                self._worked_at[name] = self._monotonic()
            self._reasons.pop(name, None)
            if why:
                self._reasons[name] = why
        if before != state:
            reason = {"why": why} if why else {}
            (log.info if state in READY else log.warning)("state", part=name, state=state, **reason)

    def worked(self, name: str) -> None:
        """A part that works in steps has got something done, in whatever state it is."""
        with self._lock:
            if name in self._worked_at:
                self._worked_at[name] = self._monotonic()

    def doing(self, name: str, what: str) -> None:
        """What a part is at just now, or what hinders it: the reason, if it doesn't get on."""
        with self._lock:
            self._doing[name] = what

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
        """Whether all parts do their work, what each of them does or waits for, and why."""
        with self._lock:
            silent = self._silent()
            news = silent.keys() - self._stalled
            self._stalled |= news
            states = self._states | dict.fromkeys(silent, STANDING_STILL)
            reasons = self._reasons | silent
            ready = (
                self._dead is None
                and not self._stopped_partitions
                and bool(states)
                and all(state in READY for name, state in states.items() if name not in self._aside)
            )
            stopped = {
                partition: {"error": stop.loss.value, "detail": stop.detail}
                for partition, stop in self._stopped_partitions.items()
            }
            details = {"parts": states, "reasons": reasons, "stoppedPartitions": stopped}
            rewound = {"databaseRewound": dict(self._rewound)} if self._rewound else {}
        for name in news:
            log.warning("state", part=name, state=STANDING_STILL, why=silent[name])
        return ready, details | rewound

    def _silent(self) -> dict[str, str]:
        """The parts that have said nothing for too long, with what is known of why."""
        now = self._monotonic()
        silent = {}
        for name, worked_at in self._worked_at.items():
            seconds = now - worked_at
            if seconds > self._stalled_after_seconds + self._patience.get(name, 0.0):
                what = self._doing.get(name)
                silent[name] = f"nothing has succeeded for {seconds:.0f} s" + (f": {what}" if what else "")
        return silent
