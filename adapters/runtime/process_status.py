"""What every process tells of itself, and what the processes with the API prepare for the console's pages."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from adapters.observability.health import Health
from adapters.observability.trouble import Trouble
from adapters.postgres.service_status import PostgresConsole
from adapters.records.status import EVENTS_PER_STEP
from domain.ports import Partition
from projections.delivery.breaker import BreakerState
from projections.waiting import wait_for_event

TELL_SECONDS: Final = 5.0
PREPARE_SECONDS: Final = 1.0
OUTAGE_SECONDS: Final = 5.0
CONNECTION_SECONDS: Final = 2.0
"""How long either waits for the database; so long may stopping take in an outage."""
MAX_TOLD_PARTITIONS: Final = 20


class ProcessState:
    """What one process knows of itself beside its health. For use from any thread."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self.lag: int | None = None
        """Messages that wait on the partitions which this process reads."""
        self.breaker: str | None = None
        """Its state, in a process that calls the third party."""
        self._breaker_since: datetime | None = None
        """When it last left `closed`; None while it is closed."""
        self._breaker_reason = ""

    def positions_changed(self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]) -> None:
        self.lag = sum(max(0, end - (positions[each] or 0)) for each, end in ends.items() if each in positions)

    def breaker_changed(self, state: BreakerState, why: str) -> None:
        self.breaker = state
        if state is BreakerState.CLOSED:
            self._breaker_since = None
            return
        self._breaker_since = self._breaker_since or datetime.now(UTC)
        self._breaker_reason = why or self._breaker_reason

    def snapshot(self) -> dict[str, Any]:
        """For `domain.exact_json.dumps`."""
        ready, details = self._health.ready()
        stopped = sorted(self._health.stopped_partitions)[:MAX_TOLD_PARTITIONS]
        snapshot = {"ready": ready, "parts": details["parts"], "stopped": stopped}
        snapshot |= {"lag": self.lag, "breaker": self.breaker}
        if self._breaker_since is not None:
            since = self._breaker_since.isoformat(timespec="seconds")
            snapshot |= {"breakerSince": since, "breakerReason": self._breaker_reason}
        return snapshot


class ProcessReporter:
    """Writes this process's state down every few seconds, and takes it away at the end. Whatever goes wrong with
    that ends nothing: the process's work is worth more than its row."""

    def __init__(
        self, console: PostgresConsole, roles: Iterable[str], snapshot: Callable[[], dict[str, Any]]
    ) -> None:
        self._console = console
        self._roles = sorted(roles)
        self._snapshot = snapshot
        self._id = uuid4()
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    async def run(self, stop: asyncio.Event) -> None:
        is_noted = False
        trouble = Trouble("can't tell the other processes how this one is")
        while not stop.is_set():
            with trouble:
                await self._console.note_process(self._id, self._name, self._roles, self._snapshot())
            is_noted = trouble.is_over
            await wait_for_event(stop, TELL_SECONDS)
        if is_noted:
            with trouble:
                await self._console.forget_process(self._id)


class Preparer:
    """Samples the whole service, and reads on for the search by transaction. Any number of processes may do it, and
    none ends because it can't."""

    def __init__(self, console: PostgresConsole) -> None:
        self._console = console

    async def run(self, stop: asyncio.Event) -> None:
        trouble = Trouble("the console's numbers can't be taken")
        while not stop.is_set():
            with trouble:
                await self._console.take_sample()
                while not stop.is_set() and await self._console.index_transactions() == EVENTS_PER_STEP:
                    await self._console.take_sample()
            await wait_for_event(stop, PREPARE_SECONDS if trouble.is_over else OUTAGE_SECONDS)
