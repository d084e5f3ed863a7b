"""Reading records: what is valid, what is not, and what is just turning invalid (contract.md, section 1)."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict

from adapters.kafka.decoder import Unreadable, decode
from adapters.kafka.records import Headers, Record
from adapters.kafka.wire import MAX_REASON_LENGTH, MAX_TEXT_LENGTH
from domain.identifiers import MAX_ORDER_ID
from domain.messages import Kind, Message
from tests.support.decoding import SEED, read, refused
from tests.support.messages import ORDER_ID, payload_of, product, record, record_of, value_of

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
        ([("1.25", "19.99", "20.005")], "4.9825", False),
        ([(1, 5, 5)], "0", False),
        ([(1, 5, "5.01")], "-0.01", True),
        ([(1, 5, "5.01"), (1, 100, 1)], "98.99", True),
        ([("0.1", "0.1", 0), ("0.2", "0.1", 0)], "0.03", False),
        ([("1e-30", "1e-30", 0)], "1e-60", False),
    ],
)
def test_the_cashback_is_exact_and_a_negative_item_shows(
    items: list[tuple[Any, ...]], cashback: str, *, negative: bool
) -> None:
    """originalPrice × quantity − finalTotalPrice, summed; one item that takes money is enough."""
    products = [product(*(f"Q{number}" for number in item)) for item in items]
    value = value_of(Kind.CREATED, payload_of(Kind.CREATED, items=products))
    for literal in (str(number) for item in items for number in item):
        value = value.replace(f'"Q{literal}"'.encode(), literal.encode())
    found = read(record(value))
    assert (found.cashback, found.is_negative) == (Decimal(cashback), negative)


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
    """And a detail for a person."""
    found = refused(record(value))
    assert found.reason == reason
    assert found.detail
    assert found.order_id is None


def test_a_message_may_be_as_large_as_the_limit() -> None:
    """A byte more is too large, and isn't even parsed."""
    assert isinstance(decode(record(SEED), max_message_bytes=len(SEED)), Message)
    found = refused(record(SEED), max_message_bytes=len(SEED) - 1)
    assert (found.reason, found.order_id) == ("too_large", None)
    assert str(len(SEED)) in found.detail


@pytest.mark.parametrize(
    ("order_id", "known"),
    [
        (0, None),
        (-1, None),
        (MAX_ORDER_ID + 1, None),
        ("5", None),
        (5.0, 5),
        (5.5, None),
        (None, None),
        (True, None),
    ],
)
def test_an_order_id_is_a_whole_number_within_63_bits(order_id: Any, known: int | None) -> None:
    """Nothing else; 5.0 is the number 5, as JSON has it."""
    source = record(value_of(Kind.CREATED, payload_of(Kind.CREATED) | {"orderId": order_id}), key=b"5")
    if known is not None:
        assert read(source).order_id == known
        return
    found = refused(source)
    assert (found.reason, found.order_id) == ("no_order_id", None)


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


@pytest.mark.parametrize("member", list(product()["productItem"]))
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
        ("0.000000000000000000000000000001", True),
        ("1e-30", True),
        ("1e-31", False),
        ("9" * 38, True),
        ("9" * 39, False),
        ("1e30", True),
        ("1e38", False),
        ("1e999999999", False),
        ("-0.01", False),
        ("-1", False),
        ('"1"', False),
        ("null", False),
        ("true", False),
        ("[]", False),
        ("NaN", False),
    ],
)
def test_an_amount_is_a_number_that_can_be_calculated_exactly(member: str, literal: str, *, good: bool) -> None:
    """Within the limits of money.py; text, null and negative numbers are none."""
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


@pytest.mark.parametrize(
    "date", ["", "2025-02-28", "yesterday", 1_740_749_766, None, "2025-02-29T00:00:00Z", "9999-01-01T00:00:00Z"]
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


def test_the_detail_does_not_repeat_what_the_record_holds() -> None:
    """Quarantine is looked at by people who need not see the buyer's data."""
    for member in ("buyerId", "transactionDate", "orderId"):
        wrong: dict[str, Any] = {member: ["secret", 42]}
        found = refused(record_of(Kind.CREATED, **wrong))
        assert "secret" not in found.detail
        assert "42" not in found.detail
