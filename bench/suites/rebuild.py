"""Rebuilding all aggregates from the event store."""

from functools import partial
from itertools import islice
from typing import Final

from bench import messages
from bench.arithmetic import Figure, summary
from bench.laboratory import Laboratory
from bench.rebuilding import parse_rate, rebuild_rate
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
