"""Sends an order's messages again: one after another, and none after one that failed."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from adapters.kafka.cluster import KafkaUnreachable, librdkafka_log
from adapters.kafka.publisher import Delivered, Outgoing, Publisher, PublishError
from domain.errors import CashbackError

REQUEST_TIMEOUT_SECONDS: Final = 10.0
MESSAGE_TIMEOUT_SECONDS: Final = 10.0
TOTAL_TIMEOUT_SECONDS: Final = 60.0
_SILENT: Final = 0  # librdkafka's log level: what goes wrong is in the error that is raised


class PartlyPublished(CashbackError):
    """A message was not confirmed; those before it were, those after it were not sent."""

    def __init__(self, published: int, total: int, reason: str) -> None:
        super().__init__(f"{published} of {total} messages were published: {reason}")
        self.published = published
        self.total = total


class KafkaRepublisher:
    """Connects for each use: replays are rare. Both methods block; `config` holds librdkafka's properties."""

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
                config={**self._config, "linger.ms": 0},
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
