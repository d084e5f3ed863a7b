"""Rebuilds of all aggregates, and the bare reading of the same rows, each cut short after a time."""

import json
import time
from contextlib import suppress
from typing import Final

import psycopg

from adapters.postgres.rebuild import EVENTS_PER_FETCH, rebuild


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


_ALL: Final = "SELECT topic, state FROM stored_events"


def parse_rate(database_url: str, longest_seconds: float) -> float:
    """Rows a second that are read and whose JSON is parsed, by a cursor of the same size, and nothing else."""
    started = time.perf_counter()
    rows = 0
    with psycopg.connect(database_url) as connection, connection.cursor("bare", binary=True) as cursor:
        cursor.itersize = EVENTS_PER_FETCH
        cursor.execute(_ALL)
        for _topic, state in cursor:
            record, _, body = bytes(state).partition(b"\n")
            json.loads(record)
            json.loads(body)
            rows += 1
            if rows % EVENTS_PER_FETCH == 0 and time.perf_counter() - started > longest_seconds:
                break
        return rows / (time.perf_counter() - started)
