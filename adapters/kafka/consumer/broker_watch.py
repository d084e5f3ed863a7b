"""Whether the brokers serve this client: librdkafka's statistics say how it stands in its group, and when each
broker was last heard of. One that is frozen, or behind a network that swallows all, is an error to nobody else."""

import json
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from adapters.kafka.consumer.assignment import Key

STATISTICS_SECONDS: Final = 5
SILENT_SECONDS: Final = 10.0
"""Each partition's broker answers a fetch within `fetch.wait.max.ms`, also when there is nothing to read."""
_MEMBER: Final = "steady"
_MICROSECONDS: Final = 1_000_000


class BrokerWatch:
    """For one client after the other. `heard` may be called from any thread."""

    def __init__(self, fetch_wait_seconds: float) -> None:
        self._silent_seconds = SILENT_SECONDS + fetch_wait_seconds
        self._lock = threading.Lock()
        self._statistics: Mapping[str, Any] = {}

    def heard(self, statistics: str) -> None:
        """What librdkafka says of itself, as JSON (its STATISTICS.md)."""
        found = json.loads(statistics)
        with self._lock:
            self._statistics = found

    def forget(self) -> None:
        """Another client begins."""
        with self._lock:
            self._statistics = {}

    def hindrance(self, partitions: Iterable[Key]) -> str | None:
        """Why nothing can come from these partitions, in a few words; None if all is well, or isn't known yet."""
        with self._lock:
            statistics = self._statistics
        if not statistics:
            return None
        group = statistics.get("cgrp", {})
        if group.get("state") != "up":
            return "the group's coordinator can't be reached"
        if group.get("join_state") != _MEMBER:
            return "waiting for the group to give out its partitions"
        brokers = {each["nodeid"]: each for each in statistics["brokers"].values() if each["nodeid"] >= 0}
        found = (self._of_partition(statistics, brokers, key) for key in sorted(partitions))
        return next((why for why in found if why is not None), None)

    def _of_partition(
        self, statistics: Mapping[str, Any], brokers: Mapping[int, Mapping[str, Any]], key: Key
    ) -> str | None:
        topic, number = key
        partition = statistics["topics"].get(topic, {}).get("partitions", {}).get(str(number))
        if partition is None or partition["fetchq_cnt"] > 0:  # placed since, or it is we who are slow
            return None
        broker = brokers.get(partition["broker"])
        if broker is None:
            return f"{topic}/{number} has no leader"
        if broker["state"] != "UP":
            return f"{topic}/{number}: no connection to the broker {broker['name']}"
        silent_seconds = broker["rxidle"] / _MICROSECONDS
        if silent_seconds > self._silent_seconds:
            return f"{topic}/{number}: the broker {broker['name']} hasn't answered for {silent_seconds:.0f} s"
        return None
