"""Rebuilding all aggregates from the event store."""

import json
import time
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final

import psycopg

from adapters.postgres.rebuild import EVENTS_PER_FETCH, rebuild
from bench import messages
from bench.arithmetic import Figure, summary
from bench.laboratory import Laboratory
from bench.results import Measured, Plot, Series
from bench.stores import append, events_of, multiply

NAME: Final = "rebuild"
TITLE: Final = "Rebuild"
TEMPLATE_EVENTS: Final = 10_000
MANY_EVENTS: Final = 500_000
ROUNDS_OF_MANY: Final = 2
ABOUT: Final = (
    "Folding all streams, as `python app.py rebuild` does, against a bare SELECT of the same rows, in the order"
    " in which they lie, and a JSON parse of both parts of each. What takes longer than 45 s is cut short."
)


def run(lab: Laboratory) -> None:
    points: list[tuple[int, Measured]] = []
    for size in lab.scale.rebuild_events:
        with lab.database() as url:
            append(url, events_of(list(islice(messages.whole_lifecycles(), min(size, TEMPLATE_EVENTS)))))
            stored = multiply(url, size)
            figure = Figure(
                f"rebuild-{size}",
                f"rebuild of {stored:,} events",
                "bare SELECT and JSON parse of the same rows",
                "events/s",
                0.3,
                0.5,
            )
            longest = lab.scale.rebuild_seconds
            measured = lab.compare(
                figure,
                partial(rebuild_rate, url, longest),
                partial(parse_rate, url, longest),
                rounds=min(lab.rounds, ROUNDS_OF_MANY) if stored > MANY_EVENTS else None,
            )
            points.append((stored, measured))
    if len(points) > 1:
        ours = [(float(size), summary([pair.ours for pair in each.pairs]).median) for size, each in points]
        bare = [(float(size), summary([pair.reference for pair in each.pairs]).median) for size, each in points]
        series = [Series("rebuild", ours), Series("SELECT and JSON parse", bare, dashed=True)]
        lab.chapter.plots.append(
            Plot("rebuild", "Rebuild by the number of events", "events stored", "events/s", series, log_x=True)
        )


class _CutShort(Exception):
    """Enough has been rebuilt to know the rate."""


def rebuild_rate(database_url: str, longest_seconds: float) -> float:
    """Events a second, of all streams or of as many as there is time for."""
    started = time.perf_counter()
    done = 0

    def progress(events: int, _total: int) -> None:
        nonlocal done
        done = events
        if time.perf_counter() - started > longest_seconds:
            raise _CutShort

    with suppress(_CutShort):
        rebuild(database_url, (), progress)
    return done / (time.perf_counter() - started)


def parse_rate(database_url: str, longest_seconds: float) -> float:
    """Rows a second that are read and whose JSON is parsed, by a cursor of the same size, and nothing else."""
    started = time.perf_counter()
    rows = 0
    with psycopg.connect(database_url) as connection, connection.cursor("bare", binary=True) as cursor:
        cursor.itersize = EVENTS_PER_FETCH
        cursor.execute("SELECT topic, state FROM stored_events")
        for _topic, state in cursor:
            record, _, body = bytes(state).partition(b"\n")
            json.loads(record)
            json.loads(body)
            rows += 1
            if rows % EVENTS_PER_FETCH == 0 and time.perf_counter() - started > longest_seconds:
                break
        return rows / (time.perf_counter() - started)
