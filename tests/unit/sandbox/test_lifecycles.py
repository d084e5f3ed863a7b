"""The order service's messages are valid, whole, exact and the same for the same seed."""

import dataclasses
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from itertools import groupby, islice, pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.kafka.producer.publisher import OnDelivery, PublishError
from adapters.records.publishing import Delivered, Outgoing
from sandbox.order_service.lifecycles import (
    COMPRESSED,
    MAX_ITEMS,
    MAX_OPEN_ORDERS,
    MAX_ORDER_ID,
    Kind,
    OrderMessage,
    Schedule,
    Status,
    first_order_id_at,
    lifecycles,
    outcome,
)
from sandbox.order_service.simulator import Progress, simulate

STARTED_AT_NS = 1_740_749_766_026_732_837
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01")
LEGAL = re.compile(r"CREATED( UPDATED){0,3}( COMPLETED| CANCELLED)?")
RETURNED = re.compile(r" COMPLETED(?: UPDATED| CANCELLED COMPLETED)*(?: CANCELLED)?")
CENT = Fraction(1, 100)

seeds = st.integers(0, 2**32)
first_ids = st.integers(1, MAX_ORDER_ID - 100)
schedules = st.builds(
    lambda spacing_ns, overlap: Schedule(spacing_ns, spacing_ns * overlap),
    st.integers(1, 10**10),
    st.integers(0, 50),
)


def some(seed: int = 1, orders: int = 200, **options: Any) -> list[OrderMessage]:
    defaults: dict[str, Any] = {"first_order_id": 24_323_523, "started_at_ns": STARTED_AT_NS}
    return list(lifecycles(seed, orders, **(defaults | options)))


def by_order(messages: Iterable[OrderMessage]) -> dict[int, list[OrderMessage]]:
    orders: dict[int, list[OrderMessage]] = {}
    for message in messages:
        orders.setdefault(message.order_id, []).append(message)
    return orders


def read(message: OrderMessage) -> dict[str, Any]:
    """Python's own JSON reader, so that the check owes nothing to the code that wrote the message."""
    body: dict[str, Any] = json.loads(message.value.decode(), parse_float=Decimal, parse_int=Decimal)
    return body


def items_of(payload: dict[str, Any]) -> list[dict[str, Any]]:
    return [line["productItem"] for line in payload["orderItemsWithDiscountSummaryItems"]]


def at_till(amount: Fraction) -> Fraction:
    """Half up to cents, without a decimal library."""
    return (amount / CENT + Fraction(1, 2)) // 1 * CENT


def cashback_of(item: dict[str, Any]) -> Fraction:
    price, quantity, paid = (Fraction(item[name]) for name in ("originalPrice", "quantity", "finalTotalPrice"))
    return at_till(price * quantity) - paid


def earned(message: OrderMessage) -> Fraction:
    return sum(map(cashback_of, items_of(read(message)["payload"])), Fraction(0))


def check_against_the_contract(message: OrderMessage) -> None:
    """contract.md, section 1, read once more and by itself."""
    body = read(message)
    payload = body["payload"]
    assert body["type"] == message.kind
    assert payload["orderId"] == message.order_id
    assert 1 <= payload["orderId"] <= 2**63 - 1
    assert message.key == str(message.order_id).encode()
    assert UUID(payload["transactionId"]).version == 4
    assert DATE.fullmatch(payload["transactionDate"])
    optional_texts = {"storeNo", "buyerId", "reason"} & payload.keys()
    assert all(isinstance(payload[name], str) for name in optional_texts)
    if message.kind in {"COMPLETED", "CANCELLED"}:
        assert "reason" not in payload or message.kind == "CANCELLED"
        assert "orderItemsWithDiscountSummaryItems" not in payload
        return
    assert {"storeNo", "buyerId"} <= payload.keys()
    items = items_of(payload)
    assert len(items) <= MAX_ITEMS
    assert items or message.kind == "UPDATED"
    for item in items:
        assert isinstance(item["externalProductId"], str)
        assert isinstance(item["unit"], str)
        assert item["quantity"] > 0
        for name in ("originalPrice", "finalTotalPrice", "vatRate"):
            assert isinstance(item[name], Decimal)
            assert item[name] >= 0
        assert cashback_of(item) >= 0
        check_what_the_discount_says(item)


def check_what_the_discount_says(item: dict[str, Any]) -> None:
    """What is to be paid is plausible; goods without a discount earn nothing, however their price is shown."""
    quantity, paid = Fraction(item["quantity"]), Fraction(item["finalTotalPrice"])
    shown = item.get("discountedPrice")
    assert at_till(paid) == paid
    assert shown is not None or item["unit"] == "KG"
    if shown is not None:
        assert quantity * Fraction(shown) / 2 <= paid <= quantity * Fraction(shown) * 2
    if shown is None or shown == item["originalPrice"]:
        assert cashback_of(item) == 0


@given(seed=seeds, first_order_id=first_ids, schedule=schedules, stamped=st.booleans(), returns=st.booleans())
def test_every_message_keeps_to_the_contract(
    seed: int, first_order_id: int, schedule: Schedule, *, stamped: bool, returns: bool
) -> None:
    """Whatever the seed, ids and pace: names, types, limits and exact cashback of each message are right."""
    for message in some(
        seed, 20, first_order_id=first_order_id, schedule=schedule, stamped=stamped, returns=returns
    ):
        check_against_the_contract(message)


@given(seed=seeds, schedule=schedules, open_share=st.floats(0, 1))
def test_every_order_goes_through_a_legal_lifecycle(seed: int, schedule: Schedule, open_share: float) -> None:
    """CREATED, up to three UPDATED, one end or none; sequence 1, 2, 3 …; dates that only grow."""
    orders = by_order(some(seed, 20, schedule=schedule, open_share=open_share))
    assert sorted(orders) == list(range(24_323_523, 24_323_543))
    for messages in orders.values():
        assert LEGAL.fullmatch(" ".join(message.kind for message in messages))
        assert [message.sequence for message in messages] == list(range(1, len(messages) + 1))
        dates = [read(message)["payload"]["transactionDate"] for message in messages]
        assert all(earlier < later for earlier, later in pairwise(dates))
        assert all(earlier.at_ns < later.at_ns for earlier, later in pairwise(messages))


@given(seed=seeds, schedule=schedules, stamped=st.booleans())
def test_returns_come_after_completion_and_change_nothing_else(
    seed: int, schedule: Schedule, *, stamped: bool
) -> None:
    """Fewer items, or a cancellation, which may be taken back; later than all that was said of the order before,
    with numbers that go on. All other messages are there as they were."""
    messages = some(seed, 30, schedule=schedule, stamped=stamped, returns=True)
    plain = [message for message in messages if not message.is_return]
    assert plain == some(seed, 30, schedule=schedule, stamped=stamped)
    for history in by_order(messages).values():
        kinds = [message.kind for message in history]
        returns = [message for message in history if message.is_return]
        before = len(history) - len(returns)
        assert not any(message.is_return for message in history[:before])
        assert not returns or RETURNED.fullmatch("".join(f" {kind}" for kind in kinds[before - 1 :]))
        assert [message.sequence for message in history] == list(range(1, len(history) + 1))
        assert all(earlier.at_ns < later.at_ns for earlier, later in pairwise(history))
        assert history[-1].at_ns <= history[before - 1].at_ns + schedule.lifecycle_ns + len(returns)
        lists = [items_of(read(each)["payload"]) for each in history if each.kind in {"CREATED", "UPDATED"}]
        for earlier, later in pairwise(lists[len(lists) - kinds[before:].count("UPDATED") - 1 :]):
            assert len(later) < len(earlier)
            assert all(item in earlier for item in later)


def test_now_and_then_goods_come_back() -> None:
    """In every way that there is, and not of most orders."""
    histories = by_order(some(orders=2_000, returns=True)).values()
    ways = Counter(" ".join(each.kind for each in history if each.is_return) for history in histories)
    assert ways[""] > 1_500
    assert {"UPDATED", "CANCELLED", "CANCELLED COMPLETED", "UPDATED CANCELLED", "UPDATED UPDATED"} <= ways.keys()
    assert any(
        message.is_return and message.kind == "UPDATED" and not items_of(read(message)["payload"])
        for history in histories
        for message in history
    )


@given(seed=seeds, schedule=schedules)
def test_lifecycles_are_whole_unless_told_otherwise(seed: int, schedule: Schedule) -> None:
    """Without an open share every order ends."""
    assert all(
        messages[-1].kind in {"COMPLETED", "CANCELLED"}
        for messages in by_order(some(seed, 20, schedule=schedule)).values()
    )


@given(seed=seeds, schedule=schedules)
def test_the_stream_is_in_the_order_of_its_dates(seed: int, schedule: Schedule) -> None:
    """Orders overlap, and the messages come as a broker would get them: oldest first."""
    dates_ns = [message.at_ns for message in some(seed, 20, schedule=schedule)]
    assert dates_ns == sorted(dates_ns)
    assert dates_ns[0] >= STARTED_AT_NS


@given(seed=seeds, schedule=schedules, stamped=st.booleans())
def test_the_same_seed_gives_the_same_bytes(seed: int, schedule: Schedule, *, stamped: bool) -> None:
    """A run can be had again from its seed."""
    assert some(seed, 10, schedule=schedule, stamped=stamped) == some(seed, 10, schedule=schedule, stamped=stamped)


def test_another_seed_gives_other_messages() -> None:
    """The seed matters."""
    assert [m.value for m in some(1, 10)] != [m.value for m in some(2, 10)]


def test_more_orders_leave_the_first_ones_as_they_were() -> None:
    """An endless run begins like a short one."""
    longer = by_order(some(7, 60))
    assert all(longer[order_id] == messages for order_id, messages in by_order(some(7, 30)).items())


@given(seed=seeds, schedule=schedules)
def test_without_stamps_only_the_stamps_are_missing(seed: int, schedule: Schedule) -> None:
    """`sequence` and what makes a CloudEvent of it go; every body and every other header stays."""
    for bare, stamped in zip(
        some(seed, 10, schedule=schedule, stamped=False), some(seed, 10, schedule=schedule), strict=True
    ):
        assert bare.value == stamped.value
        assert bare.headers == tuple(h for h in stamped.headers if h[0] == "traceparent")
        headers = dict(stamped.headers)
        assert headers["sequence"] == str(stamped.sequence).encode()
        assert UUID((headers["ce_id"] or b"").decode())


def test_ids_of_messages_are_never_used_twice() -> None:
    """Each message has its own `ce_id` and its own transactionId."""
    messages = some(orders=2_000)
    assert len({read(message)["payload"]["transactionId"] for message in messages}) == len(messages)
    assert len({dict(message.headers)["ce_id"] for message in messages}) == len(messages)


def test_the_stream_has_everything_that_the_service_must_cope_with() -> None:
    """Emptied orders, weighed goods, trailing zeros, unknown members, reasons or none, members in another order."""
    messages = some(orders=2_000)
    text = b"\n".join(message.value for message in messages)
    kinds = Counter(message.kind for message in messages)
    assert kinds["COMPLETED"] > kinds["CANCELLED"] > 0
    assert any(message.kind == "UPDATED" and not items_of(read(message)["payload"]) for message in messages)
    assert re.search(rb'"quantity":\d\.\d\d[1-9],"unit":"KG"', text)
    assert re.search(rb'"originalPrice":\d+\.\d0,', text)
    assert re.search(rb'"unit":"KG","originalPrice":\d+\.\d\d,"discountedPrice":null,"finalTotalPrice"', text)
    assert re.search(rb'"unit":"KG","originalPrice":\d+\.\d\d,"finalTotalPrice"', text)
    assert re.search(rb'"unit":"KG","originalPrice":(\d+\.\d\d),"discountedPrice":\1,"finalTotalPrice"', text)
    tails = [
        Fraction(item["originalPrice"]) * Fraction(item["quantity"]) - Fraction(item["finalTotalPrice"])
        for message in messages
        if message.kind == "CREATED"
        for item in items_of(read(message)["payload"])
        if item.get("discountedPrice", item["originalPrice"]) in {None, item["originalPrice"]}
    ]
    assert min(tails) < 0 < max(tails)  # the till has rounded up, and down
    for unknown in (b'"channel":', b'"promotion":{"code":', b'"brand":', b'"producer":'):
        assert 0 < text.count(unknown) < len(messages) * MAX_ITEMS
    ends = [read(message)["payload"] for message in messages if message.kind == "CANCELLED"]
    assert 0 < sum("reason" in payload for payload in ends) < len(ends)
    assert 0 < sum("storeNo" in payload for payload in ends) < len(ends)
    assert {message.value[:9] for message in messages} == {b'{"type":"', b'{"payload'}
    traces = [dict(m.headers)["traceparent"] for m in messages if "traceparent" in dict(m.headers)]
    assert 0 < len(traces) < len(messages)
    assert all(TRACEPARENT.fullmatch(trace or b"") for trace in traces)


def test_a_share_of_orders_can_be_left_open() -> None:
    """With an open share of one no order ends, and with a half some do."""
    assert all(status == "PENDING" for status, _ in outcome(some(open_share=1.0)).values())
    statuses = {status for status, _ in outcome(some(open_share=0.5)).values()}
    assert statuses == {"PENDING", "COMPLETED", "CANCELLED"}


def test_an_endless_stream_holds_only_its_open_orders() -> None:
    """After any number of messages no more orders are open than the pace allows."""
    schedule = Schedule(spacing_ns=1_000, lifecycle_ns=20_000)
    stream = lifecycles(3, None, first_order_id=1, started_at_ns=STARTED_AT_NS, schedule=schedule)
    open_orders: set[int] = set()
    most_open = 0
    for message in islice(stream, 20_000):
        open_orders.add(message.order_id)
        if message.kind in {"COMPLETED", "CANCELLED"}:
            open_orders.remove(message.order_id)
        most_open = max(most_open, len(open_orders))
    assert 5 < most_open <= 22


@pytest.mark.parametrize("rate", [0.1, 1, 20, 5_000, 10**10])
def test_any_rate_keeps_the_number_of_open_orders_bounded(rate: float) -> None:
    """At a high rate lifecycles get shorter instead of piling up."""
    schedule = Schedule.of(rate, lifecycle_seconds=5.0)
    assert schedule.lifecycle_ns <= 5 * 10**9
    assert schedule.lifecycle_ns <= MAX_OPEN_ORDERS * schedule.spacing_ns


def test_a_pace_that_piles_orders_up_is_refused() -> None:
    """One nanosecond more than the limit is a ValueError."""
    assert Schedule(1, MAX_OPEN_ORDERS)
    with pytest.raises(ValueError, match="open at once"):
        Schedule(1, MAX_OPEN_ORDERS + 1)


@pytest.mark.parametrize(
    ("first_order_id", "orders"), [(0, 1), (-5, 1), (MAX_ORDER_ID, 2), (MAX_ORDER_ID + 1, 0), (1, -1)]
)
def test_order_ids_that_the_contract_forbids_are_refused_at_once(first_order_id: int, orders: int) -> None:
    """The error comes before the first message, not in the middle of a run."""
    with pytest.raises(ValueError, match="order ids"):
        lifecycles(1, orders, first_order_id=first_order_id, started_at_ns=STARTED_AT_NS)


def test_the_greatest_order_id_can_be_used() -> None:
    """2⁶³−1 is the last id; an endless stream ends there."""
    stream = lifecycles(1, None, first_order_id=MAX_ORDER_ID - 1, started_at_ns=STARTED_AT_NS)
    assert {message.order_id for message in stream} == {MAX_ORDER_ID - 1, MAX_ORDER_ID}


def test_first_order_ids_from_the_clock_grow_and_fit() -> None:
    """A later run starts above an earlier one; the ids are exact even where numbers are doubles."""
    now_ns = STARTED_AT_NS
    second_ns = 10**9
    assert first_order_id_at(now_ns + second_ns) - first_order_id_at(now_ns) == 1_000_000
    assert 1 <= first_order_id_at(now_ns) < 2**53


@settings(max_examples=30)
@given(seed=seeds, shuffle=st.randoms(use_true_random=False), returns=st.booleans(), corrections=st.booleans())
def test_the_outcome_is_the_last_list_and_the_end_whatever_the_order_of_arrival(
    seed: int, shuffle: Any, *, returns: bool, corrections: bool
) -> None:
    """Computed with fractions order by order, and again from a shuffled and doubled stream: the same. Without
    corrections what comes after the end says nothing; with them a completed order's last word counts."""
    messages = some(seed, 20, open_share=0.2, returns=returns)
    expected = {}
    for order_id, history in by_order(messages).items():
        heard = history if corrections else [message for message in history if not message.is_return]
        last_list = [message for message in heard if message.kind in {"CREATED", "UPDATED"}][-1]
        [*_, end] = [message.kind for message in history if not message.is_return]
        is_open = end not in {"COMPLETED", "CANCELLED"}
        is_taken_back = heard[-1].is_return and heard[-1].kind == "CANCELLED"
        amount = Fraction(0) if is_taken_back else earned(last_list)
        expected[order_id] = ("PENDING" if is_open else end, amount)
    doubled = messages * 2
    shuffle.shuffle(doubled)
    for arrived in (messages, doubled):
        ends = outcome(arrived, corrections=corrections).items()
        assert {order_id: (status, Fraction(amount)) for order_id, (status, amount) in ends} == expected
    if not returns:
        assert outcome(messages, corrections=True) == outcome(messages)


def test_with_corrections_the_end_is_not_the_last_word() -> None:
    """Goods come back one after the other, then all of them, then the order is re-instated."""
    first, *_ = some(orders=1)
    lists = {count: _with_items(first, count) for count in (3, 2, 1)}
    kinds: list[Kind] = ["CREATED", "COMPLETED", "UPDATED", "CANCELLED", "COMPLETED", "UPDATED"]
    values = [lists[3], b"", lists[2], b"", b"", lists[1]]
    history = [
        dataclasses.replace(first, kind=kind, value=value, at_ns=number)
        for number, (kind, value) in enumerate(zip(kinds, values, strict=True))
    ]
    three, two, one, nothing = map(Decimal, (3, 2, 1, 0))
    for count, amount in enumerate((three, three, two, nothing, two, one), start=1):
        status: Status = "COMPLETED" if count > 1 else "PENDING"
        heard = history[:count]
        assert outcome(heard, corrections=True) == {first.order_id: (status, amount)}
        assert outcome(heard) == {first.order_id: (status, three)}
    cancelled = [history[0], dataclasses.replace(history[3], at_ns=1), *history[4:]]
    assert outcome(cancelled, corrections=True) == {first.order_id: ("CANCELLED", three)}


def _with_items(message: OrderMessage, count: int) -> bytes:
    """A list of so many items that earn 1 each."""
    body = json.loads(message.value)
    item = {"quantity": 1, "originalPrice": 3, "finalTotalPrice": 2}
    body["payload"]["orderItemsWithDiscountSummaryItems"] = [{"productItem": item}] * count
    return json.dumps(body).encode()


class FakeClock:
    """Time passes only while somebody waits."""

    def __init__(self) -> None:
        self.now_ns = STARTED_AT_NS

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return (self.now_ns - STARTED_AT_NS) / 10**9

    def wait(self, stop: threading.Event, seconds: float) -> None:
        assert seconds > 0
        self.now_ns += max(1, round(seconds * 10**9))


class FakePublisher:
    """Confirms on the next poll, as the real one does; refuses what `fails` says."""

    def __init__(self, clock: FakeClock, fails: Callable[[Outgoing], bool] = lambda _: False) -> None:
        self.sent: list[tuple[int, Outgoing]] = []
        self._clock = clock
        self._fails = fails
        self._pending: list[tuple[Outgoing, OnDelivery]] = []
        self._failed = 0

    def publish(self, message: Outgoing, on_delivery: OnDelivery | None = None) -> None:
        assert on_delivery is not None
        self.sent.append((self._clock.now_ns, message))
        self._pending.append((message, on_delivery))

    def poll(self) -> None:
        for message, on_delivery in self._pending:
            if self._fails(message):
                self._failed += 1
                on_delivery(PublishError(message.topic, message.key, "no"))
            else:
                on_delivery(Delivered(message.topic, message.key, 0, 0))
        self._pending.clear()

    def flush(self, timeout_seconds: float) -> None:
        self.poll()
        if self._failed:
            raise PublishError("orders", b"1", "no", count=self._failed)


def run(
    publisher: FakePublisher,
    clock: FakeClock,
    *,
    orders: int | None = 50,
    rate: float | None = None,
    stop: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Progress:
    return simulate(
        publisher,
        "orders",
        orders=orders,
        rate=rate,
        seed=11,
        first_order_id=1,
        stamped=True,
        stop=stop or threading.Event(),
        progress=progress,
        clock=clock,
    )


def test_the_simulator_publishes_whole_lifecycles_keyed_by_order() -> None:
    """What goes out is the generator's stream, and the count at the end says so."""
    clock = FakeClock()
    publisher = FakePublisher(clock)
    expected = some(11, 50, first_order_id=1, schedule=COMPRESSED)
    assert run(publisher, clock) == Progress(50, 50, len(expected), 0)
    assert [out for _, out in publisher.sent] == [
        Outgoing("orders", message.key, message.value, message.headers) for message in expected
    ]


def test_a_rate_spreads_the_orders_evenly_over_time() -> None:
    """At 10 orders a second each second sees 10 new ones, and each message goes out when its date has come."""
    clock = FakeClock()
    publisher = FakePublisher(clock)
    run(publisher, clock, orders=100, rate=10)
    starts = [at_ns for at_ns, message in publisher.sent if b'"type":"CREATED"' in message.value]
    a_second = [len(list(group)) for _, group in groupby(starts, lambda at_ns: (at_ns - STARTED_AT_NS) // 10**9)]
    assert a_second == [10] * 10
    expected = some(11, 100, first_order_id=1, schedule=Schedule.of(10, 5.0))
    for (at_ns, _), message in zip(publisher.sent, expected, strict=True):
        assert abs(at_ns - message.at_ns) < 1_000


def test_a_person_watching_sees_orders_pending_and_ending() -> None:
    """At a watchable rate progress comes several times a second and shows open orders all the while."""
    clock = FakeClock()
    seen: list[Progress] = []
    final = run(FakePublisher(clock), clock, orders=100, rate=10, progress=seen.append)
    assert seen[-1] == final
    assert len(seen) > 20
    middle = seen[len(seen) // 2]
    assert 0 < middle.orders_finished < middle.orders_started < 100
    assert all(earlier.messages <= later.messages for earlier, later in pairwise(seen))


def test_stopping_ends_an_endless_run() -> None:
    """`orders=None` goes on until stop is set, even while it waits for the next message."""
    clock = FakeClock()
    stop = threading.Event()

    def enough(progress: Progress) -> None:
        if progress.orders_finished >= 20:
            stop.set()

    final = run(FakePublisher(clock), clock, orders=None, rate=5, stop=stop, progress=enough)
    assert final.orders_finished >= 20
    assert final.failed == 0


def test_a_message_that_cannot_be_sent_is_counted_and_the_others_go_on() -> None:
    """The counts of sent and failed add up, and the reason is there to be shown."""
    clock = FakeClock()
    publisher = FakePublisher(clock, fails=lambda message: message.key == b"7")
    final = run(publisher, clock)
    expected = some(11, 50, first_order_id=1)
    assert final.failed == len(by_order(expected)[7])
    assert final.messages == len(expected) - final.failed
    assert final.orders_finished == 49
    assert final.last_error is not None


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_makes_no_sense_is_refused(rate: float) -> None:
    """Only a finite number above zero is a rate."""
    clock = FakeClock()
    with pytest.raises(ValueError, match="a rate is"):
        run(FakePublisher(clock), clock, rate=rate)
