"""A running sandbox third party and a caller of it, for tests."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx

from domain.exact_json import dumps, loads
from sandbox.third_party_server.app import serve
from sandbox.third_party_server.books import Books
from tests.support import local_http
from tests.support.waiting import DEADLINE_SECONDS, wait_until

ORDER = 24323523
DATE = "2025-02-28T13:36:06.026732837Z"


class ThirdParty:
    """A running sandbox, and a caller of it."""

    def __init__(self, port: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.port = port
        self._loop = loop
        self.client = local_http.client(f"http://127.0.0.1:{port}")

    def call(
        self, what: str, *, key: str | None = None, order_id: int = ORDER, amount: str = "6", **options: Any
    ) -> httpx.Response:
        method, path, body = request(what, order_id, amount)
        headers = {"Idempotency-Key": key or str(uuid4()), "Content-Type": "application/json"}
        return self.client.request(method, path, content=body, headers=headers, **options)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Whatever arrives meanwhile, the server finds it all at once afterwards."""
        assert self._loop is not None
        held, released = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            released.wait(DEADLINE_SECONDS)

        self._loop.call_soon_threadsafe(hold)
        assert held.wait(DEADLINE_SECONDS)
        try:
            yield
        finally:
            released.set()

    def connect(self) -> socket.socket:
        """A connection that the server has accepted and answered on."""
        connection = socket.create_connection(("127.0.0.1", self.port), DEADLINE_SECONDS)
        connection.sendall(b"GET /_sandbox/totals HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        return connection

    def begin(self, what: str, *, key: str) -> socket.socket:
        """Sends a call and leaves it to others to read the answer, or to hang up."""
        connection = socket.create_connection(("127.0.0.1", self.port), DEADLINE_SECONDS)
        connection.sendall(as_sent(what, key))
        return connection

    def lookup(self, order_id: int = ORDER) -> Any:
        return loads(self.client.get(f"/v1/cashbacks/{order_id}").content)

    def show(self, what: str, **query: Any) -> Any:
        return loads(self.client.get(f"/_sandbox/{what}", params=query).content)

    def faults(self, **faults: Any) -> None:
        self.client.put("/_sandbox/faults", json=faults).raise_for_status()

    def violations(self) -> list[str]:
        return [violation["kind"] for violation in self.show("violations")["violations"]]

    def wait_for_calls(self, outcome: str, number: int) -> None:
        def there() -> bool:
            outcomes = [call["outcome"] for call in self.show("calls")["calls"]]
            return outcomes.count(outcome) == number

        wait_until(there, f"{number} calls {outcome}")


def request(what: str, order_id: int = ORDER, amount: str = "6") -> tuple[str, str, bytes]:
    body: dict[str, Any] = {"orderId": order_id, "transactionId": "5661042b", "transactionDate": DATE}
    path = f"/v1/cashbacks/{order_id}"
    if what != "cancel":
        body["cashbackAmount"] = Decimal(amount)
    if what == "correct":
        body["reason"] = "updated after completion"
    if what in {"cancel", "complete", "correct"}:
        return "POST", f"{path}/{what}", dumps(body)
    body |= {"storeNo": "54645", "buyerId": "1234", "items": [{"quantity": Decimal("1.250"), "vatRate": 1}]}
    return ("POST", "/v1/cashbacks", dumps(body)) if what == "create" else ("PUT", path, dumps(body))


def as_sent(what: str, key: str) -> bytes:
    method, path, body = request(what)
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextlib.contextmanager
def serving(books: Books | None = None, token: str | None = None) -> Iterator[ThirdParty]:
    """A server on a thread of its own, ended by cancellation."""
    port: list[int] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()

    def ready(real_port: int) -> None:
        port.append(real_port)
        started.set()

    task = loop.create_task(serve("127.0.0.1", 0, ready=ready, books=books, token=token))

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(DEADLINE_SECONDS)
    third_party = ThirdParty(port[0], loop)
    try:
        yield third_party
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
        third_party.client.close()
        loop.close()
