"""From decisions to calls: bodies to the last digit, keys and digests for ever (contract.md, section 2)."""

from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.effects import EffectKind
from domain.events import CashbackCorrected
from domain.exact_json import dumps, loads
from domain.identifiers import idempotency_key_by_version, stream_id
from domain.messages import Kind, Message
from projections.feed import Recorded
from projections.intended_calls import IntendedCall, intended_calls, path_of
from tests.support.decoding import SEED, read
from tests.support.messages import NOON_NS, ORDER_ID, History, payload_of, product, record, record_of, value_of

DATE = "2025-02-28T13:36:06.026732837Z"
TRANSACTION = "5661042b-cc39-4567-a264-265943097139"


def calls_of(*messages: Message) -> list[IntendedCall]:
    return intended_calls([Recorded(number, event) for number, event in enumerate(History(*messages).events, 1)])


def bodies(*messages: Message) -> list[bytes]:
    return [call.body for call in calls_of(*messages)]


def seed_with(old: bytes, new: bytes) -> Message:
    assert old in SEED
    return read(record(SEED.replace(old, new)))


def message(kind: Kind, *, offset: int = 0, at_ns: int = 0, date: str | None = None, **more: Any) -> Message:
    dated: dict[str, Any] = {} if date is None else {"transactionDate": date}
    return read(record_of(kind, offset=offset, at_ns=at_ns, **dated, **more))


def test_the_example_of_the_contract_becomes_a_create() -> None:
    """Member by member, in this order, and the cashback is 6.00."""
    assert bodies(read(record(SEED))) == [
        b'{"orderId":24323523,"storeNo":"54645","buyerId":"1234","transactionId":"' + TRANSACTION.encode() + b'",'
        b'"transactionDate":"' + DATE.encode() + b'","cashbackAmount":6.00,"items":[{\n'
        b'"externalProductId": "67867",\n"quantity": 2,\n"unit": "KG",\n"originalPrice": 156,\n'
        b'"discountedPrice": 153,\n"finalTotalPrice": 306,\n"vatRate": 1\n}]}'
    ]


def test_each_event_has_the_members_that_the_contract_lists() -> None:
    """No more and no fewer, for all four calls."""
    created, updated, completed = (
        message(kind, offset=offset, at_ns=offset)
        for offset, kind in enumerate((Kind.CREATED, Kind.UPDATED, Kind.COMPLETED))
    )
    cancelled = message(Kind.CANCELLED, offset=1, at_ns=1, reason="out of stock")
    create, update, complete = map(loads, bodies(created, updated, completed))
    cancel = loads(bodies(created, cancelled)[1])
    whole = {
        "orderId": ORDER_ID,
        "storeNo": "54645",
        "buyerId": "1234",
        "transactionId": "t0",
        "transactionDate": "2025-02-28T12:00:00.000000000Z",
        "cashbackAmount": 6,
        "items": [product()["productItem"]],
    }
    said_at_1 = {"transactionId": "t1", "transactionDate": "2025-02-28T12:00:00.000000001Z"}
    said_at_2 = {"transactionId": "t2", "transactionDate": "2025-02-28T12:00:00.000000002Z"}
    assert create == whole
    assert update == whole | said_at_1
    assert complete == {"orderId": ORDER_ID, "cashbackAmount": 6} | said_at_2
    assert cancel == {"orderId": ORDER_ID, "reason": "out of stock"} | said_at_1


@pytest.mark.parametrize(
    ("kind", "method", "path"),
    [
        (EffectKind.CREATE, "POST", "/v1/cashbacks"),
        (EffectKind.UPDATE, "PUT", "/v1/cashbacks/7"),
        (EffectKind.CANCEL, "POST", "/v1/cashbacks/7/cancel"),
        (EffectKind.COMPLETE, "POST", "/v1/cashbacks/7/complete"),
        (EffectKind.CORRECT, "POST", "/v1/cashbacks/7/correct"),
    ],
)
def test_each_call_has_its_method_and_path(kind: EffectKind, method: str, path: str) -> None:
    """As contract.md lists them."""
    assert path_of(kind, 7) == (method, path)


def correction(said: Message, cashback: str, *, stated_after_ns: int = 0) -> bytes:
    """The body of the correction that follows from a message, whatever it earns by itself."""
    event = CashbackCorrected(
        originator_id=stream_id(ORDER_ID),
        originator_version=4,
        recorded_at_ns=NOON_NS,
        message=said,
        effective_at_ns=said.happened_at_ns,
        stated_at_ns=said.happened_at_ns + stated_after_ns,
        cashback=Decimal(cashback),
    )
    [call] = intended_calls([Recorded(1, event)])
    assert call.effect.kind is EffectKind.CORRECT
    return call.body


def test_a_correction_says_the_whole_amount_and_why() -> None:
    """Member by member, in this order, with the amount's own digits."""
    assert correction(message(Kind.UPDATED, at_ns=3), "2.50") == (
        b'{"orderId":24323523,"transactionId":"t3","transactionDate":"2025-02-28T12:00:00.000000003Z",'
        b'"cashbackAmount":2.50,"reason":"updated after completion"}'
    )


@pytest.mark.parametrize(
    ("kind", "said", "stated_after_ns", "reason"),
    [
        (Kind.UPDATED, {}, 0, "updated after completion"),
        (Kind.UPDATED, {}, 1, "updated before completion, received after it"),
        (Kind.CANCELLED, {}, 0, "cancelled after completion"),
        (Kind.CANCELLED, {"reason": ""}, 0, "cancelled after completion"),
        (Kind.CANCELLED, {"reason": "spoilt"}, 1, "spoilt"),
        (Kind.COMPLETED, {}, 0, "completed again"),
        (Kind.CREATED, {}, 0, "created again after completion"),
    ],
)
def test_the_reason_of_a_correction_follows_from_its_message(
    kind: Kind, said: dict[str, Any], stated_after_ns: int, reason: str
) -> None:
    """In the shop's own words where it has some. The date is the latest one stated, as with every call."""
    body = loads(correction(message(kind, at_ns=5, **said), "0", stated_after_ns=stated_after_ns))
    assert (body["reason"], body["cashbackAmount"]) == (reason, 0)
    assert body["transactionDate"] == f"2025-02-28T12:00:00.00000000{5 + stated_after_ns}Z"


@pytest.mark.parametrize("reason", [None, "", "out of stock"])
def test_a_cancel_states_its_reason_only_if_one_is_known(reason: str | None) -> None:
    """The sandbox, like the contract, knows no reason `null`."""
    said = {} if reason is None else {"reason": reason}
    created, cancelled = message(Kind.CREATED), message(Kind.CANCELLED, offset=1, at_ns=1, **said)
    body = loads(bodies(created, cancelled)[1])
    assert {name: body[name] for name in body if name == "reason"} == said


@pytest.mark.parametrize(
    "digits", ["1.255", "19.99", "2.50", "0.10", "100", "1.000", "0.0000001", "12345678901234.5"]
)
def test_numbers_keep_their_digits(digits: str) -> None:
    """A price with trailing zeros comes out as it was written, in the items as received."""
    sent = seed_with(b'"discountedPrice": 153', b'"discountedPrice": ' + digits.encode())
    assert b'"discountedPrice": ' + digits.encode() + b"," in bodies(sent)[0]


def test_the_amount_is_exact() -> None:
    """1.255 kg at 19.99 are 25.09 at the till, paid with 20.08: whole minor units, with their zeros."""
    changed = (
        SEED.replace(b'"quantity": 2', b'"quantity": 1.255').replace(b"156", b"19.99").replace(b"306", b"20.08")
    )
    [body] = bodies(read(record(changed)))
    assert b'"cashbackAmount":5.01,' in body
    assert loads(body)["cashbackAmount"] == Decimal("5.01")


@pytest.mark.parametrize("date", [DATE, "2025-02-28T16:36:06.026732837+03:00", "2025-02-28t13:36:06z"])
def test_dates_go_out_as_they_came(date: str) -> None:
    """With all nine digits, and with their own offset."""
    assert loads(bodies(message(Kind.CREATED, date=date))[0])["transactionDate"] == date


def test_a_date_that_would_go_backwards_is_stated_as_the_latest_one() -> None:
    """The publishers' clocks differ; the third party sees dates that never go back, in UTC with nine digits."""
    created = message(Kind.CREATED, date="2025-02-28T16:36:06.026732837+03:00")
    updated = message(Kind.UPDATED, offset=1, date="2025-02-28T13:36:06.026732836Z")
    completed = message(Kind.COMPLETED, offset=2, date="2025-02-28T13:36:06.1Z")
    dates = [loads(body)["transactionDate"] for body in bodies(created, updated, completed)]
    assert dates == ["2025-02-28T16:36:06.026732837+03:00", DATE, "2025-02-28T13:36:06.1Z"]


def test_members_of_a_product_that_we_do_not_know_pass_through() -> None:
    """Whatever they hold, byte for byte, also what no float can."""
    odd = b'"campaign": {"id": [1, 2.50, null, "\\u0041"]}, "huge": 1e999999999, "vatRate": 1'
    [body] = bodies(seed_with(b'"vatRate": 1', odd))
    assert b"," + b"\n" + odd + b"\n}]}" in body


def test_what_stands_beside_the_product_stays_here() -> None:
    """Items are the product items alone."""
    summary = [product() | {"discountSummary": {"rate": 1}}]
    [body] = bodies(message(Kind.CREATED, orderItemsWithDiscountSummaryItems=summary))
    assert loads(body)["items"] == [product()["productItem"]]


def test_an_update_may_leave_nothing_to_earn() -> None:
    """An empty list is an amount of zero."""
    updated = message(Kind.UPDATED, offset=1, at_ns=1, orderItemsWithDiscountSummaryItems=[])
    update = loads(bodies(message(Kind.CREATED), updated)[1])
    assert (update["cashbackAmount"], update["items"]) == (0, [])


def test_only_accepted_messages_become_calls() -> None:
    """The versions are those of the events, with gaps where nothing was asked for."""
    second_create = message(Kind.CREATED, offset=1, at_ns=1)
    calls = calls_of(message(Kind.CREATED), second_create, message(Kind.COMPLETED, offset=2, at_ns=2))
    assert [(call.version, call.effect.kind) for call in calls] == [
        (1, EffectKind.CREATE),
        (3, EffectKind.COMPLETE),
    ]


def test_keys_never_change() -> None:
    """The third party remembers them: these very values must come out in every version of this service."""
    calls = calls_of(read(record(SEED)), message(Kind.COMPLETED, offset=1, at_ns=1))
    assert [call.effect.key for call in calls] == [
        UUID("4682c2ee-a3ff-5cc5-ba62-879147667b7d"),
        UUID("26b5078c-15f5-510a-8407-3e3838b23544"),
    ]
    assert [idempotency_key_by_version(call.effect.originator_id, call.version) for call in calls] == [
        UUID("3075d36e-a6da-5c24-b478-3333900d3bab"),
        UUID("7f8a4e9a-a7df-5343-bd79-7600559d5823"),
    ], "those of ledgers that are older than keys by content"


def test_the_digest_is_that_of_the_body() -> None:
    """SHA-256; the value shows that the body is the same for ever, too."""
    [call] = calls_of(read(record(SEED)))
    assert call.digest == sha256(call.body).digest()
    assert call.digest.hex() == "8bca54f1dce1d1756271c38b8ac5f26fbe7c455c8cca6aea1e7b833523be058c"


json_numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**12, places=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | json_numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(unknown=st.dictionaries(st.text(min_size=1).map("x-{}".format), json_values, max_size=3))
def test_any_product_comes_out_as_it_came_in(unknown: dict[str, object]) -> None:
    """Unknown members and exact numbers, through storage and back."""
    item = product()["productItem"] | unknown
    value = dumps({"type": "CREATED", "payload": payload_of(Kind.CREATED)})
    plain = dumps(product()["productItem"])
    assert plain in value
    [body] = bodies(read(record(value.replace(plain, dumps(item)))))
    assert b'"items":[' + dumps(item) + b"]" in body


def test_the_same_events_make_the_same_calls_every_time() -> None:
    """Nothing but the events goes in: a rebuild in another process finds the same bytes."""
    value = value_of(Kind.CREATED, payload_of(Kind.CREATED))
    assert calls_of(read(record(value))) == calls_of(read(record(value)))
