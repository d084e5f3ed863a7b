"""What the sandbox third party takes for a call, and which calls say the same."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from domain.exact_json import dumps
from sandbox.third_party_server.requests import (
    CashbackRequest,
    InvalidRequest,
    Operation,
    digest,
    parse,
    parse_instant_ns,
    parse_order_id,
)

DATE = "2025-02-28T13:36:06.026732837Z"
CHANGE = {
    "orderId": 7,
    "storeNo": "54645",
    "buyerId": "1234",
    "transactionId": "5661042b",
    "transactionDate": DATE,
    "cashbackAmount": Decimal("25.08745"),
    "items": [{"externalProductId": "67867", "quantity": Decimal("1.25"), "anything": {"else": None}}],
}
COMPLETION = {"orderId": 7, "transactionId": "t", "transactionDate": DATE, "cashbackAmount": 6}
CORRECTION = {**COMPLETION, "cashbackAmount": Decimal("2.5"), "reason": "updated after completion"}
CANCELLATION = {"orderId": 7, "transactionId": "t", "transactionDate": DATE}


@pytest.mark.parametrize(
    ("operation", "body", "amount"),
    [
        (Operation.CREATE, CHANGE, "25.08745"),
        (Operation.UPDATE, {**CHANGE, "items": [], "cashbackAmount": 0}, "0"),
        (Operation.COMPLETE, COMPLETION, "6"),
        (Operation.COMPLETE, {**COMPLETION, "orderId": 2**63 - 1}, "6"),
        (Operation.CORRECT, CORRECTION, "2.5"),
        (Operation.CORRECT, {**CORRECTION, "cashbackAmount": 0}, "0"),
        (Operation.CANCEL, CANCELLATION, None),
        (Operation.CANCEL, {**CANCELLATION, "reason": "changed their mind"}, None),
    ],
)
def test_a_call_as_the_contract_lists_it_is_read(
    operation: Operation, body: dict[str, Any], amount: str | None
) -> None:
    """Amounts keep every digit."""
    request = parse(operation, body["orderId"], dumps(body))
    assert (request.operation, request.order_id, request.transaction_date) == (operation, body["orderId"], DATE)
    assert request.amount == (None if amount is None else Decimal(amount))
    assert str(request.amount) == str(amount)


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in body.items() if other != name}


INVALID: list[tuple[Operation, object]] = [
    *((Operation.CREATE, without(CHANGE, name)) for name in CHANGE),
    *((Operation.UPDATE, {**CHANGE, name: None}) for name in CHANGE),
    *((Operation.COMPLETE, without(COMPLETION, name)) for name in COMPLETION),
    *((Operation.CANCEL, without(CANCELLATION, name)) for name in CANCELLATION),
    *((Operation.CORRECT, without(CORRECTION, name)) for name in CORRECTION),
    *((Operation.CORRECT, {**CORRECTION, name: None}) for name in CORRECTION),
    (Operation.CORRECT, {**CORRECTION, "cashbackAmount": Decimal("-0.01")}),
    (Operation.CORRECT, {**CORRECTION, "more": 1}),
    (Operation.CREATE, {**CHANGE, "more": 1}),
    (Operation.CANCEL, {**CANCELLATION, "cashbackAmount": 1}),
    (Operation.CANCEL, {**CANCELLATION, "reason": None}),
    *(
        (Operation.COMPLETE, {**COMPLETION, "orderId": order_id})
        for order_id in ("7", True, 0, -7, 2**63, Decimal("7.0"))
    ),
    *(
        (Operation.COMPLETE, {**COMPLETION, "cashbackAmount": amount})
        for amount in ("6", True, -1, Decimal("-0.01"))
    ),
    (Operation.COMPLETE, {**COMPLETION, "cashbackAmount": Decimal("1E+150")}),
    (Operation.COMPLETE, {**COMPLETION, "cashbackAmount": Decimal("1E-101")}),
    (Operation.CREATE, {**CHANGE, "items": {}}),
    (Operation.CREATE, {**CHANGE, "items": [1]}),
    (Operation.CREATE, {**CHANGE, "storeNo": 54645}),
    (Operation.CREATE, [CHANGE]),
    (Operation.CREATE, None),
]


@pytest.mark.parametrize(("operation", "body"), INVALID)
def test_any_other_shape_is_refused(operation: Operation, body: object) -> None:
    """A missing, null, unknown or wrongly typed member."""
    with pytest.raises(InvalidRequest):
        parse(operation, None, dumps(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        dumps(COMPLETION)[:-1] + b"} {}",
        dumps({**COMPLETION, "transactionId": "?"}).replace(b"?", b"\xff"),
        dumps({**COMPLETION, "cashbackAmount": "?"}).replace(b'"?"', b"1e99999999999999999999"),
        dumps({**COMPLETION, "cashbackAmount": "?"}).replace(b'"?"', b"9" * 5000),
        dumps({**COMPLETION, "cashbackAmount": "?"}).replace(b'"?"', b"NaN"),
        dumps({**COMPLETION, "cashbackAmount": "?"}).replace(b'"?"', b"[" * 100_000),
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    """Truncated, followed by more, not UTF-8, numbers beyond all limits, nested without end."""
    with pytest.raises(InvalidRequest):
        parse(Operation.COMPLETE, None, body)
    assert len(digest("POST", "/v1/cashbacks", body)) == 16


@pytest.mark.parametrize("amount", ["9" * 150, "0." + "9" * 100, "1E-100", "-0", "1E+149"])
def test_amounts_just_within_the_limits_are_read(amount: str) -> None:
    """150 digits before the point, 100 after it."""
    body = dumps({**COMPLETION, "cashbackAmount": Decimal(amount)})
    assert parse(Operation.COMPLETE, None, body).amount == Decimal(amount)


def test_path_and_body_name_the_same_order() -> None:
    """Else nobody knows whose cashback it is."""
    with pytest.raises(InvalidRequest, match="order 8"):
        parse(Operation.COMPLETE, 8, dumps(COMPLETION))


@pytest.mark.parametrize("text", ["1", "7", "9223372036854775807"])
def test_order_ids_in_paths(text: str) -> None:
    """From 1 to 2^63-1."""
    assert parse_order_id(text) == int(text)


@pytest.mark.parametrize(
    "text", ["0", "", "-1", "+1", "01", "1.0", " 1", "1\n", "\u0667", "9223372036854775808", "9" * 5000]
)
def test_other_texts_are_not_order_ids(text: str) -> None:
    """One spelling an order."""
    with pytest.raises(InvalidRequest):
        parse_order_id(text)


SECOND = 1_740_749_766
INSTANTS = [
    ("2025-02-28T13:36:06.026732837Z", SECOND * 10**9 + 26_732_837),
    ("2025-02-28T13:36:06.1Z", SECOND * 10**9 + 100_000_000),
    ("2025-02-28t13:36:06z", SECOND * 10**9),
    ("2025-02-28 13:36:06-00:00", SECOND * 10**9),
    ("2025-03-01T01:06:06.000000001+11:30", SECOND * 10**9 + 1),
    ("2025-02-27T13:37:06-23:59", SECOND * 10**9),
    ("1970-01-01T00:00:00Z", 0),
    ("1969-12-31T23:59:59.999999999Z", -1),
    ("2016-12-31T23:59:60.5Z", 1_483_228_800 * 10**9 + 500_000_000),
    ("2024-02-29T00:00:00Z", 1_709_164_800 * 10**9),
]


@pytest.mark.parametrize(("text", "expected_ns"), INSTANTS)
def test_dates_are_read_to_the_nanosecond(text: str, expected_ns: int) -> None:
    """RFC 3339 with up to nine digits and any offset; a leap second counts as the one after it."""
    assert parse_instant_ns(text) == expected_ns


@pytest.mark.parametrize(
    "text",
    [
        "2025-02-28T13:36:06",
        "2025-02-28T13:36:06.Z",
        "2025-02-28T13:36:06.0267328370Z",
        "2025-02-28T13:36:06,5Z",
        "2025-02-29T13:36:06Z",
        "2025-13-01T13:36:06Z",
        "2025-02-28T24:00:00Z",
        "2025-02-28T13:60:06Z",
        "2025-02-28T13:36:61Z",
        "2025-02-28T13:36:06+24:00",
        "2025-02-28T13:36:06+0100",
        "2025-02-28T13:36Z",
        "2025-02-28",
        "20250228T133606Z",
        "2025-02-28T13:36:06Z\n",
        "\u0662025-02-28T13:36:06Z",
        "0000-01-01T00:00:00Z",
        "",
    ],
)
def test_other_texts_are_not_dates(text: str) -> None:
    """Just turning invalid: one digit, one unit, one sign too many or too few."""
    with pytest.raises(InvalidRequest):
        parse_instant_ns(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"a":1,"b":[1,2]}', b'{ "b": [1, 2], "a": 1 }', True),
        (b"6", b"6.00", True),
        (b"60", b"6E+1", True),
        (b"0", b"-0.0", True),
        (b"25.0874500000000000000000000000000001", b"25.08745", False),
        (b'"\\u0041"', b'"A"', True),
        (b"[1,2]", b"[2,1]", False),
        (b'"6"', b"6", False),
        (b"1E+500", b"1E+501", False),
        (b"no json", b"no json", True),
        (b"no json", b"no  json", False),
    ],
)
def test_bodies_are_compared_as_json(*, one: bytes, other: bytes, same: bool) -> None:
    """Not by the order of members, white space, or the spelling of numbers and letters."""
    assert (digest("PUT", "/p", one) == digest("PUT", "/p", other)) is same


@pytest.mark.parametrize("change", [lambda m, p: ("POST", p), lambda m, p: (m, p + "/cancel")])
def test_method_and_path_are_part_of_what_is_said(change: Callable[[str, str], tuple[str, str]]) -> None:
    """An update isn't a create because its body is the same."""
    method, path = change("PUT", "/v1/cashbacks/7")
    assert digest(method, path, b"{}") != digest("PUT", "/v1/cashbacks/7", b"{}")


def test_a_read_request_says_when_to_the_nanosecond() -> None:
    """The instant that orders calls comes from the date as it was written."""
    request = parse(Operation.CANCEL, 7, dumps({**CANCELLATION, "transactionDate": INSTANTS[4][0]}))
    expected = CashbackRequest(Operation.CANCEL, 7, INSTANTS[4][0], INSTANTS[4][1], None, None, None)
    assert expected == request
