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

from collections.abc import Collection
from typing import Any

from adapters.cli.output import print_json, say
from adapters.operations.loss_acceptance import CantAccept, LossFinding, _check_start, _move, accept, find_loss
from adapters.postgres.positions import Move
from adapters.settings import Settings
from domain.errors import BadSetting


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
    findings = find_loss(url, settings.kafka_bootstrap, settings.kafka_config, topic)
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


def _told(finding: LossFinding, move: Move | None) -> dict[str, Any]:
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


def _line(finding: LossFinding, move: Move | None, *, dry_run: bool) -> str:
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
