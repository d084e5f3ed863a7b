"""Sends an order's messages again: one after another, and none after one that failed."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from adapters.kafka.cluster import librdkafka_log
from adapters.kafka.producer.publisher import Publisher, PublishError
from adapters.records.errors import KafkaUnreachable, PartlyPublished
from adapters.records.publishing import Delivered, Outgoing

REQUEST_TIMEOUT_SECONDS: Final = 10.0
MESSAGE_TIMEOUT_SECONDS: Final = 10.0
TOTAL_TIMEOUT_SECONDS: Final = 60.0
HALT_SECONDS: Final = 0.5
"""How soon a publication of many orders notices that it must stop."""
_SILENT: Final = 0  # librdkafka's log level: what goes wrong is in the error that is raised
# What a broker has against a message itself, by the names that stand behind the publisher's reasons (error codes of
# the Kafka protocol). Anything else may pass: it is nobody's fault, and the message waits.
_OWN_FAULTS: Final = ("(MSG_SIZE_TOO_LARGE)", "(INVALID_MSG)", "(INVALID_RECORD)", "(POLICY_VIOLATION)")


@dataclass(frozen=True, slots=True)
class Sent:
    """How many of an order's messages are confirmed, and what became of the next one, as far as it is known."""

    confirmed: int = 0
    error: PublishError | None = None

    @property
    def is_own_fault(self) -> bool:
        """The message can never be sent, however often it is tried."""
        return self.error is not None and any(name in self.error.reason for name in _OWN_FAULTS)


class ManyOrders:
    """One connection for the messages of many orders, made anew after an outage; for one thread at a time."""

    def __init__(self, connect: Callable[[], Publisher]) -> None:
        self._connect = connect
        self._publisher: Publisher | None = None

    def publish(self, orders: Mapping[int, Sequence[Outgoing]], halted: Callable[[], bool]) -> dict[int, Sent]:
        """In rounds: the first message of each order, then the second of those whose first one is confirmed, and
        so on. Ends early, within HALT_SECONDS, once `halted()`."""
        sent = dict.fromkeys(orders, Sent())
        for number in range(max(map(len, orders.values()), default=0)):
            due = {
                order_id: messages[number]
                for order_id, messages in orders.items()
                if number < len(messages) and sent[order_id] == Sent(number)
            }
            if not due or halted():
                break
            for order_id, verdict in self._round(due, halted).items():
                sent[order_id] = Sent(number, verdict) if isinstance(verdict, PublishError) else Sent(number + 1)
        if any(each.error is not None and not each.is_own_fault for each in sent.values()):
            self.close()
        return sent

    def close(self) -> None:
        """Drops what isn't confirmed yet."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()

    def _round(
        self, due: Mapping[int, Outgoing], halted: Callable[[], bool]
    ) -> Mapping[int, Delivered | PublishError]:
        self._publisher = self._publisher or self._connect()
        verdicts: dict[int, Delivered | PublishError] = {}
        handed_over = set()
        for order_id, message in due.items():
            try:
                self._publisher.publish(message, partial(verdicts.__setitem__, order_id))
                handed_over.add(order_id)
            except PublishError as error:
                verdicts[order_id] = error
                if not Sent(0, error).is_own_fault:
                    break  # the queue is full, or the producer gave up: nothing comes through
        while not handed_over <= verdicts.keys() and not halted():
            with suppress(PublishError):  # each message's own verdict says it
                self._publisher.flush(HALT_SECONDS)
        return verdicts


class KafkaRepublisher:
    """Connects for each use: replays are rare. All methods block; `config` holds librdkafka's properties."""

    def __init__(
        self,
        bootstrap: str,
        config: Mapping[str, Any],
        *,
        request_timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
        message_timeout_seconds: float = MESSAGE_TIMEOUT_SECONDS,
    ) -> None:
        self._bootstrap = bootstrap
        self._config = dict(config)
        self._request_timeout_seconds = request_timeout_seconds
        self._message_timeout_seconds = message_timeout_seconds

    def partitions_of(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each topic has now. Raises KafkaUnreachable, also for a topic that isn't there."""
        names = sorted(set(topics))
        if not names:
            return {}
        client = AdminClient(
            {**self._config, "bootstrap.servers": self._bootstrap, "log_level": _SILENT}, logger=librdkafka_log
        )
        try:
            answers = client.describe_topics(TopicCollection(names), request_timeout=self._request_timeout_seconds)
            return {topic: len(answer.result().partitions) for topic, answer in answers.items()}
        except KafkaException as error:
            raise KafkaUnreachable(f"Kafka can't tell the topic's partitions: {error.args[0].str()}") from error

    def publish(self, messages: Sequence[Outgoing]) -> list[Delivered]:
        """Returns when all are confirmed. Raises PartlyPublished."""
        verdicts: list[Delivered | PublishError] = []
        deadline = time.monotonic() + TOTAL_TIMEOUT_SECONDS
        try:
            with Publisher(
                self._bootstrap,
                config={**self._config, "linger.ms": 0, "log_level": _SILENT},
                delivery_timeout_seconds=self._message_timeout_seconds,
            ) as publisher:
                for message in messages:
                    if time.monotonic() > deadline:
                        raise PartlyPublished(
                            len(verdicts), len(messages), f"no time left after {TOTAL_TIMEOUT_SECONDS:g} s"
                        )
                    publisher.publish(message, verdicts.append)
                    publisher.flush(self._message_timeout_seconds * 2)  # the verdict comes before
        except (PublishError, ValueError) as error:
            published = [verdict for verdict in verdicts if isinstance(verdict, Delivered)]
            raise PartlyPublished(len(published), len(messages), str(error)) from error
        return [verdict for verdict in verdicts if isinstance(verdict, Delivered)]

    def many_orders(self) -> ManyOrders:
        """For a bulk replay; to be closed."""
        return ManyOrders(
            partial(
                Publisher,
                self._bootstrap,
                config={**self._config, "log_level": _SILENT},
                delivery_timeout_seconds=self._message_timeout_seconds,
            )
        )
