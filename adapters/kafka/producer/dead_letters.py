"""The dead-letter topic: copies of quarantined messages, each with its cursor in one Kafka transaction.

The cursor, the id of the last message copied, is kept as the committed offset of a consumer group of our own, so
Kafka moves it and shows the copies at once or not at all: a crash neither loses nor doubles a copy for those who
read with `isolation.level=read_committed`. The header names and their encodings are those of Spring Kafka's
DeadLetterPublishingRecoverer (docs/dead-letters.md).
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from adapters.kafka.cluster import create_client
from adapters.kafka.decoding.record import Headers
from adapters.kafka.fatal_errors import FatalErrors
from adapters.records.dead_letters import DeadLetter
from domain.errors import CashbackError

REQUEST_TIMEOUT_SECONDS: Final = 5.0
BATCH_TIMEOUT_SECONDS: Final = 10.0
TRANSACTION_TIMEOUT_MS: Final = 60_000
"""After this Kafka itself aborts what a dead process left open; until then it hides later copies from readers."""
_ONLY_SERIOUS: Final = 2  # librdkafka's log level: it would warn of every property that is for consumers only
_NO_TIMESTAMP_MS: Final = -1

HEADER_NAMES: Final = {
    "kafka_dlt-original-topic": "The topic it was read from.",
    "kafka_dlt-original-partition": "4 bytes.",
    "kafka_dlt-original-offset": "8 bytes.",
    "kafka_dlt-original-timestamp": "8 bytes: milliseconds since 1970, or −1.",
    "kafka_dlt-original-timestamp-type": "`CreateTime`, or `NoTimestampType`.",
    "kafka_dlt-original-consumer-group": "The group that could not read it.",
    "kafka_dlt-exception-fqcn": "`cashback.quarantine.` and the reason: there is no class.",
    "kafka_dlt-exception-message": "What is wrong, for a person; without the buyer's data.",
    "cashback-quarantine-id": "Its number in the quarantine, in decimal: they grow, and none comes twice.",
    "cashback-quarantine-reason": "A short name, e.g. `not_json`.",
}
"""What each header says that a copy has besides its original's own."""
# Refused for what the message is: sending it again won't help.
_REFUSALS: Final = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD}
)
_PRODUCER_OURS: Final[dict[str, Any]] = {
    "partitioner": "murmur2_random",
    "enable.idempotence": True,
    "acks": "all",
    "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
    "message.timeout.ms": round(BATCH_TIMEOUT_SECONDS * 1000),
    "message.max.bytes": 1_000_000_000,  # librdkafka's greatest: what is too large is for the broker to say
    "queue.buffering.max.messages": 10_000,
    "queue.buffering.max.kbytes": 2_097_151,
    "log_level": _ONLY_SERIOUS,
}
_OTHER_NAMES: Final = frozenset({"request.required.acks", "delivery.timeout.ms", "default.topic.config"})


class CopyFailed(CashbackError):
    """Nothing was copied, or it isn't known whether it was: a new DeadLetterTopic will know. `waiting_for` says in
    a word or two what has to come back."""

    def __init__(self, reason: str, waiting_for: str = "Kafka") -> None:
        super().__init__(reason)
        self.waiting_for = waiting_for


class CopyRefused(CashbackError):
    """The broker refuses one of the messages for what it is, its size for instance. None was copied."""


def copier_of(group: str) -> str:
    """The name under which a group's dead letters are copied: a transactional id, and a consumer group."""
    return f"{group}-dead-letters"


def headers_of(dead_letter: DeadLetter, group: str) -> Headers:
    """The original's own headers, then those that say where it was and why it is here; the numbers big-endian."""
    message = dead_letter.message
    timestamp_ms = _NO_TIMESTAMP_MS if message.timestamp_ms is None else message.timestamp_ms
    ours = (
        message.partition.topic.encode(),
        struct.pack(">i", message.partition.number),
        struct.pack(">q", message.offset),
        struct.pack(">q", timestamp_ms),
        b"NoTimestampType" if timestamp_ms < 0 else b"CreateTime",
        group.encode(),
        f"cashback.quarantine.{message.reason}".encode(),
        message.detail.encode(),
        b"%d" % dead_letter.id,
        message.reason.encode(),
    )
    return (*message.headers, *zip(HEADER_NAMES, ours, strict=True))


class DeadLetterTopic:
    """Made for one stretch of work: after a CopyFailed it is of no more use. Use as a context manager.

    Raises adapters.settings.BadSetting if librdkafka doesn't take the properties in `config`.
    """

    def __init__(self, bootstrap: str, config: Mapping[str, Any], *, topic: str, group: str) -> None:
        self._topic = topic
        self._group = group
        common = {
            **{name: value for name, value in config.items() if not name.startswith("group.")},
            "bootstrap.servers": bootstrap,
        }
        self._producer_config = {
            **{name: value for name, value in common.items() if name not in _OTHER_NAMES},
            **_PRODUCER_OURS,
            "transactional.id": copier_of(group),
        }
        self._admin = create_client(AdminClient, {**common, "log_level": _ONLY_SERIOUS})
        self._producer = create_client(Producer, self._producer_config)
        self._cursors = create_client(
            Consumer,
            {
                **common,
                "group.id": copier_of(group),
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "log_level": _ONLY_SERIOUS,
            },
        )

    def open(self) -> int:
        """Shuts out whoever copied before us, and tells the id of the last message that was copied; 0 if none.

        Raises CopyFailed.
        """
        with _translated(), FatalErrors():
            self._find_topic()
            self._producer.init_transactions(BATCH_TIMEOUT_SECONDS)
            # Only now: the one before us may have been committing.
            (found,) = self._cursors.committed([self._cursor(0)], timeout=REQUEST_TIMEOUT_SECONDS)
            if found.error is not None:
                raise KafkaException(found.error)
        return max(0, found.offset - 1)

    def copy(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Copies these, which must not be none, and moves the cursor to the last of them. Raises Refused, then a
        later attempt may go without the message in question, or CopyFailed."""
        with self._transaction(dead_letters[-1].id) as errors:
            for each in dead_letters:
                self._producer.produce(
                    self._topic,
                    each.message.value,
                    each.message.key,
                    headers=list(headers_of(each, self._group)),
                    on_delivery=lambda error, _: errors.append(error) if error else None,
                )

    def skip(self, dead_letter: DeadLetter) -> None:
        """Moves the cursor past a message without copying it. Raises CopyFailed."""
        with self._transaction(dead_letter.id):
            pass

    def close(self) -> None:
        """What isn't committed is left to Kafka to abort."""
        self._drop_producer()
        self._cursors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self, last_id: int) -> Iterator[list[KafkaError]]:
        """What is produced inside and the cursor: both or neither. Errors of delivery are to go into the list."""
        errors: list[KafkaError] = []
        with _translated(), FatalErrors():
            self._producer.begin_transaction()
            yield errors
            if self._producer.flush(BATCH_TIMEOUT_SECONDS):
                raise CopyFailed(f"no confirmation within {BATCH_TIMEOUT_SECONDS:g} s")
            if errors:
                refused = next((error for error in errors if error.code() in _REFUSALS), None)
                if refused is None:
                    raise KafkaException(errors[0])
                self._begin_anew()
                raise CopyRefused(refused.str())
            self._producer.send_offsets_to_transaction(
                [self._cursor(last_id)], self._cursors.consumer_group_metadata(), REQUEST_TIMEOUT_SECONDS
            )
            self._producer.commit_transaction(REQUEST_TIMEOUT_SECONDS)

    def _begin_anew(self) -> None:
        """Has the transaction aborted. (librdkafka could do it without a new producer, but then version 2.16 fails
        the first message of the next transaction, for no reason that it names: `_PURGE_QUEUE`.)"""
        self._drop_producer()
        self._producer = create_client(Producer, self._producer_config)
        self._producer.init_transactions(BATCH_TIMEOUT_SECONDS)

    def _drop_producer(self) -> None:
        with suppress(KafkaException), FatalErrors():  # one that failed for good says so again
            self._producer.purge()
            self._producer.close()

    def _cursor(self, last_id: int) -> TopicPartition:
        """As committed offsets are: the one to go on with. It says nothing about offsets in the topic."""
        return TopicPartition(self._topic, 0, last_id + 1)

    def _find_topic(self) -> None:
        """Asks in a way that doesn't make it."""
        wanted = TopicCollection([self._topic])
        answers = self._admin.describe_topics(wanted, request_timeout=REQUEST_TIMEOUT_SECONDS)
        try:
            answers[self._topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise CopyFailed(f"there is no topic {self._topic}", "the topic") from error
            raise


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise CopyFailed(f"{error.args[0].str()} ({error.args[0].name()})") from error
    except BufferError as error:
        raise CopyFailed(f"librdkafka takes no more: {error}") from error
