"""A quarantine to copy from, and a reader of the dead-letter topic such as others have."""

from collections import Counter
from typing import Final, Self

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.waiting import wait_until

_INSERT: Final = """
INSERT INTO quarantine (topic, topic_id, partition, kafka_offset, timestamp_ms, message_key, message_value, headers,
                        order_id, reason, detail)
SELECT 'orders', 'topic-1', 0, number, 1740744000000, convert_to(number::text, 'UTF8'),
       convert_to(repeat('x', %(bytes)s), 'UTF8'), '[["ce_id", "bS0x"], ["empty", null]]', NULL,
       'not_json', 'no JSON'
FROM generate_series(%(first)s::bigint, %(last)s) AS number
"""
_TIMEOUT_SECONDS: Final = 30


def fill_quarantine(database_url: str, first: int, last: int, *, value_bytes: int = 20) -> None:
    """One message for each offset from `first` to `last`; its id need not be the same number."""
    with psycopg.connect(database_url) as connection:
        connection.execute(_INSERT, {"first": first, "last": last, "bytes": value_bytes})


def forget_in_postgres(database_url: str) -> None:
    """Then only Kafka knows how far the copies go."""
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM dead_letter_cursor")


def quarantine_ids(database_url: str) -> list[int]:
    with psycopg.connect(database_url) as connection:
        return [number for (number,) in connection.execute("SELECT id FROM quarantine ORDER BY id")]


def make_topic(bootstrap: str, name: str, partitions: int, **config: str) -> None:
    """With the broker's settings for topics, dots in their names written as underscores."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    named = {name.replace("_", "."): value for name, value in config.items()}
    admin.create_topics([NewTopic(name, partitions, 1, config=named)])[name].result(_TIMEOUT_SECONDS)


class DeadLetterReader:
    """Reads a topic from its beginning, in no group, and sees only what is committed."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.messages: list[Message] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "not-used",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])

    def read(self) -> int:
        """Takes what has come, and tells how many there are by now."""
        for message in self._consumer.consume(10_000, timeout=0.02):
            assert message.error() is None, message.error()
            self.messages.append(message)
        return len(self.messages)

    def wait_for(self, number: int) -> None:
        wait_until(lambda: self.read() >= number, f"{number} dead letters")

    def read_on(self, last_id: int) -> None:
        """Until the copy with this id is there: then no earlier one can still come on its partition."""
        wait_until(lambda: self.read() >= 0 and last_id in self.ids(), f"the copy with id {last_id}")

    def ids(self) -> list[int]:
        """The quarantine's ids in the order read."""
        return [int(_header(message, "cashback-quarantine-id")) for message in self.messages]

    def doubled(self) -> dict[int, int]:
        return {number: count for number, count in Counter(self.ids()).items() if count > 1}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def _header(message: Message, name: str) -> bytes:
    """The last one of the name, as Spring reads it."""
    value = dict(message.headers() or [])[name]
    assert isinstance(value, bytes)
    return value
