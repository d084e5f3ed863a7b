"""The disorder of the simulator: reproducible, bounded, and nothing of an order is lost in it."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.kafka.decoding.decoder import Unreadable, decode
from adapters.kafka.decoding.record import Record
from adapters.kafka.producer.partitioner import partition_for
from domain import exact_json
from domain.decision import DEFAULT_POLICY, Policy, decide
from domain.order import Order, fold
from domain.ports import Partition
from sandbox.demo.numbers import State
from sandbox.demo.settings import Scenario
from sandbox.order_service.chaos import (
    HOSTS,
    LATER_COPY_LIFECYCLES,
    MAX_COPIES,
    MAX_HOLD_LIFECYCLES,
    MAX_SKEW_NS,
    Chaos,
    Departure,
    Disorder,
    Stage,
    UnknownDisorder,
)
from sandbox.order_service.growing_topic import growth_points
from sandbox.order_service.lifecycles import COMPRESSED, OrderMessage, Schedule, lifecycles, outcome
from sandbox.order_service.poison import POISON_HEADER, POISONS
from sandbox.order_service.simulator import LIFECYCLE_SECONDS, NO_CHAOS, simulate
from tests.support.chaos import End, as_published, completed_after_cancellation
from tests.support.messages import NOON_NS, NOW_NS
from tests.unit.sandbox.test_lifecycles import FakeClock, FakePublisher

FIRST_ORDER_ID = 24_323_523
ORDERS = 20
PARTITIONS = 3

seeds = st.integers(0, 2**32)
schedules = st.sampled_from([COMPRESSED, Schedule.of(10, 5.0), Schedule.of(0.5, 5.0)])
choices = st.sets(st.sampled_from(Disorder)).map(lambda kinds: Chaos(frozenset(kinds)))
few = settings(max_examples=30)  # each builds whole streams of messages
CORRECTING = Policy(corrections=True)
REORDERING = frozenset({Disorder.SHUFFLED, Disorder.DELAYED})


def only(*kinds: Disorder) -> Chaos:
    return Chaos(frozenset(kinds))


def messages_of(
    seed: int,
    orders: int | None = ORDERS,
    *,
    schedule: Schedule = COMPRESSED,
    stamped: bool = True,
    chaos: Chaos = NO_CHAOS,
) -> Iterator[OrderMessage]:
    """What is said, before any disorder; with the returns that are wished for."""
    return lifecycles(
        seed,
        orders,
        first_order_id=FIRST_ORDER_ID,
        started_at_ns=NOON_NS,
        schedule=schedule,
        stamped=stamped,
        returns=Disorder.RETURNS in chaos.kinds,
    )


def disturbed(chaos: Chaos, seed: int, *, schedule: Schedule = COMPRESSED, stamped: bool = True) -> list[Departure]:
    stage = Stage(chaos, seed, schedule, FIRST_ORDER_ID)
    return list(stage.disturb(messages_of(seed, schedule=schedule, stamped=stamped, chaos=chaos)))


def originals(departures: Iterable[Departure]) -> list[OrderMessage]:
    return [each.message for each in departures if each.message is not None and not each.is_copy]


def identity(message: OrderMessage) -> tuple[int, int]:
    return message.order_id, message.sequence


@given(text=st.text())
def test_only_kinds_that_there_are_can_be_wished_for(text: str) -> None:
    """`all`, or a choice; anything else is refused with the list of what there is."""
    names = {name.strip() for name in text.split(",")}
    if text.strip() != "all" and not names <= set(Disorder):
        with pytest.raises(UnknownDisorder, match="must be all, or some of shuffled,"):
            Chaos.named(text)


def test_a_choice_reads_as_it_is_written() -> None:
    """And goes to the demo's order service as the same choice; only of `all` something may be left out."""
    chosen = Chaos.named(" poison, shuffled")
    assert chosen.kinds == {Disorder.POISON, Disorder.SHUFFLED}
    assert Chaos.named(str(chosen)) == chosen
    assert chosen.insists_on(Disorder.POISON)
    everything = Chaos.named("all")
    assert everything.kinds == set(Disorder)
    assert not everything.insists_on(Disorder.GROWING)
    scenario = Scenario(orders=1, rate=None, seed=1, first_order_id=1, chaos=everything)
    assert scenario.simulation()[-2:] == ["--chaos", "all"]
    assert "--chaos" not in Scenario(orders=1, rate=None, seed=1, first_order_id=1).simulation()


@few
@given(seed=seeds, schedule=schedules, chaos=choices)
def test_the_same_seed_makes_the_same_disorder(seed: int, schedule: Schedule, chaos: Chaos) -> None:
    """Record by record, whenever it begins; and the counts are the same."""
    assert disturbed(chaos, seed, schedule=schedule) == disturbed(chaos, seed, schedule=schedule)


def test_another_seed_makes_another_disorder() -> None:
    """The seed matters."""
    first, second = (
        [identity(each) for each in originals(Stage(only(Disorder.SHUFFLED), seed, COMPRESSED, 1).disturb(stream))]
        for seed, stream in ((1, messages_of(1)), (2, messages_of(1)))
    )
    assert first != second
    assert sorted(first) == sorted(second)


@few
@given(seed=seeds, schedule=schedules, chaos=choices)
def test_every_message_leaves_once_and_in_time(seed: int, schedule: Schedule, chaos: Chaos) -> None:
    """Not before its date, nor later than the limit after it; copies somewhat later; in the order of leaving."""
    dates = {identity(each): each.at_ns for each in messages_of(seed, schedule=schedule, chaos=chaos)}
    departures = disturbed(chaos, seed, schedule=schedule)
    assert sorted(map(identity, originals(departures))) == sorted(dates)
    leaving = [each.leaves_at_ns for each in departures]
    assert leaving == sorted(leaving)
    for each in departures:
        if each.message is not None:
            late_ns = each.leaves_at_ns - dates[identity(each.message)]
            longest = MAX_HOLD_LIFECYCLES + LATER_COPY_LIFECYCLES * each.is_copy
            assert 0 <= late_ns <= longest * schedule.lifecycle_ns + 1
            assert (each.key, each.value, each.headers) == (
                each.message.key,
                each.message.value,
                each.message.headers,
            )


@few
@given(seed=seeds, schedule=schedules)
def test_without_disorder_the_stream_is_as_it_was(seed: int, schedule: Schedule) -> None:
    """Nothing is held, added or changed."""
    assert originals(disturbed(Chaos(), seed, schedule=schedule)) == list(messages_of(seed, schedule=schedule))
    assert len(disturbed(Chaos(), seed, schedule=schedule)) == len(list(messages_of(seed, schedule=schedule)))


@few
@given(seed=seeds, chaos=choices, limit=st.integers(1, 30))
def test_no_more_waits_than_the_limit_allows(seed: int, chaos: Chaos, limit: int) -> None:
    """However long records should be held: what is over the limit leaves, and still nothing is lost."""
    stage = Stage(chaos, seed, COMPRESSED, FIRST_ORDER_ID, max_held_records=limit)
    taken = 0

    def counted() -> Iterator[OrderMessage]:
        nonlocal taken
        for message in messages_of(seed, chaos=chaos):
            taken += 1
            yield message

    left: list[Departure] = []
    for departure in stage.disturb(counted()):
        left.append(departure)
        assert taken - len(originals(left)) <= limit + 1
    assert sorted(map(identity, originals(left))) == sorted(map(identity, messages_of(seed, chaos=chaos)))


def test_an_endless_stream_is_disturbed_as_it_goes() -> None:
    """Nothing waits for the end: what waits is some lifecycles' worth, however much has left."""
    stage = Stage(Chaos.named("all"), 3, COMPRESSED, FIRST_ORDER_ID)
    taken = 0

    def counted() -> Iterator[OrderMessage]:
        nonlocal taken
        for message in messages_of(3, None):
            taken += 1
            yield message

    left = originals(islice(stage.disturb(counted()), 8_000))
    assert len(left) > 6_000
    assert taken - len(left) < 1_000


def test_each_kind_does_its_own_and_is_counted() -> None:
    """All of them strike, and the counts are those of what has left."""
    everything = Chaos.named("all")
    stage = Stage(everything, 5, COMPRESSED, FIRST_ORDER_ID)
    plain = list(messages_of(5, 100, chaos=everything))
    departures = list(stage.disturb(plain))
    assert stage.counts[Disorder.DOUBLED] == sum(each.is_copy for each in departures) > 0
    assert stage.counts[Disorder.POISON] == sum(each.message is None for each in departures) > 0
    assert stage.counts[Disorder.SKEWED] == len(plain)
    assert stage.counts[Disorder.RETURNS] == sum(message.is_return for message in plain) > 0
    assert 0 < stage.counts[Disorder.DELAYED] < len(plain)
    assert 0 < stage.counts[Disorder.SHUFFLED] < len(plain)
    scenario = Scenario(orders=100, rate=None, seed=5, first_order_id=FIRST_ORDER_ID, chaos=Chaos.named("all"))
    assert scenario.expected_poison() == stage.counts[Disorder.POISON]


@few
@given(seed=seeds, kind=st.sampled_from([Disorder.DELAYED, Disorder.DOUBLED, Disorder.POISON]))
def test_one_kind_strikes_where_it_would_without_the_others(seed: int, kind: Disorder) -> None:
    """So that a kind can be taken away, and what remains stays."""
    counts = []
    for chaos in (only(kind), Chaos.named("all")):
        stage = Stage(chaos, seed, COMPRESSED, FIRST_ORDER_ID)
        for _ in stage.disturb(messages_of(seed)):
            pass
        counts.append(stage.counts[kind])
    assert counts[0] == counts[1]


@few
@given(seed=seeds)
def test_messages_of_one_order_change_places(seed: int) -> None:
    """Shuffling reaches within the orders, and delaying alone only holds some back. In one run of few orders it may
    be a single one, and so five are looked at."""
    histories: dict[tuple[int, int], list[int]] = {}
    for run in range(5):
        for message in originals(disturbed(only(Disorder.SHUFFLED), seed + run)):
            histories.setdefault((run, message.order_id), []).append(message.sequence)
    disordered = sum(history != sorted(history) for history in histories.values())
    assert 5 * ORDERS // 20 < disordered < 5 * ORDERS


@few
@given(seed=seeds)
def test_a_copy_is_the_same_message_again_and_comes_after_it(seed: int) -> None:
    """Key, body and headers, `sequence` and `ce_id` among them; twice more at most."""
    departures = disturbed(only(Disorder.DOUBLED), seed)
    seen: dict[tuple[int, int], Departure] = {}
    copies: Counter[tuple[int, int]] = Counter()
    for each in departures:
        assert each.message is not None
        name = identity(each.message)
        if each.is_copy:
            assert (each.key, each.value, each.headers) == (seen[name].key, seen[name].value, seen[name].headers)
            copies[name] += 1
        seen[name] = each
    assert max(copies.values(), default=0) <= MAX_COPIES


@few
@given(seed=seeds)
def test_a_wrong_clock_shifts_the_date_and_nothing_else(seed: int) -> None:
    """By less than twenty seconds, by one of a few amounts; some orders have two."""
    skews: dict[int, set[int]] = {}
    for before, after in zip(messages_of(seed), originals(disturbed(only(Disorder.SKEWED), seed)), strict=True):
        skew_ns = after.at_ns - before.at_ns
        assert abs(skew_ns) < MAX_SKEW_NS
        skews.setdefault(before.order_id, set()).add(skew_ns)
        was, became = exact_json.loads(before.value), exact_json.loads(after.value)
        assert was["payload"].pop("transactionDate") != became["payload"].pop("transactionDate")
        assert exact_json.dumps(was) == exact_json.dumps(became)
        assert (before.key, before.headers) == (after.key, after.headers)
    assert 1 < len(set().union(*skews.values())) <= HOSTS
    assert {len(each) for each in skews.values()} <= {1, 2}


def test_clocks_are_no_more_wrong_than_the_service_is_told() -> None:
    """Between two messages of which one was held longest, and between a date and the broker's own; at any rate."""
    hold_ns = round(MAX_HOLD_LIFECYCLES * LIFECYCLE_SECONDS * 10**9)
    copy_ns = round(LATER_COPY_LIFECYCLES * LIFECYCLE_SECONDS * 10**9)
    assert 2 * MAX_SKEW_NS + hold_ns < DEFAULT_POLICY.clock_tolerance_ns
    assert MAX_SKEW_NS + hold_ns + copy_ns < DEFAULT_POLICY.clock_tolerance_ns


def test_poison_cannot_be_read_and_is_of_no_order_of_the_run() -> None:
    """Every kind of it comes, each refused for its own reason, marked, and no two alike."""
    stage = Stage(only(Disorder.POISON), 1, COMPRESSED, FIRST_ORDER_ID)
    departures = list(stage.disturb(messages_of(1, 3_000)))
    poisons = [each for each in departures if each.message is None]
    keys = {message.key for message in originals(departures)}
    reasons = set()
    for each in poisons:
        found = decode(record(each, 0, 0))
        assert isinstance(found, Unreadable)
        reasons.add(found.reason)
        assert each.key not in keys
        assert (dict(each.headers)[POISON_HEADER] or b"").startswith(b"%d/" % FIRST_ORDER_ID)
    assert reasons == {reason for reason, _ in POISONS}
    assert len({each.key for each in poisons}) == len(poisons)


def record(departure: Departure, partition: int, offset: int) -> Record:
    return Record(
        Partition("orders", "id", partition), offset, None, departure.key, departure.value, departure.headers
    )


def decided(departures: Sequence[Departure], *, grows: bool, policy: Policy = DEFAULT_POLICY) -> dict[int, Order]:
    """What the service makes of them in the order of their leaving, without any server."""
    orders: dict[int, Order] = {}
    offsets: Counter[int] = Counter()
    points = growth_points(ORDERS) if grows else ()
    for number, departure in enumerate(departures):
        partitions = PARTITIONS * 2 ** sum(number >= point for point in points)
        partition = partition_for(departure.key, partitions)
        message = decode(record(departure, partition, offsets[partition]))
        offsets[partition] += 1
        if isinstance(message, Unreadable):
            assert departure.message is None
            continue
        before = orders.get(message.order_id, Order(message.order_id))
        events = decide(before, message, now_ns=NOW_NS, policy=policy)
        orders[message.order_id] = fold(before, events) or before
    return orders


def ends_of(orders: dict[int, Order]) -> dict[int, End]:
    return {
        order_id: (order.status.value, order.terms.cashback) for order_id, order in orders.items() if order.terms
    }


@few
@given(seed=seeds, schedule=schedules, chaos=choices)
def test_stamped_orders_end_as_if_nothing_had_happened(seed: int, schedule: Schedule, chaos: Chaos) -> None:
    """Any choice of disorder: the undisturbed lifecycles' ends and amounts, without a doubt, and with corrections
    what is right after all returns."""
    departures = disturbed(chaos, seed, schedule=schedule)
    orders = decided(departures, grows=Disorder.GROWING in chaos.kinds, policy=CORRECTING)
    assert ends_of(orders) == outcome(messages_of(seed, schedule=schedule, chaos=chaos), corrections=True)
    assert not any(order.doubts or order.held for order in orders.values())


@few
@given(seed=seeds, schedule=schedules, chaos=choices)
def test_without_corrections_the_end_is_final_and_what_comes_after_it_leaves_a_doubt(
    seed: int, schedule: Schedule, chaos: Chaos
) -> None:
    """The stamped orders end as they first did; a person sees those that would be owed something else by now."""
    orders = decided(disturbed(chaos, seed, schedule=schedule), grows=Disorder.GROWING in chaos.kinds)
    messages = list(messages_of(seed, schedule=schedule, chaos=chaos))
    final = outcome(messages)
    assert ends_of(orders) == final
    changed = {number for number, end in outcome(messages, corrections=True).items() if end != final[number]}
    doubtful = {number for number, order in orders.items() if order.doubts}
    assert changed <= doubtful <= {message.order_id for message in messages if message.is_return}


@few
@given(seed=seeds, schedule=schedules, chaos=choices)
def test_unstamped_orders_follow_the_order_of_publishing(seed: int, schedule: Schedule, chaos: Chaos) -> None:
    """Each on one partition, any disorder: what was published first came first, and nobody can tell otherwise.
    Where the order of publishing isn't disturbed, that is the undisturbed end. Without a doubt either way, but for
    what was completed after it had been cancelled, and is worth something."""
    departures = disturbed(chaos, seed, schedule=schedule, stamped=False)
    orders = decided(departures, grows=False, policy=CORRECTING)
    said = [each.message for each in departures if each.message is not None]
    expected = as_published(said, corrections=True)
    assert ends_of(orders) == expected
    assert {number for number, order in orders.items() if order.doubts} == completed_after_cancellation(said)
    assert not any(order.held for order in orders.values())
    if not chaos.kinds & REORDERING:
        assert expected == outcome(messages_of(seed, schedule=schedule, chaos=chaos), corrections=True)


@few
@given(seed=seeds, schedule=schedules, chaos=choices.filter(lambda chaos: not chaos.kinds & REORDERING))
def test_unstamped_orders_on_a_growing_topic_end_as_they_should_or_are_flagged(
    seed: int, schedule: Schedule, chaos: Chaos
) -> None:
    """Published in order, on two or three partitions, by clocks that are wrong."""
    orders = decided(disturbed(chaos, seed, schedule=schedule, stamped=False), grows=True, policy=CORRECTING)
    found = ends_of(orders)
    for order_id, end in outcome(messages_of(seed, schedule=schedule, chaos=chaos), corrections=True).items():
        assert found[order_id] == end or orders[order_id].doubts


def test_shuffling_does_change_what_unstamped_orders_end_as() -> None:
    """The reason for `sequence`: without it somebody is paid another amount, and no doubt is left to see."""
    departures = disturbed(only(Disorder.SHUFFLED), 1, stamped=False)
    assert ends_of(decided(departures, grows=False)) != outcome(messages_of(1))


def test_the_simulator_sends_each_record_when_its_time_comes_and_counts_it() -> None:
    """At a rate: held messages leave late, orders are counted once, and poison is no message."""
    clock = FakeClock()
    publisher = FakePublisher(clock)
    begun_ns = clock.time_ns()
    scenario = Scenario(orders=ORDERS, rate=10, seed=5, first_order_id=FIRST_ORDER_ID, chaos=Chaos.named("all"))
    final = simulate(
        publisher,
        "orders",
        orders=ORDERS,
        rate=10,
        seed=5,
        first_order_id=FIRST_ORDER_ID,
        stamped=True,
        stop=threading.Event(),
        clock=clock,
        chaos=scenario.chaos,
    )
    schedule = Schedule.of(10, 5.0)
    stream = lifecycles(
        5, ORDERS, first_order_id=FIRST_ORDER_ID, started_at_ns=begun_ns, schedule=schedule, returns=True
    )
    expected = list(Stage(scenario.chaos, 5, schedule, FIRST_ORDER_ID).disturb(stream))
    assert [out.value for _, out in publisher.sent] == [each.value for each in expected]
    for (at_ns, _), each in zip(publisher.sent, expected, strict=True):
        assert abs(at_ns - each.leaves_at_ns) < 1_000
    assert (final.orders_started, final.orders_finished) == (ORDERS, ORDERS)
    assert final.messages == len(originals(expected))
    assert final.disorder[Disorder.POISON] == scenario.expected_poison()
    assert final.messages + final.disorder[Disorder.DOUBLED] + final.disorder[Disorder.POISON] == len(expected)
    assert final.next_offsets == {0: 1}  # the publisher in this test knows only this offset


@pytest.mark.parametrize(
    ("topic_id", "offset", "is_read"),
    [("id", 6, False), ("id", 7, True), ("id", 8, True), ("of the topic before", 7, False)],
)
def test_the_demo_waits_until_every_record_has_been_read(topic_id: str, offset: int, *, is_read: bool) -> None:
    """On all partitions that got any, and of the topic as it is now: an older one of that name doesn't count."""
    positions = [("orders", "id", 0, 3), ("orders", topic_id, 1, offset), ("others", "id", 1, 99)]
    state = State(0, 0, 0, 0, 0, 0, calls_due=False, last_attempt=0, run_orders_ended=0, positions=positions)
    published = {Partition("orders", "id", 0): 3, Partition("orders", "id", 1): 7}
    assert state.has_read(published) == is_read


def test_amounts_are_the_digits_that_were_written() -> None:
    """A shifted date costs no trailing zero."""
    departures = disturbed(only(Disorder.SKEWED), 2)
    values = [exact_json.loads(each.value) for each in departures]
    prices = [
        line["productItem"]["originalPrice"]
        for value in values
        for line in value["payload"].get("orderItemsWithDiscountSummaryItems", [])
    ]
    assert {price.as_tuple().exponent for price in prices if isinstance(price, Decimal)} == {-2}
