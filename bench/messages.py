"""Messages by the hundred thousand: some thousand lifecycles are written properly, the others are copies of them
with other order ids, which takes microseconds instead of a large part of a millisecond each."""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple

from adapters.kafka.producer.publisher import Publisher
from adapters.records.publishing import Outgoing
from sandbox.order_service.lifecycles import Kind, lifecycles

FIRST_ORDER_ID: Final = 1_000_000_000
TEMPLATE_ORDERS: Final = 1_500
LARGE_BYTES: Final = 850
FLUSH_SECONDS: Final = 300

_blocks = itertools.count(1)


class TopicMessage(NamedTuple):
    """A message as it goes to the topic."""

    order_id: int
    kind: Kind
    sequence: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]


@cache
def _template() -> tuple[TopicMessage, ...]:
    written = lifecycles(1, TEMPLATE_ORDERS, first_order_id=FIRST_ORDER_ID, started_at_ns=time.time_ns())
    return tuple(
        TopicMessage(each.order_id, each.kind, each.sequence, each.key, each.value, each.headers)
        for each in written
    )


@cache
def _large_template() -> tuple[TopicMessage, ...]:
    """Of orders of about four goods: a CREATED of theirs has about 1 kB."""
    large = {each.order_id for each in _template() if each.sequence == 1 and len(each.value) >= LARGE_BYTES}
    return tuple(each for each in _template() if each.order_id in large)


def whole_lifecycles() -> Iterator[TopicMessage]:
    """Without end, of large orders that nobody has used before in this run."""
    while True:
        yield from _copied(_large_template())


def creations(orders: int) -> tuple[list[TopicMessage], list[TopicMessage]]:
    """The first message of so many new large orders, and the second of each."""
    by_sequence: dict[int, list[TopicMessage]] = {1: [], 2: []}
    while len(by_sequence[1]) < orders:
        for each in _copied([each for each in _large_template() if each.sequence <= 2]):
            by_sequence[each.sequence].append(each)
    first = by_sequence[1][:orders]
    chosen = {each.order_id for each in first}
    return first, [each for each in by_sequence[2] if each.order_id in chosen]


def lifecycles_of(orders: int) -> list[TopicMessage]:
    """All messages of so many new orders."""
    messages: list[TopicMessage] = []
    while orders > 0:
        block = list(_copied(_template()))
        wanted = {each.order_id for each in block if each.sequence == 1}
        wanted = set(sorted(wanted)[:orders])
        messages += [each for each in block if each.order_id in wanted]
        orders -= len(wanted)
    return messages


def by_order(sent: Iterable[TopicMessage]) -> list[list[TopicMessage]]:
    """The messages of each order, in their order."""
    orders: dict[int, list[TopicMessage]] = {}
    for each in sent:
        orders.setdefault(each.order_id, []).append(each)
    return list(orders.values())


def publish(bootstrap: str, topic: str, messages: Iterable[TopicMessage]) -> None:
    """Returns when the broker has confirmed all of them."""
    with Publisher(bootstrap, delivery_timeout_seconds=FLUSH_SECONDS) as publisher:
        for each in messages:
            publisher.publish(Outgoing(topic, each.key, each.value, each.headers))
        publisher.flush(FLUSH_SECONDS)


def _copied(messages: Sequence[TopicMessage]) -> Iterator[TopicMessage]:
    """As they are, of other orders. Ids have ten digits, as nothing else in a message has."""
    shift = next(_blocks) * TEMPLATE_ORDERS
    for each in messages:
        order_id = each.order_id + shift
        key = str(order_id).encode()
        yield each._replace(order_id=order_id, key=key, value=each.value.replace(each.key, key))
