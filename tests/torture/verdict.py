"""The books against the true lifecycles, when the faults are over and there was time to recover."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sandbox.demo.reconciliation import BooksDifference, Standing, Standings, compare
from tests.torture.faults import LATE_MS

TWICE: Final = frozenset({"second_credit"})
AT_ONCE: Final = "overlap"
SHOWN: Final = 20

Span = tuple[float, float]
"""From one moment to another, in seconds since 1970."""


@dataclass
class Verdict:
    """All lists are empty where all is well; each entry is a sentence for people."""

    lost: list[str] = field(default_factory=list)
    """Orders that somebody hasn't heard of, or not their end, though nothing is left to do."""
    wrong: list[str] = field(default_factory=list)
    """Orders that ended otherwise than they must."""
    twice: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    """And whatever else the third party has found wrong with a call."""
    at_once: list[str] = field(default_factory=list)
    not_converged: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Of processes and commands."""
    excused: Counter[str] = field(default_factory=Counter)
    """What the wire did, and nobody could have known: a request that came after it had been given up."""

    @property
    def counts(self) -> dict[str, int]:
        return {
            "lost": len(self.lost),
            "wrong": len(self.wrong),
            "twice": len(self.twice),
            "out of order": len(self.out_of_order),
            "two at once": len(self.at_once),
            "not converged": len(self.not_converged),
            "failures": len(self.failures),
        }

    @property
    def is_good(self) -> bool:
        return not any(self.counts.values())

    def lines(self) -> Iterable[str]:
        lists = (
            *(self.lost, self.wrong, self.twice, self.out_of_order, self.at_once),
            *(self.not_converged, self.failures),
        )
        for name, found in zip(self.counts, lists, strict=True):
            for said in found[:SHOWN]:
                yield f"{name}: {said}"

    def judge_books(
        self,
        stored: Standings,
        booked: Standings,
        truth: Mapping[int, tuple[str, Decimal]],
        unfinished: Collection[int],
    ) -> None:
        """Orders with something left to do are not converged, whatever they look like."""
        expected = {order_id: Standing(*end) for order_id, end in truth.items()}
        self.not_converged += [f"order {order_id}" for order_id in sorted(unfinished)]
        comparison = compare(stored, booked, expected)
        for found in comparison.differences:
            if found.order_id not in unfinished:
                (self.lost if _is_lost(found) else self.wrong).append(str(found))

    def judge_calls(self, violations: Sequence[Mapping[str, Any]], late: Sequence[Span]) -> None:
        """`late`: when requests may have come that nobody waited for any more."""
        for found in violations:
            said = f"{found['kind']}, order {found['orderId']}, {found['time']}: {found['detail']}"
            if found["kind"] in TWICE:
                self.twice.append(said)
            elif found["kind"] != AT_ONCE:
                self.out_of_order.append(said)
            elif _is_within(found["time"], late):
                self.excused[AT_ONCE] += 1
            else:
                self.at_once.append(said)


def _is_lost(found: BooksDifference) -> bool:
    ours, theirs, wanted = found.stored, found.booked, found.expected
    if ours is None or theirs is None or wanted is None:
        return True
    return wanted.status != "PENDING" and "PENDING" in {ours.status, theirs.status}


def _is_within(text: str, spans: Iterable[Span]) -> bool:
    at = datetime.fromisoformat(text).timestamp()
    return any(begin <= at <= end + LATE_MS / 1000 for begin, end in spans)
