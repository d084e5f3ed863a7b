"""Questions to the cluster: is it there, and which topics are these."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from domain.errors import CashbackError

REQUEST_TIMEOUT_SECONDS: Final = 10.0
NO_TOPIC_ID: Final = "-"
"""Stands for the id on brokers older than Kafka 2.8, which have none."""
_ONLY_SERIOUS: Final = 2  # librdkafka's log level: it would warn of every property that is for consumers only

librdkafka_log = logging.getLogger("librdkafka")


class KafkaUnreachable(CashbackError):
    """No broker answers at the addresses given."""


def _admin(bootstrap: str, config: Mapping[str, Any]) -> AdminClient:
    client: dict[str, Any] = {**config, "bootstrap.servers": bootstrap, "log_level": _ONLY_SERIOUS}
    return AdminClient(client, logger=librdkafka_log)


def check_reachable(
    bootstrap: str, config: Mapping[str, Any], timeout_seconds: float = REQUEST_TIMEOUT_SECONDS
) -> None:
    """Raises KafkaUnreachable if no broker answers in time, or if the properties can't be used."""
    try:
        _admin(bootstrap, config).list_topics(timeout=timeout_seconds)
    except KafkaException as error:
        raise KafkaUnreachable(f"no Kafka broker answers at {bootstrap}: {error.args[0].str()}") from error


class TopicIds:
    """The ids of topics: a topic that is deleted and made again has another one, and other offsets."""

    def __init__(self, bootstrap: str, config: Mapping[str, Any]) -> None:
        self._bootstrap = bootstrap
        self._config = config
        self._client: AdminClient | None = None

    def of(self, topics: Iterable[str]) -> dict[str, str]:
        """Asks the cluster anew each time. Raises KafkaException if it doesn't know, or doesn't answer in 10 s."""
        self._client = self._client or _admin(self._bootstrap, self._config)
        answers = self._client.describe_topics(
            TopicCollection(sorted(set(topics))), request_timeout=REQUEST_TIMEOUT_SECONDS
        )
        return {topic: str(answer.result().topic_id or NO_TOPIC_ID) for topic, answer in answers.items()}
