"""The rules of the sandbox third party's books (contract.md, section 4), without HTTP."""

from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.exact_json import dumps, loads
from sandbox.books import Answer, Books
from sandbox.books_views import calls_page, orders_page, totals, violations_list
from sandbox.call_log import Call
from sandbox.third_party_journal import JournalError
from sandbox.third_party_requests import Operation, parse

ORDER = 24323523
EARLY, DATE, LATE = (f"2025-02-28T13:36:06.02673283{n}Z" for n in (6, 7, 8))


class Caller:
    """Brings calls to books one after another, as the server would."""

    def __init__(self, books: Books) -> None:
        self.books = books

    def say(
        self, operation: Operation, date: str = DATE, *, order_id: int = ORDER, key: str | None = None, **other: Any
    ) -> Answer:
        call, begin = self.begin(operation, date, order_id=order_id, key=key, **other)
        answer = begin()
        self.books.leave(call, "answered", answer.status)
        return answer

    def begin(
        self,
        operation: Operation,
        date: str = DATE,
        *,
        order_id: int = ORDER,
        key: str | None = None,
        amount: str = "6",
        reject: bool = False,
        client_gone: Callable[[], bool] = lambda: False,
    ) -> tuple[Call, Callable[[], Answer]]:
        """The call, entered but not left, and what judges it."""
        method, path, body = _wire(operation, order_id, date, amount)
        call = Call(
            method,
            path,
            key or str(uuid4()),
            order_id,
            body,
            arrived_tick=self.books.arrive(),
            client_gone=client_gone,
        )
        request = parse(operation, order_id, body)
        self.books.enter(call)
        return call, lambda: self.books.claim_key(call) or self.books.judge(call, request, reject=reject)

    def violations(self) -> list[str]:
        return [violation.kind for violation in self.books.violations]


def _wire(operation: Operation, order_id: int, date: str, amount: str) -> tuple[str, str, bytes]:
    body: dict[str, Any] = {"orderId": order_id, "transactionId": "5661042b", "transactionDate": date}
    if operation is not Operation.CANCEL:
        body["cashbackAmount"] = Decimal(amount)
    if operation in {Operation.CREATE, Operation.UPDATE}:
        body |= {"storeNo": "54645", "buyerId": "1234", "items": [{"originalPrice": Decimal("156.00")}]}
    path = "/v1/cashbacks" if operation is Operation.CREATE else f"/v1/cashbacks/{order_id}"
    match operation:
        case Operation.CREATE:
            return "POST", path, dumps(body)
        case Operation.UPDATE:
            return "PUT", path, dumps(body)
        case _:
            return "POST", f"{path}/{operation}", dumps(body)


@pytest.fixture
def caller() -> Caller:
    ticks = count(1_740_749_766_026_732_837)
    return Caller(Books(clock_ns=lambda: next(ticks)))


def code(answer: Answer) -> str:
    return str(loads(answer.body)["code"])


CREATE, UPDATE, CANCEL, COMPLETE = Operation.CREATE, Operation.UPDATE, Operation.CANCEL, Operation.COMPLETE


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
]


@pytest.mark.parametrize(("before", "operation", "status", "reason", "violations"), REFUSALS)
def test_an_illegal_call_is_refused_and_written_down(
    caller: Caller,
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
    caller: Caller, pending: str, completed: str, legal: bool
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
def test_an_older_transaction_date_is_a_violation(caller: Caller, last: str, next_: str, in_order: bool) -> None:
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
        assert repeated == Answer(answer.status, answer.body, hit=True)
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
    assert len(caller.books.ledger) == 1
    assert caller.violations() == []


def test_a_refusal_is_not_frozen_under_its_key(caller: Caller) -> None:
    """Once the cause is mended the same call goes through; its key still doesn't take another body."""
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
        call = Call("GET", "/v1/cashbacks/1", None, 1, b"", mutating=mutating, arrived_tick=caller.books.arrive())
        caller.books.enter(call)
        caller.books.leave(call, "answered", 400)
    assert caller.violations() == ["missing_key"]


def test_calls_of_one_order_at_the_same_time_overlap(caller: Caller) -> None:
    """Whatever their outcome, hits too; other orders' calls and calls one after another don't overlap."""
    first, _ = caller.begin(CREATE)
    caller.say(CREATE, order_id=2)
    assert caller.violations() == []
    second, _ = caller.begin(UPDATE)
    assert caller.violations() == ["overlap"]
    caller.books.leave(first, "cut")
    caller.books.leave(second, "answered", 503)
    caller.say(CREATE)
    assert caller.violations() == ["overlap"]


def test_a_call_is_in_progress_from_its_headers_on(caller: Caller) -> None:
    """Another call that came and went before this one's body was there overlaps with it."""
    tick = caller.books.arrive()
    caller.say(CREATE)
    late = Call("PUT", f"/v1/cashbacks/{ORDER}", "two", ORDER, b"{}", arrived_tick=tick)
    caller.books.enter(late)
    caller.books.leave(late, "answered", 400)
    assert caller.violations() == ["overlap"]
    caller.say(UPDATE)
    assert caller.violations() == ["overlap"]


def test_headers_whose_body_never_came_overlap_with_nothing(caller: Caller) -> None:
    """They never became a call."""
    tick = caller.books.arrive()
    caller.books.vanish(tick)
    caller.say(CREATE)
    caller.say(UPDATE)
    assert caller.violations() == []


def test_a_key_in_flight_is_refused(caller: Caller) -> None:
    """Until the first call with it is over; they overlap as well."""
    first, judge = caller.begin(CREATE, key="one")
    assert caller.books.claim_key(first) is None
    answer = caller.say(CREATE, key="one")
    assert (answer.status, code(answer)) == (409, "in_flight")
    assert caller.violations() == ["overlap"]
    assert judge().status == 201
    caller.books.leave(first, "answered", 201)
    assert caller.say(CREATE, key="one").hit


def test_a_call_whose_client_hung_up_holds_up_nobody(caller: Caller) -> None:
    """The next call doesn't overlap with it and gets its key; it must not be applied any more."""
    gone = False
    first, _ = caller.begin(CREATE, key="one", client_gone=lambda: gone)
    assert caller.books.claim_key(first) is None
    gone = True
    second, judge = caller.begin(CREATE, key="one")
    assert caller.violations() == []
    assert first.abandoned
    assert judge().status == 201
    caller.books.leave(first, "client_gone")
    answer = caller.say(CREATE, key="one")
    assert code(answer) == "in_flight", "the second call still holds the key"
    caller.books.leave(second, "answered", 201)
    assert caller.violations() == ["overlap"]


def test_starting_afresh_abandons_what_is_in_progress(caller: Caller) -> None:
    """A call from before leaves no trace in the new books."""
    caller.say(UPDATE)
    call, _ = caller.begin(CREATE)
    caller.books.reset()
    assert call.abandoned
    caller.books.leave(call, "cut")
    assert totals(caller.books)["calls"] == totals(caller.books)["violations"] == 0
    assert calls_page(caller.books, None, 0, 10) == {"calls": [], "next": None, "dropped": 0}
    caller.say(CREATE)
    assert caller.violations() == []


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


def test_a_journal_keeps_the_books_across_restarts(tmp_path: Path) -> None:
    """Orders, exact amounts, keys and violations come back; a torn last line is dropped."""
    journal = tmp_path / "books.jsonl"
    before = Caller(Books(journal=journal))
    before.say(CREATE, EARLY, amount="25.087450", key="one")
    before.say(UPDATE, DATE, amount="1E-30", key="two")
    before.say(CREATE, order_id=2, amount="3")
    before.say(COMPLETE, order_id=2, amount="3")
    before.say(CANCEL, order_id=3)
    expected = orders_page(before.books, 0, 10)
    before.books.close()
    with journal.open("ab") as torn:
        torn.write(b'{"key":"three","digest":"00","sta')

    after = Caller(Books(journal=journal))
    shown = orders_page(after.books, 0, 10)
    assert dumps(shown["orders"]) == dumps(expected["orders"])
    assert shown["totals"] == {**expected["totals"], "calls": 4}
    assert after.violations() == ["illegal_call"]
    assert after.say(CREATE, EARLY, amount="25.087450", key="one").hit
    assert after.say(UPDATE, DATE, amount="1", key="two").status == 422
    assert after.say(COMPLETE, LATE, amount="1E-30").status == 200
    after.books.close()

    once_more = Books(journal=journal)
    assert once_more.ledger.counts["COMPLETED"] == 2
    once_more.reset()
    once_more.close()
    assert journal.read_bytes() == b""


@pytest.mark.parametrize("line", [b"no JSON\n", b'{"key":"one"}\n', b"[1]\n", b"7\n"])
def test_a_damaged_journal_is_refused_and_left_alone(tmp_path: Path, line: bytes) -> None:
    """A line that can't be read in the midst of others isn't a torn one."""
    journal = tmp_path / "books.jsonl"
    books = Books(journal=journal)
    Caller(books).say(CREATE)
    books.close()
    damaged = line + journal.read_bytes()
    journal.write_bytes(damaged)
    with pytest.raises(JournalError):
        Books(journal=journal)
    assert journal.read_bytes() == damaged


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    """A second third party on the same file would write over the first."""
    first = Books(journal=tmp_path / "books.jsonl")
    with pytest.raises(JournalError, match="another third party"):
        Books(journal=tmp_path / "books.jsonl")
    first.close()
    Books(journal=tmp_path / "books.jsonl").close()
