"""Health: ready while every part does its work, live unless a part has died."""

import pytest
from structlog.testing import capture_logs

from adapters.observability.health import READY, Health
from domain.losses import StoppedPartition
from domain.ports import Loss


def healthy() -> Health:
    health = Health()
    health.part("intake", "reading")
    health.part("push", "sending")
    return health


def test_a_process_whose_parts_have_not_begun_is_live_but_not_ready() -> None:
    """Nobody sends it anything yet, and nobody restarts it."""
    health = Health()
    assert (health.live(), health.ready()[0]) == (True, False)


def test_it_is_ready_when_all_parts_do_their_work() -> None:
    """And it says what they do."""
    assert healthy().ready() == (
        True,
        {"parts": {"intake": "reading", "push": "sending"}, "reasons": {}, "stoppedPartitions": {}},
    )


@pytest.mark.parametrize("state", sorted(READY))
def test_every_state_of_work_is_ready(state: str) -> None:
    """Whatever the part calls it."""
    health = Health()
    health.part("any", state)
    assert health.ready()[0]


def test_a_part_that_waits_makes_it_unready_until_it_works_again() -> None:
    """The body of the probe says what it waits for; a restart wouldn't help, so it stays live."""
    health = healthy()
    health.part("intake", "waiting for the event store", "permission denied for table delivery")
    ready, details = health.ready()
    assert (ready, health.live()) == (False, True)
    assert details["parts"] == {"intake": "waiting for the event store", "push": "sending"}
    assert details["reasons"] == {"intake": "permission denied for table delivery"}

    health.part("intake", "reading")
    assert health.ready() == (
        True,
        {"parts": {"intake": "reading", "push": "sending"}, "reasons": {}, "stoppedPartitions": {}},
    )


def test_a_stopped_partition_makes_it_unready_until_it_is_another_ones() -> None:
    """Only a person can make it go on; that the others are read doesn't make it ready."""
    health = healthy()
    health.partition_stopped("orders/3", StoppedPartition(Loss.LOG_TRUNCATED, "begins at 20"))
    health.part("intake", "reading")
    ready, details = health.ready()
    assert (ready, details["stoppedPartitions"]) == (
        False,
        {"orders/3": {"error": "log_truncated", "detail": "begins at 20"}},
    )

    health.partition_stopped("orders/3", None)
    assert health.ready()[0]
    health.partition_stopped("orders/4", None)
    assert health.ready()[0]


def test_a_part_that_died_makes_it_neither_ready_nor_live() -> None:
    """For good: only a restart helps."""
    health = healthy()
    health.died("push")
    health.part("push", "sending")
    assert (health.live(), health.ready()[0]) == (False, False)


def test_a_state_is_logged_when_it_changes_and_only_then() -> None:
    """A part may say what it does as often as it likes."""
    with capture_logs() as logs:
        health = healthy()
        health.part("intake", "waiting for Kafka")
        health.part("intake", "waiting for Kafka")
        health.part("intake", "reading")
    assert [(line["part"], line["state"], line["log_level"]) for line in logs] == [
        ("intake", "reading", "info"),
        ("push", "sending", "info"),
        ("intake", "waiting for Kafka", "warning"),
        ("intake", "reading", "info"),
    ]


class Clock:
    """Tells the time that it was given."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_part_that_works_in_steps_must_say_again_and_again_that_it_does() -> None:
    """Silence isn't work. What it was at, or what hinders it, is the reason."""
    clock = Clock()
    health = Health(30, monotonic=clock)
    health.part("intake", "reading", in_steps=True)
    health.doing("intake", "waiting for the event store to take a batch")
    clock.now += 30
    assert health.ready()[0]

    clock.now += 1
    with capture_logs() as logs:
        assert health.ready() == health.ready()
    ready, details = health.ready()
    reason = "nothing has succeeded for 31 s: waiting for the event store to take a batch"
    assert (ready, details["parts"]) == (False, {"intake": "standing still"})
    assert details["reasons"] == {"intake": reason}
    assert [(line["part"], line["state"], line["why"]) for line in logs] == [("intake", "standing still", reason)]

    with capture_logs() as logs:
        health.part("intake", "reading", in_steps=True)
    assert health.ready()[0]
    assert [(line["part"], line["state"]) for line in logs] == [("intake", "reading")]


def test_a_part_that_finds_nothing_to_do_is_ready_for_ever() -> None:
    """A quiet night. And one that doesn't work in steps needs to say nothing."""
    clock = Clock()
    health = Health(30, monotonic=clock)
    health.part("api", "listening")
    for _ in range(1000):
        clock.now += 29
        health.part("intake", "reading", in_steps=True)
        assert health.ready()[0]


def test_some_parts_may_be_silent_for_longer() -> None:
    """One call may take long; and each that ends shows that the part is at work."""
    clock = Clock()
    health = Health(30, patience={"push": 60}, monotonic=clock)
    health.part("push", "sending", in_steps=True)
    clock.now += 80
    health.worked("push")
    clock.now += 90
    assert health.ready()[0]
    clock.now += 1
    assert not health.ready()[0]


def test_a_part_that_waits_does_not_stand_still() -> None:
    """It says itself what it waits for, for however long; what ends meanwhile changes nothing about that."""
    clock = Clock()
    health = Health(30, monotonic=clock)
    health.part("push", "sending", in_steps=True)
    health.part("push", "waiting for the ledger", "no connection")
    clock.now += 1000
    health.worked("push")
    _, details = health.ready()
    assert details["parts"] == {"push": "waiting for the ledger"}
    assert details["reasons"] == {"push": "no connection"}
