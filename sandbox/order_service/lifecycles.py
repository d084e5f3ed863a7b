"""What an order service says about its orders: whole lifecycles, many at once (contract.md, section 1).

Pure: the same arguments give the same messages, byte for byte. It shares the encoding with the service, but no rule
about orders, so that `outcome` is a second opinion on what the service and the third party must arrive at.
"""

import heapq
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Any, Literal, NamedTuple, Self

from adapters.kafka.producer.order_publisher import encode
from domain import exact_json
from domain.messages import Kind as MessageKind

Kind = Literal["CREATED", "UPDATED", "CANCELLED", "COMPLETED"]
Status = Literal["PENDING", "COMPLETED", "CANCELLED"]

MAX_ORDER_ID = 2**63 - 1
MAX_OPEN_ORDERS = 2_000
MAX_ITEMS = 4

_NS_PER_SECOND = 10**9
_FIRST_DAY_OF_ORDER_IDS = datetime(2020, 1, 1, tzinfo=UTC)
_UPDATE_COUNTS, _UPDATE_COUNT_WEIGHTS = (0, 1, 2, 3), (45, 35, 14, 6)
_CANCELLED_SHARE = 0.15
_REASON_SHARE = 0.7
_EMPTIED_SHARE = 0.06
_MISSING_SHARE = 0.15
_EXTRA_SHARE = 0.3
_RETURNED_SHARE = 0.15
_WHOLLY_RETURNED_SHARE = 0.4
_REINSTATED_SHARE = 0.4
_RETURNED_AGAIN_SHARE = 0.25
_LINE_RETURNED_SHARE = 0.5
_REASONS = ("buyer changed their mind", "out of stock", "no courier")
_RETURN_REASONS = ("goods came back", "spoilt on the way")
_DISCOUNT_PERCENTS = (0, 5, 10, 25, 50)
_SHORTEST_SHARE_OF_LONGEST = 0.4
_CENT = Decimal("0.01")
_HALF = Decimal("0.5")
_GRAM = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class OrderMessage:
    """One message as it goes to the topic; `at_ns` is its transactionDate, in nanoseconds since 1970."""

    order_id: int
    kind: Kind
    sequence: int
    at_ns: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]
    is_return: bool = False
    """True after the order's first end: goods came back, or the order was re-instated."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """An order starts every `spacing_ns`, and no lifecycle takes longer than `lifecycle_ns`, and none with returns
    longer than twice that.

    Raises ValueError where more than MAX_OPEN_ORDERS would be open at once: they are held in memory.
    """

    spacing_ns: int
    lifecycle_ns: int

    def __post_init__(self) -> None:
        if self.spacing_ns < 1 or not 0 <= self.lifecycle_ns <= self.spacing_ns * MAX_OPEN_ORDERS:
            raise ValueError(f"more than {MAX_OPEN_ORDERS} orders would be open at once: {self}")

    @classmethod
    def of(cls, orders_per_second: float, lifecycle_seconds: float) -> Self:
        """Shortens the lifecycles where too many orders would be open at once."""
        spacing_ns = max(1, round(_NS_PER_SECOND / orders_per_second))
        return cls(spacing_ns, min(round(lifecycle_seconds * _NS_PER_SECOND), spacing_ns * MAX_OPEN_ORDERS))


COMPRESSED = Schedule(spacing_ns=20_000, lifecycle_ns=1_000_000)
"""Fifty orders open at once; slow enough that dates stay behind the clock of whoever publishes them."""


def lifecycles(  # noqa: PLR0913  # each is a choice of the caller's, and all but two are named at the call
    seed: int,
    orders: int | None,
    *,
    first_order_id: int,
    started_at_ns: int,
    schedule: Schedule = COMPRESSED,
    stamped: bool = True,
    open_share: float = 0.0,
    returns: bool = False,
) -> Iterator[OrderMessage]:
    """The messages of `orders` orders (None: without end), in the order of their dates.

    Order ids count up from `first_order_id`. `open_share` (0 … 1) of the orders never end. Without `stamped`
    `sequence` and the headers of CloudEvents are missing, and nothing else changes. With `returns` goods of some
    completed orders come back, all other messages stay as they are. Raises ValueError, before the first message,
    for a negative number of orders or ids outside 1 … 2^63-1.
    """
    ids_left = MAX_ORDER_ID - first_order_id + 1
    if orders is None:
        orders = ids_left
    if not 1 <= first_order_id <= MAX_ORDER_ID or not 0 <= orders <= ids_left:
        raise ValueError(f"no {orders} order ids from {first_order_id} on within 1 ... 2^63-1")
    returning = None
    if returns:
        returning = _Writer(Random(f"{seed}/returns"), schedule, stamped=stamped, reasons=_RETURN_REASONS)
    writer = _Writer(Random(seed), schedule, stamped=stamped, open_share=open_share, returning=returning)
    return _interleave(writer, orders, first_order_id, started_at_ns)


def outcome(messages: Iterable[OrderMessage], *, corrections: bool = False) -> dict[int, tuple[Status, Decimal]]:
    """Where each order must end: its status, and the cashback that is owed (contract.md, section 5).

    The messages may come in any order and more than once; within an order their dates say what came first. Without
    `corrections` the first end is final. With them a completed order is owed what its last list of items earns,
    whenever that was said, and nothing once it was cancelled, unless it was completed again. A cancelled order has
    the amount that was promised before.
    """
    histories: dict[int, dict[int, _Step]] = {}
    for message in messages:
        earned = _cashback(message.value) if message.kind in {"CREATED", "UPDATED"} else None
        histories.setdefault(message.order_id, {})[message.at_ns] = _Step(message.kind, earned)
    ends = {}
    for order_id, history in histories.items():
        steps = [history[at_ns] for at_ns in sorted(history)]
        if any(step.earned is not None for step in steps):
            ends[order_id] = _end_of(steps, corrections=corrections)
    return ends


class _Step(NamedTuple):
    kind: Kind
    earned: Decimal | None


_ENDS: Mapping[Kind, Status] = {"COMPLETED": "COMPLETED", "CANCELLED": "CANCELLED"}


def _end_of(steps: Sequence[_Step], *, corrections: bool) -> tuple[Status, Decimal]:
    status: Status = "PENDING"
    amount, is_taken_back = Decimal(0), False
    for kind, earned in steps:
        if status == "PENDING" or (corrections and status == "COMPLETED"):
            is_taken_back = status == "COMPLETED" and (kind == "CANCELLED" or (is_taken_back and kind == "UPDATED"))
            amount = amount if earned is None else earned
        if status == "PENDING" and kind in _ENDS:
            status = _ENDS[kind]
    return status, Decimal(0) if is_taken_back else amount


def first_order_id_at(now_ns: int) -> int:
    """A first order id that no earlier run has reached: the microseconds since 2020.

    Runs don't collide as long as none publishes a million orders a second.
    """
    return (now_ns - int(_FIRST_DAY_OF_ORDER_IDS.timestamp()) * _NS_PER_SECOND) // 1_000


class _Product(NamedTuple):
    external_id: str
    unit: str
    price: Decimal
    vat_rate: Decimal
    brand: str | None


class _Line(NamedTuple):
    product: _Product
    quantity: Decimal
    discount_percent: int
    discount_shown: Literal["price", "null", "nothing"] = "price"
    """How the item says its `discountedPrice`."""


_CATALOGUE = tuple(
    _Product(
        external_id=str(60_000 + 131 * number),
        unit=("KG", "PIECE", "KG", "L", "PIECE")[number % 5],
        price=(199 + 1_237 * number % 29_900) * _CENT,
        vat_rate=Decimal(("1", "10", "20", "8.5")[number % 4]),
        brand=("Ovac\u0131k", "Nordsee", None, None)[number % 4],
    )
    for number in range(200)
)


def _interleave(writer: "_Writer", orders: int, first_order_id: int, started_at_ns: int) -> Iterator[OrderMessage]:
    waiting: list[tuple[int, int, int, OrderMessage]] = []
    for number in range(orders):
        starts_ns = started_at_ns + number * writer.schedule.spacing_ns
        while waiting and waiting[0][0] < starts_ns:
            yield heapq.heappop(waiting)[-1]
        for message in writer.order(first_order_id + number, starts_ns):
            heapq.heappush(waiting, (message.at_ns, message.order_id, message.sequence, message))
    while waiting:
        yield heapq.heappop(waiting)[-1]


class _Writer:
    """Writes one order after another."""

    def __init__(  # noqa: PLR0913 - what it is told of the run
        self,
        rng: Random,
        schedule: Schedule,
        *,
        stamped: bool,
        open_share: float = 0.0,
        returning: "_Writer | None" = None,
        reasons: Sequence[str] = _REASONS,
    ) -> None:
        self.schedule = schedule
        self._rng = rng
        self._stamped = stamped
        self._open_share = open_share
        self._returning = returning
        self._reasons = reasons

    def order(self, order_id: int, starts_ns: int) -> Iterator[OrderMessage]:
        """The order's whole lifecycle; it begins less than one spacing after `starts_ns`."""
        rng = self._rng
        kinds: list[Kind] = ["CREATED"]
        kinds += ["UPDATED"] * rng.choices(_UPDATE_COUNTS, _UPDATE_COUNT_WEIGHTS)[0]
        if rng.random() >= self._open_share:
            kinds.append("CANCELLED" if rng.random() < _CANCELLED_SHARE else "COMPLETED")
        parties = {"storeNo": str(rng.randrange(10_000, 60_000)), "buyerId": str(rng.randrange(10**6))}
        lines = [self._line() for _ in range(rng.randint(1, MAX_ITEMS))]
        dates_ns = self._dates_ns(len(kinds), starts_ns)
        for sequence, (kind, at_ns) in enumerate(zip(kinds, dates_ns, strict=True), start=1):
            if kind == "UPDATED":
                lines = self._picked(lines)
            yield self._message(order_id, kind, sequence, at_ns, parties, lines)
        if self._returning is not None and kinds[-1] == "COMPLETED":
            yield from self._returning.returns(order_id, len(kinds), dates_ns[-1], parties, lines)

    def returns(
        self, order_id: int, last_sequence: int, ended_ns: int, parties: dict[str, str], lines: list[_Line]
    ) -> Iterator[OrderMessage]:
        """What is said of a completed order afterwards: of most of them nothing."""
        rng = self._rng
        steps = self._return_steps(lines)
        dates_ns = sorted(ended_ns + rng.randrange(self.schedule.lifecycle_ns + 1) for _ in steps)
        for number, ((kind, left), at_ns) in enumerate(zip(steps, dates_ns, strict=True), start=1):
            message = self._message(order_id, kind, last_sequence + number, at_ns + number, parties, left)
            yield replace(message, is_return=True)

    def _return_steps(self, lines: list[_Line]) -> list[tuple[Kind, list[_Line]]]:
        """Each with what is left; goods come back until all have."""
        rng = self._rng
        steps: list[tuple[Kind, list[_Line]]] = []
        while lines and rng.random() < (_RETURNED_AGAIN_SHARE if steps else _RETURNED_SHARE):
            if rng.random() >= _WHOLLY_RETURNED_SHARE:
                lines = self._left_after_return(lines)
                steps.append(("UPDATED", lines))
                continue
            steps.append(("CANCELLED", lines))
            if rng.random() >= _REINSTATED_SHARE:
                break
            steps.append(("COMPLETED", lines))
        return steps

    def _left_after_return(self, lines: list[_Line]) -> list[_Line]:
        """One at least comes back."""
        kept = [line for line in lines if self._rng.random() >= _LINE_RETURNED_SHARE]
        return kept if len(kept) < len(lines) else lines[1:]

    def _message(  # noqa: PLR0913, PLR0917 - all that a message consists of
        self, order_id: int, kind: Kind, sequence: int, at_ns: int, parties: dict[str, str], lines: list[_Line]
    ) -> OrderMessage:
        payload: dict[str, Any] = {"orderId": order_id}
        if kind in {"CREATED", "UPDATED"}:
            payload |= parties | self._purchase(lines)
        else:
            payload |= self._end(kind, parties)
        payload |= {"transactionId": self._uuid(), "transactionDate": _rfc3339(at_ns)}
        envelope, traceparent = self._envelope(kind, payload), self._traceparent()
        key, value, headers = encode(
            MessageKind(kind), payload, sequence=sequence if self._stamped else None, traceparent=traceparent
        )
        return OrderMessage(
            order_id=order_id,
            kind=kind,
            sequence=sequence,
            at_ns=at_ns,
            key=key,
            value=value if envelope is None else exact_json.dumps(envelope),
            headers=headers,
        )

    def _dates_ns(self, steps: int, starts_ns: int) -> list[int]:
        rng = self._rng
        begins_ns = starts_ns + rng.randrange(self.schedule.spacing_ns)
        span_ns = self.schedule.lifecycle_ns * rng.uniform(_SHORTEST_SHARE_OF_LONGEST, 1.0)
        fractions = [0.0, *sorted(rng.random() for _ in range(steps - 2)), 1.0][:steps]
        dates_ns = [begins_ns + round(span_ns * fraction) for fraction in fractions]
        for later in range(1, steps):
            dates_ns[later] = max(dates_ns[later], dates_ns[later - 1] + 1)
        return dates_ns

    def _line(self) -> _Line:
        product = self._rng.choice(_CATALOGUE)
        quantity, percent = self._quantity(product.unit), self._rng.choice(_DISCOUNT_PERCENTS)
        if product.unit == "KG" and percent == 0:
            return _Line(product, quantity, percent, self._rng.choice(("price", "null", "nothing")))
        return _Line(product, quantity, percent)

    def _quantity(self, unit: str) -> Decimal:
        if unit == "KG":
            return self._rng.randrange(50, 3_500) * _GRAM
        return self._rng.randrange(1, 7) * (_HALF if unit == "L" else Decimal(1))

    def _picked(self, lines: list[_Line]) -> list[_Line]:
        """What the shop had: goods weighed anew, some missing, one put in for them; now and then nothing."""
        if self._rng.random() < _EMPTIED_SHARE:
            return []
        found = [line for line in lines if self._rng.random() >= _MISSING_SHARE]
        return [line._replace(quantity=self._quantity(line.product.unit)) for line in found] or [self._line()]

    def _purchase(self, lines: list[_Line]) -> dict[str, Any]:
        members: dict[str, Any] = {
            "orderItemsWithDiscountSummaryItems": [{"productItem": _product_item(line)} for line in lines]
        }
        if self._rng.random() < _EXTRA_SHARE:
            members["channel"] = self._rng.choice(("app", "web"))
        if self._rng.random() < _EXTRA_SHARE:
            members["promotion"] = {
                "code": f"SPRING-{self._rng.randrange(100)}",
                "budget": Decimal("1000.50"),
            }
        return members

    def _end(self, kind: Kind, parties: dict[str, str]) -> dict[str, str]:
        members = dict(parties) if self._rng.random() < _EXTRA_SHARE else {}
        if kind == "CANCELLED" and self._rng.random() < _REASON_SHARE:
            members["reason"] = self._rng.choice(self._reasons)
        return members

    def _envelope(self, kind: Kind, payload: dict[str, Any]) -> dict[str, Any] | None:
        """Now and then what another hand would write: members in another order, and one more."""
        if self._rng.random() < _EXTRA_SHARE:
            return {"payload": payload, "type": kind, "producer": {"name": "order-service", "schema": 2}}
        return None

    def _traceparent(self) -> str | None:
        trace = self._rng.getrandbits(192)
        traced = self._rng.random() < _EXTRA_SHARE and trace >> 64 and trace & (2**64 - 1)  # W3C: not all zero
        return f"00-{trace >> 64:032x}-{trace & (2**64 - 1):016x}-01" if traced else None

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def _product_item(line: _Line) -> dict[str, Any]:
    """As the till sells it: both its prices and what is to be paid are rounded half up to cents."""
    product, quantity, discount_percent, discount_shown = line
    discounted = _at_till(product.price * (100 - discount_percent) * _CENT)
    item = {
        "externalProductId": product.external_id,
        "quantity": quantity,
        "unit": product.unit,
        "originalPrice": product.price,
        "discountedPrice": None if discount_shown == "null" else discounted,
        "finalTotalPrice": _at_till(discounted * quantity),
        "vatRate": product.vat_rate,
    }
    if discount_shown == "nothing":
        del item["discountedPrice"]
    return item | {"brand": product.brand} if product.brand else item


def _at_till(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, ROUND_HALF_UP)


def _cashback(value: bytes) -> Decimal:
    """What the till would have asked without a discount, less what is to be paid."""
    lines = exact_json.loads(value)["payload"]["orderItemsWithDiscountSummaryItems"]
    items = [line["productItem"] for line in lines]
    before_discount = [_at_till(Decimal(item["originalPrice"]) * item["quantity"]) for item in items]
    return sum(before_discount, Decimal(0)) - sum((item["finalTotalPrice"] for item in items), Decimal(0))


def _rfc3339(at_ns: int) -> str:
    seconds, nanoseconds = divmod(at_ns, _NS_PER_SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
