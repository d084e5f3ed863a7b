"""A client that the cluster doesn't answer is given up for a new one."""

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection

from adapters.kafka import cluster
from adapters.kafka.cluster import TopicIds

TOPIC = "orders"


class Admin:
    """Answers all the same: with the topic's id, or never."""

    def __init__(self, topic_id: str | None) -> None:
        self._topic_id = topic_id

    def describe_topics(self, _: TopicCollection, **__: Any) -> Mapping[str, Future[Any]]:
        answer: Future[Any] = Future()
        if self._topic_id is None:
            answer.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        else:
            answer.set_result(SimpleNamespace(topic_id=self._topic_id))
        return {TOPIC: answer}


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> TopicIds:
    """The first client has lost its controller."""
    clients = [Admin(None), Admin("an-id")]
    monkeypatch.setattr(cluster, "_admin", lambda *_: clients.pop(0))
    return TopicIds("nowhere", {})


def test_whoever_waits_for_the_ids_gets_them_from_another_client(ids: TopicIds) -> None:
    with pytest.raises(KafkaException):
        ids.of([TOPIC])
    assert ids.of([TOPIC]) == {TOPIC: "an-id"}
    assert ids.of([TOPIC]) == {TOPIC: "an-id"}


def test_whoever_looks_in_passing_gets_them_too(ids: TopicIds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WATCH_SECONDS", 0.0)
    assert ids.news([TOPIC]) == {}  # asks
    assert ids.news([TOPIC]) == {}
    assert ids.hindrance is not None
    assert ids.news([TOPIC]) == {}  # asks again
    assert ids.news([TOPIC]) == {TOPIC: "an-id"}
    assert ids.hindrance is None
