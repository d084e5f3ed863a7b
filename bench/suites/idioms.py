"""Intake against the ways in which it is commonly written."""

from functools import partial
from typing import Final

from bench import messages
from bench.arithmetic import Figure
from bench.laboratory import PARTITIONS, Laboratory
from bench.reading import FullTopic, read_once
from bench.references.faststream_handler import handle_each
from bench.references.library_idiom import save_each

NAME: Final = "idioms"
TITLE: Final = "Intake against common ways to write it"
ABOUT: Final = (
    "New orders from six partitions, one process, the same durable PostgreSQL. The eventsourcing library as its"
    " documentation writes it: aggregates with @event, its own PostgreSQL module, a process application that"
    " saves each aggregate with the place of its message. FastStream on the Confluent client: a typed handler"
    " that inserts the message, one transaction each, in order, on a kept connection; it decides nothing."
)
_UNIT: Final = "messages/s"
LIBRARY: Final = Figure("intake-library", "intake of new orders", "the library: one save a message", _UNIT, 15, 30)
FASTSTREAM: Final = Figure(
    "intake-faststream", "intake of new orders", "FastStream and psycopg: one transaction a message", _UNIT, 10, 25
)


def run(lab: Laboratory) -> None:
    first, _ = messages.creations(lab.scale.intake_messages)
    name = lab.topic(PARTITIONS)
    messages.publish(lab.bootstrap, name, first)
    topic = FullTopic(lab.bootstrap, lab.kafka_config, name, len(first), PARTITIONS)
    lab.compare(LIBRARY, partial(_ours, lab, topic), partial(_library, lab, topic))
    lab.compare(FASTSTREAM, partial(_ours, lab, topic), partial(_faststream, lab, topic))


def _ours(lab: Laboratory, topic: FullTopic) -> float:
    with lab.database() as url:
        return read_once(lab.folder, url, [topic])


def _library(lab: Laboratory, topic: FullTopic) -> float:
    with lab.database(empty=True) as url:
        return save_each(url, topic, lab.scale.idiom_messages)


def _faststream(lab: Laboratory, topic: FullTopic) -> float:
    with lab.database(empty=True) as url:
        return handle_each(url, topic, lab.scale.idiom_messages)
