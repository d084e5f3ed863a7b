"""Whether the memory of a process stays the same however much it has read."""

import threading
from typing import Final

import psycopg

from bench import messages
from bench.arithmetic import Figure, Pair
from bench.laboratory import PARTITIONS, Laboratory
from bench.processes import App, wait_until
from bench.results import Plot, Series
from bench.scales import FULL, LONG_MEMORY_MESSAGES

NAME: Final = "memory"
TITLE: Final = "Memory"
CHUNKS_AFTER_FIRST: Final = 10
CHUNK_SECONDS: Final = 300.0
SAMPLE_SECONDS: Final = 0.1
_MEBIBYTE: Final = 1024**2
_STORED: Final = "SELECT coalesce(sum(next_offset), 0)::bigint FROM kafka_position WHERE topic = %s"
ABOUT: Final = (
    "Resident memory of a real `serve --only intake` process while whole lifecycles go through it: the most at"
    " any moment after the first part, looked at ten times a second, against the memory after the first part."
    " The cache of orders is full by then. (`python -m bench --only memory` reads a million messages.)"
)


def run(lab: Laboratory) -> None:
    sizes = LONG_MEMORY_MESSAGES if lab.alone and lab.scale is FULL else lab.scale.memory_messages
    if sizes is None:
        return
    first, total = sizes
    topic = lab.topic(PARTITIONS)
    with lab.database() as url, psycopg.connect(url, autocommit=True) as connection:
        settings = lab.settings(database_url=url, kafka_topic=topic)
        with App.of(lab.folder, "serve", "--only", "intake", **settings) as app:
            app.line("partitions assigned")
            chunks = [first, *_parts(total - first)]
            points: list[tuple[float, float]] = []
            after_first, done = 0.0, 0
            for count in chunks:
                done += count
                most = _read(lab, app, connection, topic, count, done)
                points.append((float(done), most))
                after_first = after_first or app.memory_bytes / _MEBIBYTE
                lab.report(f"memory after {done:,} messages: {most:.0f} MiB at most")
            highest = max(most for _, most in points[1:])
    figure = Figure(
        f"memory-{total}",
        f"memory over {total:,} messages",
        f"after the first {first:,}",
        "MiB",
        1.2,
        1.05,
        at_most=True,
    )
    lab.note(figure, [Pair(highest, after_first)])
    lab.chapter.plots.append(
        Plot("memory", "Memory of an intake process", "messages read", "MiB", [Series("resident memory", points)])
    )


def _parts(messages_left: int) -> list[int]:
    size = -(-messages_left // CHUNKS_AFTER_FIRST)
    return [min(size, messages_left - start) for start in range(0, messages_left, size)]


def _read(  # noqa: PLR0913, PLR0917 - what is read, by whom, from where
    lab: Laboratory, app: App, connection: "psycopg.Connection[tuple[int]]", topic: str, count: int, until: int
) -> float:
    """Publishes so many messages; the most memory, in MiB, until all of them are stored."""
    highest = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(SAMPLE_SECONDS):
            highest = max(highest, app.memory_bytes)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        stream = messages.whole_lifecycles()
        messages.publish(lab.bootstrap, topic, (message for message, _ in zip(stream, range(count), strict=False)))
        wait_until(
            lambda: _stored(connection, topic) >= until, f"{until} messages stored", CHUNK_SECONDS, app.child
        )
    finally:
        done.set()
        watcher.join()
    return max(highest, app.memory_bytes) / _MEBIBYTE


def _stored(connection: "psycopg.Connection[tuple[int]]", topic: str) -> int:
    row = connection.execute(_STORED, (topic,)).fetchone()
    return row[0] if row else 0
