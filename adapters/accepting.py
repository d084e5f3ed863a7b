"""The `accept-loss` command: what may be lost of a topic's messages, and reading on although it is.

What is wrong is found by comparing the positions in the event store with what the cluster has; what a consumer has
found before stays wrong until it is accepted. A partition of which nothing is lost can't be moved.

| error | by default reading goes on | messages that are known to be missing |
|---|---|---|
| `log_truncated` | at the log's start | those between our position and the log's start |
| `position_beyond_end` | at the log's start; what is known already is a repeat | can't be told |
| `topic_recreated` | at the start of the new topic | can't be told: what we hadn't read of the old one |
| `topic_deleted` | when a topic of this name is made again, at its start | can't be told |
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.command_line.output import print_json, say
from adapters.kafka.cluster import topic_logs
from adapters.kafka.losses import NOT_THERE, Bounds, Place, Stop, TopicLogs, examined, missing, places, renewed
from adapters.postgres.losses import Move, read_positions, store_moves
from adapters.settings import BadSetting, Settings
from domain.errors import CashbackError
from domain.ports import Loss, Partition, Position

BEGINNING: Final = "beginning"
END: Final = "end"
WHOLE_TOPIC: Final = frozenset({Loss.TOPIC_DELETED, Loss.TOPIC_RECREATED})


class CantAccept(CashbackError):
    """There is nothing to accept, or not like this."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one partition."""

    place: Place
    before: Partition
    """The log that our position is in; the one of `place` if there is none."""
    position: int | None
    bounds: Bounds | None
    """Of the log as it is now; None if there is none."""
    stop: Stop | None
    """None if nothing is lost."""

    @property
    def missing(self) -> int | None:
        return None if self.bounds is None else missing(self.place, self.bounds)


def run_accept_loss(  # noqa: PLR0913 - each is an option of the command
    settings: Settings,
    topic: str,
    partitions: Collection[int],
    start: str,
    *,
    dry_run: bool,
    reason: str,
    as_json: bool,
) -> int:
    """Prints a line about each partition. Answers the exit code.

    Raises CantAccept, BadSetting, or what `look` and `accept` raise.
    """
    _check_start(start)
    if not dry_run and not reason.strip():
        raise BadSetting("--reason is empty: say why this may be lost; it is kept")
    url = settings.database_url.get_secret_value()
    findings = look(url, settings.kafka_bootstrap, settings.kafka_config, topic)
    if unknown := set(partitions) - {each.before.number for each in findings}:
        raise CantAccept(f"{topic} has no partition {min(unknown)}")
    chosen = [each for each in findings if not partitions or each.before.number in partitions]
    moves = {each.before: _move(each, start) for each in chosen if each.stop is not None}
    if not dry_run:
        accept(url, topic, chosen, start, reason=reason, is_choice=bool(partitions))
    if as_json:
        partitions_told = [_told(each, moves.get(each.before)) for each in chosen]
        print_json({"topic": topic, "dryRun": dry_run, "partitions": partitions_told})
        return 0
    for each in chosen:
        say(_line(each, moves.get(each.before), dry_run=dry_run))
    return 0


def look(database_url: str, bootstrap: str, config: Mapping[str, Any], topic: str) -> list[Finding]:
    """All partitions of a topic. Raises KafkaUnreachable, StoreUnavailable, or CantAccept for an unknown topic."""
    logs = topic_logs(bootstrap, config, topic)
    positions = read_positions(database_url, topic)
    if logs is None and not positions:
        raise CantAccept(f"there is no topic {topic}, and there are no positions in one")
    return _deleted(positions) if logs is None else _found(topic, positions, logs)


def accept(  # noqa: PLR0913 - what is accepted, and how
    database_url: str,
    topic: str,
    findings: Sequence[Finding],
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


def _deleted(positions: Mapping[Partition, Position]) -> list[Finding]:
    stop = Stop(Loss.TOPIC_DELETED, NOT_THERE)
    return [
        Finding(Place(log, position, stop), log, position.next_offset, None, stop)
        for log, position in sorted(positions.items(), key=lambda item: (item[0].number, item[0].topic_id))
    ]


def _found(topic: str, positions: Mapping[Partition, Position], logs: TopicLogs) -> list[Finding]:
    last = {log.number: log for log in positions}  # the one moved last
    findings = []
    wanted = {number: Partition(topic, logs.topic_id, number) for number in sorted(logs.bounds)}
    found = places(wanted.values(), positions)
    for number, each in wanted.items():
        place, bounds = found[each], logs.bounds[number]
        stop = examined(place, bounds)
        is_recreated = stop is not None and stop.loss is Loss.TOPIC_RECREATED
        before = last.get(number, place.log) if is_recreated else place.log
        position = positions[before].next_offset if before in positions else None
        findings.append(Finding(place, before, position, bounds, stop))
    return findings


def _move(finding: Finding, start: str) -> Move:
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


def _told(finding: Finding, move: Move | None) -> dict[str, Any]:
    bounds = finding.bounds
    return {
        "partition": finding.before.number,
        "loss": finding.stop.loss if finding.stop else None,
        "position": finding.position,
        "logStart": bounds.start if bounds else None,
        "logEnd": bounds.end if bounds else None,
        "missing": finding.missing if finding.stop else None,
        "goesOnFrom": move.next_offset if move else None,
    }


def _line(finding: Finding, move: Move | None, *, dry_run: bool) -> str:
    bounds = finding.bounds
    position = "none" if finding.position is None else finding.position
    parts = [
        f"{finding.before.topic}/{finding.before.number}: {finding.stop.loss if finding.stop else 'nothing lost'}",
        f"position {position}",
        "no log" if bounds is None else f"log {bounds.start} to {bounds.end}",
    ]
    if finding.stop is not None:
        parts.append(
            "missing: can't be told" if finding.missing is None else f"missing: {finding.missing} messages"
        )
    if move is not None:
        where = "the beginning of the next topic of this name" if move.next_offset is None else move.next_offset
        parts.append(f"{'would go' if dry_run else 'goes'} on from {where}")
    return ", ".join(parts)
