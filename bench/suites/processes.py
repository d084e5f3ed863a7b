"""Intake in two processes against one."""

import time
from contextlib import ExitStack
from functools import partial
from typing import Final

import psycopg

from bench import messages
from bench.arithmetic import Figure
from bench.laboratory import PARTITIONS, Laboratory
from bench.processes import App, wait_until

NAME: Final = "processes"
TITLE: Final = "Intake in two processes"
ABOUT: Final = (
    "Real `serve --only intake` processes of one group, with their partitions assigned before anything is"
    " published; then whole lifecycles are published as fast as the broker takes them. The rate is that of the"
    " last nine tenths. The database, the broker and the publisher share the machine with them."
)
FIGURE: Final = Figure("intake-two-processes", "intake in two processes", "in one", "messages/s", 1.6)
ASSIGNED_SECONDS: Final = 60.0
DEADLINE_SECONDS: Final = 300.0
WARM_UP_SHARE: Final = 0.1
_STORED: Final = "SELECT coalesce(sum(next_offset), 0)::bigint FROM kafka_position"


def run(lab: Laboratory) -> None:
    if lab.scale.process_messages:
        lab.compare(FIGURE, partial(_rate, lab, 2), partial(_rate, lab, 1))


def _rate(lab: Laboratory, processes: int) -> float:
    count = lab.scale.process_messages
    stream = messages.whole_lifecycles()
    sent = [message for message, _ in zip(stream, range(count), strict=False)]
    topic = lab.topic(PARTITIONS)
    with ExitStack() as stack:
        url = stack.enter_context(lab.database())
        settings = lab.settings(database_url=url, kafka_topic=topic)
        apps = [
            stack.enter_context(App.of(lab.folder, "serve", "--only", "intake", **settings))
            for _ in range(processes)
        ]
        children = [app.child for app in apps]
        each = PARTITIONS // processes
        wait_until(
            lambda: all(_assigned(app) == each for app in apps),
            f"{each} partitions for each process",
            ASSIGNED_SECONDS,
            *children,
        )
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        messages.publish(lab.bootstrap, topic, sent)
        marks: list[tuple[float, int]] = []

        def all_stored() -> bool:
            row = connection.execute(_STORED).fetchone()
            stored = row[0] if row else 0
            if stored >= WARM_UP_SHARE * count:
                marks.append((time.perf_counter(), stored))
            return bool(stored >= count)

        wait_until(all_stored, f"{count} messages stored", DEADLINE_SECONDS, *children)
    (began, before), (ended, _) = marks[0], marks[-1]
    return (count - before) / (ended - began)


def _assigned(app: App) -> int:
    counts = {"partitions assigned": 1, "partitions revoked": -1, "partitions lost": 0}
    return sum(counts.get(line["event"], 0) * int(line.get("partitions", 0)) for line in app.lines)
