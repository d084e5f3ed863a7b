"""The ceiling for intake: the same client over the same records, a bare JSON parse, and a COPY of as many bytes as
intake stores, with the offsets in the same transaction. It decides nothing, knows no order, and keeps no index."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from adapters.runtime.tuning import collect_rarely
from bench.laboratory import BATCH_SIZE
from bench.processes import TimeUp
from bench.reading import DEADLINE_SECONDS, FullTopic, ReadTask, reader_config

Connection = psycopg.Connection[tuple[Any, ...]]


def main(file: Path) -> None:
    """`python -m bench.references.copying FILE`"""
    collect_rarely()  # as ours does
    task = msgspec.json.decode(file.read_bytes(), type=ReadTask)
    rate = copy_all(task.database_url, task.topics[-1], task.beside)
    print(json.dumps({"event": "done", "rate": rate}), flush=True)


def copy_all(database_url: str, topic: FullTopic, beside: bytes) -> float:
    """Messages a second, from the first batch to the last. Raises TimeUp.

    `beside` goes into each row as it is: what intake stores of a message beside the bytes received.
    """
    config = reader_config(topic.bootstrap, topic.config)
    consumer = Consumer(config)
    consumer.assign([TopicPartition(topic.name, number, OFFSET_BEGINNING) for number in range(topic.partitions)])
    seen, started = 0, 0.0
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        with psycopg.connect(database_url) as connection:
            make_tables(connection)
            while seen < topic.messages:
                if time.monotonic() > deadline:
                    raise TimeUp(f"the ceiling has read {seen} of {topic.messages} messages")
                messages = consumer.consume(min(BATCH_SIZE, topic.messages - seen), timeout=0.05)
                if not messages:
                    continue
                started = started or time.perf_counter()
                copy_batch(connection, messages, beside)
                seen += len(messages)
            return seen / (time.perf_counter() - started)
    finally:
        consumer.close()


def make_tables(connection: Connection) -> None:
    connection.execute("CREATE TABLE records (partition integer, kafka_offset bigint, value bytea, beside bytea)")
    connection.execute("CREATE TABLE positions (partition integer PRIMARY KEY, next_offset bigint)")
    connection.commit()


def copy_batch(connection: Connection, messages: Sequence[Message], beside: bytes) -> None:
    with connection.cursor() as cursor:
        with cursor.copy("COPY records FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "int8", "bytea", "bytea"])
            for message in messages:
                json.loads(message.value() or b"")
                copy.write_row((message.partition(), message.offset(), message.value(), beside))
        positions = {message.partition(): (message.offset() or 0) + 1 for message in messages}
        cursor.executemany(
            "INSERT INTO positions VALUES (%s, %s) ON CONFLICT (partition) DO UPDATE SET next_offset ="
            " excluded.next_offset",
            list(positions.items()),
        )
    connection.commit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
