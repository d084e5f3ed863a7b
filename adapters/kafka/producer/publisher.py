"""Sends messages to Kafka so that those of one key stay in the order in which they were handed over."""

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from adapters.kafka.fatal_errors import FatalErrors
from adapters.records.publishing import Delivered, Outgoing
from domain.errors import CashbackError

_QUEUE_MAX_MESSAGES = 20_000
_QUEUE_MAX_KBYTES = 32 * 1024
_LINGER_MS = 5
_FULL_QUEUE_POLL_SECONDS = 0.1
_FLUSH_SLICE_SECONDS = 0.5
# librdkafka looks for overdue messages about once a second, so the verdict comes a little after the time-out.
_VERDICT_GRACE_SECONDS = 2.0

# What keeps one order's messages on one partition, whole and in order. `acks` has two names in librdkafka.
_GUARDED: Mapping[str, object] = {
    "partitioner": "murmur2_random",
    "enable.idempotence": True,
    "acks": "all",
}
_GUARDED_NAMES = frozenset(_GUARDED) | {"request.required.acks", "default.topic.config"}

# librdkafka's own doing after a fatal error, unless we close.
_DROPPED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001 - its own names

_log = logging.getLogger(__name__)
_FATAL = "FATAL"
_FATAL_ERROR = "Fatal error: "


class _Log:
    """Where librdkafka logs. Why it has given up is in the error of each message, and no line of its own."""

    def __init__(self) -> None:
        self.why_gave_up: str | None = None

    def log(self, level: int, text: str, *words: object) -> None:
        said = text % words
        if said.startswith(_FATAL):
            self.why_gave_up = said.partition(_FATAL_ERROR)[2] or said
        else:
            _log.log(level, text, *words)


class PublishError(CashbackError):
    """The broker hasn't confirmed a message. It may have arrived all the same if the answer was lost.

    `count` is the number of messages concerned; `topic`, `key` and `reason` are those of the first.
    """

    def __init__(self, topic: str, key: bytes, reason: str, *, count: int = 1) -> None:
        others = f" (and {count - 1} more)" if count > 1 else ""
        shown_key = key.decode("utf-8", "backslashreplace")
        super().__init__(f"message with key {shown_key} was not sent to topic {topic}: {reason}{others}")
        self.topic = topic
        self.key = key
        self.reason = reason
        self.count = count


OnDelivery = Callable[[Delivered | PublishError], None]


class Publisher:
    """A bounded queue of messages on their way to the broker; for one thread at a time.

    `delivery_timeout_seconds` limits how long a message may wait for its confirmation, and how long `publish`
    waits for room in a full queue. `config` holds librdkafka's properties and wins over what is set here,
    except over the settings that guard the order of messages: naming one of those is a ValueError, and so is
    a property that librdkafka doesn't accept.

    Once librdkafka has given it up for good (it may write nowhere, say), all that is on its way fails, and all that
    it is given later.

    A message that fails holds none of the later ones back, those of its own key included: who needs all of
    them flushes before sending on. As a context manager it flushes on leaving; when an exception leaves with
    it, what isn't confirmed yet is dropped.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        config: Mapping[str, object] | None = None,
        delivery_timeout_seconds: float = 30.0,
    ) -> None:
        config = config or {}
        if guarded := sorted(_GUARDED_NAMES & config.keys()):
            raise ValueError(f"these Kafka settings guard the order of messages: {', '.join(guarded)}")
        self._delivery_timeout_seconds = delivery_timeout_seconds
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[str, bytes, OnDelivery | None]] = {}  # oldest first; bounded by the queue
        self._first_failure: PublishError | None = None
        self._failed = 0
        self._broker_error: str | None = None
        self._gave_up: str | None = None
        self._log = _Log()
        self._closed = False
        settings: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "linger.ms": _LINGER_MS,
            "message.timeout.ms": max(1, round(delivery_timeout_seconds * 1000)),
            "queue.buffering.max.messages": _QUEUE_MAX_MESSAGES,
            "queue.buffering.max.kbytes": _QUEUE_MAX_KBYTES,
            **config,
            **_GUARDED,
            "error_cb": self._note_broker_error,
            "logger": self._log,
        }
        try:
            self._producer = Producer(settings)
        except KafkaException as error:
            raise ValueError(f"Kafka producer settings: {_reason(error.args[0])}") from error
        except TypeError as error:
            raise ValueError(f"Kafka producer settings: {error}") from error

    def publish(self, message: Outgoing, on_delivery: OnDelivery | None = None) -> None:
        """Hands the message over and returns; it is sent only once `flush` has returned without an error.

        `on_delivery` is called once with the verdict, from within a later call of this object. Raises
        PublishError, and forgets the message, if the queue stays full or the message can't be sent at all.
        """
        number = next(self._numbers)
        deadline = time.monotonic() + self._delivery_timeout_seconds
        waiting = (message.topic, message.key, on_delivery)
        callback = partial(self._settle, number, waiting)
        while not self._handed_over(message, callback):
            if time.monotonic() >= deadline:
                reason = f"the send queue stayed full for {self._delivery_timeout_seconds:g} s"
                raise PublishError(message.topic, message.key, self._with_broker_error(reason))
            self._serve(self._producer.poll, _FULL_QUEUE_POLL_SECONDS)
        self._waiting[number] = waiting
        self._serve(self._producer.poll, 0)

    def poll(self) -> None:
        """Calls the `on_delivery` of messages whose verdict is there; for those who publish rarely."""
        self._serve(self._producer.poll, 0)

    def flush(self, timeout_seconds: float) -> None:
        """Returns when every message is confirmed.

        Raises PublishError if a message has failed since the last flush, or if some are still unconfirmed
        after the time; those stay on their way.
        """
        deadline = time.monotonic() + timeout_seconds
        while self._serve(self._producer.flush, max(0.0, min(_FLUSH_SLICE_SECONDS, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:  # in slices, so that Ctrl-C is heard
                break
        failure, self._first_failure = self._first_failure, None
        failed, self._failed = self._failed, 0
        if failure:
            raise PublishError(failure.topic, failure.key, failure.reason, count=failed)
        if self._waiting:
            topic, key, _ = next(iter(self._waiting.values()))
            reason = self._with_broker_error(f"no confirmation within {timeout_seconds:g} s")
            raise PublishError(topic, key, reason, count=len(self._waiting))

    def close(self) -> None:
        """Drops what isn't confirmed yet (its `on_delivery` hears of it) and lets go of the connections."""
        if not self._closed:
            self._closed = True
            with suppress(KafkaException), FatalErrors():
                self._producer.purge()
                self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None and not self._closed:
                self.flush(self._delivery_timeout_seconds + _VERDICT_GRACE_SECONDS)
        finally:
            self.close()

    def _serve(self, call: Callable[[float], int], timeout_seconds: float) -> int:
        """Calls back for verdicts that are there, and counts those to come."""
        try:
            with FatalErrors():
                return 0 if self._gave_up else call(timeout_seconds)
        except KafkaException as error:
            # The error's own reason is lost where a callback came behind it (FatalErrors).
            is_lost = isinstance(error.__cause__, SystemError)
            self._gave_up = (is_lost and self._log.why_gave_up) or _reason(error.args[0])
            for topic, key, on_delivery in self._waiting.values():
                self._fail(PublishError(topic, key, self._gave_up), on_delivery)
            self._waiting.clear()
            return 0

    def _handed_over(
        self, message: Outgoing, callback: Callable[[KafkaError | None, "Message[bytes, bytes]"], None]
    ) -> bool:
        if self._gave_up:
            raise PublishError(message.topic, message.key, self._gave_up)
        try:
            self._producer.produce(
                message.topic,
                message.value,
                message.key,
                partition=-1 if message.partition is None else message.partition,
                headers=list(message.headers),
                on_delivery=callback,
            )
        except BufferError:
            return False
        except KafkaException as error:
            raise PublishError(message.topic, message.key, _reason(error.args[0])) from error
        return True

    def _settle(
        self,
        number: int,
        waiting: tuple[str, bytes, OnDelivery | None],
        error: KafkaError | None,
        message: "Message[bytes, bytes]",  # generic in its stubs only
    ) -> None:
        if error is not None and error.code() in _DROPPED and not self._closed:
            return  # the reason is about to come
        topic, key, on_delivery = waiting
        self._waiting.pop(number, None)  # absent if Ctrl-C came between handing over and noting
        if error is None:
            self._broker_error = None
            partition, offset = message.partition(), message.offset()
            assert partition is not None, "a confirmed message has a partition"
            assert offset is not None, "a confirmed message has an offset"
            if on_delivery is not None:
                on_delivery(Delivered(topic, key, partition, offset))
        else:
            self._fail(PublishError(topic, key, self._with_broker_error(_reason(error))), on_delivery)

    def _fail(self, error: PublishError, on_delivery: OnDelivery | None) -> None:
        self._first_failure = self._first_failure or error
        self._failed += 1
        if on_delivery is not None:
            on_delivery(error)

    def _note_broker_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001  # librdkafka's own name for it
            self._broker_error = _reason(error)

    def _with_broker_error(self, reason: str) -> str:
        return f"{reason}; {self._broker_error}" if self._broker_error else reason


def _reason(error: KafkaError) -> str:
    return f"{error.str()} ({error.name()})"
