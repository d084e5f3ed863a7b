"""Strategies: what an order's publishers may send, and how it may arrive.

Time runs in single nanoseconds and the clocks are trusted to TOLERANCE_NS of them, so that examples come close to
every edge.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Final

from hypothesis import strategies as st

from domain.decision import Policy
from domain.lifecycle import Status
from domain.messages import Kind, Message
from tests.support.messages import message

TOLERANCE_NS: Final = 8
POLICY: Final = Policy(clock_tolerance_ns=TOLERANCE_NS)
_GAPS_NS = (1, 1, 2, 3, TOLERANCE_NS - 1, TOLERANCE_NS, TOLERANCE_NS + 1, 2 * TOLERANCE_NS, 5 * TOLERANCE_NS)


@dataclass(frozen=True)
class Published:
    """One order's messages in the order in which they were published, copies among them."""

    messages: tuple[Message, ...]

    @property
    def lifecycle(self) -> list[Message]:
        """Without the copies."""
        firsts: dict[tuple[str, int | None], Message] = {}
        for each in self.messages:
            firsts.setdefault((each.digest, each.sequence), each)
        return list(firsts.values())

    @property
    def kinds(self) -> list[Kind]:
        """Of the lifecycle, without the copies."""
        return [first.kind for first in {each.digest: each for each in self.messages}.values()]

    @property
    def outcome(self) -> tuple[Status, Decimal]:
        """Where the order should end, told without the domain: its end, and the last list's amount."""
        lists = [
            each.cashback
            for each in {each.digest: each for each in self.messages}.values()
            if each.cashback is not None
        ]
        ends = {Kind.CANCELLED: Status.CANCELLED, Kind.COMPLETED: Status.COMPLETED}
        return ends.get(self.kinds[-1], Status.PENDING), lists[-1]

    @property
    def partitions(self) -> list[list[Message]]:
        numbers = sorted({each.partition for each in self.messages})
        return [[each for each in self.messages if each.partition == number] for number in numbers]

    @property
    def span_ns(self) -> int:
        """The least distance in time between two messages of the lifecycle; huge if there is only one."""
        dates = sorted({each.digest: each.happened_at_ns for each in self.messages}.values())
        return min((late - early for early, late in pairwise(dates)), default=10**9)


legal_kinds: st.SearchStrategy[list[Kind]] = st.builds(
    lambda updates, end: [Kind.CREATED, *[Kind.UPDATED] * updates, *end],
    st.integers(min_value=0, max_value=4),
    st.sampled_from([[], [Kind.CANCELLED], [Kind.COMPLETED], [Kind.COMPLETED]]),
)


def owed(messages: Sequence[Message]) -> Decimal:
    """What the buyer is owed in the end if no end is final, told without the domain: of messages in their order."""
    amount, is_completed = Decimal(0), False
    for each in messages:
        if each.kind is Kind.COMPLETED:
            is_completed = True
        elif each.kind is Kind.CANCELLED:
            is_completed = False
        else:
            amount = each.cashback or Decimal(0)
    return amount if is_completed else Decimal(0)


kinds_with_returns: st.SearchStrategy[list[Kind]] = st.builds(
    lambda updates, after: [Kind.CREATED, *[Kind.UPDATED] * updates, Kind.COMPLETED, *after],
    st.integers(min_value=0, max_value=3),
    st.lists(st.sampled_from([Kind.UPDATED, Kind.UPDATED, Kind.CANCELLED, Kind.COMPLETED]), max_size=4),
)
"""Goods are brought back after the completion, all of them maybe, and the order may be reinstated."""


@st.composite
def published(
    draw: st.DrawFn,
    *,
    kinds: st.SearchStrategy[list[Kind]] = legal_kinds,
    max_skew_ns: int = 0,
    partitions: int = 3,
    copies: bool = False,
    stamped: bool = False,
) -> Published:
    """A lifecycle: true times that grow, clocks that differ by at most `max_skew_ns`, any partition for each
    message, and with `copies` more of it on any partition later on, some of them sent by a replay."""
    true_ns = 0
    said: list[tuple[Kind, int, int]] = []
    sent: list[tuple[int, str | None]] = []
    for number, kind in enumerate(draw(kinds)):
        true_ns += draw(st.sampled_from(_GAPS_NS))
        said.append((kind, number, true_ns + draw(st.integers(min_value=0, max_value=max_skew_ns))))
        sent.append((number, None))
        copy = st.tuples(st.integers(min_value=0, max_value=number), st.sampled_from([None, None, "replay"]))
        sent += draw(st.lists(copy, max_size=2)) if copies else []
    ends: Counter[int] = Counter()
    messages = []
    for number, replay in sent:
        kind, _, at_ns = said[number]
        partition = draw(st.integers(min_value=0, max_value=partitions - 1))
        messages.append(
            message(
                kind,
                at_ns=at_ns,
                transaction=f"t{number}",
                cashback=str(number),  # an empty list cannot create an order, but earns as much as one may
                partition=partition,
                offset=ends[partition],
                sequence=number + 1 if stamped else None,
                replay=replay,
            )
        )
        ends[partition] += 1
    return Published(tuple(messages))


@st.composite
def arrivals(draw: st.DrawFn, logs: Sequence[Sequence[Message]]) -> list[Message]:
    """The partitions in any interleaving; now and then a consumer goes back and reads a part again."""
    ends = [0] * len(logs)
    arrived: list[Message] = []
    while unread := [number for number, log in enumerate(logs) if ends[number] < len(log)]:
        number = draw(st.sampled_from(unread))
        ends[number] += 1
        back = draw(st.sampled_from([1, 1, 1, 2, 3]))
        arrived += logs[number][max(0, ends[number] - back) : ends[number]]
    return arrived


anything: st.SearchStrategy[Message] = st.builds(
    message,
    st.sampled_from(Kind),
    at_ns=st.integers(min_value=0, max_value=3 * TOLERANCE_NS),
    offset=st.integers(min_value=0, max_value=50),
    partition=st.integers(min_value=0, max_value=1),
    sequence=st.none() | st.integers(min_value=1, max_value=6),
    transaction=st.sampled_from(["a", "b", None]),
    cashback=st.sampled_from(["0", "1", "2.50"]),
    content=st.sampled_from(["", "", "other"]),
    ce_id=st.sampled_from([None, None, "x", "y"]),
    replay=st.sampled_from([None, None, "r"]),
    negative=st.sampled_from([False, False, False, True]),
)
"""Any message, legal or not: contradictions, taken numbers, negative amounts, offsets that go back."""
