"""Questions to the cluster: is it there, and which topics are these."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # it is there

from adapters.records.errors import KafkaUnreachable
from adapters.settings import PREFIX
from domain.errors import BadSetting
from domain.losses import Bounds, TopicLogs

REQUEST_TIMEOUT_SECONDS: Final = 10.0
WATCH_SECONDS: Final = 5.0
NO_TOPIC_ID: Final = "-"
"""Stands for the id on brokers older than Kafka 2.8, which have none."""
_ONLY_SERIOUS: Final = 2  # librdkafka's log level: it would warn of every property that is for consumers only

librdkafka_log = logging.getLogger("librdkafka")
librdkafka_log.addFilter(lambda line: not line.getMessage().startswith("FAIL "))  # `error_cb` is told the same

Client = TypeVar("Client")
Answers = Mapping[str, Future[Any]]


def create_client(client: Callable[..., Client], config: Mapping[str, Any]) -> Client:
    """A client with these properties. Raises BadSetting if librdkafka doesn't take them."""
    try:
        return client(dict(config), logger=librdkafka_log)
    except KafkaException as error:
        raise BadSetting(f"{PREFIX}KAFKA_CONFIG can't be used: {error.args[0].str()}") from None
    except (AttributeError, TypeError, ValueError) as error:  # for the properties that only Python code can set
        raise BadSetting(f"{PREFIX}KAFKA_CONFIG can't be used: {error}") from None


def _admin(bootstrap: str, config: Mapping[str, Any], **ours: Any) -> AdminClient:
    return create_client(
        AdminClient, {**config, **ours, "bootstrap.servers": bootstrap, "log_level": _ONLY_SERIOUS}
    )


def check_reachable(
    bootstrap: str, config: Mapping[str, Any], timeout_seconds: float = REQUEST_TIMEOUT_SECONDS
) -> None:
    """Raises KafkaUnreachable if no broker answers in time, and BadSetting if the properties can't be used."""
    heard: list[str] = []
    client = _admin(bootstrap, config, error_cb=lambda error: heard.append(error.str()))
    try:
        client.list_topics(timeout=timeout_seconds)
    except KafkaException as error:
        client.poll(0)  # the reasons have been waiting to be told
        reason = heard[0] if heard else error.args[0].str()
        raise KafkaUnreachable(f"no Kafka broker answers at {bootstrap}: {reason}") from error


class TopicIds:
    """The ids of topics: a topic that is deleted and made again has another one, and other offsets.

    A client that got no answer isn't asked again: where a broker came back before it knew its controller,
    librdkafka's waits for one for ever, and a new client gets its answer at once.
    """

    def __init__(self, bootstrap: str, config: Mapping[str, Any]) -> None:
        self._bootstrap = bootstrap
        self._config = config
        self._client: AdminClient | None = None
        self._asked: Answers = {}
        self._ask_at = 0.0
        self.hindrance: str | None = None
        """Why the cluster didn't tell when it was asked last."""

    def of(self, topics: Iterable[str]) -> dict[str, str]:
        """Asks the cluster anew each time, and leaves out topics that aren't there.

        Raises KafkaException if it doesn't know, or doesn't answer in 10 s.
        """
        try:
            answers = {topic: _id(answer) for topic, answer in self._ask(topics).items()}
        except KafkaException:
            self._client = None
            raise
        return {topic: topic_id for topic, topic_id in answers.items() if topic_id is not None}

    def news(self, topics: Iterable[str]) -> Mapping[str, str | None]:
        """Never waits: every WATCH_SECONDS it asks, and the first call after the answer tells the ids as they are
        now; None for a topic that isn't there. What the cluster can't tell is left out."""
        if self._asked and all(answer.done() for answer in self._asked.values()):
            heard, self._asked = self._asked, {}
            self.hindrance = next((why for answer in heard.values() if (why := _refusal(answer))), None)
            if self.hindrance is not None:
                self._client = None
            return {topic: _id(answer) for topic, answer in heard.items() if _refusal(answer) is None}
        if not self._asked and time.monotonic() >= self._ask_at:
            self._asked = self._ask(topics)
            self._ask_at = time.monotonic() + WATCH_SECONDS
        return {}

    def _ask(self, topics: Iterable[str]) -> Answers:
        self._client = self._client or _admin(self._bootstrap, self._config)
        return _described(self._client, topics)


def topic_logs(bootstrap: str, config: Mapping[str, Any], topic: str) -> TopicLogs | None:
    """The topic's id and what its logs hold; None if there is no such topic. Raises KafkaUnreachable."""
    client = _admin(bootstrap, config)
    try:
        answer = _described(client, [topic])[topic]
        topic_id = _id(answer)
        if topic_id is None:
            return None
        numbers = [each.id for each in answer.result().partitions]
        starts = _offsets(client, topic, numbers, OffsetSpec.earliest)
        ends = _offsets(client, topic, numbers, OffsetSpec.latest)
    except KafkaException as error:
        raise KafkaUnreachable(f"{bootstrap} can't tell about the topic {topic}: {error.args[0].str()}") from error
    return TopicLogs(topic_id, {number: Bounds(starts[number], ends[number]) for number in numbers})


def _described(client: AdminClient, topics: Iterable[str]) -> Answers:
    wanted = TopicCollection(sorted(set(topics)))
    return client.describe_topics(wanted, request_timeout=REQUEST_TIMEOUT_SECONDS)


def _offsets(client: AdminClient, topic: str, numbers: Iterable[int], which: Callable[[], Any]) -> dict[int, int]:
    wanted = {TopicPartition(topic, number): which() for number in numbers}
    answers = client.list_offsets(wanted, request_timeout=REQUEST_TIMEOUT_SECONDS)
    return {partition.partition: answer.result().offset for partition, answer in answers.items()}


def _id(answer: Future[Any]) -> str | None:
    """None if there is no such topic. Raises KafkaException if that isn't known."""
    try:
        return str(answer.result().topic_id or NO_TOPIC_ID)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise


def _refusal(answer: Future[Any]) -> str | None:
    """Why it isn't known."""
    try:
        _id(answer)
    except KafkaException as error:
        return f"Kafka doesn't tell about the topic: {error.args[0].str()}"
    return None
