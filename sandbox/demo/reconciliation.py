"""The event store against the third party's books: order by order, amount by amount, exact."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from typing import Any, Final, NamedTuple

import httpx
from eventsourcing.persistence import StoredEvent

from adapters.postgres.codec import EventMapper
from adapters.postgres.connections import BoundedConnection, conninfo
from adapters.postgres.sql import statements
from domain.errors import CashbackError
from domain.exact_json import InvalidJson, loads
from domain.identifiers import stream_id
from domain.money import ZERO, total
from domain.order import Order, fold
from projections.resolution import EXACT

EVENTS_PER_FETCH: Final = 5_000
ORDERS_PER_PAGE: Final = 10_000
MAX_KEPT_DIFFERENCES: Final = 1_000
HTTP_TIMEOUT_SECONDS: Final = 30.0
STATUSES: Final = ("NOT_CREATED", "PENDING", "COMPLETED", "CANCELLED")

_mapper = EventMapper()


class NoBooks(CashbackError):
    """The third party doesn't show its books."""


class Standing(NamedTuple):
    """Where an order stands in somebody's view; no amount before it is created."""

    status: str
    amount: Decimal | None

    def __str__(self) -> str:
        return self.status if self.amount is None else f"{self.status} {self.amount:f}"


Standings = Mapping[int, Standing]


class BooksDifference(NamedTuple):
    """An order that the three views don't agree on; None where a view lacks it."""

    order_id: int
    stored: Standing | None
    booked: Standing | None
    expected: Standing | None
    is_expected: bool
    """Whether it is an order of this run, so that there is something to expect."""

    def __str__(self) -> str:
        views = [f"event store {self.stored or 'lacks it'}", f"third party {self.booked or 'lacks it'}"]
        if self.is_expected:
            views.append(f"to be expected {self.expected}")
        return f"order {self.order_id}: {', '.join(views)}"


@dataclass(slots=True)
class Side:
    """How many orders, and how much money, by status."""

    orders: Counter[str] = field(default_factory=Counter)
    amounts: dict[str, Decimal] = field(default_factory=dict)

    def add(self, standing: Standing) -> None:
        self.orders[standing.status] += 1
        if standing.amount is not None:
            self.amounts[standing.status] = total((self.amounts.get(standing.status, ZERO), standing.amount))


@dataclass(slots=True)
class BooksComparison:
    """The sums of both sides, the first differences, and how many there are in all."""

    stored: Side = field(default_factory=Side)
    booked: Side = field(default_factory=Side)
    as_expected: int = 0
    """Orders of this run that ended where they must, on both sides."""
    differences: list[BooksDifference] = field(default_factory=list)
    difference_count: int = 0


def compare(stored: Standings, booked: Standings, expected: Standings) -> BooksComparison:
    """Every order that any of the three knows. Amounts are equal as numbers: 1.5 and 1.50 are the same money; those
    of the third party as finely as it keeps them."""
    comparison = BooksComparison()
    for standing in stored.values():
        comparison.stored.add(standing)
    for standing in booked.values():
        comparison.booked.add(standing)
    for order_id in sorted(stored.keys() | booked.keys() | expected.keys()):
        ours, theirs, wanted = stored.get(order_id), booked.get(order_id), expected.get(order_id)
        if _same(ours, theirs) and (wanted is None or ours == wanted):
            comparison.as_expected += wanted is not None
            continue
        comparison.difference_count += 1
        if len(comparison.differences) < MAX_KEPT_DIFFERENCES:
            comparison.differences.append(BooksDifference(order_id, ours, theirs, wanted, wanted is not None))
    return comparison


def _same(ours: Standing | None, theirs: Standing | None) -> bool:
    if ours is None or theirs is None or ours.status != theirs.status:
        return ours is theirs
    return EXACT.is_same_amount(ours.amount, theirs.amount)


@dataclass(slots=True)
class EventStore:
    """What the streams come to; the read models are not asked. About half a kilobyte an order."""

    standings: dict[int, Standing] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)
    """Orders with messages that still wait for others."""
    doubtful: list[int] = field(default_factory=list)
    """Orders that a person should look at."""


def read_event_store(
    database_url: str, progress: Callable[[int], None], only: Collection[int] | None = None
) -> EventStore:
    """Folds every stream, or those of some orders, in one snapshot; `progress` hears how many are done.

    Raises psycopg.Error.
    """
    found = EventStore()
    for order in _folded(database_url, only):
        terms = order.terms
        found.standings[order.order_id] = Standing(order.status, terms.cashback if terms else None)
        if order.waiting:
            found.held.append(order.order_id)
        if order.doubts:
            found.doubtful.append(order.order_id)
        if len(found.standings) % ORDERS_PER_PAGE == 0:
            progress(len(found.standings))
    return found


def _folded(database_url: str, only: Collection[int] | None) -> Iterator[Order]:
    dsn = conninfo(database_url, application_name="cashback-demo")
    with (
        BoundedConnection[Any].connect(dsn) as connection,
        connection.cursor("streams", binary=True) as cursor,
    ):
        cursor.itersize = EVENTS_PER_FETCH
        if only is None:
            cursor.execute(statements("rebuild")["all_streams"])
        else:
            cursor.execute(statements("rebuild")["some_streams"], ([stream_id(order_id) for order_id in only],))
        for _, rows in groupby(cursor, key=lambda row: row[1]):
            order = fold(None, (_mapper.to_domain_event(StoredEvent(*row[1:])) for row in rows))
            if order is not None:
                yield order


def read_books(third_party_url: str, only: Collection[int] | None = None) -> dict[int, Standing]:
    """Every order that the third party knows, or some of them. Raises NoBooks."""
    return {
        row["orderId"]: Standing(row["status"], Decimal(row["cashbackAmount"]))
        for page in _pages(third_party_url)
        for row in page["orders"]
        if only is None or row["orderId"] in only
    }


def _pages(third_party_url: str) -> Iterator[Any]:
    after: int | None = 0
    with httpx.Client(timeout=HTTP_TIMEOUT_SECONDS, trust_env=False) as client:
        while after is not None:
            try:
                answer = client.get(
                    f"{third_party_url}/_sandbox/orders", params={"after": after, "limit": ORDERS_PER_PAGE}
                ).raise_for_status()
                page = loads(answer.content)
                after = page["next"]
            except (httpx.HTTPError, InvalidJson, KeyError, TypeError) as error:
                raise NoBooks(f"the third party at {third_party_url} doesn't show its books: {error}") from error
            yield page


def read_violations(third_party_url: str) -> tuple[int, list[str]]:
    """How many the third party has written down, and the first of them in words. Raises NoBooks."""
    try:
        answer = httpx.get(
            f"{third_party_url}/_sandbox/violations", timeout=HTTP_TIMEOUT_SECONDS, trust_env=False
        ).raise_for_status()
        answered = loads(answer.content)
        rows = answered["violations"][:MAX_KEPT_DIFFERENCES]
        return answered["count"], [f"{row['kind']}, order {row['orderId']}: {row['detail']}" for row in rows]
    except (httpx.HTTPError, InvalidJson, KeyError, TypeError) as error:
        raise NoBooks(f"the third party at {third_party_url} shows no violations: {error}") from error
