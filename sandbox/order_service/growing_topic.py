"""A publisher whose topic gets more partitions on the way, as when operators add them under load."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from adapters.kafka.cluster import create_client
from adapters.kafka.producer.publisher import OnDelivery, Publisher, PublishError
from adapters.records.publishing import Outgoing
from domain.errors import CashbackError

MAX_PARTITIONS: Final = 48
"""A topic that has more than half as many isn't grown."""
GROWTHS: Final = 2
GROW_EVERY_RECORDS: Final = 500
"""In an endless run. In one of N orders it grows after N records, and after 2 N: about a third, and two thirds."""
REQUEST_TIMEOUT_SECONDS: Final = 10.0
SHOWN_TIMEOUT_SECONDS: Final = 30.0
FLUSH_TIMEOUT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_ONLY_SERIOUS: Final = 2  # librdkafka's log level


class CantGrow(CashbackError):
    """The broker doesn't add partitions to the topic."""


class TopicAdmin:
    """Adds partitions to one topic; `config` holds librdkafka's properties."""

    def __init__(self, bootstrap: str, config: Mapping[str, Any], topic: str) -> None:
        self.topic = topic
        self._client = create_client(
            AdminClient, {**config, "bootstrap.servers": bootstrap, "log_level": _ONLY_SERIOUS}
        )

    def check(self) -> None:
        """Asks the broker, and changes nothing. Raises CantGrow."""
        self._ask(self._partitions() * 2, validate_only=True)

    def double(self) -> int:
        """How many partitions were added, none beyond MAX_PARTITIONS; returns when all have a leader.

        Raises CantGrow.
        """
        before = self._partitions()
        wanted = before * 2
        if wanted > MAX_PARTITIONS:
            return 0
        self._ask(wanted, validate_only=False)
        deadline = time.monotonic() + SHOWN_TIMEOUT_SECONDS
        while self._partitions() < wanted:
            if time.monotonic() > deadline:
                raise self._refusal(f"the broker doesn't show them within {SHOWN_TIMEOUT_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)
        return wanted - before

    def _partitions(self) -> int:
        """Those that have a leader."""
        try:
            found = self._client.list_topics(timeout=REQUEST_TIMEOUT_SECONDS).topics.get(self.topic)
        except KafkaException as error:
            raise self._refusal(error.args[0].str()) from error
        if found is None or found.error is not None:
            raise self._refusal("there is no such topic")
        return sum(partition.leader >= 0 for partition in found.partitions.values())

    def _ask(self, partitions: int, *, validate_only: bool) -> None:
        request = self._client.create_partitions(
            [NewPartitions(self.topic, partitions)],
            request_timeout=REQUEST_TIMEOUT_SECONDS,
            validate_only=validate_only,
        )
        try:
            request[self.topic].result()
        except KafkaException as error:
            raise self._refusal(error.args[0].str()) from error

    def _refusal(self, why: str) -> CantGrow:
        return CantGrow(f"topic {self.topic} can't get more partitions: {why}")


def growth_points(orders: int | None) -> Sequence[int]:
    """After how many records the topic grows."""
    every = orders or GROW_EVERY_RECORDS
    return [every * times for times in range(1, GROWTHS + 1)]


class GrowingPublisher:
    """Publishes as `connect`'s publishers do; grows the topic when so many records have been handed over.

    At each growth all that was handed over is confirmed first, and another publisher goes on, since one that
    runs would notice new partitions only minutes later. A topic that can't grow any more stays as it is.
    """

    def __init__(self, connect: Callable[[], Publisher], admin: TopicAdmin, points: Sequence[int]) -> None:
        self.added = 0
        """Partitions, so far."""
        self._connect = connect
        self._admin = admin
        self._points = list(points)
        self._handed_over = 0
        self._publisher = connect()

    def publish(self, message: Outgoing, on_delivery: OnDelivery | None = None) -> None:
        if self._points and self._handed_over >= self._points[0]:
            self._points.pop(0)
            self._grow()
        self._handed_over += 1
        self._publisher.publish(message, on_delivery)

    def poll(self) -> None:
        self._publisher.poll()

    def flush(self, timeout_seconds: float) -> None:
        self._publisher.flush(timeout_seconds)

    def _grow(self) -> None:
        with suppress(PublishError):  # each message's own verdict has been told, or is by closing
            self._publisher.flush(FLUSH_TIMEOUT_SECONDS)
        self._publisher.close()
        self.added += self._admin.double()
        self._publisher = self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._publisher.__exit__(kind, error, trace)
