"""The old topics, one kind of message on each, lead to what one topic leads to."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import pytest

from domain.decision import Policy
from domain.events import Accepted
from domain.messages import Kind
from domain.order import Order
from sandbox.order_service.lifecycles import OrderMessage, lifecycles, outcome
from sandbox.servers.embedded_kafka import EmbeddedBroker
from tests.support.memory_store import MemoryStore
from tests.support.messages import NOON_NS
from tests.support.running_intake import RunningIntake, new_group, undisturbed
from tests.support.streams import outgoing, publish

pytestmark = pytest.mark.slow

MakeTopic = Callable[..., str]
CLOCKS_AGREE = Policy(clock_tolerance_ns=0)


def read_from_four_topics(
    bootstrap: str, make_topic: MakeTopic, messages: Sequence[OrderMessage], policy: Policy, *, creates_lag: bool
) -> MemoryStore:
    """Each kind comes on a topic of its own; those of the creates are read last if they lag."""
    topics = {kind.value: make_topic(3) for kind in Kind}
    rest = [message for message in messages if message.kind != "CREATED" or not creates_lag]
    late = [message for message in messages if message.kind == "CREATED" and creates_lag]
    store = MemoryStore()
    publish(bootstrap, [outgoing(topics[message.kind], message) for message in rest])
    with RunningIntake(bootstrap, topics.values(), store, group=new_group(), policy=policy) as running:
        running.wait_for_records(len(rest))
        publish(bootstrap, [outgoing(topics[message.kind], message) for message in late])
        running.wait_for_records(len(messages))
    return store


def test_stamped_messages_on_four_topics_lead_to_the_calls_that_one_topic_leads_to(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """One kind on each, in whatever order they are read: the stamps are the truth."""
    messages = list(lifecycles(4, 100, first_order_id=1, started_at_ns=NOON_NS))
    store = read_from_four_topics(broker.bootstrap, topic, messages, Policy(), creates_lag=False)

    single = topic(3)
    publish(broker.bootstrap, [outgoing(single, message) for message in messages])
    assert calls(store) == calls(undisturbed(broker.bootstrap, single, len(messages)))


def test_without_stamps_creates_that_lag_on_a_topic_of_their_own_change_nothing(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """All else is held until they come, and then goes by its dates."""
    messages = list(lifecycles(4, 100, first_order_id=1, started_at_ns=NOON_NS, stamped=False))
    store = read_from_four_topics(broker.bootstrap, topic, messages, CLOCKS_AGREE, creates_lag=True)

    orders = store.load({message.order_id for message in messages})
    assert {order_id: ending(order) for order_id, order in orders.items()} == outcome(messages)
    assert not any(order.doubts for order in orders.values())


def test_without_stamps_an_order_on_four_topics_ends_right_or_is_flagged(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """An end may be read before the last update: then money may be wrong, and a person is told."""
    messages = list(lifecycles(4, 100, first_order_id=1, started_at_ns=NOON_NS, stamped=False))
    store = read_from_four_topics(broker.bootstrap, topic, messages, CLOCKS_AGREE, creates_lag=False)

    orders = store.load({message.order_id for message in messages})
    expected = outcome(messages)
    wrong = [order_id for order_id, order in orders.items() if ending(order) != expected[order_id]]
    assert all(orders[order_id].doubts for order_id in wrong)


def ending(order: Order) -> tuple[str, Decimal]:
    assert order.terms is not None
    return order.status.value, order.terms.cashback


def calls(store: MemoryStore) -> dict[object, list[tuple[str, bytes]]]:
    """What the third party hears of each order."""
    return {
        stream: [(event.TOPIC, event.message.body) for event in events if isinstance(event, Accepted)]
        for stream, events in store.streams.items()
    }
