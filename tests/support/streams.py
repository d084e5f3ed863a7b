"""What lies on a topic on a bad day: whole lifecycles out of order, doubled, and nonsense among them."""

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final
from uuid import uuid4

from confluent_kafka import Producer

from adapters.kafka.producer.publisher import Publisher
from adapters.records.publishing import Outgoing
from sandbox.order_service.lifecycles import OrderMessage, lifecycles
from tests.support.messages import NOON_NS

FLUSH_SECONDS: Final = 60.0
_DOUBLED_SHARE: Final = 0.1
_POISON_SHARE: Final = 0.02
_DISPLACEMENT: Final = 60
"""How many places a message may lie from its own: about as far as two messages of one order are apart."""
_UNSTAMPED_FROM: Final = 10**9


def plain_stream(topic: str, orders: int, *, seed: int = 1, first_order_id: int = 1) -> list[Outgoing]:
    """Stamped lifecycles in the order of their dates."""
    messages = lifecycles(seed, orders, first_order_id=first_order_id, started_at_ns=NOON_NS)
    return [outgoing(topic, message) for message in messages]


def bad_stream(topic: str, orders: int, *, seed: int) -> list[Outgoing]:
    """Half of the orders are stamped; messages are doubled and displaced; some records are no messages."""
    rng = random.Random(seed)
    both = heapq.merge(
        lifecycles(seed, orders // 2, first_order_id=1, started_at_ns=NOON_NS),
        lifecycles(seed, orders // 2, first_order_id=_UNSTAMPED_FROM, started_at_ns=NOON_NS, stamped=False),
        key=lambda message: message.at_ns,
    )
    placed: list[tuple[float, int, Outgoing]] = []
    for number, said in enumerate(_with_poison(topic, both, rng)):
        copies = 2 if rng.random() < _DOUBLED_SHARE else 1
        placed += [(number + rng.uniform(0, _DISPLACEMENT), number, said) for _ in range(copies)]
    return [said for _, _, said in sorted(placed, key=lambda place: place[:2])]


def outgoing(topic: str, message: OrderMessage) -> Outgoing:
    return Outgoing(topic, message.key, message.value, message.headers)


def publish(bootstrap: str, messages: Iterable[Outgoing]) -> None:
    with Publisher(bootstrap) as publisher:
        for message in messages:
            publisher.publish(message)
        publisher.flush(FLUSH_SECONDS)


def publish_in_transaction(bootstrap: str, messages: Iterable[Outgoing], *, aborted: bool = False) -> None:
    """On each of their partitions lies a marker behind them."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"publisher-{uuid4()}"})
    producer.init_transactions(FLUSH_SECONDS)
    producer.begin_transaction()
    for each in messages:
        partition = -1 if each.partition is None else each.partition
        producer.produce(each.topic, each.value, each.key, partition=partition, headers=list(each.headers))
    assert producer.flush(FLUSH_SECONDS) == 0  # what is aborted is to lie in the log all the same
    if aborted:
        producer.abort_transaction(FLUSH_SECONDS)
    else:
        producer.commit_transaction(FLUSH_SECONDS)


def _with_poison(topic: str, messages: Iterable[OrderMessage], rng: random.Random) -> Iterator[Outgoing]:
    for message in messages:
        said = outgoing(topic, message)
        yield said
        if rng.random() < _POISON_SHARE:
            yield _spoilt(said, rng)


def _spoilt(said: Outgoing, rng: random.Random) -> Outgoing:
    """No two of them are alike."""
    mark = b"%d" % rng.randrange(10**9)
    match rng.randrange(4):
        case 0:
            return replace(said, value=said.value[:-1] + mark)
        case 1:
            return replace(said, value=b'{"type": "PAID", "payload": {"mark": %s}}' % mark)
        case 2:
            return replace(said, key=b"not-%s" % mark)
        case _:
            return replace(said, headers=(("sequence", b"x" + mark),))
