"""The topic and its publishers: what is true of each order, and the ways in which it may be said."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from adapters.kafka.decoding.record import Headers, Record
from domain.messages import Kind
from tests.simulation.dice import Dice, Plan
from tests.simulation.profiles import Profile
from tests.simulation.scheduler import EPOCH_SECONDS, Scheduler
from tests.support.messages import NOON_NS, partition_of, payload_of, product, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.ports import Partition

GARBLED: Final = b"garbled "
"""Before a message, so that it can't be read until somebody takes it away."""
GAPS_SECONDS: Final = (0.05, 0.5, 5.0, 20.0)
"""Between an order's messages, as they are true."""
DELAYS_SECONDS: Final = (0.0, 0.0, 0.1, 5.0, 40.0)
"""From then on until a message with a `sequence` is published."""
SKEW_SECONDS: Final = 25.0
"""How far a publisher's clock is from the true time; less than half of what intake tolerates between two."""
HOSTS: Final = 3

assert NOON_NS == EPOCH_SECONDS * 1_000_000_000

LIFECYCLES: Final = (
    (Kind.CREATED,),
    (Kind.CREATED, Kind.COMPLETED),
    (Kind.CREATED, Kind.CANCELLED),
    (Kind.CREATED, Kind.UPDATED, Kind.COMPLETED),
    (Kind.CREATED, Kind.UPDATED, Kind.UPDATED, Kind.COMPLETED),
    (Kind.CREATED, Kind.UPDATED, Kind.CANCELLED),
    (Kind.CREATED, Kind.UPDATED, Kind.UPDATED, Kind.UPDATED, Kind.UPDATED, Kind.COMPLETED),
)
LONG_LIFECYCLES: Final = (
    (Kind.CREATED, *[Kind.UPDATED] * 2, Kind.CANCELLED),
    (Kind.CREATED, *[Kind.UPDATED] * 4, Kind.COMPLETED),
    (Kind.CREATED, *[Kind.UPDATED] * 6, Kind.CANCELLED),
    (Kind.CREATED, *[Kind.UPDATED] * 8, Kind.COMPLETED),
)
"""With more calls than one claim takes."""
RETURNS: Final = (
    (Kind.UPDATED,),
    (Kind.CANCELLED,),
    (Kind.UPDATED, Kind.UPDATED),
    (Kind.CANCELLED, Kind.COMPLETED),
)
"""After a completion."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What is true of an order: its messages in their order, and what each list earns."""

    order_id: int
    kinds: tuple[Kind, ...]
    amounts: tuple[int, ...]
    is_stamped: bool

    @property
    def credited(self) -> Decimal:
        """What the buyer has in the end, told without the domain."""
        amount, is_completed = 0, False
        for kind, earned in zip(self.kinds, self.amounts, strict=True):
            if kind.is_end:
                is_completed = kind is Kind.COMPLETED
            else:
                amount = earned
        return Decimal(amount if is_completed else 0)

    @property
    def is_open(self) -> bool:
        return not any(kind.is_end for kind in self.kinds)


class Topic:
    """Logs that grow. Offsets have gaps, as transactional publishers leave them."""

    def __init__(self, partitions: int) -> None:
        self.logs: dict[Partition, list[Record]] = {partition_of(number): [] for number in range(partitions)}

    def grow(self) -> None:
        self.logs[partition_of(len(self.logs))] = []

    def append(self, number: int, key: bytes, value: bytes, headers: Headers, timestamp_ms: int) -> int:
        partition = partition_of(number)
        log = self.logs[partition]
        offset = log[-1].offset + 1 + (len(log) % 3 == 2) if log else 0
        log.append(Record(partition, offset, timestamp_ms, key, value, headers))
        return offset


class Publishers:
    """Publish all lifecycles. `is_done` once everything was said."""

    def __init__(self, scheduler: Scheduler, topic: Topic, dice: Dice, profile: Profile, plan: Plan) -> None:
        self._scheduler = scheduler
        self._topic = topic
        self._rng = rng = dice.stream("publishers")
        self._profile = profile
        self._skews_ns = [round(rng.uniform(-SKEW_SECONDS, SKEW_SECONDS) * 1e9) for _ in range(HOSTS)]
        order_ids = sorted(plan.only or range(1, profile.orders + 1))
        self._dice_of = {order_id: dice.stream(f"order {order_id}") for order_id in order_ids}
        self.lifecycles = [self._lifecycle(order_id) for order_id in order_ids]
        self._later: list[asyncio.Task[None]] = []
        self.is_done = False

    async def run(self) -> None:
        orders = [asyncio.create_task(self._publish(lifecycle)) for lifecycle in self.lifecycles]
        if self._profile.grows and self._rng.random() < 0.5:
            orders.append(asyncio.create_task(self._grow()))
        if self._rng.random() < self._profile.unreadable:
            orders.append(asyncio.create_task(self._publish_nonsense()))
        await asyncio.gather(*orders)
        await asyncio.gather(*self._later)
        self.is_done = True

    def _lifecycle(self, order_id: int) -> Lifecycle:
        rng = self._dice_of[order_id]
        kinds: Sequence[Kind] = rng.choice(LONG_LIFECYCLES if self._profile.long_orders else LIFECYCLES)
        if self._profile.returns and kinds[-1] is Kind.COMPLETED:
            kinds = (*kinds, *rng.choice(RETURNS))
        amounts = tuple(rng.randint(1, 9) * 10 + number for number, _ in enumerate(kinds))
        return Lifecycle(order_id, tuple(kinds), amounts, rng.random() < self._profile.stamped)

    async def _publish(self, lifecycle: Lifecycle) -> None:
        rng = self._dice_of[lifecycle.order_id]
        await asyncio.sleep(rng.choice(GAPS_SECONDS))
        vanished, garbled = self._draw_number(lifecycle, self._profile.vanished), 0
        if rng.random() < self._profile.garbled:
            garbled = rng.randint(1, len(lifecycle.kinds))
        for number, (kind, amount) in enumerate(zip(lifecycle.kinds, lifecycle.amounts, strict=True), 1):
            skew_ns = rng.choice(self._skews_ns)
            at_ns = self._scheduler.now_ns - NOON_NS + skew_ns + number
            said: dict[str, Any] = {"transactionId": f"t{number}"}
            if not kind.is_end:
                said["items"] = [product(1, amount, 0)]
            value = value_of(kind, payload_of(kind, order_id=lifecycle.order_id, at_ns=at_ns, **said))
            copies = rng.choice((1, 1, 2)) if number != vanished else 0
            if number == garbled:
                value = GARBLED + value
            if lifecycle.is_stamped:
                headers: Headers = (("sequence", b"%d" % number),)
                for _ in range(copies):
                    delayed = self._say_later(lifecycle.order_id, kind, value, headers)
                    self._later.append(asyncio.create_task(delayed))
            else:
                for _ in range(copies):
                    self._say(lifecycle.order_id, kind, value, (), lifecycle.order_id % len(self._topic.logs))
            await asyncio.sleep(rng.choice(GAPS_SECONDS))

    def _draw_number(self, lifecycle: Lifecycle, share: float) -> int:
        """Of a message that never comes, with others behind it that show it; 0: there is none."""
        rng = self._dice_of[lifecycle.order_id]
        if not lifecycle.is_stamped or len(lifecycle.kinds) < 2 or rng.random() >= share:
            return 0
        return rng.randint(1, len(lifecycle.kinds) - 1)

    async def _say_later(self, order_id: int, kind: Kind, value: bytes, headers: Headers) -> None:
        rng = self._dice_of[order_id]
        await asyncio.sleep(rng.choice(DELAYS_SECONDS))
        self._say(order_id, kind, value, headers, rng.randrange(len(self._topic.logs)))

    def _say(self, order_id: int, what: str, value: bytes, headers: Headers, number: int) -> None:
        now_ms = self._scheduler.now_ns // 1_000_000
        offset = self._topic.append(number, b"%d" % order_id, value, headers, now_ms)
        place = f"partition {number}, offset {offset}"
        number_said = f", sequence {headers[0][1]!r}" if headers else ""
        self._scheduler.tell("publisher", f"{what} of order {order_id}{number_said} at {place}")

    async def _grow(self) -> None:
        await asyncio.sleep(self._rng.uniform(1, self._profile.busy_seconds / 3))
        self._topic.grow()
        self._scheduler.tell("topic", f"has {len(self._topic.logs)} partitions")

    async def _publish_nonsense(self) -> None:
        await asyncio.sleep(self._rng.uniform(1, self._profile.busy_seconds / 3))
        self._say(self._profile.orders + 1, "nonsense", b"nonsense", (), self._rng.randrange(len(self._topic.logs)))
