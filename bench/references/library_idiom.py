"""Intake as the eventsourcing library's documentation writes it: aggregates with @event, its own PostgreSQL module,
and a process application, which saves each aggregate together with the place that its message had."""

import json
import time
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote, urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from eventsourcing.application import ProcessingEvent
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.system import ProcessApplication

from bench.processes import TimeUp
from bench.reading import DEADLINE_SECONDS, FullTopic, reader_config


class CashbackOrder(Aggregate):
    """An order as the library's tutorial would have it."""

    @event("Created")
    def __init__(self, order_id: int, content: dict[str, Any]) -> None:
        self.order_id = order_id
        self.content = content
        self.status = "PENDING"

    @event("Updated")
    def update(self, content: dict[str, Any]) -> None:
        self.content = content

    @event("Ended")
    def end(self, status: str) -> None:
        self.status = status

    @staticmethod
    def create_id(order_id: int) -> UUID:
        return uuid5(NAMESPACE_URL, f"/orders/{order_id}")


@dataclass(frozen=True)
class MessageReceived:
    """What the topic brings."""

    kind: str
    payload: dict[str, Any]


class CashbackOrders(ProcessApplication[UUID]):
    """One transaction a message: the new events, and how far the partition has been read."""

    def policy(self, domain_event: Any, processing_event: ProcessingEvent[UUID]) -> None:
        event = cast("MessageReceived", domain_event)
        order_id = event.payload["orderId"]
        if event.kind == "CREATED":
            order = CashbackOrder(order_id=order_id, content=event.payload)
        else:
            order = self.repository.get(CashbackOrder.create_id(order_id))
            if event.kind == "UPDATED":
                order.update(content=event.payload)
            else:
                order.end(status=event.kind)
        processing_event.collect_events(order)


def save_each(database_url: str, topic: FullTopic, messages: int) -> float:
    """Messages a second over the first so many. Raises TimeUp."""
    config = reader_config(topic.bootstrap, topic.config)
    consumer = Consumer(config)
    consumer.assign([TopicPartition(topic.name, number, OFFSET_BEGINNING) for number in range(topic.partitions)])
    application = CashbackOrders(env=_environment(database_url))
    seen, started = 0, 0.0
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while seen < messages:
            if time.monotonic() > deadline:
                raise TimeUp(f"the library's idiom has read {seen} of {messages} messages")
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            started = started or time.perf_counter()
            _save(application, message)
            seen += 1
        return seen / (time.perf_counter() - started)
    finally:
        application.close()
        consumer.close()


def _save(application: CashbackOrders, message: Message) -> None:
    read = json.loads(message.value() or b"")
    tracking = Tracking(f"{message.topic()}/{message.partition()}", (message.offset() or 0) + 1)
    application.process_event(cast("Any", MessageReceived(read["type"], read["payload"])), tracking)


def _environment(database_url: str) -> dict[str, str]:
    parts = urlsplit(database_url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.removeprefix("/"),
        "POSTGRES_HOST": parts.hostname or "",
        "POSTGRES_PORT": str(parts.port),
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": unquote(parts.password or ""),
    }
