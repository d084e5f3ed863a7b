"""Publishes header names that no well-behaved client can send: straight through librdkafka's C API."""

import ctypes
from collections.abc import Iterable
from pathlib import Path

import confluent_kafka

_PRODUCER, _END, _TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _HEADERS = 0, 0, 1, 3, 4, 5, 7, 10
_COPY = 2
_FLUSH_MS = 30_000
_ERROR_BYTES = 512


def publish_with_headers(
    bootstrap: str, topic: str, key: bytes, value: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    """To partition 0, and confirmed."""
    library = _library()
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    config = ctypes.c_void_p(library.rd_kafka_conf_new())
    done = library.rd_kafka_conf_set(config, b"bootstrap.servers", bootstrap.encode(), error, _ERROR_BYTES)
    assert done == 0, error.value
    producer = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, config, error, _ERROR_BYTES))
    assert producer, error.value
    try:
        made = ctypes.c_void_p(library.rd_kafka_headers_new(ctypes.c_size_t(4)))
        for name, content in headers:
            sizes = ctypes.c_ssize_t(len(name)), ctypes.c_ssize_t(len(content))
            assert library.rd_kafka_header_add(made, name, sizes[0], content, sizes[1]) == 0
        refused = library.rd_kafka_producev(
            producer,
            *(_TOPIC, ctypes.c_char_p(topic.encode())),
            *(_PARTITION, ctypes.c_int32(0)),
            *(_VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
            *(_KEY, ctypes.c_char_p(key), ctypes.c_size_t(len(key))),
            *(_FLAGS, _COPY),
            *(_HEADERS, made),
            _END,
        )
        assert refused == 0
        assert library.rd_kafka_flush(producer, _FLUSH_MS) == 0
    finally:
        library.rd_kafka_destroy(producer)


def _library() -> ctypes.CDLL:
    """The one in the wheel of confluent-kafka."""
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(folder.glob("librdkafka-*"))))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, name).restype = ctypes.c_void_p
    return library
