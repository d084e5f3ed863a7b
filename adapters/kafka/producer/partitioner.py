"""Where Java's default partitioner puts a key (contract.md, section 1).

The producer leaves the choice to librdkafka (`partitioner=murmur2_random`), which agrees with this. This copy
tells where a message would go without sending it.
"""

_MASK = 0xFFFFFFFF
_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_WORD_BYTES = 4


def murmur2(data: bytes) -> int:
    """`org.apache.kafka.common.utils.Utils.murmur2`: a signed 32-bit number."""
    whole = len(data) - len(data) % _WORD_BYTES
    digest = (_SEED ^ len(data)) & _MASK
    for start in range(0, whole, _WORD_BYTES):
        word = int.from_bytes(data[start : start + _WORD_BYTES], "little")
        word = (word * _MULTIPLIER) & _MASK
        word ^= word >> 24
        word = (word * _MULTIPLIER) & _MASK
        digest = ((digest * _MULTIPLIER) & _MASK) ^ word
    if whole < len(data):
        digest ^= int.from_bytes(data[whole:], "little")
        digest = (digest * _MULTIPLIER) & _MASK
    digest ^= digest >> 13
    digest = (digest * _MULTIPLIER) & _MASK
    digest ^= digest >> 15
    return digest - (1 << 32) if digest >> 31 else digest


def partition_for(key: bytes, partitions: int) -> int:
    """The partition of `key` on a topic of so many partitions; a message without a key goes anywhere."""
    if partitions < 1:
        raise ValueError(f"a topic has at least one partition, not {partitions}")
    return (murmur2(key) & 0x7FFFFFFF) % partitions  # Utils.toPositive clears the sign, it doesn't negate
