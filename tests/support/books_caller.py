"""A caller of the sandbox third party's books, for their tests."""

from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from domain.exact_json import dumps, loads
from sandbox.third_party_server.books import Books, Reply
from sandbox.third_party_server.call_log import ReceivedCall
from sandbox.third_party_server.requests import Operation, parse

CREATE, UPDATE, CANCEL, COMPLETE, CORRECT = Operation

ORDER = 24323523
EARLY, DATE, LATE = (f"2025-02-28T13:36:06.02673283{n}Z" for n in (6, 7, 8))


class Caller:
    """Brings calls to books one after another, as the server would."""

    def __init__(self, books: Books) -> None:
        self.books = books

    @classmethod
    def fresh(cls, journal: Path | None = None) -> Self:
        """With a clock of its own that starts at DATE."""
        ticks = count(1_740_749_766_026_732_837)
        return cls(Books(journal=journal, clock_ns=lambda: next(ticks)))

    def say(
        self, operation: Operation, date: str = DATE, *, order_id: int = ORDER, key: str | None = None, **other: Any
    ) -> Reply:
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
    ) -> tuple[ReceivedCall, Callable[[], Reply]]:
        """The call, entered but not left, and what judges it."""
        method, path, body = _wire(operation, order_id, date, amount)
        call = ReceivedCall(
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
    if operation is Operation.CORRECT:
        body["reason"] = "updated after completion"
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


def code(answer: Reply) -> str:
    return str(loads(answer.body)["code"])
