"""All chance of a run, in streams by name: recorded, so that a run can be repeated with less of it."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

QUIET: Final = 1.0 - 2**-53
"""What a quiet draw gives: no fault has this probability. Of several things it takes the first."""

Ranges = Sequence[tuple[int, int]]
"""Of draws, by their numbers in their stream: from the first, up to but not including the second."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is left of a run. Nothing is taken away, unless told otherwise."""

    only: frozenset[int] | None = None
    """The orders that there are."""
    without: frozenset[tuple[str, int]] = frozenset()
    """Processes that aren't started, by kind and number."""
    quiet: Mapping[str, Ranges] = field(default_factory=dict)
    """Draws at which nothing special happens, by stream."""


class Dice:
    """Makes the streams of one seed."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.drawn: Counter[str] = Counter()
        """How often, by stream."""
        self._seed = seed
        self._plan = plan

    def stream(self, name: str) -> random.Random:
        return _Stream(f"{self._seed}/{name}", name, self.drawn, self._plan.quiet.get(name, ()))


class _Stream(random.Random):
    """`random` and `getrandbits` are what all other methods are made of."""

    def __init__(self, seed: str, name: str, drawn: Counter[str], quiet: Ranges) -> None:
        self._name = name
        self._drawn = drawn
        self._quiet = quiet
        super().__init__(seed)

    def random(self) -> float:
        drawn = super().random()
        return QUIET if self._is_quiet() else drawn

    def getrandbits(self, k: int, /) -> int:
        drawn = super().getrandbits(k)
        return 0 if self._is_quiet() else drawn

    def _is_quiet(self) -> bool:
        number = self._drawn[self._name]
        self._drawn[self._name] += 1
        return any(first <= number < end for first, end in self._quiet)
