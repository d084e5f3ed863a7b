"""The canonical log lines: one for each batch, one for each attempt at a call. Nothing of what a message says."""

import logging
from collections.abc import Sequence
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from adapters.kafka.intake import Outcome as IntakeOutcome
from adapters.kafka.intake import Read
from domain.ports import Advance
from projections.ports import Attempt, AttemptKind, Outcome

MAX_SHOWN_PARTITIONS: Final = 50
_GOOD: Final = {Outcome.DELIVERED, Outcome.FOUND, Outcome.NOT_FOUND}

log = structlog.get_logger(__name__)


def log_batch(read: Sequence[Read], advances: Sequence[Advance], outcome: IntakeOutcome, seconds: float) -> None:
    """The first and the last offset of each partition, and what became of the messages."""
    first = {record.partition: record.offset for record, _ in reversed(read)}
    shown = advances[:MAX_SHOWN_PARTITIONS]
    log.info(
        "batch stored",
        partitions={
            f"{each.partition.topic}/{each.partition.number}": f"{first[each.partition]}-{each.next_offset - 1}"
            for each in shown
        },
        **({"more_partitions": len(advances) - len(shown)} if len(advances) > len(shown) else {}),
        records=outcome.records,
        decisions=dict(outcome.decisions),
        quarantined=dict(outcome.quarantined),
        ms=round(seconds * 1000, 1),
    )


def log_attempt(attempt: Attempt, logger: FilteringBoundLogger) -> None:
    """A warning if it failed. Not what the other side said: that is in the order's timeline.

    The logger is bound once, by the caller: to find it anew takes longer than to find that nobody wants the line.
    """
    call, answer = attempt.call, attempt.answer
    is_good = answer.outcome in _GOOD
    if is_good and not logger.is_enabled_for(logging.INFO):
        return
    say = logger.info if is_good else logger.warning
    say(
        "call",
        order_id=call.order_id,
        version=call.version,
        kind=call.kind.value if attempt.kind is AttemptKind.CALL else attempt.kind.value,
        attempt=attempt.number,
        outcome=answer.outcome.value,
        status=answer.status,
        ms=attempt.duration_ms,
    )
