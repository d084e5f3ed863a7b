"""Reading records: what is valid, what is not, and what is just turning invalid (contract.md, section 1)."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict

from adapters.kafka.decoding.decoder import Unreadable, decode
from adapters.kafka.decoding.record import Headers, Record
from adapters.kafka.decoding.schema import MAX_REASON_LENGTH, MAX_TEXT_LENGTH
from domain.exact_json import loads
from domain.identifiers import MAX_ORDER_ID
from domain.instants import parse_instant
from domain.messages import Kind, Message
from domain.money import Rounding, Till
from projections.message_body import product_items
from projections.republication import republications
from tests.support.decoding import SEED, read, refused
from tests.support.messages import ORDER_ID, History, payload_of, product, record, record_of, value_of

ITEMS = "orderItemsWithDiscountSummaryItems"


def with_literal(literal: str, member: str = "originalPrice", kind: Kind = Kind.CREATED) -> Record:
    """A valid record with the literal in the place of one number of its product."""
    value = value_of(kind, payload_of(kind, items=[product(**{member: "LITERAL"})]))
    return record(value.replace(b'"LITERAL"', literal.encode()))


# What is valid.


def test_the_example_of_the_article_is_read() -> None:
    """Every member of it, and its cashback is 6."""
    headers: Headers = (("ce_id", b"m-1"), ("sequence", b"1"), ("traceparent", b"00-\xff"), ("empty", None))
    source = record(SEED, headers=headers, offset=42, partition=3, timestamp_ms=1_740_749_766_027)
    found = read(source)
    assert {name: value for name, value in asdict(found).items() if name not in {"digest", "body"}} == {
        "kind": Kind.CREATED,
        "order_id": 24_323_523,
        "transaction_id": "5661042b-cc39-4567-a264-265943097139",
        "transaction_date": "2025-02-28T13:36:06.026732837Z",
        "happened_at_ns": 1_740_749_766_026_732_837,
        "identity": "m-1",
        "sequence": 1,
        "store_no": "54645",
        "buyer_id": "1234",
        "reason": None,
        "cashback": Decimal(6),
        "is_negative": False,
        "topic": "order-cashback-promotion",
        "topic_id": "topic-1",
        "partition": 3,
        "offset": 42,
        "timestamp_ms": 1_740_749_766_027,
        "replay": None,
        "origin": None,
        "key": None,
        "is_implausible": False,
        "headers": (("ce_id", "m-1"), ("sequence", "1"), ("traceparent", "00-ÿ"), ("empty", None)),
        "payload_path": ("payload",),
    }
    assert found.body == SEED


def test_the_digest_of_a_message_never_changes() -> None:
    """Repeats are known by it, also those of messages that were stored years ago."""
    assert read(record(SEED)).digest == "b0037bd2dc535696117f97c6d5cc43e7"


def test_what_the_decoder_makes_is_a_message_like_any_other() -> None:
    """Nothing checks the types as it is made, and so they must be right."""
    found = read(record(SEED, headers=(("x", b"\xff"),)))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Message) == found


@pytest.mark.parametrize("kind", [Kind.CANCELLED, Kind.COMPLETED])
def test_an_end_needs_no_more_than_order_transaction_and_date(kind: Kind) -> None:
    """Store, buyer and reason are optional, and may be null."""
    extras: list[dict[str, Any]] = [{}, {"storeNo": None, "buyerId": None, "reason": None}]
    for extra in extras:
        found = read(record_of(kind, **extra))
        assert (found.kind, found.store_no, found.buyer_id, found.reason, found.cashback) == (
            kind,
            None,
            None,
            None,
            None,
        )
    found = read(record_of(kind, storeNo="5", buyerId="7", reason="out of stock"))
    assert (found.store_no, found.buyer_id, found.reason) == ("5", "7", "out of stock")


def test_an_updates_list_may_be_empty() -> None:
    """Nothing left to earn."""
    found = read(record_of(Kind.UPDATED, items=[]))
    assert (found.cashback, found.is_negative) == (Decimal(0), False)


def test_a_creates_list_may_not_be_empty() -> None:
    """An order without goods has no cashback to create."""
    found = refused(record_of(Kind.CREATED, items=[]))
    assert (found.reason, found.order_id) == ("bad_payload", ORDER_ID)


def test_members_that_we_do_not_know_are_kept_and_no_error() -> None:
    """At every level; the body comes out as it came in."""
    payload = payload_of(Kind.CREATED, unknown={"a": [1.50]}, items=[product(brand=None) | {"shelf": 4}])
    value = json.dumps({"payload": payload, "type": "CREATED", "version": 2}).encode()
    assert read(record(value)).body == value


@pytest.mark.parametrize(
    ("items", "cashback", "negative"),
    [
        ([(2, 156, 306)], "6", False),
        ([("1.255", "19.99", "20.08")], "5.01", False),
        ([("0.333", "3.33", "1.11"), ("0.334", "3.34", "1.12")], "0", False),
        ([(1, 5, 5)], "0", False),
        ([(1, 5, "5.01")], "0", False),
        ([(1, 5, "5.02")], "-0.02", True),
        ([(1, 5, "5.02"), (1, 100, 1)], "98.98", True),
        ([("0.1", "0.1", 0), ("0.2", "0.1", 0)], "0.03", False),
        ([("1e-30", "1e-30", 0)], "0", False),
    ],
)
def test_the_cashback_is_the_tills_and_a_negative_item_shows(
    items: list[tuple[Any, ...]], cashback: str, *, negative: bool
) -> None:
    """originalPrice × quantity as the till rounds it, less finalTotalPrice, summed; one item that takes more than
    the till's rounding is enough."""
    products = [product(*(f"Q{number}" for number in item)) for item in items]
    value = value_of(Kind.CREATED, payload_of(Kind.CREATED, items=products))
    for literal in (str(number) for item in items for number in item):
        value = value.replace(f'"Q{literal}"'.encode(), literal.encode())
    found = read(record(value))
    assert (found.cashback, found.is_negative) == (Decimal(cashback), negative)


@pytest.mark.parametrize(
    ("till", "cashback"),
    [(Till(), "5.01"), (Till(rounding=Rounding.DOWN), "5.00"), (Till("KWD"), "5.007"), (Till("JPY"), "4")],
)
def test_the_till_is_that_of_the_settings(till: Till, cashback: str) -> None:
    """Also where the models must read the message: 1.255 × 19.99 is 25.08745, of which 20.08 is paid."""
    for literal in ("20.08", '"20.08"'):
        item = product("Q1.255", "Q19.99", "QF")
        value = value_of(Kind.CREATED, payload_of(Kind.CREATED, items=[item]))
        for name, number in (("Q1.255", "1.255"), ("Q19.99", "19.99"), ("QF", literal)):
            value = value.replace(f'"{name}"'.encode(), number.encode())
        found = decode(record(value), till=till)
        assert isinstance(found, Message)
        assert found.cashback == Decimal(cashback)


@pytest.mark.parametrize(
    ("discounted", "final", "implausible"),
    [
        (153, 306, False),
        (153, 153, False),
        (153, "152.99", True),
        (153, 612, False),
        (153, "612.01", True),
        (153, 0, True),
        ('"153"', '"152.99"', True),
        (None, 0, False),
        (0, 0, False),
    ],
)
def test_prices_that_contradict_each_other_show(discounted: Any, final: Any, *, implausible: bool) -> None:
    """Of 2 × 153: less than half, or more than double. One item is enough, and the amount is as it is."""
    item = product(final="FINAL", discountedPrice="DISCOUNTED")
    value = value_of(Kind.UPDATED, payload_of(Kind.UPDATED, items=[product(), item, product()]))
    shown = "null" if discounted is None else str(discounted)
    value = value.replace(b'"FINAL"', str(final).encode()).replace(b'"DISCOUNTED"', shown.encode())
    assert read(record(value)).is_implausible is implausible


# What is not.


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no_value"),
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"null", "not_json"),
        (b"[]", "not_json"),
        (b'"CREATED"', "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"NaN", "not_json"),
        (b"[" * 10_000, "not_json"),
        (b"{}", "unknown_type"),
        (b'{"type":null,"payload":{}}', "unknown_type"),
        (b'{"type":"created","payload":{}}', "unknown_type"),
        (b'{"type":"MOVED","payload":{}}', "unknown_type"),
        (b'{"type":["CREATED"],"payload":{}}', "unknown_type"),
        (b'{"type":"CREATED"}', "bad_payload"),
        (b'{"type":"CREATED","payload":[]}', "bad_payload"),
        (b'{"type":"CREATED","payload":"{}"}', "bad_payload"),
        (b'{"type":"CANCELLED","payload":{}}', "no_order_id"),
    ],
)
def test_what_is_no_message_has_a_named_reason(value: bytes | None, reason: str) -> None:
    """And a detail for a person, and the order that the key names, if it names one."""
    found = refused(record(value))
    assert found.reason == reason
    assert found.detail
    assert found.order_id == ORDER_ID
    assert refused(record(value, key=b"order-5")) == Unreadable(found.reason, found.detail)


def test_a_message_may_be_as_large_as_the_limit() -> None:
    """A byte more is too large, and isn't even parsed."""
    assert isinstance(decode(record(SEED), max_message_bytes=len(SEED)), Message)
    found = refused(record(SEED), max_message_bytes=len(SEED) - 1)
    assert (found.reason, found.order_id) == ("too_large", ORDER_ID)
    assert str(len(SEED)) in found.detail


@pytest.mark.parametrize(
    ("order_id", "known"),
    [
        (0, None),
        (-1, None),
        (MAX_ORDER_ID + 1, None),
        ("5", 5),
        ("05", None),
        ("5.0", None),
        (" 5", None),
        ("", None),
        ("\u0665", None),
        (str(MAX_ORDER_ID + 1), None),
        (5.0, 5),
        (5.5, None),
        (None, None),
        (True, None),
    ],
)
def test_an_order_id_is_a_whole_number_within_63_bits(order_id: Any, known: int | None) -> None:
    """Nothing else; 5.0 is the number 5, as JSON has it, and it may stand in quotes as the key has it."""
    source = record(value_of(Kind.CREATED, payload_of(Kind.CREATED) | {"orderId": order_id}), key=b"5")
    if known is not None:
        assert read(source).order_id == known
        return
    found = refused(source)
    assert (found.reason, found.order_id) == ("no_order_id", 5)


@pytest.mark.parametrize("order_id", [1, MAX_ORDER_ID])
def test_the_least_and_the_greatest_order_id_are_read(order_id: int) -> None:
    """1 … 2⁶³−1."""
    assert read(record_of(Kind.CREATED, order_id=order_id)).order_id == order_id


@pytest.mark.parametrize("key", [b"", b"0%d" % ORDER_ID, b" %d" % ORDER_ID, b"1", b"\xff", b"+%d" % ORDER_ID])
def test_a_key_that_is_not_the_order_id_is_refused(key: bytes) -> None:
    """Such a message may lie on the wrong partition."""
    found = refused(record(SEED, key=key))
    assert (found.reason, found.order_id) == ("key_mismatch", ORDER_ID)


def test_a_message_without_a_key_is_refused() -> None:
    """Its partition has nothing to do with its order."""
    found = refused(record(SEED, key=None))
    assert (found.reason, found.order_id) == ("key_missing", ORDER_ID)


@pytest.mark.parametrize("member", ["storeNo", "buyerId", "transactionId"])
@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("", True),
        ("x" * MAX_TEXT_LENGTH, True),
        ("x" * (MAX_TEXT_LENGTH + 1), False),
        ("a\x00b", False),
        (None, False),
        (5, False),
    ],
)
def test_texts_are_bounded_and_can_be_stored(member: str, text: Any, *, good: bool) -> None:
    """Up to 256 characters, without U+0000, which PostgreSQL can't store as text; no number, no null."""
    found = decode(record_of(Kind.UPDATED, **{member: text}))
    assert isinstance(found, Message) == good
    if isinstance(found, Unreadable):
        assert (found.reason, found.order_id) == ("bad_payload", ORDER_ID)
        assert member in found.detail


@pytest.mark.parametrize(
    ("reason", "good"), [("x" * MAX_REASON_LENGTH, True), ("x" * (MAX_REASON_LENGTH + 1), False), ("\x00", False)]
)
def test_a_reason_may_be_longer(reason: str, *, good: bool) -> None:
    """A sentence or two, but bounded."""
    assert isinstance(decode(record_of(Kind.CANCELLED, reason=reason)), Message) == good


@pytest.mark.parametrize("member", ["orderId", "transactionId", "transactionDate", "storeNo", "buyerId", ITEMS])
@pytest.mark.parametrize("kind", [Kind.CREATED, Kind.UPDATED])
def test_a_member_that_is_missing_is_named(kind: Kind, member: str) -> None:
    """All are needed on CREATED and UPDATED."""
    payload = payload_of(kind)
    del payload[member]
    found = refused(record(value_of(kind, payload)))
    expected = {"orderId": "no_order_id", "transactionDate": "bad_date"}.get(member, "bad_payload")
    assert found.reason == expected
    assert f"payload.{member}" in found.detail


@pytest.mark.parametrize(
    "member", [name for name in product()["productItem"] if name not in {"discountedPrice", "vatRate"}]
)
def test_a_member_that_a_product_lacks_is_named(member: str) -> None:
    """With the way to it."""
    item = product()
    del item["productItem"][member]
    found = refused(record_of(Kind.CREATED, items=[product(), item]))
    assert found.reason == ("bad_payload" if member in {"externalProductId", "unit"} else "bad_amount")
    assert f"payload.{ITEMS}.1.productItem.{member}" in found.detail


@pytest.mark.parametrize("member", ["quantity", "originalPrice", "discountedPrice", "finalTotalPrice", "vatRate"])
@pytest.mark.parametrize(
    ("literal", "good"),
    [
        ("1", True),
        ("1.00", True),
        ("1e2", True),
        ("142.8571428571428571428571428571429", True),
        ("156." + "0" * 40, True),
        ("156." + "0" * 40 + "1", False),
        ("1e-40", True),
        ("1e-41", False),
        ("9" * 80, True),
        ("9" * 81, False),
        ("1e40", True),
        ("1e81", False),
        ("1e999999999", False),
        ("1e99999999999999999999", False),
        ("-0.01", False),
        ("-1", False),
        ('"1"', True),
        ('"19.990"', True),
        ('"1.5E+2"', True),
        ('"1e99999999999999999999"', False),
        ('"-1"', False),
        ('"+1"', False),
        ('" 1"', False),
        ('"1 "', False),
        ('"01"', False),
        ('"1."', False),
        ('".5"', False),
        ('"1,5"', False),
        ('"1_000"', False),
        ('"\\u0661"', False),
        ('"NaN"', False),
        ('"Infinity"', False),
        ('""', False),
        ('"1\\n"', False),
        ("true", False),
        ("[]", False),
        ("NaN", False),
    ],
)
def test_an_amount_is_a_number_that_can_be_calculated_exactly(member: str, literal: str, *, good: bool) -> None:
    """Within the limits of money.py. In quotes it must be what it could be without them."""
    found = decode(with_literal(literal, member))
    assert isinstance(found, Message) == good, found
    if isinstance(found, Unreadable):
        assert found.reason == ("not_json" if literal == "NaN" else "bad_amount")


@pytest.mark.parametrize(
    ("member", "good"), [("quantity", False), ("originalPrice", True), ("finalTotalPrice", True)]
)
@pytest.mark.parametrize("literal", ["0", "0.00", "-0", "-0.0", "0e5"])
def test_a_price_may_be_zero_and_a_quantity_may_not(member: str, literal: str, *, good: bool) -> None:
    """Nobody buys nothing; something may be free."""
    assert isinstance(decode(with_literal(literal, member, Kind.UPDATED)), Message) or not good


@pytest.mark.parametrize("member", ["discountedPrice", "vatRate"])
def test_discounted_price_and_vat_rate_may_be_null_or_missing(member: str) -> None:
    """Nothing is calculated with them; the others may not."""
    without = product()
    del without["productItem"][member]
    for item in (without, product(**{member: None})):
        assert read(record_of(Kind.CREATED, items=[item])).cashback == Decimal(6)
    for other in ("quantity", "originalPrice", "finalTotalPrice"):
        assert refused(with_literal("null", other)).reason == "bad_amount"


def test_numbers_in_quotes_reach_the_third_party_as_they_came() -> None:
    """And earn what they earn without quotes."""
    item = product("2", "156.00", "306", discountedPrice="153", vatRate="1")
    found = read(record_of(Kind.CREATED, items=[item]))
    assert found.cashback == Decimal(6)
    assert [loads(bytes(each)) for each in product_items(found)] == [item["productItem"]]


@pytest.mark.parametrize(
    "date",
    [
        *("", "2025-02-28", "yesterday", True, None, {}, [], "2025-02-29T00:00:00Z", "9999-01-01T00:00:00Z"),
        *("1740749766", 100_000_000_000_000, 99_999_999_999, 1.5e18, "2025-02-28T13:36:06", [2025, 2, 28, 13, 36]),
    ],
)
def test_a_date_that_cannot_be_read_is_named(date: Any) -> None:
    """The order is known all the same."""
    found = refused(record_of(Kind.COMPLETED, transactionDate=date))
    assert (found.reason, found.order_id) == ("bad_date", ORDER_ID)
    assert "payload.transactionDate" in found.detail


def test_a_date_may_have_an_offset() -> None:
    """The instant counts, and the text is kept."""
    found = read(record_of(Kind.COMPLETED, transactionDate="2025-02-28T15:36:06.026732837+02:00"))
    assert found.happened_at_ns == 1_740_749_766_026_732_837
    assert found.transaction_date == "2025-02-28T15:36:06.026732837+02:00"


@pytest.mark.parametrize(
    ("literal", "date"),
    [
        ("1740749766.026732837", "2025-02-28T13:36:06.026732837Z"),
        ("1.740749766026732837E9", "2025-02-28T13:36:06.026732837Z"),
        ("1740749766.000000000", "2025-02-28T13:36:06.000000000Z"),
        ("1740749766", "2025-02-28T13:36:06.000000000Z"),
        ("1740749766026", "2025-02-28T13:36:06.026000000Z"),
        ('"2025-02-28T16:36:06.026+0300"', "2025-02-28T13:36:06.026000000Z"),
        ('"2025-02-28T13:36Z"', "2025-02-28T13:36:00.000000000Z"),
        ('"2025-02-28T16:36:06.026732837+03:00[Europe/Istanbul]"', "2025-02-28T13:36:06.026732837Z"),
    ],
)
@pytest.mark.parametrize("kind", [Kind.CREATED, Kind.COMPLETED])
def test_what_jvm_serializers_make_of_an_instant_is_read(literal: str, date: str, kind: Kind) -> None:
    """All nine digits are kept, and the third party is told in RFC 3339. The same instant is the same message."""
    value = value_of(kind, payload_of(kind, transactionDate="DATE"))
    found = read(record(value.replace(b'"DATE"', literal.encode())))
    assert (found.transaction_date, found.happened_at_ns) == (date, parse_instant(date))
    assert found.digest == read(record(value.replace(b"DATE", date.encode()))).digest


@pytest.mark.parametrize(
    "date", ["2025-02-28T13:36:06.026732837", "2025-02-28", [2025, 2, 28, 13, 36, 6, 26_732_837]]
)
def test_a_date_without_an_offset_says_what_it_is(date: Any) -> None:
    """Whose midnight it is nobody can tell."""
    found = refused(record_of(Kind.COMPLETED, transactionDate=date))
    assert (found.reason, found.order_id) == ("bad_date", ORDER_ID)
    assert found.detail.startswith("payload.transactionDate: a local date without an offset: ")


# Keys.


@pytest.mark.parametrize(
    ("key", "order_id"),
    [
        (b'"24323523"', ORDER_ID),
        (ORDER_ID.to_bytes(8, "big"), ORDER_ID),
        (ORDER_ID.to_bytes(4, "big"), ORDER_ID),
        (MAX_ORDER_ID.to_bytes(8, "big"), MAX_ORDER_ID),
        (b"1234", 0x31323334),
        (b"12345678", 0x3132333435363738),
    ],
)
def test_a_key_may_be_what_other_serializers_make_of_the_order_id(key: bytes, order_id: int) -> None:
    """It is kept, so that a copy lands on the same partition. The payload decides what its bytes mean."""
    payload = payload_of(Kind.CREATED, order_id=order_id)
    found = read(record(value_of(Kind.CREATED, payload), key=key))
    assert (found.order_id, (found.key or "").encode("latin-1")) == (order_id, key)
    (again,) = republications(History(found).events, [found.topic])
    assert again.key == key


@pytest.mark.parametrize("order_id", [1234, 12_345_678])
def test_digits_that_are_the_order_id_are_its_decimal(order_id: int) -> None:
    """Also where there are four or eight of them."""
    found = read(record_of(Kind.CREATED, order_id=order_id))
    assert (found.order_id, found.key) == (order_id, None)


@pytest.mark.parametrize(
    "key",
    [
        *(b'"24323523', b"'24323523'", b'"024323523"', b'""', b"\x00" * 8, ORDER_ID.to_bytes(8, "little")),
        *(ORDER_ID.to_bytes(5, "big"), ORDER_ID.to_bytes(16, "big"), (ORDER_ID + 1).to_bytes(8, "big")),
        *(b"order-24323523", b"24323523.0", b"2.4323523E7"),
    ],
)
def test_a_key_in_another_form_is_refused(key: bytes) -> None:
    """By exact rules, never by guess."""
    found = refused(record(SEED, key=key))
    assert (found.reason, found.order_id) == ("key_mismatch", ORDER_ID)


@pytest.mark.parametrize(
    ("key", "order_id"),
    [
        (b"24323523", ORDER_ID),
        (b'"24323523"', ORDER_ID),
        (ORDER_ID.to_bytes(8, "big"), ORDER_ID),
        (ORDER_ID.to_bytes(4, "big"), ORDER_ID),
        (b"99999999999999999999", None),
        (b"9999999999999999999", None),
        (b"\x00" * 8, None),
        (b"tom@shop", None),
        ("caf\u00e9".encode("latin-1"), None),
        (b"\xff" * 8, None),
        (b"shop", None),
        (b"order-5", None),
        (None, None),
    ],
)
def test_of_what_cannot_be_read_the_key_may_tell_the_order(key: bytes | None, order_id: int | None) -> None:
    """Eight bytes that could as well be a text say nothing."""
    assert refused(record(b"", key=key)).order_id == order_id


# A schema registry's serializer.


def test_json_behind_a_schemas_id_is_read() -> None:
    """The digest is that of the JSON; what is stored, and published again, has all bytes."""
    value = b"\x00\x00\x00\x00\x07" + SEED
    found = read(record(value))
    assert (found.body, found.digest) == (value, read(record(SEED)).digest)
    assert [loads(bytes(each))["externalProductId"] for each in product_items(found)] == ["67867"]
    (again,) = republications(History(found).events, [found.topic])
    assert again.message.body == value


@pytest.mark.parametrize(
    ("content", "looks_like"),
    [
        (b"\x86\xf3\xb2\x17\x0a54645\x02\x00", "an Avro record of schema 7: "),
        (b"\x00\x02\x0a54645", "an Avro record of schema 7: "),
        (b"\x00\x08\x83\xcb\xcc\x0b\x12\x0554645", "a Protobuf message of schema 7: "),
        (
            b"\x02\x00\x08\x83\xcb\xcc\x0b\x19\x00\x00\x00\x00\x00\x00\x00\x00\x25\x00\x00\x00\x00",
            "a Protobuf message",
        ),
        (b"\xff" * 20, "an Avro record of schema 7: "),
        (b"\xfe" + b"\xff" * 8 + b"\x01" + b"\x00" * 20, "an Avro record of schema 7: "),  # 2^63 steps to a type
        (SEED[:-1], "the value isn't JSON: "),
        (b"", "the value isn't JSON: "),
    ],
)
def test_what_else_stands_behind_a_schemas_id_is_named(content: bytes, looks_like: str) -> None:
    """With what to do, and the order that the key tells."""
    found = refused(record(b"\x00\x00\x00\x00\x07" + content))
    assert (found.reason, found.order_id) == ("not_json", ORDER_ID)
    assert found.detail.startswith(looks_like)


@pytest.mark.parametrize("value", [b"\x00", b"\x00\x00\x00\x00\x07", b"\x00{}"])
def test_a_zero_without_more_is_no_schema(value: bytes) -> None:
    """Nor is it JSON."""
    assert refused(record(value)).detail.startswith("the value isn't JSON: ")


def test_json_in_a_text_says_that_it_was_written_twice() -> None:
    """A String given to a JSON serializer."""
    found = refused(record(json.dumps(SEED.decode()).encode()))
    assert (found.reason, "twice" in found.detail) == ("not_json", True)


def test_the_detail_does_not_repeat_what_the_record_holds() -> None:
    """Quarantine is looked at by people who need not see the buyer's data."""
    for member in ("buyerId", "transactionDate", "orderId"):
        wrong: dict[str, Any] = {member: ["secret", 42]}
        found = refused(record_of(Kind.CREATED, **wrong))
        assert "secret" not in found.detail
        assert "42" not in found.detail
