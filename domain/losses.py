"""What may have been lost: our positions against what the cluster has. Pure.

The errors are `domain.ports.Loss`. An offset that is used twice, for two messages, would name two places: so a log
that has lost its end goes on under another name, `<topic id>#2`. Its messages are then compared with those before
as if they lay on another partition (docs/adr/0002-what-came-before-what.md).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from domain.ports import Loss, Partition, Position

_RENEWED: Final = "#"
NOT_THERE: Final = "there is no such topic any more"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offsets that a log has: from `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TopicLogs:
    """A topic as it is in the cluster."""

    topic_id: str
    bounds: Mapping[int, Bounds]
    """By the partition's number."""


@dataclass(frozen=True, slots=True)
class StoppedPartition:
    """Why a partition stands still."""

    loss: Loss
    detail: str
    """For a person."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The log of a partition, and where to go on in it. No position: from its beginning."""

    log: Partition
    position: Position | None = None
    stop: StoppedPartition | None = None
    """If it must not be read."""


def topic_id_of(log: Partition) -> str:
    """The id by which Kafka knows the topic."""
    return log.topic_id.partition(_RENEWED)[0]


def renewed(log: Partition) -> Partition:
    """The name of the log that goes on after this one has lost its end."""
    return replace(log, topic_id=f"{topic_id_of(log)}{_RENEWED}{_generation(log) + 1}")


def _generation(log: Partition) -> int:
    return int(log.topic_id.partition(_RENEWED)[2] or 1)


def resume_points(
    wanted: Iterable[Partition], positions: Mapping[Partition, Position]
) -> dict[Partition, ResumePoint]:
    """The place of each partition wanted; these have the ids by which Kafka knows the topics.

    A partition without a position is a new one, and read from its beginning; unless no partition of its topic has
    one, and those of another topic of this name have.
    """
    names = {log.topic for log in positions}
    present = {(log.topic, topic_id_of(log)) for log in positions}
    logs: dict[Partition, Partition] = {}
    for log in sorted(positions, key=_generation):
        logs[replace(log, topic_id=topic_id_of(log))] = log
    found = {}
    for each in wanted:
        if each in logs:
            found[each] = _resume_point(logs[each], positions[logs[each]])
        elif each.topic in names and (each.topic, each.topic_id) not in present:
            found[each] = ResumePoint(
                each, stop=StoppedPartition(Loss.TOPIC_RECREATED, "our positions are in a topic that is gone")
            )
        else:
            found[each] = ResumePoint(each)
    return found


def _resume_point(log: Partition, position: Position) -> ResumePoint:
    if position.loss is None:
        return ResumePoint(log, position)
    return ResumePoint(
        log, position, StoppedPartition(position.loss, f"found before, at position {position.next_offset}")
    )


def refused(position: int, bounds: Bounds, *, was_cut: bool) -> StoppedPartition:
    """Why a broker refuses to read on at this position.

    `was_cut`: it has found out by the epoch. Otherwise a position that lies in the log by now lay beyond its end
    when it was refused: logs grow at their end, and what they lose is at their start.
    """
    if was_cut:
        return StoppedPartition(
            Loss.POSITION_BEYOND_END,
            f"the log was cut below our position {position} and written anew, up to {bounds.end} by now",
        )
    if position < bounds.start:
        return _truncated(position, bounds)
    return _beyond_end(position, bounds)


def examined(place: ResumePoint, bounds: Bounds) -> StoppedPartition | None:
    """What is wrong with a partition, by what the cluster tells of its log; None if nothing is."""
    known, position = place.stop, place.position
    if position is None or (known is not None and known.loss is not Loss.LOG_TRUNCATED):
        return known
    if position.next_offset < bounds.start:
        return _truncated(position.next_offset, bounds)
    if position.next_offset > bounds.end:
        return _beyond_end(position.next_offset, bounds)
    return known


def missing(place: ResumePoint, bounds: Bounds) -> int | None:
    """How many messages between our position and the log's start are gone; None if that can't be told."""
    stop = examined(place, bounds)
    if stop is None or stop.loss is not Loss.LOG_TRUNCATED or place.position is None:
        return None
    return max(0, bounds.start - place.position.next_offset)


def _truncated(position: int, bounds: Bounds) -> StoppedPartition:
    return StoppedPartition(
        Loss.LOG_TRUNCATED, f"our position is {position}, before the log's start at {bounds.start}"
    )


def _beyond_end(position: int, bounds: Bounds) -> StoppedPartition:
    return StoppedPartition(
        Loss.POSITION_BEYOND_END, f"our position is {position}, beyond the log's end at {bounds.end}"
    )
