"""Takes away from a run that fails what it doesn't need to fail: orders, processes, and chance.

Every draw of a run has a stream and a number (dice.py). A quiet one is no fault, no wait longer than the shortest,
and the process that has waited longest. What is left fails in the same way, and is told in few lines.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.simulation.dice import Plan, Ranges
from tests.simulation.profiles import Profile
from tests.simulation.world import Report, processes, simulate

SLACK_SECONDS: Final = 60.0
"""Virtual ones that a smaller run may take longer."""
SMALLEST: Final = 4
"""Draws that are tried to be quiet together, at least."""


@dataclass(slots=True)
class Shrinker:
    """`run` runs what is left by a plan, for so many virtual seconds; `report` is that of the smallest run so far
    that fails."""

    run: Callable[[Plan, float], Report]
    orders: int
    processes: Sequence[tuple[str, int]]
    report: Report
    ends_at: float
    """By `time.monotonic`."""
    runs: int = 0

    def shrink(self) -> Report:
        is_smaller = True
        while is_smaller and not self._is_over:
            before = self.report.plan
            for plan in self._with_fewer_orders():
                self._try(plan)
            for process in self.processes:
                if process not in self.report.plan.without:
                    self._try(replace(self.report.plan, without=self.report.plan.without | {process}))
            for name in sorted(self.report.drawn, key=lambda each: -self.report.drawn[each]):
                self._quieten(name, 0, self.report.drawn[name])
            is_smaller = self.report.plan != before
        return self.report

    @property
    def _is_over(self) -> bool:
        return time.monotonic() > self.ends_at

    def _with_fewer_orders(self) -> Iterator[Plan]:
        for order_id in range(1, self.orders + 1):
            if self.report.plan.only is None:
                yield replace(self.report.plan, only=frozenset({order_id}))
        left = self.report.plan.only or frozenset(range(1, self.orders + 1))
        for order_id in sorted(left) if len(left) > 1 else ():
            yield replace(self.report.plan, only=(self.report.plan.only or left) - {order_id})

    def _quieten(self, name: str, first: int, end: int) -> None:
        """All of them, or else each half for itself."""
        plan = self.report.plan
        if end <= first or self._is_over or _is_within(plan.quiet.get(name, ()), first, end):
            return
        quiet = {**plan.quiet, name: _united([*plan.quiet.get(name, ()), (first, end)])}
        if self._try(replace(plan, quiet=quiet)) or end - first <= SMALLEST:
            return
        middle = (first + end) // 2
        self._quieten(name, middle, end)
        self._quieten(name, first, middle)

    def _try(self, plan: Plan) -> bool:
        if self._is_over:
            return False
        self.runs += 1
        found = self.run(plan, self.report.virtual_seconds + SLACK_SECONDS)
        if found.problem is None or _kind(found.problem) != _kind(self.report.problem or ""):
            return False
        self.report = found
        return True


def _kind(problem: str) -> str:
    """Without the numbers that are in it."""
    return re.sub(r"[0-9]+", "N", problem.split("\n", maxsplit=1)[0])


def _is_within(ranges: Ranges, first: int, end: int) -> bool:
    return any(a <= first and end <= b for a, b in ranges)


def _united(ranges: Iterable[tuple[int, int]]) -> Ranges:
    united: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if united and first <= united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((first, end))
    return tuple(united)


def shrunk(
    url: str, profile: Profile, report: Report, within_seconds: float, tell: Callable[[str], None]
) -> Report:
    """The smallest run found in that time that fails as this one does."""

    def run(plan: Plan, virtual_seconds: float) -> Report:
        return simulate(url, report.seed, profile, plan, virtual_seconds)

    shrinker = Shrinker(run, profile.orders, processes(profile), report, time.monotonic() + within_seconds)
    smallest = shrinker.shrink()
    tell(f"seed {report.seed}: {len(report.story)} steps shrunk to {len(smallest.story)} in {shrinker.runs} runs")
    return smallest
