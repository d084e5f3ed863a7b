"""The partitioner agrees with Java's, to the bit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.kafka.producer.partitioner import murmur2, partition_for

# From Apache Kafka's own UtilsTest.testMurmur2.
JAVA_VECTORS = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("data", "expected"), JAVA_VECTORS)
def test_murmur2_gives_what_java_gives(data: bytes, expected: int) -> None:
    """Kafka's own test vectors come out, signs included."""
    assert murmur2(data) == expected


def test_a_negative_digest_loses_its_sign_bit_and_not_its_sign() -> None:
    """`Utils.toPositive` masks; taking the absolute value would choose other partitions."""
    assert murmur2(b"21") == -973932308
    assert partition_for(b"21", 12) == (-973932308 & 0x7FFFFFFF) % 12
    assert partition_for(b"21", 12) != 973932308 % 12


@given(st.binary(max_size=64), st.integers(1, 1_000))
def test_every_key_has_a_partition_of_the_topic(key: bytes, partitions: int) -> None:
    """Any bytes, the empty key too, land on one of the topic's partitions."""
    assert -(2**31) <= murmur2(key) < 2**31
    assert 0 <= partition_for(key, partitions) < partitions


def test_order_ids_spread_over_all_partitions() -> None:
    """Consecutive order ids don't crowd on a few partitions."""
    used = {partition_for(str(order_id).encode(), 12) for order_id in range(24_323_523, 24_323_523 + 500)}
    assert used == set(range(12))


@pytest.mark.parametrize("partitions", [0, -1])
def test_a_topic_without_partitions_is_refused(partitions: int) -> None:
    """Zero or fewer partitions is a ValueError."""
    with pytest.raises(ValueError, match="at least one partition"):
        partition_for(b"1", partitions)
