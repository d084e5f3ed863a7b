"""The sandbox third party's faults, over real connections (contract.md, section 4)."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support import local_http
from tests.support.third_party_server import ORDER, ThirdParty, as_sent, serving

pytestmark = pytest.mark.slow

SHORT_SECONDS = 0.03  # what an impatient caller waits


@pytest.fixture
def third_party() -> Iterator[ThirdParty]:
    with serving() as running:
        yield running


class TestFaults:
    def test_an_injected_error_is_not_stored(self, third_party: ThirdParty) -> None:
        """The next attempt with the same key is applied."""
        third_party.faults(errorRate=1, errorStatus=429, retryAfterSeconds=7)
        answer = third_party.call("create", key="one")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
        third_party.faults(errorRate=0)
        answer = third_party.call("create", key="one")
        assert (answer.status_code, "Idempotency-Hit" in answer.headers) == (201, False)

    def test_a_third_party_that_is_down_answers_nothing_but_the_sandbox(self, third_party: ThirdParty) -> None:
        """503 without Retry-After, lookups as well."""
        third_party.faults(down=True, retryAfterSeconds=7)
        for answer in (third_party.call("create"), third_party.client.get(f"/v1/cashbacks/{ORDER}")):
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, False)
        third_party.faults(down=False)
        assert third_party.call("create").status_code == 201

    def test_only_the_named_orders_are_rejected(self, third_party: ThirdParty) -> None:
        """And once they aren't any more, the same call goes through."""
        third_party.faults(rejectOrders=[ORDER])
        answers = [third_party.call("create", key="one"), third_party.call("create", order_id=7)]
        assert [answer.status_code for answer in answers] == [422, 201]
        assert answers[0].json()["code"] == "rejected"
        third_party.faults(rejectOrders=[])
        assert third_party.call("create", key="one").status_code == 201

    def test_a_lost_answer_is_applied_and_the_connection_cut(self, third_party: ThirdParty) -> None:
        """The caller sees no answer at all; the repeat is told that it was done before."""
        third_party.faults(lostAnswerRate=1)
        for what in ("create", "complete"):
            with pytest.raises(httpx.TransportError):
                third_party.call(what, key=what)
        third_party.faults(lostAnswerRate=0)
        repeat = third_party.call("complete", key="complete")
        assert (repeat.status_code, repeat.headers["Idempotency-Hit"]) == (200, "true")
        [create, complete, _] = third_party.show("calls")["calls"]
        for call in (create, complete):
            assert (call["outcome"], call["status"], call["applied"]) == ("cut", None, True)
        assert third_party.show("orders")["orders"][0]["credits"] == 1
        assert third_party.violations() == []

    def test_a_key_that_is_forgotten_makes_a_new_call(self, third_party: ThirdParty) -> None:
        """Which pays twice, or tries to; a key that is still remembered doesn't."""
        for seconds, hit in ((None, True), (3600, True), (0, False)):
            third_party.faults(keyRetentionSeconds=seconds)
            third_party.call("create", key="one")
            again = third_party.call("create", key="one")
            assert ("Idempotency-Hit" in again.headers) is hit
        assert (again.status_code, again.json()["code"]) == (409, "already_exists")
        assert set(third_party.violations()) == {"second_credit"}

    def test_a_hanging_call_is_not_applied(self, third_party: ThirdParty) -> None:
        """The server notices that the caller left."""
        third_party.faults(hangRate=1)
        with third_party.begin("create", key="one"):
            third_party.wait_for_calls("in_progress", 1)
        third_party.wait_for_calls("client_gone", 1)
        third_party.faults(hangRate=0)
        answer = third_party.call("create", key="one")
        assert (answer.status_code, "Idempotency-Hit" in answer.headers) == (201, False)
        assert third_party.violations() == []

    @pytest.mark.parametrize("fault", [{"hangRate": 1}, {"latencyMs": 300_000}])
    def test_who_hangs_up_and_calls_again_at_once_is_not_blamed(
        self, third_party: ThirdParty, fault: dict[str, int]
    ) -> None:
        """However soon the next call comes: not for an overlap, and the key isn't in flight any more."""
        third_party.faults(**fault)
        for _ in range(20):
            with pytest.raises(httpx.ReadTimeout):
                third_party.call("create", key="one", timeout=httpx.Timeout(None, read=SHORT_SECONDS))
        third_party.faults(hangRate=0, latencyMs=0)
        assert third_party.call("create", key="one").status_code == 201
        third_party.wait_for_calls("in_progress", 0)
        assert third_party.violations() == []
        assert [call["applied"] for call in third_party.show("calls")["calls"]].count(True) == 1

    @pytest.mark.parametrize("first_bytes", [None, 1])
    def test_a_server_that_is_late_to_notice_blames_nobody(
        self, third_party: ThirdParty, first_bytes: int | None
    ) -> None:
        """Hanging up comes before the next call, though the server finds both at once.

        The next call may come in one piece or in two.
        """
        third_party.faults(hangRate=1)
        with third_party.connect() as spare, third_party.begin("create", key="one") as hanging:
            third_party.wait_for_calls("in_progress", 1)
            third_party.faults(hangRate=0)
            head, _, body = as_sent("create", "one").partition(b"\r\n\r\n")
            with third_party.busy():
                hanging.close()
                spare.sendall(head + b"\r\n\r\n" + body[:first_bytes])
            if first_bytes is not None:
                third_party.wait_for_calls("client_gone", 1)
                spare.sendall(body[first_bytes:])
            assert spare.recv(4096).startswith(b"HTTP/1.1 201")
        assert third_party.violations() == []

    def test_calls_overlap_while_they_are_delayed(self, third_party: ThirdParty) -> None:
        """A call is in progress all the time of the latency; other orders' calls may run beside it."""
        third_party.faults(latencyMs=300_000)
        with third_party.begin("create", key="one"):
            third_party.wait_for_calls("in_progress", 1)
            third_party.faults(latencyMs=0)
            assert third_party.call("create", order_id=7).status_code == 201
            assert third_party.violations() == []
            third_party.call("update")
            assert third_party.violations() == ["overlap", "illegal_call"]

    def test_a_delayed_call_is_answered_after_its_time(self, third_party: ThirdParty) -> None:
        """Not before the latency is over."""
        third_party.faults(latencyMs=50)
        started = time.monotonic()
        assert third_party.call("create").status_code == 201
        assert time.monotonic() - started >= 0.049

    def test_a_late_call_that_was_in_the_queue_before_a_fresh_start_is_none_of_the_new_books(
        self, third_party: ThirdParty
    ) -> None:
        """As with calls that are delayed."""
        third_party.faults(lateRate=1, lateMs=1000)
        with third_party.begin("create", key="one") as late:
            with local_http.client(f"http://127.0.0.1:{third_party.port}") as later:
                later.get("/_sandbox/faults")  # on a connection that comes after the call's
            third_party.client.delete("/_sandbox")
            assert third_party.call("create", order_id=7).status_code == 201
            assert late.recv(1) == b"", "cut when its time has come"
        assert [call["orderId"] for call in third_party.show("calls")["calls"]] == [7]

    def test_the_second_of_two_calls_with_one_key_is_in_flight(self, third_party: ThirdParty) -> None:
        """It's answered at once, however long the first takes."""
        third_party.faults(latencyMs=300_000)
        with third_party.begin("create", key="one"):
            third_party.wait_for_calls("in_progress", 1)
            second = third_party.call("create", key="one")
            assert (second.status_code, second.json()["code"]) == (409, "in_flight")
            assert third_party.violations() == ["overlap"]

    def test_starting_afresh_cuts_what_is_delayed(self, third_party: ThirdParty) -> None:
        """A call from before doesn't show up in the new books."""
        third_party.faults(latencyMs=300_000)
        with third_party.begin("create", key="one") as delayed:
            third_party.wait_for_calls("in_progress", 1)
            third_party.client.delete("/_sandbox")
            assert delayed.recv(1024) == b""
        assert third_party.show("orders")["orders"] == []
        assert third_party.call("create", key="one").status_code == 201
