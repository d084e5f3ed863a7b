"""The consumer's librdkafka properties: which of them are whose to choose."""

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer

from adapters.kafka.cluster import create_client
from adapters.kafka.consumer.broker_watch import STATISTICS_SECONDS

_STRATEGY: Final = "partition.assignment.strategy"
_DEFAULTS: Final[dict[str, Any]] = {
    _STRATEGY: "cooperative-sticky",
    "fetch.wait.max.ms": 50,
    "queued.max.messages.kbytes": 16_384,
    "topic.metadata.refresh.interval.ms": 10_000,
    "session.timeout.ms": 10_000,
    # A broker that is there and says nothing: the client would wait for it for a minute.
    "socket.timeout.ms": 20_000,
    "socket.connection.setup.timeout.ms": 10_000,
    "socket.keepalive.enable": True,
}
# What the guarantees rest on, and so may not be configured away.
_FIXED: Final[dict[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,  # it alone tells of markers and aborted records, which nobody is given to read
    "statistics.interval.ms": STATISTICS_SECONDS * 1000,
}
_SILENT: Final = 0  # librdkafka's log level: whether a broker answers is not asked here


def consumer_config(bootstrap: str, group: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The consumer's properties: ours, over them the operator's, over them what may not be changed."""
    merged = {**_DEFAULTS, **config, **_FIXED, "bootstrap.servers": bootstrap, "group.id": group}
    if merged.get("group.protocol") == "consumer":
        # With KIP-848 the broker does these; librdkafka refuses them.
        for name in (_STRATEGY, "session.timeout.ms"):
            merged.pop(name)
    return merged


def check_consumer_config(bootstrap: str, group: str, config: Mapping[str, Any]) -> None:
    """Raises BadSetting if librdkafka doesn't take the properties."""
    create_client(Consumer, consumer_config(bootstrap, group, config) | {"log_level": _SILENT}).close()


def is_incremental(config: Mapping[str, Any]) -> bool:
    """Whether the group moves single partitions. Without a strategy of ours the broker does it so (KIP-848)."""
    return "cooperative" in config.get(_STRATEGY, "cooperative")
