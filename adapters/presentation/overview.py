"""What the overview shows, from the samples of the last hour and what the processes tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from adapters.observability.health import READY
from adapters.presentation import formatting
from adapters.records.money_may_be_wrong import CaseTotal, total_of
from adapters.records.status import KEPT_SECONDS, ProcessRow, Sample, ServiceCounts

RATE_SECONDS: Final = 30.0
"""The share of failed calls is that of the last so many seconds."""
STALE_SECONDS: Final = 30.0
SPARK_POINTS: Final = 120
SPARK_WIDTH: Final = 240
SPARK_HEIGHT: Final = 40
BROKEN_BREAKERS: Final = frozenset({"open", "probing", "ramping"})


@dataclass(frozen=True, slots=True)
class Spark:
    """A curve of the last hour."""

    name: str
    now: str
    peak: str
    points: str
    """For an SVG polyline; empty without any samples."""


@dataclass(frozen=True, slots=True)
class Overview:
    numbers: ServiceCounts | None
    """The last sample's; None if there is none that isn't too old."""
    sparks: Sequence[Spark]
    processes: Sequence[ProcessRow]
    failed_share: float | None
    """Of the attempts of the last RATE_SECONDS; None if there was none."""
    breakers: Sequence[str]
    """Those that aren't closed: process and state."""
    troubles: Sequence[str]
    """What the processes wait for, in words."""

    @property
    def at_stake(self) -> CaseTotal:
        """In orders whose money may be wrong."""
        return total_of(self.numbers.money_may_be_wrong) if self.numbers else CaseTotal()


def overview(samples: Sequence[Sample], processes: Sequence[ProcessRow], now: datetime) -> Overview:
    fresh = bool(samples) and (now - samples[-1].taken_at).total_seconds() < STALE_SECONDS
    curves = (
        ("messages read per second", _rates(samples, lambda numbers: numbers.messages), formatting.rate),
        ("calls per second", _rates(samples, lambda numbers: numbers.attempts), formatting.rate),
        ("messages waiting on the topic", _levels(samples, lambda numbers: numbers.lag or 0), _whole),
        ("orders with calls waiting", _levels(samples, lambda numbers: numbers.waiting.number), _whole),
        ("orders parked", _levels(samples, lambda numbers: numbers.parked.number), _whole),
        ("orders held", _levels(samples, lambda numbers: numbers.held.number), _whole),
    )
    return Overview(
        numbers=samples[-1].numbers if fresh else None,
        sparks=[_spark(name, values, shown, now) for name, values, shown in curves],
        processes=processes,
        failed_share=_failed_share(samples, now) if fresh else None,
        breakers=open_breakers(processes),
        troubles=_troubles(processes),
    )


def open_breakers(processes: Sequence[ProcessRow]) -> list[str]:
    """Those that aren't closed: process and state."""
    broken = (each for each in processes if each.state.get("breaker") in BROKEN_BREAKERS)
    return [f"{each.name}: {each.state['breaker']}" for each in broken]


Values = Sequence[tuple[datetime, float]]


def _levels(samples: Sequence[Sample], of: Callable[[ServiceCounts], int]) -> Values:
    return [(each.taken_at, float(of(each.numbers))) for each in samples]


def _rates(samples: Sequence[Sample], of: Callable[[ServiceCounts], int]) -> Values:
    """A counter that went back (a topic was made again) counts as standing still."""
    rates = []
    for before, after in pairwise(samples):
        seconds = (after.taken_at - before.taken_at).total_seconds()
        if seconds > 0:
            rates.append((after.taken_at, max(0, of(after.numbers) - of(before.numbers)) / seconds))
    return rates


def _spark(name: str, values: Values, shown: Callable[[float], str], now: datetime) -> Spark:
    """Of each stretch of time the greatest value is drawn: a short peak must be seen."""
    stretch_seconds = KEPT_SECONDS / SPARK_POINTS
    greatest: dict[int, float] = {}
    for at, value in values:
        place = SPARK_POINTS - 1 - int((now - at).total_seconds() // stretch_seconds)
        if 0 <= place < SPARK_POINTS:
            greatest[place] = max(value, greatest.get(place, 0.0))
    peak = max(greatest.values(), default=0.0)
    drawn = sorted(greatest.items())
    if len(drawn) == 1:  # a point alone wouldn't show
        drawn.insert(0, (drawn[0][0] - 1, drawn[0][1]))
    step = SPARK_WIDTH / (SPARK_POINTS - 1)
    points = " ".join(f"{place * step:.1f},{_height(value, peak):.1f}" for place, value in drawn)
    recent = [value for at, value in values if (now - at).total_seconds() < STALE_SECONDS]
    return Spark(name, shown(recent[-1]) if recent else formatting.NOTHING, shown(peak), points)


def _height(value: float, peak: float) -> float:
    return SPARK_HEIGHT - 2 - (SPARK_HEIGHT - 4) * value / (peak or 1.0)


def _failed_share(samples: Sequence[Sample], now: datetime) -> float | None:
    recent = [each for each in samples if (now - each.taken_at).total_seconds() < RATE_SECONDS]
    if len(recent) < 2:  # noqa: PLR2004 - a difference needs two
        return None
    attempts = recent[-1].numbers.attempts - recent[0].numbers.attempts
    failed = sum(each.numbers.failed_attempts for each in recent[1:])
    return min(1.0, failed / attempts) if attempts > 0 else None


def _troubles(processes: Sequence[ProcessRow]) -> list[str]:
    troubles = []
    for process in processes:
        if process.state.get("ready"):
            continue
        parts = process.state.get("parts", {})
        troubles += [f"{process.name}: {part}: {state}" for part, state in parts.items() if state not in READY]
        troubles += [f"{process.name}: stands still: {partition}" for partition in process.state.get("stopped", ())]
    return troubles


def _whole(value: float) -> str:
    return formatting.count(round(value))
