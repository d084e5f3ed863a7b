"""The partitions that stand still: told once each, until they go on, are another's, or their topic is back."""

import time

from structlog.testing import capture_logs

from adapters.kafka.consumer.stopped_partitions import LOOK_AGAIN_SECONDS, StoppedPartitions
from domain.losses import StoppedPartition
from domain.ports import Loss

CUT, MADE_AGAIN = StoppedPartition(Loss.LOG_TRUNCATED, "cut"), StoppedPartition(Loss.TOPIC_RECREATED, "made again")


class Told:
    """What stands still by what was told, and how often something was."""

    def __init__(self) -> None:
        self.now: dict[str, Loss] = {}
        self.times = 0

    def __call__(self, partition: str, why: StoppedPartition | None) -> None:
        self.times += 1
        if why is None:
            del self.now[partition]
        else:
            self.now[partition] = why.loss


def test_a_stop_is_told_and_logged_once_however_often_it_is_found() -> None:
    """In an error that names the loss and the way on."""
    told = Told()
    with capture_logs() as logs:
        stops = StoppedPartitions(told)
        stops.note(("t", 0), CUT)
        stops.note(("t", 0), StoppedPartition(Loss.LOG_TRUNCATED, "found before"))
    assert (told.now, told.times) == ({"t/0": Loss.LOG_TRUNCATED}, 1)
    assert [(line["log_level"], line["error"], line["accept"]) for line in logs] == [
        ("error", "log_truncated", "python app.py accept-loss t")
    ]


def test_a_stopped_partition_is_due_again_and_again_until_it_goes_on() -> None:
    """Not at once: the loss was only just found."""
    told = Told()
    stops = StoppedPartitions(told)
    stops.note(("t", 0), CUT)
    now = time.monotonic()
    assert stops.due(now) == set()
    assert stops.due(now + LOOK_AGAIN_SECONDS + 1) == {("t", 0)}
    assert stops.due(now + LOOK_AGAIN_SECONDS + 2) == set()
    stops.resume([("t", 0), ("t", 1)])
    assert told.now == {}
    assert stops.due(now + 3 * LOOK_AGAIN_SECONDS) == set()


def test_a_partition_that_is_anothers_is_told_by_that_one_but_a_deleted_topic_is_everybodys() -> None:
    """Nobody is given the partitions of a topic that isn't there, and so nobody looks at them again."""
    told = Told()
    stops = StoppedPartitions(told)
    stops.note(("t", 0), CUT)
    stops.note(("other", 0), CUT)
    stops.topic_has_gone("t", [0, 1])
    assert told.now == {"t/0": Loss.TOPIC_DELETED, "t/1": Loss.TOPIC_DELETED, "other/0": Loss.LOG_TRUNCATED}
    assert stops.due(time.monotonic() + LOOK_AGAIN_SECONDS + 1) == {("other", 0)}
    stops.revoked([("t", 0), ("other", 0)])
    assert set(told.now) == {"t/0", "t/1"}
    stops.revoked()
    assert set(told.now) == {"t/0", "t/1"}


def test_a_deleted_topic_is_no_matter_any_more_when_it_is_there_again_or_its_positions_are_dropped() -> None:
    """What else is found of the one that is there again, is told then."""
    told = Told()
    stops = StoppedPartitions(told)
    stops.topic_has_gone("t", [0, 1])
    stops.note(("t", 0), MADE_AGAIN)
    stops.topic_is_there("t")
    assert told.now == {"t/0": Loss.TOPIC_RECREATED}
    stops.topic_has_gone("t", [0])
    stops.topic_has_gone("t", [])
    assert told.now == {}
