"""Messages that are lost, accepted by a person: reading goes on behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.kafka.cluster import topic_logs
from adapters.postgres.positions import Move, read_positions, store_moves
from domain.errors import BadSetting, CashbackError
from domain.losses import (
    NOT_THERE,
    Bounds,
    ResumePoint,
    StoppedPartition,
    TopicLogs,
    examined,
    missing,
    renewed,
    resume_points,
)
from domain.ports import Loss, Partition, Position

BEGINNING: Final = "beginning"


END: Final = "end"


WHOLE_TOPIC: Final = frozenset({Loss.TOPIC_DELETED, Loss.TOPIC_RECREATED})


class CantAccept(CashbackError):
    """There is nothing to accept, or not like this."""


@dataclass(frozen=True, slots=True)
class LossFinding:
    """What is known of one partition."""

    place: ResumePoint
    before: Partition
    """The log that our position is in; the one of `place` if there is none."""
    position: int | None
    bounds: Bounds | None
    """Of the log as it is now; None if there is none."""
    stop: StoppedPartition | None
    """None if nothing is lost."""

    @property
    def missing(self) -> int | None:
        return None if self.bounds is None else missing(self.place, self.bounds)


def find_loss(database_url: str, bootstrap: str, config: Mapping[str, Any], topic: str) -> list[LossFinding]:
    """All partitions of a topic. Raises KafkaUnreachable, StoreUnavailable, or CantAccept for an unknown topic."""
    logs = topic_logs(bootstrap, config, topic)
    positions = read_positions(database_url, topic)
    if logs is None and not positions:
        raise CantAccept(f"there is no topic {topic}, and there are no positions in one")
    return _deleted(positions) if logs is None else _found(topic, positions, logs)


def accept(  # noqa: PLR0913 - what is accepted, and how
    database_url: str,
    topic: str,
    findings: Sequence[LossFinding],
    start: str = BEGINNING,
    *,
    reason: str,
    is_choice: bool = False,
) -> None:
    """Moves the positions of all these in one transaction, and writes down why.

    `is_choice`: somebody has chosen some of the partitions, so each must have a loss of its own; else those without
    one are passed over. Raises CantAccept, StoreUnavailable, or Fenced if a position has moved since.
    """
    sound = [each for each in findings if each.stop is None]
    if len(sound) == len(findings) or (is_choice and sound):
        which = f"partition {sound[0].before.number} of {topic}" if is_choice else topic
        raise CantAccept(f"nothing is lost of {which}: there is nothing to accept")
    if is_choice and any(each.stop is not None and each.stop.loss in WHOLE_TOPIC for each in findings):
        raise CantAccept(f"all of {topic} was deleted: it can only be accepted as a whole, without --partition")
    store_moves(database_url, [_move(each, start) for each in findings if each.stop is not None], reason)


def _deleted(positions: Mapping[Partition, Position]) -> list[LossFinding]:
    stop = StoppedPartition(Loss.TOPIC_DELETED, NOT_THERE)
    return [
        LossFinding(ResumePoint(log, position, stop), log, position.next_offset, None, stop)
        for log, position in sorted(positions.items(), key=lambda item: (item[0].number, item[0].topic_id))
    ]


def _found(topic: str, positions: Mapping[Partition, Position], logs: TopicLogs) -> list[LossFinding]:
    last = {log.number: log for log in positions}  # the one moved last
    findings = []
    wanted = {number: Partition(topic, logs.topic_id, number) for number in sorted(logs.bounds)}
    found = resume_points(wanted.values(), positions)
    for number, each in wanted.items():
        place, bounds = found[each], logs.bounds[number]
        stop = examined(place, bounds)
        is_recreated = stop is not None and stop.loss is Loss.TOPIC_RECREATED
        before = last.get(number, place.log) if is_recreated else place.log
        position = positions[before].next_offset if before in positions else None
        findings.append(LossFinding(place, before, position, bounds, stop))
    return findings


def _move(finding: LossFinding, start: str) -> Move:
    """Raises CantAccept if reading can't go on there."""
    assert finding.stop is not None
    loss, bounds = finding.stop.loss, finding.bounds
    if bounds is None:
        if start != BEGINNING:
            raise CantAccept(f"{finding.before.topic} was deleted: there is no {start} to go on from")
        return Move(loss, finding.before, finding.position, None, None)
    after = renewed(finding.before) if loss is Loss.POSITION_BEYOND_END else finding.place.log
    next_offset = {BEGINNING: bounds.start, END: bounds.end}.get(start)
    if next_offset is None:
        next_offset = int(start)
        if not bounds.start <= next_offset <= bounds.end:
            name = f"{after.topic}/{after.number}"
            raise CantAccept(f"--from {start} is outside the log of {name}, {bounds.start} to {bounds.end}")
    return Move(loss, finding.before, finding.position, after, next_offset)


def _check_start(start: str) -> None:
    if start not in {BEGINNING, END} and not (start.isascii() and start.isdigit()):
        raise BadSetting(f"--from is {start!r}: must be {BEGINNING}, {END} or an offset")
