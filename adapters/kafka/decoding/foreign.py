"""What a value that isn't JSON looks like, for the person who finds it in quarantine."""

from typing import Final

from projections.message_body import REGISTRY_PREFIX_BYTES, json_of

_ADVICE: Final = "publish JSON, as Spring's JsonSerializer or the registry's JSON Schema serializer writes it"
_VARINT: Final = 0
_EIGHT_BYTES: Final = 1
_COUNTED: Final = 2
_FOUR_BYTES: Final = 5
_SIZES: Final = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
_MAX_VARINT_BYTES: Final = 10


def describe(value: bytes) -> str | None:
    """None where nothing is known."""
    content = json_of(value)
    if content is value or not content or content.lstrip()[:1] in {b"{", b"["}:
        return None
    schema = int.from_bytes(value[1:REGISTRY_PREFIX_BYTES], "big")
    name = "a Protobuf message" if _is_protobuf(content) else "an Avro record"
    return f"{name} of schema {schema}: {_ADVICE}"


def _is_protobuf(content: bytes) -> bool:
    """The path to the message's type, most often a single zero, then its fields to the last byte."""
    count, position = _varint(content, 0)
    if count // 2 > len(content):  # each step takes a byte; a count read from chance bytes may be beyond counting
        return False
    for _ in range(count // 2):  # zigzag: a count isn't negative
        _, position = _varint(content, position)
    while 0 <= position < len(content):
        tag, position = _varint(content, position)
        kind, field = tag & 7, tag >> 3
        if position < 0 or not field:
            return False
        if kind == _VARINT:
            _, position = _varint(content, position)
        elif kind == _COUNTED:
            size, start = _varint(content, position)
            position = start + size if start >= 0 else start
        elif kind in _SIZES:
            position += _SIZES[kind]
        else:
            return False
    return position == len(content)


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """The number and the position behind it; −1 if there is none."""
    number = 0
    for index, octet in enumerate(content[position : position + _MAX_VARINT_BYTES] if position >= 0 else b""):
        number |= (octet & 0x7F) << 7 * index
        if octet < 0x80:  # noqa: PLR2004 - the mark of the last byte
            return number, position + index + 1
    return 0, -1
