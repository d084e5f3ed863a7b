"""Names of streams and calls."""

from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.identifiers import MAX_ORDER_ID, idempotency_key, order_id_of, stream_id

order_ids = st.integers(min_value=1, max_value=MAX_ORDER_ID)


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
    with pytest.raises(ValueError, match=str(order_id)):
        stream_id(order_id)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (1, "3075d36e-a6da-5c24-b478-3333900d3bab"),
        (2, "7f8a4e9a-a7df-5343-bd79-7600559d5823"),
        (1000, "ee7fab4b-653b-5049-ad61-1dd480247d19"),
    ],
)
def test_the_key_of_a_call_never_changes(version: int, expected: str) -> None:
    """The third party remembers it: the same on every attempt, in every process, for ever."""
    assert idempotency_key(stream_id(24_323_523), version) == UUID(expected)


@given(st.tuples(order_ids, st.integers(1, 10_000)), st.tuples(order_ids, st.integers(1, 10_000)))
def test_no_two_calls_share_a_key(one: tuple[int, int], other: tuple[int, int]) -> None:
    """It depends on the order and on the version, and on nothing else."""
    keys = [idempotency_key(stream_id(order_id), version) for order_id, version in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)
