"""Dead letters for others: the setting, the headers, and that a copy which waits is nobody's fault."""

import pytest

from adapters.kafka.producer.dead_letters import HEADER_NAMES, headers_of
from adapters.observability.health import Health
from adapters.observability.metrics import Metrics
from adapters.records.dead_letters import DeadLetter
from adapters.runtime.dead_letter_copier import dead_letter_copier
from adapters.settings import read_settings
from domain.errors import BadSetting
from domain.ports import Quarantined
from tests.support.messages import partition_of

TOPIC = "CASHBACK_KAFKA_DEAD_LETTER_TOPIC"


class Nobody:
    """Isn't interested."""

    def dead_letters_state(self, state: str, why: str | None = None) -> None: ...
    def dead_letters_copied(self, messages: int) -> None: ...
    def dead_letter_skipped(self) -> None: ...
    def dead_letters_waiting(self, messages: int) -> None: ...


def test_nothing_is_copied_unless_a_topic_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty counts as not named."""
    for value in (None, ""):
        if value is not None:
            monkeypatch.setenv(TOPIC, value)
        assert dead_letter_copier(read_settings(None), Nobody()) is None
    monkeypatch.setenv(TOPIC, "dead-letters")
    assert dead_letter_copier(read_settings(None), Nobody()) is not None


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_dead_letter_topic_is_none_of_those_that_are_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Else each copy would be quarantined and copied again, for ever."""
    monkeypatch.setenv("CASHBACK_KAFKA_TOPIC", "a, b")
    monkeypatch.setenv(TOPIC, name)
    with pytest.raises(BadSetting, match=f'^{TOPIC} is "{name}": must be '):
        read_settings(None)


def test_a_message_without_a_timestamp_has_spring_s_word_for_it() -> None:
    """Every header is there all the same, after the original's own."""
    original = (("kafka_dlt-original-topic", b"older"), ("empty", None))
    message = Quarantined(
        partition_of(3), 9, None, None, None, original, None, "no_value", "the record has no value"
    )
    headers = headers_of(DeadLetter(12, message), "group")
    assert headers[:2] == original
    assert [name for name, _ in headers[2:]] == list(HEADER_NAMES)
    assert dict(headers) == {
        "empty": None,
        "kafka_dlt-original-topic": b"order-cashback-promotion",
        "kafka_dlt-original-partition": b"\x00\x00\x00\x03",
        "kafka_dlt-original-offset": b"\x00\x00\x00\x00\x00\x00\x00\x09",
        "kafka_dlt-original-timestamp": b"\xff\xff\xff\xff\xff\xff\xff\xff",
        "kafka_dlt-original-timestamp-type": b"NoTimestampType",
        "kafka_dlt-original-consumer-group": b"group",
        "kafka_dlt-exception-fqcn": b"cashback.quarantine.no_value",
        "kafka_dlt-exception-message": b"the record has no value",
        "cashback-quarantine-id": b"12",
        "cashback-quarantine-reason": b"no_value",
    }


def test_a_part_aside_is_shown_and_makes_the_process_no_less_ready() -> None:
    """Nor does it make it ready: the others must be."""
    health = Health()
    health.part("intake", "reading")
    health.part("dead letters", "waiting for Kafka", aside=True)
    ready, details = health.ready()
    assert ready
    assert details["parts"] == {"intake": "reading", "dead letters": "waiting for Kafka"}
    health.part("intake", "waiting for Kafka")
    health.part("dead letters", "copying", aside=True)
    assert not health.ready()[0]


def test_copies_and_what_waits_for_them_are_counted() -> None:
    """And what could not be copied."""
    metrics = Metrics()
    metrics.dead_letters_copied(3)
    metrics.dead_letters_copied(4)
    metrics.dead_letter_skipped()
    metrics.dead_letters_waiting(5)
    text = metrics.exposition()[0].decode()
    for line in (
        'cashback_dead_letters_total{outcome="copied"} 7.0',
        'cashback_dead_letters_total{outcome="skipped"} 1.0',
        "cashback_dead_letters_waiting 5.0",
    ):
        assert line in text
