"""Which calls of one order the sandbox third party's books take to be at the same time."""

import pytest

from sandbox.third_party_server.call_log import ReceivedCall
from sandbox.third_party_server.views import calls_page, totals
from tests.support.books_caller import CREATE, ORDER, UPDATE, Caller, code


@pytest.fixture
def caller() -> Caller:
    return Caller.fresh()


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
    late = ReceivedCall("PUT", f"/v1/cashbacks/{ORDER}", "two", ORDER, b"{}", arrived_tick=tick)
    caller.books.enter(late)
    caller.books.leave(late, "answered", 400)
    assert caller.violations() == ["overlap"]
    caller.say(UPDATE)
    assert caller.violations() == ["overlap"]


def test_a_call_whose_client_hung_up_is_not_held_against_headers_that_came_since(caller: Caller) -> None:
    """The server may notice only now what happened before them."""
    hung_up, _ = caller.begin(CREATE)
    tick = caller.books.arrive()
    caller.books.leave(hung_up, "client_gone")
    retry = ReceivedCall("POST", "/v1/cashbacks", "two", ORDER, b"{}", arrived_tick=tick)
    caller.books.enter(retry)
    assert caller.violations() == []


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
