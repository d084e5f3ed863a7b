"""What the client fetches, and from where on."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from adapters.kafka.consumer.intake import Intake
from domain.ports import Partition

Key = tuple[str, int]
"""Topic and number of a partition."""


def key_of(message: Message) -> Key:
    return message.topic() or "", message.partition() or 0


def start_fetching(consumer: Consumer, intake: Intake, logs: Iterable[Partition], *, incremental: bool) -> None:
    """At the positions that intake has. An eager assignment replaces the one before, so it must name all logs."""
    offsets = list(_offsets(intake, logs))
    if incremental:
        consumer.incremental_assign(offsets)
    else:
        consumer.assign(offsets)
    for each in offsets:
        if each.leader_epoch is not None:
            # librdkafka 2.16 compares the epoch with the broker's only then, not when it is assigned.
            with suppress(KafkaException):
                consumer.seek(each)


def stop_fetching(
    consumer: Consumer, intake: Intake, gone: Iterable[Key], left: Mapping[Key, Partition], *, incremental: bool
) -> None:
    if incremental:
        # Even if it's nothing: else the client would unassign what was revoked and has no place, and fail.
        consumer.incremental_unassign([TopicPartition(topic, number) for topic, number in gone])
    elif left:
        start_fetching(consumer, intake, left.values(), incremental=False)
    else:
        consumer.unassign()  # which `assign([])` is not: after it a revocation never ends


def _offsets(intake: Intake, logs: Iterable[Partition]) -> Iterator[TopicPartition]:
    for log in logs:
        position, leader_epoch = intake.positions[log], intake.leader_epochs[log]
        if position is None:
            yield TopicPartition(log.topic, log.number, OFFSET_BEGINNING)
        elif leader_epoch is None:
            yield TopicPartition(log.topic, log.number, position)
        else:
            yield TopicPartition(log.topic, log.number, position, leader_epoch=leader_epoch)
