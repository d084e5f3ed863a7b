"""What a figure is, and the arithmetic of it: ratios of pairs measured one right after the other, their median and
spread, and what counts as having got worse."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

GUARD_FACTOR: Final = 2.0
"""A ratio this many times worse than the recorded one has got worse; less may be the machine."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the tables. `must` and `aim` are ratios; with `at_most` a smaller one is better."""

    name: str
    title: str
    reference: str
    unit: str
    must: float | None = None
    aim: float | None = None
    at_most: bool = False
    waits: bool = False
    """One side waits where the other works, so the ratio falls on a busy machine: no change can be judged by it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Ours and the reference's, in the figure's unit, measured one right after the other."""

    ours: float
    reference: float

    @property
    def ratio(self) -> float:
        return self.ours / self.reference


@dataclass(frozen=True, slots=True)
class Summary:
    median: float
    low: float
    high: float


class Judgement(StrEnum):
    """How a figure's median stands to what it must reach."""

    AIM = "reaches the aim"
    MUST = "reaches what it must"
    BELOW = "does not reach what it must"
    OPEN = ""
    """Nothing was set for it."""


def summary(values: Sequence[float]) -> Summary:
    """Raises ValueError if there are none."""
    if not values:
        raise ValueError("nothing was measured")
    return Summary(statistics.median(values), min(values), max(values))


def ratios(pairs: Sequence[Pair]) -> Summary:
    """Of the ratios themselves, not the ratio of two medians: only what was measured together is compared."""
    return summary([pair.ratio for pair in pairs])


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that at least so many percent of them don't exceed (nearest rank)."""
    if not values or not 0 < percent <= 100:
        raise ValueError("needs values, and a percentage above 0")
    ranked = sorted(values)
    return ranked[max(0, -int(-len(ranked) * percent // 100) - 1)]


def judge(figure: Figure, ratio: float) -> Judgement:
    if figure.aim is not None and _reaches(figure, ratio, figure.aim):
        return Judgement.AIM
    if figure.must is None:
        return Judgement.OPEN
    return Judgement.MUST if _reaches(figure, ratio, figure.must) else Judgement.BELOW


def has_got_worse(figure: Figure, ratio: float, recorded: Mapping[str, float]) -> bool:
    """Whether it's below half of what was recorded, or, with `at_most`, above twice that. New figures never are."""
    before = recorded.get(figure.name)
    if before is None or figure.waits:
        return False
    limit = before * GUARD_FACTOR if figure.at_most else before / GUARD_FACTOR
    return not _reaches(figure, ratio, limit)


def _reaches(figure: Figure, ratio: float, limit: float) -> bool:
    return ratio <= limit if figure.at_most else ratio >= limit
