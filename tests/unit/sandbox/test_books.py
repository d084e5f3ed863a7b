"""The rules of the sandbox third party's books (contract.md, section 4), without HTTP."""

from decimal import Decimal

import pytest

from domain.exact_json import loads
from sandbox.third_party_server.books import Reply
from sandbox.third_party_server.call_log import ReceivedCall
from sandbox.third_party_server.requests import Operation
from sandbox.third_party_server.views import calls_page, orders_page, totals, violations_list
from tests.support.books_caller import (
    CANCEL,
    COMPLETE,
    CORRECT,
    CREATE,
    DATE,
    EARLY,
    LATE,
    ORDER,
    UPDATE,
    Caller,
    code,
)


@pytest.fixture
def caller() -> Caller:
    return Caller.fresh()


def test_a_legal_lifecycle_is_applied_without_violations(caller: Caller) -> None:
    """Create, update and complete are answered with the order as it then is, and credited once."""
    assert caller.say(CREATE, EARLY).status == 201
    assert caller.say(UPDATE, DATE, amount="25.08745").status == 200
    answer = caller.say(COMPLETE, LATE, amount="25.08745")
    said = {
        "orderId": ORDER,
        "status": "COMPLETED",
        "cashbackAmount": Decimal("25.08745"),
        "lastTransactionDate": LATE,
    }
    assert (answer.status, loads(answer.body)) == (200, said)
    assert caller.books.lookup(ORDER).body == answer.body
    [row] = orders_page(caller.books, 0, 10)["orders"]
    assert row == {**said, "buyerId": "1234", "storeNo": "54645", "calls": 3, "credits": 1}
    assert caller.violations() == []


def test_a_cancelled_order_keeps_its_amount_but_counts_in_no_sum(caller: Caller) -> None:
    """The totals follow every call."""
    caller.say(CREATE, amount="19.990")
    caller.say(CREATE, order_id=2, amount="1.255")
    assert totals(caller.books)["pendingAmount"] == Decimal("21.245")
    caller.say(CANCEL)
    caller.say(COMPLETE, order_id=2, amount="1.255")
    assert loads(caller.books.lookup(ORDER).body)["cashbackAmount"] == Decimal("19.990")
    assert totals(caller.books) == {
        "byStatus": {"PENDING": 0, "COMPLETED": 1, "CANCELLED": 1},
        "creditedAmount": Decimal("1.255"),
        "pendingAmount": Decimal(0),
        "orders": 2,
        "calls": 4,
        "violations": 0,
    }


REFUSALS = [
    # what happened before, the call, the answer's status and code, the violations
    ((), UPDATE, 404, "unknown_order", ["illegal_call"]),
    ((), CANCEL, 404, "unknown_order", ["illegal_call"]),
    ((), COMPLETE, 404, "unknown_order", ["illegal_call"]),
    ((), CORRECT, 404, "unknown_order", ["illegal_call"]),
    ((CREATE,), CORRECT, 409, "illegal_state", ["illegal_call"]),
    ((CREATE, CANCEL), CORRECT, 409, "illegal_state", ["illegal_call"]),
    ((CREATE,), CREATE, 409, "already_exists", ["second_credit"]),
    ((CREATE, UPDATE), CREATE, 409, "already_exists", ["second_credit"]),
    ((CREATE, CANCEL), CREATE, 409, "illegal_state", ["illegal_call"]),
    ((CREATE, CANCEL), UPDATE, 409, "illegal_state", ["illegal_call"]),
    ((CREATE, CANCEL), CANCEL, 409, "illegal_state", ["illegal_call"]),
    ((CREATE, CANCEL), COMPLETE, 409, "illegal_state", ["illegal_call"]),
    ((CREATE, COMPLETE), CREATE, 409, "illegal_state", ["second_credit"]),
    ((CREATE, COMPLETE), UPDATE, 409, "illegal_state", ["illegal_call"]),
    ((CREATE, COMPLETE), CANCEL, 409, "illegal_state", ["illegal_call"]),
    ((CREATE, COMPLETE), COMPLETE, 409, "illegal_state", ["second_credit"]),
    ((CREATE, COMPLETE, CORRECT), CREATE, 409, "illegal_state", ["second_credit"]),
    ((CREATE, COMPLETE, CORRECT), UPDATE, 409, "illegal_state", ["illegal_call"]),
    ((CREATE, COMPLETE, CORRECT), CANCEL, 409, "illegal_state", ["illegal_call"]),
    ((CREATE, COMPLETE, CORRECT), COMPLETE, 409, "illegal_state", ["second_credit"]),
]


@pytest.mark.parametrize(("before", "operation", "status", "reason", "violations"), REFUSALS)
def test_an_illegal_call_is_refused_and_written_down(
    caller: Caller,
    *,
    before: tuple[Operation, ...],
    operation: Operation,
    status: int,
    reason: str,
    violations: list[str],
) -> None:
    """A new key doesn't make a call legal; the books stay as they were."""
    for earlier in before:
        caller.say(earlier)
    books_before = caller.books.lookup(ORDER)
    answer = caller.say(operation)
    assert (answer.status, code(answer)) == (status, reason)
    assert caller.violations() == violations
    assert caller.books.lookup(ORDER) == books_before


@pytest.mark.parametrize(
    ("pending", "completed", "legal"),
    [
        ("6", "6", True),
        ("6", "6.00", True),
        ("6", "6.000000000000000000000000000000000001", False),
        ("6", "5", False),
    ],
)
def test_a_completion_must_name_the_pending_amount(
    caller: Caller, *, pending: str, completed: str, legal: bool
) -> None:
    """Equal as numbers, however they're written; the last digit counts."""
    caller.say(CREATE, amount=pending)
    answer = caller.say(COMPLETE, amount=completed)
    assert answer.status == (200 if legal else 409)
    assert caller.violations() == ([] if legal else ["amount_mismatch"])
    assert totals(caller.books)["creditedAmount"] == (Decimal(pending) if legal else 0)


@pytest.mark.parametrize(
    ("last", "next_", "in_order"),
    [
        (DATE, DATE, True),
        (DATE, LATE, True),
        (DATE, EARLY, False),
        ("2025-02-28T13:36:06Z", "2025-02-28T14:36:06+01:00", True),
        ("2025-02-28T13:36:06Z", "2025-02-28T14:36:06.000000001+01:00", True),
        ("2025-02-28T13:36:06.000000001Z", "2025-02-28T14:36:06+01:00", False),
        ("2025-02-28T13:36:06Z", "2025-02-28T09:06:05.999999999-04:30", False),
    ],
)
def test_an_older_transaction_date_is_a_violation(caller: Caller, *, last: str, next_: str, in_order: bool) -> None:
    """To the nanosecond, over offsets; an equal date is in order. The call is applied all the same."""
    caller.say(CREATE, last)
    assert caller.say(UPDATE, next_).status == 200
    assert caller.violations() == ([] if in_order else ["wrong_order"])


def test_a_refused_call_with_an_older_date_breaks_two_rules(caller: Caller) -> None:
    """Both are written down."""
    caller.say(CREATE)
    caller.say(CANCEL)
    caller.say(UPDATE, EARLY)
    assert caller.violations() == ["wrong_order", "illegal_call"]


def test_a_correction_sets_the_amount_and_books_the_difference(caller: Caller) -> None:
    """Down, up, to nothing, and to what it is already; it stays one credit, and the books' sum is the amount."""
    caller.say(CREATE, order_id=2, amount="100")
    caller.say(COMPLETE, order_id=2, amount="100")
    caller.say(CREATE, EARLY, amount="6.10")
    caller.say(COMPLETE, DATE, amount="6.10")
    for amount in ("2", "2.35", "0", "0"):
        answer = caller.say(CORRECT, LATE, amount=amount)
        assert (answer.status, loads(answer.body)) == (
            200,
            {
                "orderId": ORDER,
                "status": "COMPLETED",
                "cashbackAmount": Decimal(amount),
                "lastTransactionDate": LATE,
            },
        )
        assert totals(caller.books)["creditedAmount"] == 100 + Decimal(amount)
    [_, row] = orders_page(caller.books, 0, 10)["orders"]
    assert [str(each) for each in row["bookings"]] == ["6.10", "-4.10", "0.35", "-2.35", "0"]
    assert (row["credits"], row["calls"]) == (1, 6)
    assert caller.violations() == []


def test_a_correction_with_an_older_date_is_a_violation(caller: Caller) -> None:
    """As any other call; it is applied all the same."""
    caller.say(CREATE)
    caller.say(COMPLETE, LATE)
    assert caller.say(CORRECT, DATE, amount="1").status == 200
    assert caller.violations() == ["wrong_order"]


def test_corrections_that_overlap_are_a_violation(caller: Caller) -> None:
    """As any two calls of one order."""
    caller.say(CREATE)
    caller.say(COMPLETE)
    first, _ = caller.begin(CORRECT, amount="1")
    caller.say(CORRECT, amount="2")
    caller.books.leave(first, "cut")
    assert caller.violations() == ["overlap"]


def test_a_repeated_correction_books_nothing_more(caller: Caller) -> None:
    """Even once another has followed; with another amount its key is refused."""
    caller.say(CREATE)
    caller.say(COMPLETE)
    first = caller.say(CORRECT, amount="2", key="one")
    caller.say(CORRECT, amount="5", key="two")
    assert caller.say(CORRECT, amount="2", key="one") == Reply(first.status, first.body, hit=True)
    assert code(caller.say(CORRECT, amount="3", key="one")) == "key_reused"
    assert totals(caller.books)["creditedAmount"] == 5
    assert caller.violations() == []


def test_a_repeat_gets_the_first_answer_and_does_nothing(caller: Caller) -> None:
    """Even after the order has gone on, and with dates that are older by now: no violation."""
    first = caller.say(CREATE, EARLY, key="one")
    caller.say(UPDATE, DATE, amount="7", key="two")
    completed = caller.say(COMPLETE, LATE, amount="7", key="three")
    for key, operation, date, amount, answer in (
        ("one", CREATE, EARLY, "6", first),
        ("three", COMPLETE, LATE, "7", completed),
    ):
        repeated = caller.say(operation, date, amount=amount, key=key)
        assert repeated == Reply(answer.status, answer.body, hit=True)
    assert caller.violations() == []
    assert totals(caller.books)["creditedAmount"] == 7
    assert [(row["applied"], row["hit"]) for row in calls_page(caller.books, ORDER, 0, 10)["calls"]] == [
        *[(True, False)] * 3,
        *[(False, True)] * 2,
    ]


def test_a_key_belongs_to_one_call(caller: Caller) -> None:
    """The same key with another body, path or method is refused."""
    caller.say(CREATE, key="one")
    for operation, amount, order_id in ((CREATE, "7", ORDER), (CREATE, "6", 2), (UPDATE, "6", ORDER)):
        answer = caller.say(operation, amount=amount, order_id=order_id, key="one")
        assert (answer.status, code(answer)) == (422, "key_reused")
    assert len(caller.books.orders) == 1
    assert caller.violations() == []


def test_a_refusal_is_not_frozen_under_its_key(caller: Caller) -> None:
    """Once the cause is repaired the same call goes through; its key still doesn't take another body."""
    assert caller.say(UPDATE, key="two", amount="7").status == 404
    assert caller.say(UPDATE, key="two", amount="8").status == 422
    caller.say(CREATE)
    answer = caller.say(UPDATE, key="two", amount="7")
    assert (answer.status, answer.hit) == (200, False)


def test_a_rejected_order_can_be_mended(caller: Caller) -> None:
    """A rejection refuses new calls, not the repeat of an applied one, and isn't frozen."""
    answer = caller.say(CREATE, key="one", reject=True)
    assert (answer.status, code(answer)) == (422, "rejected")
    assert caller.say(CREATE, key="one").status == 201
    assert caller.say(CREATE, key="one", reject=True).hit
    assert caller.violations() == []


def test_a_call_without_a_key_is_a_violation(caller: Caller) -> None:
    """Whatever becomes of it; a lookup needs none."""
    for mutating in (True, False):
        call = ReceivedCall(
            "GET", "/v1/cashbacks/1", None, 1, b"", mutating=mutating, arrived_tick=caller.books.arrive()
        )
        caller.books.enter(call)
        caller.books.leave(call, "answered", 400)
    assert caller.violations() == ["missing_key"]


def test_pages_come_in_order_and_lead_to_the_next(caller: Caller) -> None:
    """Orders by id, calls by arrival; the last page leads nowhere."""
    for order_id in (30, 10, 20):
        caller.say(CREATE, order_id=order_id)
    first = orders_page(caller.books, 0, 2)
    second = orders_page(caller.books, first["next"], 2)
    assert [row["orderId"] for row in first["orders"] + second["orders"]] == [10, 20, 30]
    assert (first["next"], second["next"], orders_page(caller.books, 0, 3)["next"]) == (20, None, None)
    page = calls_page(caller.books, None, 0, 2)
    rest = calls_page(caller.books, None, page["next"], 2)
    assert [row["orderId"] for row in page["calls"] + rest["calls"]] == [30, 10, 20]
    assert (page["next"], rest["next"]) == (2, None)
    assert [row["number"] for row in calls_page(caller.books, 20, 0, 1)["calls"]] == [3]


def test_a_violation_says_what_happened_and_when(caller: Caller) -> None:
    """Kind, order, detail, time to the nanosecond, and the call's number in the log."""
    caller.say(CANCEL)
    shown = violations_list(caller.books)
    assert shown["count"] == 1
    [row] = shown["violations"]
    assert row.pop("time").startswith("2025-02-28T13:36:06.0267328")
    assert row == {"kind": "illegal_call", "orderId": ORDER, "detail": "cancel of an unknown order", "call": 1}
