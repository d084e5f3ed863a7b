"""Reading records: headers, digest, and what is beyond measure (contract.md, section 1)."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adapters.kafka.decoder import decode
from adapters.kafka.records import Record
from adapters.kafka.wire import MAX_TEXT_LENGTH
from domain.exact_json import loads
from domain.messages import Kind, Message
from tests.support.decoding import SEED, read, refused
from tests.support.messages import ORDER_ID, payload_of, product, record, record_of, value_of

ITEMS = "orderItemsWithDiscountSummaryItems"


# Headers.


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [(b"1", 1), (b"2", 2), (b"007", 7), (b"999999999999999999", 10**18 - 1)],
)
def test_a_sequence_is_a_whole_number_from_one(sequence: bytes, expected: int) -> None:
    """In decimal text, of up to 18 digits."""
    assert read(record(SEED, headers=(("sequence", sequence),))).sequence == expected


@pytest.mark.parametrize(
    "sequence", [b"", b"0", b"00", b"-1", b"+1", b"1.0", b" 1", b"x", b"\xd9\xa1", b"\xff", b"1" * 19]
)
def test_a_sequence_that_is_none_is_a_bad_header(sequence: bytes) -> None:
    """Deciding without it would be guessing."""
    found = refused(record(SEED, headers=(("sequence", sequence),)))
    assert (found.reason, found.order_id) == ("bad_header", ORDER_ID)
    assert "sequence" in found.detail


@pytest.mark.parametrize("ce_id", [b"", b"\xff", b"x" * 257])
def test_a_ce_id_that_is_none_is_a_bad_header(ce_id: bytes) -> None:
    """Empty, too long, or not UTF-8."""
    found = refused(record(SEED, headers=(("ce_id", ce_id),)))
    assert (found.reason, found.order_id) == ("bad_header", ORDER_ID)
    assert "ce_id" in found.detail


def test_a_ce_id_is_the_identity_and_the_digest_is_where_there_is_none() -> None:
    """A header without a value counts as absent; the first of several counts."""
    assert read(record(SEED, headers=(("ce_id", "№".encode() * 256),))).identity == "№" * 256
    assert read(record(SEED, headers=(("ce_id", b"a"), ("ce_id", b"b")))).identity == "a"
    bare = read(record(SEED, headers=(("ce_id", None), ("sequence", None), ("cashback-replay", None))))
    assert (bare.identity, bare.sequence, bare.replay) == (bare.digest, None, None)


def test_a_replay_is_known_by_its_header() -> None:
    """Any bytes, bounded."""
    assert read(record(SEED, headers=(("cashback-replay", b"r-1\xff"),))).replay == "r-1ÿ"
    assert len(read(record(SEED, headers=(("cashback-replay", b"r" * 999),))).replay or "") == MAX_TEXT_LENGTH


# The digest.


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("transactionId", "other"),
        ("transactionDate", "2025-02-28T12:00:00.000000001Z"),
        ("storeNo", "other"),
        ("buyerId", "other"),
        (ITEMS, []),
        (ITEMS, [product(), product()]),
        (ITEMS, [product(unit="PIECE")]),
        (ITEMS, [product(quantity=3)]),
        (ITEMS, [product(brand=None)]),
        ("unknown", None),
    ],
)
def test_the_digest_differs_when_anything_does(member: str, value: Any) -> None:
    """Every member counts, known or not."""
    assert read(record_of(Kind.UPDATED)).digest != read(record_of(Kind.UPDATED, **{member: value})).digest


def test_the_digest_differs_between_kinds() -> None:
    """The same payload as CANCELLED and as COMPLETED are two messages."""
    assert read(record_of(Kind.CANCELLED)).digest != read(record_of(Kind.COMPLETED)).digest


def test_the_digest_is_blind_to_all_that_is_not_content() -> None:
    """Place, headers, members beside the payload, spelling of numbers and date, order of members."""
    payload = payload_of(Kind.UPDATED)
    plain = read(record(value_of(Kind.UPDATED, payload)))
    respelled = json.dumps({"payload": dict(reversed(payload.items())), "type": "UPDATED", "more": 1})
    respelled = respelled.replace(": 156,", ": 15.600e1,").replace("12:00:00.000000000Z", "14:00:00+02:00")
    other = read(record(respelled.encode(), headers=(("ce_id", b"x"), ("sequence", b"4")), offset=9, partition=5))
    assert plain.body != other.body
    assert plain.digest == other.digest


def test_of_a_member_that_stands_twice_the_last_counts() -> None:
    """For the digest, the decision and the third party's body alike."""
    value = value_of(Kind.CANCELLED, payload_of(Kind.CANCELLED)).replace(
        b'"transactionId": "t0"', b'"transactionId": "a", "transactionId": "b"'
    )
    found = read(record(value))
    assert found.transaction_id == loads(found.body)["payload"]["transactionId"] == "b"


# Numbers and nesting beyond all measure, in members that nobody looks at.


def with_stranger(literal: str) -> Record:
    value = value_of(Kind.CANCELLED, payload_of(Kind.CANCELLED, x="X"))
    return record(value.replace(b'"X"', literal.encode()))


@pytest.mark.parametrize(
    "literal",
    [
        "1" * 4300,
        "1" * 4301,
        "1" * 4301 + ".0",
        "1" * 4301 + ".5",
        "1e4300",
        "1e999999999",
        "1e99999999999999999999",
        "-1e99999999999999999999",
        "1e-99999999999999999999",
        "[" * 50 + "]" * 50,
        "[" * 600 + "]" * 600,
        '{"a":' * 600 + "1" + "}" * 600,
        "[" * 20_000 + "]" * 20_000,
        "[" + "[]," * 2000 + "[]]",
    ],
    ids=lambda literal: f"{literal[:5]}…{len(literal)}",
)
def test_what_is_let_through_can_be_read_by_every_later_reader(literal: str) -> None:
    """The body is read again to tell the third party: a failure there would stop the calls of all orders."""
    found = decode(with_stranger(literal))
    if isinstance(found, Message):
        with less_stack(500):
            loads(found.body)
    else:
        assert (found.reason, found.order_id) == ("not_json", None)


@contextmanager
def less_stack(frames: int) -> Iterator[None]:
    """As for a reader that is called from deep inside other code."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit - frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1e38", "1" + "0" * 38),
        ("1e39", "1" + "0" * 39),
        ("1.5e4299", "15" + "0" * 4298),
        ("1e4300", "10e4299"),
    ],
)
def test_even_enormous_numbers_have_one_digest_each(one: str, other: str) -> None:
    """However they are spelled."""
    assert read(with_stranger(one)).digest == read(with_stranger(other)).digest
