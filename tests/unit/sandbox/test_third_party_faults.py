"""The faults that the sandbox third party can be told to show, and its memory of calls."""

import pytest

from domain.exact_json import dumps
from sandbox.third_party_server.call_log import CallLog, ReceivedCall
from sandbox.third_party_server.faults import FaultDraws, Faults, FaultSwitch, InvalidFaults

VALID = [
    {},
    {
        "latencyMs": 0,
        "errorRate": 0,
        "hangRate": 0,
        "lostAnswerRate": 0,
        "retryAfterSeconds": 0,
        "errorStatus": 400,
    },
    {"latencyMs": 300_000, "errorRate": 1, "hangRate": 1, "lostAnswerRate": 1, "retryAfterSeconds": 86_400},
    {"latencyMs": 0.5, "errorRate": 0.25, "errorStatus": 599, "retryAfterSeconds": None, "seed": None},
    {"lateRate": 1, "lateMs": 300_000},
    {"rejectOrders": [1, 2**63 - 1, 1], "down": True, "seed": -1},
]
INVALID = [
    {"latency": 1},
    {"latencyMs": -0.001},
    {"latencyMs": 300_000.5},
    {"latencyMs": "1"},
    {"errorRate": 1.0001},
    {"errorRate": None},
    {"hangRate": -0.1},
    {"lateRate": 1.1},
    {"lateMs": 300_001},
    {"lostAnswerRate": True},
    {"errorStatus": 399},
    {"errorStatus": 600},
    {"errorStatus": 503.5},
    {"retryAfterSeconds": -1},
    {"retryAfterSeconds": 86_401},
    {"rejectOrders": [0]},
    {"rejectOrders": [2**63]},
    {"rejectOrders": 7},
    {"down": 1},
    {"seed": "x"},
    [],
    None,
]


@pytest.mark.parametrize("faults", VALID)
def test_known_faults_within_their_ranges_are_taken(faults: dict[str, object]) -> None:
    """Up to and including the limits."""
    switch = FaultSwitch()
    switch.update(dumps(faults))
    assert isinstance(switch.faults, Faults)


@pytest.mark.parametrize("faults", INVALID)
def test_other_faults_are_refused_and_change_nothing(faults: object) -> None:
    """Unknown members, too."""
    switch = FaultSwitch()
    switch.update(b'{"latencyMs":1}')
    with pytest.raises(InvalidFaults):
        switch.update(dumps(faults))
    assert Faults(latency_ms=1) == switch.faults


def test_members_that_are_not_named_keep_their_values() -> None:
    """Until a reset, which takes all faults away."""
    switch = FaultSwitch()
    switch.update(b'{"errorRate":0.5,"rejectOrders":[7]}')
    switch.update(b'{"errorRate":0.25,"down":true}')
    assert Faults(error_rate=0.25, reject_orders=frozenset({7}), down=True) == switch.faults
    switch.reset()
    assert Faults() == switch.faults


def test_a_seed_makes_the_same_calls_meet_the_same_faults() -> None:
    """Each time that it's named, the dice start afresh."""
    switch = FaultSwitch()
    rolls = []
    for _ in range(2):
        switch.update(b'{"errorRate":0.5,"hangRate":0.2,"lostAnswerRate":0.3,"seed":42}')
        rolls.append([switch.roll() for _ in range(100)])
    assert rolls[0] == rolls[1]
    assert 0 < sum(roll.error for roll in rolls[0]) < 100


def test_a_change_of_one_rate_does_not_move_the_other_faults() -> None:
    """A call's dice are thrown whatever the rates."""
    calm, rough = FaultDraws(1), FaultDraws(1)
    for _ in range(100):
        one = calm.roll(Faults(error_rate=0.5))
        other = rough.roll(Faults(error_rate=0.5, hang_rate=0.5, lost_answer_rate=0.9))
        assert one.error == other.error


def test_which_calls_are_late_moves_no_other_fault() -> None:
    """And is the same each time that the seed is named."""
    switch = FaultSwitch()
    seen = []
    for rate in (0, 0.5, 0.5):
        switch.update(b'{"errorRate":0.5,"lateMs":1000,"lateRate":%f,"seed":42}' % rate)
        seen.append([(switch.late_seconds(), switch.roll()) for _ in range(100)])
    assert [roll for _, roll in seen[0]] == [roll for _, roll in seen[1]]
    assert seen[1] == seen[2]
    assert {late for late, _ in seen[0]} == {0.0}
    assert {late for late, _ in seen[1]} == {0.0, 1.0}


def test_the_log_drops_its_oldest_calls() -> None:
    """By number and by the size of their bodies; each order's calls along with them."""
    log = CallLog(max_calls=3, max_body_bytes=100)
    for order_id in (1, None, 1, 2, 1):
        log.append(ReceivedCall("PUT", "/", "key", order_id, b"12345"))
    assert [call.number for call in log.after(0)] == [3, 4, 5]
    assert [call.number for call in log.after(0, 1)] == [3, 5]
    assert [call.number for call in log.after(3)] == [4, 5]
    assert log.dropped == 2
    log.append(ReceivedCall("PUT", "/", "key", 2, b"x" * 98))
    assert [call.number for call in log.after(0)] == [6]
    assert list(log.after(0, 1)) == []
