"""Disorder between the order service and its topic: what networks, retries, clocks and people do to a good stream.

Everything follows from one seed, and one kind of disorder changes nothing about where another strikes. Which of
them may change what an order without stamps ends as is in docs/publishing.md, "Disorder".
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Final, Self

from adapters.kafka.decoding.record import Headers
from domain import exact_json
from domain.errors import CashbackError
from domain.instants import format_instant
from sandbox.order_service.lifecycles import OrderMessage, Schedule
from sandbox.order_service.poison import poison

ALL: Final = "all"
MAX_HELD_RECORDS: Final = 20_000
"""Records that wait in memory; with more the first to leave goes at once."""
# How long a record is kept from leaving, in lifecycles: the longest that an order lives at the pace of the run.
SHUFFLED_LIFECYCLES: Final = 1.0
DELAYED_LIFECYCLES: Final = (1.0, 2.0)
LATER_COPY_LIFECYCLES: Final = 2.0
MAX_HOLD_LIFECYCLES: Final = SHUFFLED_LIFECYCLES + DELAYED_LIFECYCLES[1]
"""For a message; a copy may leave LATER_COPY_LIFECYCLES after it."""
DELAYED_SHARE: Final = 0.03
DOUBLED_SHARE: Final = 0.1
MAX_COPIES: Final = 2
COPY_AT_ONCE_SHARE: Final = 0.5
POISON_SHARE: Final = 0.02
HOSTS: Final = 4
TWO_HOSTS_SHARE: Final = 0.4
"""Of the orders: each of their messages is published by one of two hosts."""
MAX_SKEW_NS: Final = 20 * 10**9
"""A host's clock is wrong by less than this, and two hosts' clocks differ by less than twice as much. With the time
that a record is held that stays below a minute, which is what the service takes for possible: between two messages,
and between a message's date and the broker's own."""


class Disorder(StrEnum):
    """The kinds of it."""

    SHUFFLED = "shuffled"
    """Messages, also those of one order, leave in another order than the lifecycle's."""
    DOUBLED = "doubled"
    """Some are sent twice or thrice, at once or later."""
    DELAYED = "delayed"
    """Some are held back, and sent much later."""
    SKEWED = "skewed"
    """Publishers' clocks are wrong: `transactionDate` is shifted by the host's error."""
    POISON = "poison"
    """Records among them that nobody can read. They are of no order that exists."""
    GROWING = "growing"
    """Partitions are added to the topic (see `sandbox/order_service/growing_topic.py`)."""
    RETURNS = "returns"
    """Goods come back after completion, or an order is re-instated (see `sandbox/order_service/lifecycles.py`)."""


class UnknownDisorder(CashbackError, ValueError):
    """A kind of disorder that there isn't."""

    def __init__(self, text: str) -> None:
        super().__init__(f"--chaos is {text!r}: must be {ALL}, or some of {','.join(Disorder)}, comma-separated")


@dataclass(frozen=True, slots=True)
class Chaos:
    """What is wished for; nothing unless told."""

    kinds: frozenset[Disorder] = frozenset()
    is_all: bool = False
    """Then what can't be had is left out, and isn't an error."""

    @classmethod
    def named(cls, text: str) -> Self:
        """`all`, or kinds separated by commas. Raises UnknownDisorder."""
        if text.strip() == ALL:
            return cls(frozenset(Disorder), is_all=True)
        try:
            return cls(frozenset(Disorder(name.strip()) for name in text.split(",")))
        except ValueError:
            raise UnknownDisorder(text) from None

    def insists_on(self, kind: Disorder) -> bool:
        return kind in self.kinds and not self.is_all

    def __str__(self) -> str:
        return ALL if self.is_all else ",".join(sorted(self.kinds))


@dataclass(frozen=True, slots=True)
class Departure:
    """A record that leaves for the topic, at a moment of the order service's time in nanoseconds since 1970."""

    leaves_at_ns: int
    key: bytes
    value: bytes
    headers: Headers
    message: OrderMessage | None = None
    """The message that it is; None if it is poison."""
    is_copy: bool = False


class Stage:
    """Takes the messages of a run in the order of their dates, and hands out what leaves, in that order.

    Each message leaves exactly once, not before its date and no later than MAX_HOLD_LIFECYCLES after it, besides
    its copies. `counts` says what has been done to that which has left. To be used once.
    """

    def __init__(
        self,
        chaos: Chaos,
        seed: int,
        schedule: Schedule,
        first_order_id: int,
        *,
        max_held_records: int = MAX_HELD_RECORDS,
    ) -> None:
        self.counts: Counter[Disorder] = Counter()
        self._kinds = chaos.kinds
        self._seed = seed
        self._max_held_records = max_held_records
        self._lifecycle_ns = schedule.lifecycle_ns
        self._run = str(first_order_id)
        self._chances = {kind: Random(f"{seed}/{kind}") for kind in Disorder}
        clocks = Random(f"{seed}/clocks")
        self._skews_ns = [clocks.randrange(1 - MAX_SKEW_NS, MAX_SKEW_NS) for _ in range(HOSTS)]
        self._waiting: list[tuple[int, int, Departure, frozenset[Disorder]]] = []
        self._numbers = itertools.count()
        self._last_left = -1
        self._poisons = 0

    def disturb(self, messages: Iterable[OrderMessage]) -> Iterator[Departure]:
        for message in messages:
            while self._waiting and (
                self._waiting[0][0] <= message.at_ns or len(self._waiting) >= self._max_held_records
            ):
                yield self._leave()
            self._admit(message)
        while self._waiting:
            yield self._leave()

    def _admit(self, message: OrderMessage) -> None:
        done = set()
        delay_ns = 0
        if Disorder.SHUFFLED in self._kinds:
            delay_ns += self._drawn_ns(Disorder.SHUFFLED, 0.0, SHUFFLED_LIFECYCLES)
        if self._strikes(Disorder.DELAYED, DELAYED_SHARE):
            delay_ns += self._drawn_ns(Disorder.DELAYED, *DELAYED_LIFECYCLES)
            done.add(Disorder.DELAYED)
        leaves_at_ns = message.at_ns + delay_ns
        if Disorder.SKEWED in self._kinds:
            message = self._skewed(message)
            done.add(Disorder.SKEWED)
        original = Departure(leaves_at_ns, message.key, message.value, message.headers, message)
        self._push(original, done)
        if self._strikes(Disorder.DOUBLED, DOUBLED_SHARE):
            for _ in range(self._chances[Disorder.DOUBLED].randint(1, MAX_COPIES)):
                self._push(
                    replace(original, leaves_at_ns=leaves_at_ns + self._until_copy_ns(), is_copy=True),
                    {Disorder.DOUBLED},
                )
        if self._strikes(Disorder.POISON, POISON_SHARE):
            self._poisons += 1
            record = poison(self._run, self._poisons, leaves_at_ns, self._chances[Disorder.POISON])
            self._push(Departure(leaves_at_ns, *record), {Disorder.POISON})

    def _push(self, departure: Departure, done: set[Disorder]) -> None:
        heapq.heappush(self._waiting, (departure.leaves_at_ns, next(self._numbers), departure, frozenset(done)))

    def _leave(self) -> Departure:
        _, number, departure, done = heapq.heappop(self._waiting)
        self.counts.update(done)
        if departure.message is not None and not departure.is_copy:
            if departure.message.is_return:
                self.counts[Disorder.RETURNS] += 1
            if number < self._last_left and Disorder.DELAYED not in done:
                self.counts[Disorder.SHUFFLED] += 1
            self._last_left = max(self._last_left, number)
        return departure

    def _strikes(self, kind: Disorder, share: float) -> bool:
        return kind in self._kinds and self._chances[kind].random() < share

    def _drawn_ns(self, kind: Disorder, least_lifecycles: float, most_lifecycles: float) -> int:
        return round(self._chances[kind].uniform(least_lifecycles, most_lifecycles) * self._lifecycle_ns)

    def _until_copy_ns(self) -> int:
        if self._chances[Disorder.DOUBLED].random() < COPY_AT_ONCE_SHARE:
            return 0
        return self._drawn_ns(Disorder.DOUBLED, 0.0, LATER_COPY_LIFECYCLES)

    def _skewed(self, message: OrderMessage) -> OrderMessage:
        """With the date that the clock of its host shows."""
        at_ns = message.at_ns + self._skews_ns[self._host(message)]
        envelope = exact_json.loads(message.value)
        envelope["payload"]["transactionDate"] = format_instant(at_ns)
        return replace(message, at_ns=at_ns, value=exact_json.dumps(envelope))

    def _host(self, message: OrderMessage) -> int:
        """Follows from the order and the message alone, so that nothing has to be remembered."""
        chance = Random(f"{self._seed}/hosts/{message.order_id}")
        hosts = [chance.randrange(HOSTS)]
        if chance.random() < TWO_HOSTS_SHARE:
            hosts.append(chance.randrange(HOSTS))
        return [chance.choice(hosts) for _ in range(message.sequence)][-1]
