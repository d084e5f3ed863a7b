"""What may be lost: the log that a partition's messages are in, and what its bounds say about our position."""

import pytest

from domain.losses import (
    Bounds,
    ResumePoint,
    StoppedPartition,
    examined,
    missing,
    renewed,
    resume_points,
    topic_id_of,
)
from domain.ports import Loss, Partition, Position
from tests.support.messages import partition_of

ZERO, ONE = partition_of(0, topic_id="new"), partition_of(1, topic_id="new")
OLD = partition_of(0, topic_id="old")
BOUNDS = Bounds(5, 9)


def loss_of(place: ResumePoint) -> Loss | None:
    return None if place.stop is None else place.stop.loss


def test_without_any_position_every_partition_begins_at_its_beginning() -> None:
    """A new topic is no loss, nor is another topic's position any concern of it."""
    elsewhere = partition_of(0, topic="other", topic_id="new")
    assert resume_points([ZERO, ONE], {elsewhere: Position(3)}) == {ZERO: ResumePoint(ZERO), ONE: ResumePoint(ONE)}


def test_a_partition_without_a_position_beside_one_that_has_one_is_new() -> None:
    """Even if there was a topic of this name before: its loss was accepted, or there was none."""
    found = resume_points([ZERO, ONE], {OLD: Position(3), ZERO: Position(7, 2)})
    assert found == {ZERO: ResumePoint(ZERO, Position(7, 2)), ONE: ResumePoint(ONE)}


def test_a_topic_whose_name_has_positions_only_under_other_ids_was_made_again() -> None:
    """All its partitions, also those that the one before hadn't."""
    found = resume_points([ZERO, ONE], {OLD: Position(3)})
    assert {log: loss_of(place) for log, place in found.items()} == dict.fromkeys(found, Loss.TOPIC_RECREATED)


def test_a_loss_that_was_found_stays_until_it_is_accepted() -> None:
    """It came with the position."""
    found = resume_points([ZERO, ONE], {ZERO: Position(7, 2, Loss.LOG_TRUNCATED), ONE: Position(1)})
    assert loss_of(found[ZERO]) is Loss.LOG_TRUNCATED
    assert found[ONE] == ResumePoint(ONE, Position(1))


def test_a_log_that_has_lost_its_end_goes_on_under_another_name() -> None:
    """Each time under a new one, and the last one counts; Kafka's id of the topic stays known."""
    second = renewed(ZERO)
    third = renewed(second)
    assert (second.topic_id, third.topic_id) == ("new#2", "new#3")
    tenth = Partition(ZERO.topic, "new#10", 0)
    assert {topic_id_of(log) for log in (ZERO, second, tenth)} == {"new"}
    positions = {ZERO: Position(9), tenth: Position(2), second: Position(4), OLD: Position(1)}
    assert resume_points([ZERO, ONE], positions) == {ZERO: ResumePoint(tenth, Position(2)), ONE: ResumePoint(ONE)}


@pytest.mark.parametrize(
    ("position", "loss", "gone"),
    [
        (4, Loss.LOG_TRUNCATED, 1),
        (5, None, None),
        (9, None, None),
        (10, Loss.POSITION_BEYOND_END, None),
    ],
)
def test_a_position_is_sound_from_the_logs_start_to_its_end(
    position: int, loss: Loss | None, gone: int | None
) -> None:
    """At the end there is just nothing yet. How many are gone is known where the start is gone."""
    place = ResumePoint(ZERO, Position(position))
    found = examined(place, BOUNDS)
    assert (found and found.loss) is loss
    assert missing(place, BOUNDS) == gone


@pytest.mark.parametrize("position", [4, 7, 10])
def test_a_log_that_was_cut_is_not_sound_again_because_it_has_grown(position: int) -> None:
    """What lies at our position now is another message than the one that we should have read next."""
    stop = StoppedPartition(Loss.POSITION_BEYOND_END, "found before")
    assert examined(ResumePoint(ZERO, Position(position), stop), BOUNDS) == stop


def test_nothing_is_wrong_with_a_partition_of_which_nothing_was_read() -> None:
    """Wherever its log begins."""
    assert examined(ResumePoint(ZERO), BOUNDS) is None
