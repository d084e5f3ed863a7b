"""The sandbox third party as a server: answers, connections, signals (contract.md, sections 2 and 4)."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from domain.exact_json import dumps, loads
from sandbox.third_party_server.app import serve
from tests.support.third_party_server import DATE, ORDER, ThirdParty, request, serving
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def third_party() -> Iterator[ThirdParty]:
    with serving() as running:
        yield running


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


class TestAnswers:
    def test_amounts_are_the_same_to_the_last_digit_everywhere(self, third_party: ThirdParty) -> None:
        """In answers, lookups, the list of orders and the log of calls; none goes through a float."""
        amount = str(Decimal("1.255") * Decimal("19.99"))
        assert amount == "25.08745"
        answer = third_party.call("create", amount=amount)
        expected = {
            "orderId": ORDER,
            "status": "PENDING",
            "cashbackAmount": Decimal(amount),
            "lastTransactionDate": DATE,
        }
        assert (answer.status_code, loads(answer.content)) == (201, expected)
        assert third_party.lookup() == expected
        [row] = third_party.show("orders")["orders"]
        assert row == {**expected, "buyerId": "1234", "storeNo": "54645", "calls": 1, "credits": 0}
        assert b'"cashbackAmount":25.08745,' in third_party.client.get("/_sandbox/orders").content
        [call, *_] = third_party.show("calls", orderId=ORDER)["calls"]
        assert dumps(call["body"]) == request("create", ORDER, amount)[2]

    def test_a_lifecycle_ends_in_one_credit(self, third_party: ThirdParty) -> None:
        """Each call as contract.md lists it, with nothing to complain of."""
        statuses = [third_party.call(what).status_code for what in ("create", "update", "complete")]
        assert statuses == [201, 200, 200]
        assert third_party.call("cancel").json()["code"] == "illegal_state"
        totals = third_party.show("totals")
        assert totals["byStatus"] == {"PENDING": 0, "COMPLETED": 1, "CANCELLED": 0}
        assert (totals["creditedAmount"], totals["calls"], totals["violations"]) == (6, 4, 1)
        assert third_party.show("orders")["totals"] == totals

    def test_a_correction_changes_what_was_credited(self, third_party: ThirdParty) -> None:
        """Of a completed order only; what was booked is shown, and nothing is complained of."""
        third_party.call("create")
        refused = third_party.call("correct", amount="2.50")
        assert (refused.status_code, refused.json()["code"]) == (409, "illegal_state")
        third_party.call("complete")
        assert third_party.call("correct", amount="2.50").status_code == 200
        assert third_party.lookup()["cashbackAmount"] == Decimal("2.50")
        [row] = third_party.show("orders")["orders"]
        assert (row["credits"], row["bookings"]) == (1, [6, Decimal("-3.50")])
        assert third_party.show("totals")["creditedAmount"] == Decimal("2.50")
        assert third_party.violations() == ["illegal_call"]

    def test_a_repeat_is_told_from_a_first_answer_by_its_header(self, third_party: ThirdParty) -> None:
        """Also when its JSON is written otherwise; another body is refused."""
        first = third_party.call("create", key="one")
        method, path, body = request("create")
        rewritten = dumps(dict(reversed(loads(body).items()))).replace(
            b'"cashbackAmount":6', b'"cashbackAmount": 6.0'
        )
        repeat = third_party.client.request(method, path, content=rewritten, headers={"Idempotency-Key": "one"})
        assert (repeat.status_code, repeat.content) == (first.status_code, first.content)
        assert (first.headers.get("Idempotency-Hit"), repeat.headers.get("Idempotency-Hit")) == (None, "true")
        assert third_party.call("create", key="one", amount="7").status_code == 422
        assert third_party.violations() == []

    def test_a_call_without_a_key_is_refused_and_written_down(self, third_party: ThirdParty) -> None:
        """With an empty one, too; one that is too long is just refused."""
        method, path, body = request("create")
        answers = [
            third_party.client.request(method, path, content=body, headers=headers)
            for headers in (
                {},
                {"Idempotency-Key": ""},
                {"Idempotency-Key": "x" * 256},
                {"Idempotency-Key": "x" * 255},
            )
        ]
        assert [answer.status_code for answer in answers] == [400, 400, 400, 201]
        assert third_party.violations() == ["missing_key"] * 2

    def test_calls_with_a_wrong_token_are_not_applied(self) -> None:
        """Neither without one; `_sandbox` needs none."""
        with serving(token="secret") as third_party:
            method, path, body = request("create")
            for token, status in ((None, 401), ("Bearer wrong", 401), ("secret", 401), ("Bearer secret", 201)):
                headers = {"Idempotency-Key": "one", **({"Authorization": token} if token else {})}
                answer = third_party.client.request(method, path, content=body, headers=headers)
                assert answer.status_code == status
            assert third_party.client.get(path + f"/{ORDER}").status_code == 401
            assert [call["applied"] for call in third_party.show("calls")["calls"]] == [
                False,
                False,
                False,
                True,
                False,
            ]
            assert "secret" not in third_party.client.get("/_sandbox/calls").text

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("POST", "/v1/cashbacks", b"{}", 400),
            ("POST", "/v1/cashbacks", b"", 400),
            ("PUT", "/v1/cashbacks/0", request("update")[2], 400),
            ("PUT", "/v1/cashbacks/1", request("update")[2], 400),
            ("PUT", "/v1/cashbacks/" + "1" * 5000, request("update")[2], 400),
            ("POST", "/v1/cashbacks", b" " * 1024**2 + request("create")[2], 413),
            ("GET", "/v1/cashbacks/x", b"", 400),
            ("GET", "/v1/cashbacks/7", b"", 404),
            ("GET", "/v1/other", b"", 404),
            ("PATCH", "/v1/cashbacks/7", b"", 405),
            ("PUT", "/_sandbox/faults", b'{"latencyMs":-1}', 400),
            ("PUT", "/_sandbox/faults", b'{"other":1}', 400),
            ("GET", "/_sandbox/calls?orderId=x", b"", 400),
            ("GET", "/_sandbox/orders?limit=0", b"", 400),
            ("GET", "/_sandbox/orders?after=-1", b"", 400),
        ],
    )
    def test_what_cannot_be_right_is_a_problem(
        self, third_party: ThirdParty, method: str, path: str, body: bytes, status: int
    ) -> None:
        """In JSON (RFC 9457), with a status and a code."""
        answer = third_party.client.request(method, path, content=body, headers={"Idempotency-Key": "one"})
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["code"]
        assert third_party.call("create", key="one").status_code == 201, "the key is still unused"

    def test_starting_afresh_empties_everything(self, third_party: ThirdParty) -> None:
        """Books, log, violations and faults."""
        third_party.call("cancel")
        third_party.faults(down=True, latencyMs=5)
        assert third_party.client.delete("/_sandbox").status_code == 204
        assert third_party.show("faults")["down"] is False
        assert third_party.show("violations") == {"violations": [], "count": 0}
        assert third_party.show("calls")["calls"] == third_party.show("orders")["orders"] == []


class TestConnections:
    def test_a_call_is_in_progress_from_its_headers_on(self, third_party: ThirdParty) -> None:
        """Another call that comes and goes before the body is there overlaps with it."""
        method, path, body = request("create")
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: one\r\nExpect: 100-continue\r\n"
        with socket.create_connection(("127.0.0.1", third_party.port), DEADLINE_SECONDS) as slow:
            slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            assert slow.recv(1024).startswith(b"HTTP/1.1 100")
            assert third_party.call("cancel").status_code == 404
            slow.sendall(body)
            assert slow.recv(1024).startswith(b"HTTP/1.1 201")
        assert third_party.violations() == ["illegal_call", "overlap"]

    def test_a_caller_that_leaves_before_its_body_made_no_call(self, third_party: ThirdParty) -> None:
        """Nothing is written down, and nothing overlaps with it."""
        with socket.create_connection(("127.0.0.1", third_party.port), DEADLINE_SECONDS) as leaver:
            leaver.sendall(b"POST /v1/cashbacks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert third_party.call("create").status_code == 201
        assert third_party.call("update").status_code == 200
        assert len(third_party.show("calls")["calls"]) == 2
        assert third_party.violations() == []

    def test_an_address_that_is_taken_is_an_error(self, third_party: ThirdParty) -> None:
        """For the caller of `serve` to tell."""
        with pytest.raises(OSError, match="in use"):
            asyncio.run(serve("127.0.0.1", third_party.port))

    def test_many_callers_at_once_are_all_answered(
        self, third_party: ThirdParty, threads: ThreadPoolExecutor
    ) -> None:
        """Faults of every kind, a seed, and callers that repeat until they're told that it's done."""
        third_party.faults(seed=7, errorRate=0.2, lostAnswerRate=0.2, latencyMs=1)

        def push(order_id: int) -> None:
            for what in ("create", "update", "complete"):
                key = f"{order_id}-{what}"
                while not _done(third_party, what, key, order_id):
                    pass

        list(threads.map(push, range(1, 101)))
        totals = third_party.show("totals")
        assert totals["byStatus"] == {"PENDING": 0, "COMPLETED": 100, "CANCELLED": 0}
        assert (totals["creditedAmount"], totals["violations"]) == (600, 0)


def _done(third_party: ThirdParty, what: str, key: str, order_id: int) -> bool:
    try:
        return third_party.call(what, key=key, order_id=order_id).is_success
    except httpx.TransportError:
        return False


SERVER = """
import asyncio, sys
from pathlib import Path
from sandbox.third_party_server.books import Books
from sandbox.third_party_server.app import serve

books = Books(journal=Path(sys.argv[1]))
asyncio.run(serve("127.0.0.1", 0, ready=lambda port: print(port, flush=True), books=books))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], ThirdParty]]]:
    """Starts servers of their own, all on one journal."""
    started: list[tuple[subprocess.Popen[str], ThirdParty]] = []

    def run() -> tuple[subprocess.Popen[str], ThirdParty]:
        argv = [sys.executable, "-c", SERVER, str(tmp_path / "books.jsonl")]
        process = subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        started.append((process, ThirdParty(int(process.stdout.readline()))))
        return started[-1]

    yield run
    for process, third_party in started:
        third_party.client.close()
        process.kill()
        process.communicate()


class TestProcess:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_whatever_hangs(
        self,
        start: Callable[[], tuple[subprocess.Popen[str], ThirdParty]],
        threads: ThreadPoolExecutor,
        number: signal.Signals,
    ) -> None:
        """It leaves with 0 and says nothing; calls that hang or wait are cut and not applied."""
        process, third_party = start()
        third_party.faults(hangRate=1)
        calls = [threads.submit(third_party.call, "create")]
        third_party.wait_for_calls("in_progress", 1)
        third_party.faults(hangRate=0, latencyMs=300_000)
        calls.append(threads.submit(third_party.call, "create", order_id=7))
        third_party.wait_for_calls("in_progress", 2)
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == 0
        for call in calls:
            with pytest.raises(httpx.TransportError):
                call.result()
        assert process.communicate() == ("", "")
        assert start()[1].show("orders")["orders"] == []

    def test_killed_it_keeps_what_it_has_answered(
        self, start: Callable[[], tuple[subprocess.Popen[str], ThirdParty]]
    ) -> None:
        """With its journal: the next process has the same books and knows the same keys."""
        process, third_party = start()
        for what in ("create", "update"):
            assert third_party.call(what, key=what, amount="25.087450").is_success
        before = third_party.client.get("/_sandbox/orders").content
        process.kill()
        process.wait(DEADLINE_SECONDS)
        _, again = start()
        assert again.client.get("/_sandbox/orders").content == before
        assert again.call("update", key="update", amount="25.087450").headers["Idempotency-Hit"] == "true"
