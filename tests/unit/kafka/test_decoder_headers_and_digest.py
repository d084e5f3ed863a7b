"""Reading records: headers, digest, and what is beyond measure (contract.md, section 1)."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from adapters.kafka.decoding.decoder import decode
from adapters.kafka.decoding.record import Headers, Record
from adapters.kafka.decoding.schema import MAX_TEXT_LENGTH
from adapters.postgres.codec import EventMapper
from domain.events import MessageEvent
from domain.exact_json import dumps, loads
from domain.messages import Kind, Message, Origin, Place
from projections.feed import Recorded
from projections.intended_calls import intended_calls
from projections.message_body import product_items
from projections.republication import republications
from tests.support.decoding import SEED, read, refused
from tests.support.messages import ORDER_ID, History, payload_of, product, record, record_of, value_of

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


# Members that stand twice.

WHOLE = value_of(Kind.CREATED, payload_of(Kind.CREATED)).decode()
TWICE = [
    ("type", '"type": "CREATED"', "type"),
    ("payload", '"payload": {}', "payload"),
    ("orderId", '"orderId": 24323523', "payload.orderId"),
    ("storeNo", '"storeNo": "54645"', "payload.storeNo"),
    ("buyerId", '"buyerId": "1"', "payload.buyerId"),
    ("transactionId", '"transactionId": "t0"', "payload.transactionId"),
    ("transactionDate", '"transactionDate": "2025-02-28T12:00:01Z"', "payload.transactionDate"),
    (ITEMS, f'"{ITEMS}": []', f"payload.{ITEMS}"),
    ("productItem", '"productItem": {}', f"payload.{ITEMS}.0.productItem"),
    ("externalProductId", '"externalProductId": "2"', f"payload.{ITEMS}.0.productItem.externalProductId"),
    ("quantity", '"quantity": 3', f"payload.{ITEMS}.0.productItem.quantity"),
    ("originalPrice", '"originalPrice": 156', f"payload.{ITEMS}.0.productItem.originalPrice"),
    ("finalTotalPrice", '"finalTotalPrice": 1', f"payload.{ITEMS}.0.productItem.finalTotalPrice"),
    ("discountedPrice", '"discountedPrice": null', f"payload.{ITEMS}.0.productItem.discountedPrice"),
]
DISGUISES = [
    ("", ""),
    ('"campaign": {"name": "a:b", "prices": [1, {"orderId": 5}]}, ', ""),
    ('"note": "a \\" quote", ', ""),
    ("", ', "note": "12\\u003a00"'),
    ('"note": "12\\u003A00\\u003a00", ', ""),
]


@pytest.mark.parametrize(("member", "twin", "path"), TWICE)
@pytest.mark.parametrize(("before", "behind"), DISGUISES)
def test_a_member_that_is_paid_by_must_stand_there_once(
    member: str, twin: str, path: str, before: str, behind: str
) -> None:
    """Of two that differ nobody can tell which one is meant; two that agree are a publisher's fault as well."""
    value = WHOLE.replace(f'"{member}"', f'{before}{twin}{behind}, "{member}"', 1)
    found = refused(record(value.encode()))
    assert (found.reason, found.order_id) == ("duplicate_member", ORDER_ID)
    assert found.detail == f"{path} stands there more than once"
    escaped = twin.replace(member, f"\\u{ord(member[0]):04x}{member[1:]}", 1)
    assert (
        refused(record(WHOLE.replace(f'"{member}"', f'{escaped}, "{member}"', 1).encode())).detail == found.detail
    )


@pytest.mark.parametrize(
    "strangers",
    [
        '"x": 1, "x": 2',
        '"x": {"orderId": 1, "orderId": 2}',
        '"x": "a:b", "x": ":", "y": [{"quantity": 1}, {"a": {"b": ":"}}]',
        '"x": "\\u003a", "x": "\\\\"',
        '"a:b": 1, "a:b": 2',
    ],
)
@pytest.mark.parametrize("place", ["type", "orderId", "productItem", "quantity"])
def test_a_member_that_we_do_not_know_may_stand_there_twice(strangers: str, place: str) -> None:
    """Whatever it holds, colons and backslashes included."""
    value = WHOLE.replace(f'"{place}"', f'{strangers}, "{place}"', 1)
    assert read(record(value.encode())).order_id == ORDER_ID


@pytest.mark.parametrize(
    ("twins", "good"), [(f'"{ITEMS}": [], "{ITEMS}": 5', True), ('"reason": "a", "reason": "b"', False)]
)
def test_a_member_is_known_where_it_counts(twins: str, *, good: bool) -> None:
    """The items of a COMPLETED are none of our business; its reason is."""
    value = value_of(Kind.COMPLETED, payload_of(Kind.COMPLETED)).decode()
    found = decode(record(value.replace('"orderId"', f'{twins}, "orderId"').encode()))
    assert isinstance(found, Message) is good


@pytest.mark.parametrize("member", ["id", "sequence", "data"])
def test_members_of_a_cloudevent_must_stand_there_once(member: str) -> None:
    """In structured mode they are what its headers are in binary mode."""
    event = {"specversion": "1.0", "id": "m-1", "source": "/o", "type": "x", "sequence": 1}
    value = json.dumps(event)[:-1] + ', "data": ' + WHOLE + "}"
    headers: Headers = (("content-type", b"application/cloudevents+json"),)
    assert read(record(value.encode(), headers=headers)).identity == "m-1"
    twin = value.replace(f'"{member}"', f'"{member}": {{}}, "{member}"', 1).encode()
    assert refused(record(twin, headers=headers)).detail == f"{member} stands there more than once"


# Where a copy's message was first received.


def test_an_origin_is_read_from_its_header() -> None:
    """The message keeps the place that it had."""
    found = read(record(SEED, headers=(("cashback-origin", b"orders@a%2Fb/3/1042/1740749766027"),), offset=7))
    assert found.origin == Origin("orders", "a/b", 3, 1042, 1_740_749_766_027)
    assert found.place == Place("orders@a/b/3", 1042)
    assert read(record(SEED, headers=(("cashback-origin", None),))).origin is None


@pytest.mark.parametrize(
    "origin",
    [
        *(
            b"",
            b"orders",
            b"orders@a/3",
            b"orders@a/3/5",
            b"orders@a/3/5/",
            b"orders@a/3/5/6/7",
            b"orders@a/03/5/6",
        ),
        *(b"orders@a/-3/5/6", b"orders@a/3/-5/6", b"orders@a/3/5/x", b"orders@a/2147483648/5/6", b"o@a/3/5/6\n"),
        *(b"orders@a/3/9223372036854775808/6", b"o@a/3/5/9223372036854775808", b"o%2@a/3/5/6", b"o%ff@a/3/5/6"),
        *(b"o%61@a/3/5/6", b"o%2f@a/3/5/6", b"\xff@a/3/5/6", "\u0663@a/3/5/6".encode(), b"o@a/3/5/-0"),
    ],
)
def test_an_origin_that_is_none_is_a_bad_header(origin: bytes) -> None:
    """Its place would be a guess."""
    found = refused(record(SEED, headers=(("cashback-origin", origin),)))
    assert (found.reason, found.order_id) == ("bad_header", ORDER_ID)
    assert "cashback-origin" in found.detail


def test_a_copy_keeps_the_origin_that_it_had() -> None:
    """However often it is published again; a copy that never said where it came from is given none."""
    first = read(record(SEED, headers=(("sequence", b"1"),), offset=5, partition=2))
    (again,) = republications(History(first).events, [first.topic])
    copy = read(record(SEED, headers=again.headers("r-1"), offset=9))
    assert (copy.origin, copy.sequence) == (Origin(first.topic, first.topic_id, 2, 5, first.timestamp_ms), 1)
    (third,) = republications(History(copy).events, [first.topic])
    assert third.headers("r-1") == again.headers("r-1")
    (unknown,) = republications(
        History(read(record(SEED, headers=(("cashback-replay", b"old"),)))).events, [first.topic]
    )
    assert unknown.headers("r-2") == (("cashback-replay", b"r-2"),)


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
        assert (found.reason, found.order_id) == ("not_json", ORDER_ID)
        assert "[" * 600 in literal or '{"a":' * 600 in literal or "[" * 20_000 in literal


STRANGERS = [
    *('"\\ud800"', '"\\udfff\\ud800"', '"\\ud83d\\ude00\\ud83d"', '"\\\\ud800\\ud800"', '{"\\ud800": "\\udc00"}'),
    *('"\\u0000"', '{"\\u0000": "\\u0000"}', "1" * 5000, "-" + "1" * 5000, "1e99999999999999999999"),
    *(
        "-1e-99999999999999999999",
        "[" * 90 + "]" * 90,
        '{"a": ' * 90 + "1" + "}" * 90,
        "-0.0",
        '"\\ud800", "x": "\\ud801"',
    ),
]


@pytest.mark.parametrize("literal", STRANGERS, ids=lambda literal: f"{literal[:12]}…{len(literal)}")
@pytest.mark.parametrize("place", ["type", "orderId", "productItem", "quantity"])
def test_a_member_that_we_do_not_know_may_hold_anything(literal: str, place: str) -> None:
    """It quarantines nothing, stays in the body as it came, and can be read by all who come later."""
    value = WHOLE.replace(f'"{place}"', f'"stranger": {literal}, "{place}"', 1).encode()
    found = read(record(value))
    assert (found.body, found.cashback) == (value, Decimal(6))
    assert read(record(value.replace(b", ", b" , "))).digest == found.digest
    other = value.replace(b'"stranger": ', b'"stranger": [0], "ignored": ')
    assert (read(record(other)).digest == found.digest) is (place == "type")
    again = EventMapper().to_domain_event(EventMapper().to_stored_event(History(found).events[0]))
    assert isinstance(again, MessageEvent)
    assert again.message == found
    (item,) = product_items(again.message)
    assert loads(dumps(loads(bytes(item))))["quantity"] == 2
    (call,) = intended_calls([Recorded(1, again)])
    assert loads(call.body)["cashbackAmount"] == 6


@pytest.mark.parametrize("member", ["storeNo", "buyerId", "transactionId", "externalProductId", "unit"])
def test_half_a_surrogate_pair_is_no_text(member: str) -> None:
    """In a member that we know it can't be stored, nor told to anybody."""
    value = re.sub(f'"{member}": "[^"]*"', lambda found: f'"{member}": "\\ud800"', WHOLE)
    found = refused(record(value.encode()))
    assert (found.reason, found.order_id, member in found.detail) == ("bad_payload", ORDER_ID, True)


def test_messages_that_differ_in_half_a_surrogate_pair_are_two() -> None:
    """Their digests must differ, and from that of a text that looks alike."""
    literals = [
        '"\\ud800"',
        '"\\ud801"',
        '"\\u00ed\\u00a0\\u0080"',
        '"\\ufffd"',
        '{"\\ud800": 1}',
        '{"\\ud801": 1}',
    ]
    assert len({read(with_stranger(literal)).digest for literal in literals}) == len(literals)


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
