"""Intake and its ceiling over a topic that is full, each measurement in a process of its own.

A process that has measured before is slower: its memory lies in pieces.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec

from adapters.kafka.consumer.config import consumer_config
from adapters.kafka.consumer.intake import Limits
from bench.processes import App

DEADLINE_SECONDS: Final = 300.0


class FullTopic(msgspec.Struct, frozen=True):
    """A topic with so many messages."""

    bootstrap: str
    config: Mapping[str, Any]
    name: str
    messages: int
    partitions: int


class ReadTask(msgspec.Struct, frozen=True):
    """What such a process is to do. It writes `rate`, in messages a second, of the last topic."""

    database_url: str
    topics: Sequence[FullTopic]
    beside: bytes = b""
    """For the ceiling: what goes into each row beside what was received."""
    cached_orders: int = Limits().max_cached_orders
    """How many orders intake keeps in memory."""


def reader_config(bootstrap: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a consumer that reads as ours does, from the start and in a group of its own. It is given messages alone,
    and no ends of partitions."""
    ours = consumer_config(bootstrap, uuid4().hex, config)
    return {**ours, "auto.offset.reset": "earliest", "enable.partition.eof": False}


def read_once(
    folder: Path,
    database_url: str,
    topics: Sequence[FullTopic],
    *,
    cached_orders: int = Limits().max_cached_orders,
) -> float:
    """Intake reads topic after topic; messages a second of the last, from its first batch on."""
    return _measured(folder, "bench.reading_process", ReadTask(database_url, topics, cached_orders=cached_orders))


def copy_once(folder: Path, database_url: str, topic: FullTopic, beside: bytes) -> float:
    """The ceiling (bench/references/copying.py)."""
    return _measured(folder, "bench.references.copying", ReadTask(database_url, [topic], beside))


def _measured(folder: Path, module: str, task: ReadTask) -> float:
    """Raises TimeUp or PartError."""
    file = folder / f"task-{uuid4().hex}"
    file.write_bytes(msgspec.json.encode(task))
    with App.module(folder, module, str(file)) as app:
        return float(app.result(DEADLINE_SECONDS)["rate"])
