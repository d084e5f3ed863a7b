"""Intake by the number of partitions, on Apache Kafka."""

from functools import partial
from typing import Final

from bench import messages
from bench.arithmetic import Figure, summary
from bench.laboratory import Laboratory
from bench.machine import broker_name
from bench.reading import FullTopic, read_once
from bench.results import Measured, Plot, Series
from sandbox.servers.apache_kafka import ApacheKafka, missing
from sandbox.servers.embedded_kafka import create_topic

NAME: Final = "partitions"
TITLE: Final = "Intake by the number of partitions"
ABOUT: Final = (
    "One process reads the same lifecycles from one partition and from many, on Apache Kafka, whatever the"
    " broker of the other figures is."
)


def run(lab: Laboratory) -> None:
    if not lab.scale.partitions:
        return
    if isinstance(lab.broker, ApacheKafka):
        _measure(lab, lab.broker)
        return
    lacking = missing()
    if lacking is not None:
        lab.chapter.notes.append(f"Not measured: Apache Kafka can't run here ({lacking}).")
        return
    with ApacheKafka(lab.folder / "apache") as kafka:
        _measure(lab, kafka)


def _measure(lab: Laboratory, kafka: ApacheKafka) -> None:
    lab.chapter.notes.append(f"Broker: {broker_name(kafka)}.")
    stream = messages.whole_lifecycles()
    sent = [message for message, _ in zip(stream, range(lab.scale.intake_messages), strict=False)]
    topics = [_topic(lab, kafka, sent, partitions) for partitions in lab.scale.partitions]
    one, *others = topics
    found: list[Measured] = []
    for topic in others:
        figure = Figure(
            f"intake-{topic.partitions}-partitions",
            f"intake from {topic.partitions} partitions",
            "from one partition",
            "messages/s",
        )
        found.append(lab.compare(figure, partial(_read, lab, topic), partial(_read, lab, one)))
    from_one = summary([pair.reference for measured in found for pair in measured.pairs]).median
    points = [(1.0, from_one)]
    points += [
        (float(topic.partitions), summary([pair.ours for pair in measured.pairs]).median)
        for topic, measured in zip(others, found, strict=True)
    ]
    lab.chapter.plots.append(
        Plot("partitions", TITLE, "partitions", "messages/s", [Series("intake", points)], log_x=True)
    )


def _topic(lab: Laboratory, kafka: ApacheKafka, sent: list[messages.TopicMessage], partitions: int) -> FullTopic:
    name = f"bench-{partitions}-partitions"
    create_topic(kafka.bootstrap, name, partitions)
    messages.publish(kafka.bootstrap, name, sent)
    lab.report(f"topic with {partitions} partitions is full")
    return FullTopic(kafka.bootstrap, dict(kafka.client_config), name, len(sent), partitions)


def _read(lab: Laboratory, topic: FullTopic) -> float:
    with lab.database() as url:
        return read_once(lab.folder, url, [topic])
