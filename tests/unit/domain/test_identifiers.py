"""Names of streams and calls."""

from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.identifiers import (
    MAX_ORDER_ID,
    idempotency_key,
    idempotency_key_by_version,
    order_id_of,
    stream_id,
)
from domain.messages import Message
from tests.support.messages import updated

order_ids = st.integers(min_value=1, max_value=MAX_ORDER_ID)
SAID = replace(updated(), digest="0f2d", identity="0f2d")


@pytest.mark.parametrize(
    ("order_id", "expected"),
    [
        (1, "ca5bbacc-0000-8000-8000-000000000001"),
        (24_323_523, "ca5bbacc-0000-8000-8000-0000017325c3"),
        (2**62 - 1, "ca5bbacc-0000-8000-bfff-ffffffffffff"),
        (2**62, "ca5bbacc-0000-8001-8000-000000000000"),
        (2**63 - 1, "ca5bbacc-0000-8001-bfff-ffffffffffff"),
    ],
)
def test_the_name_of_a_stream_never_changes(order_id: int, expected: str) -> None:
    """Stored streams are found by it."""
    assert stream_id(order_id) == UUID(expected)


@given(order_ids)
@example(1)
@example(2**62 - 1)
@example(2**62)
@example(MAX_ORDER_ID)
def test_the_order_id_is_read_back_from_the_name(order_id: int) -> None:
    """A UUID of version 8, RFC 9562, from which no digit of the id is lost."""
    name = stream_id(order_id)
    assert order_id_of(name) == order_id
    assert (name.version, name.variant) == (8, "specified in RFC 4122")


@given(order_ids, order_ids)
def test_streams_lie_in_the_order_of_their_orders(one: int, other: int) -> None:
    """So that new orders are written to one end of the index, and no two share a stream."""
    assert (stream_id(one) < stream_id(other)) == (one < other)


@pytest.mark.parametrize("order_id", [0, -1, 2**63, -(2**63)])
def test_what_is_no_order_id_has_no_stream(order_id: int) -> None:
    """Just outside 1 … 2⁶³−1 is a ValueError that names the number."""
    with pytest.raises(ValueError, match=rf"^an order id is a whole number from 1 to 2\^63-1, not {order_id}$"):
        stream_id(order_id)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (1, "3075d36e-a6da-5c24-b478-3333900d3bab"),
        (2, "7f8a4e9a-a7df-5343-bd79-7600559d5823"),
        (1000, "ee7fab4b-653b-5049-ad61-1dd480247d19"),
    ],
)
def test_the_key_of_a_call_in_an_old_ledger_is_still_known(version: int, expected: str) -> None:
    """The third party remembers it."""
    assert idempotency_key_by_version(stream_id(24_323_523), version) == UUID(expected)


@pytest.mark.parametrize(
    ("call", "said", "expected"),
    [
        ("create", SAID, "7dc0332e-a6da-565b-9fc4-c559598b3a00"),
        ("update", SAID, "b0f3a63e-ee32-5a73-9555-836c5489578f"),
        ("update", replace(SAID, identity="m-1"), "4d2f781e-fe45-57a1-9863-69cd37cc0978"),
        ("update", replace(SAID, sequence=3), "fb64ba70-2607-51d6-8372-8046193aa704"),
        ("update", replace(SAID, sequence=3, identity="m-1"), "fb64ba70-2607-51d6-8372-8046193aa704"),
    ],
)
def test_the_key_of_a_call_never_changes(call: str, said: Message, expected: str) -> None:
    """The third party remembers it: the same on every attempt, in every process and store, for ever. Of two copies
    with one number, each with an identity of its own, either may come first."""
    assert idempotency_key(stream_id(24_323_523), call, said) == UUID(expected)


@given(st.data())
def test_a_key_follows_from_the_message_and_not_from_where_it_was_read(data: st.DataObject) -> None:
    """Topic, place, time of storing and replay are no part of what was said."""
    elsewhere = replace(
        SAID,
        topic=data.draw(st.text()),
        topic_id=data.draw(st.text()),
        partition=data.draw(st.integers(0, 99)),
        offset=data.draw(st.integers(0, 99)),
        timestamp_ms=data.draw(st.none() | st.integers(0, 2**40)),
        replay=data.draw(st.none() | st.text()),
        headers=(("x", "y"),),
    )
    assert idempotency_key(stream_id(1), "update", elsewhere) == idempotency_key(stream_id(1), "update", SAID)


calls = st.tuples(
    order_ids,
    st.sampled_from(["create", "update", "cancel", "complete", "correct"]),
    st.sampled_from(["d1", "d2"]),
    st.none() | st.integers(1, 3),
)


@given(calls, calls)
def test_no_two_calls_share_a_key(
    one: tuple[int, str, str, int | None], other: tuple[int, str, str, int | None]
) -> None:
    """It differs with the order, the kind of call, the content and the number."""
    keys = [
        idempotency_key(stream_id(order_id), call, replace(SAID, digest=digest, identity=digest, sequence=sequence))
        for order_id, call, digest, sequence in (one, other)
    ]
    assert (keys[0] == keys[1]) == (one == other)
