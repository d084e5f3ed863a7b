"""Whether a store that has grown is as quick as a young one."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from bench import messages
from bench.arithmetic import Figure, summary
from bench.laboratory import PARTITIONS, Laboratory
from bench.reading import FullTopic, read_once
from bench.results import Measured, Plot, Series
from bench.stores import append, events_of, multiply
from bench.suites.rebuild import rebuild_rate

NAME: Final = "growth"
TITLE: Final = "Growth"
ABOUT: Final = (
    "Intake of whole lifecycles into a store with many events, and a rebuild of it, against the same with few"
    " events, on the same server. Both stores are filled by copying streams and are vacuumed before."
)
TEMPLATE_EVENTS: Final = 5_000
SHORT_LIFECYCLE: Final = 2
SMALL_BYTES: Final = 600


def run(lab: Laboratory) -> None:
    if lab.scale.growth_events is None:
        return
    few, many = lab.scale.growth_events
    with lab.database() as young, lab.database() as grown:
        stored = [_fill(young, few), _fill(grown, many)]
        lab.report(f"stores with {stored[0]:,} and {stored[1]:,} events are there")
        topics = [_topic(lab) for _ in range(lab.rounds)]
        intake = lab.compare(
            Figure(
                "growth-intake", f"intake with {many:,} events stored", f"with {few:,}", "messages/s", 0.9, 0.97
            ),
            partial(_intake, lab.folder, grown, iter(topics)),
            partial(_intake, lab.folder, young, iter(topics)),
        )
        seconds = lab.scale.rebuild_seconds
        rebuild = lab.compare(
            Figure(
                "growth-rebuild", f"rebuild with {many:,} events stored", f"with {few:,}", "events/s", 0.9, 0.97
            ),
            partial(rebuild_rate, grown, seconds),
            partial(rebuild_rate, young, seconds),
            rounds=min(lab.rounds, 2),
        )
        series = [_line("intake, messages/s", intake, stored), _line("rebuild, events/s", rebuild, stored)]
        lab.chapter.plots.append(
            Plot(
                "growth",
                "Intake and rebuild by the size of the store",
                "events stored",
                "a second",
                series,
                log_x=True,
            )
        )


def _fill(url: str, events: int) -> int:
    """With small events: short lifecycles of few goods, without headers."""
    short: list[messages.TopicMessage] = []
    while len(short) < min(events, TEMPLATE_EVENTS):
        for lifecycle in messages.by_order(messages.lifecycles_of(messages.TEMPLATE_ORDERS)):
            if len(lifecycle) == SHORT_LIFECYCLE and len(lifecycle[0].value) < SMALL_BYTES:
                short += [each._replace(headers=()) for each in lifecycle]
    append(url, events_of(short[:TEMPLATE_EVENTS]))
    return multiply(url, events)


def _topic(lab: Laboratory) -> FullTopic:
    """One for each round: what has been read into a store once is read no more."""
    count = lab.scale.new_messages
    name = lab.topic(PARTITIONS)
    messages.publish(lab.bootstrap, name, islice(messages.whole_lifecycles(), count))
    return FullTopic(lab.bootstrap, lab.kafka_config, name, count, PARTITIONS)


def _intake(folder: Path, url: str, topics: Iterator[FullTopic]) -> float:
    return read_once(folder, url, [next(topics)])


def _line(label: str, measured: Measured, stored: list[int]) -> Series:
    young = summary([pair.reference for pair in measured.pairs]).median
    grown = summary([pair.ours for pair in measured.pairs]).median
    return Series(label, [(float(stored[0]), young), (float(stored[1]), grown)])
