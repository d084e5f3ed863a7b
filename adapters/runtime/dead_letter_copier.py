"""Copying the quarantine to the dead-letter topic: a thread beside intake, which never waits for it.

Any number of processes may run it: one of them copies, the others stand by. Whatever goes wrong has one answer: let
go of everything, wait, and begin anew at the cursor (adapters/kafka/producer/dead_letters.py).
"""

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import structlog

from adapters.kafka.producer.dead_letters import CopyFailed, CopyRefused, DeadLetterTopic, copier_of
from adapters.postgres.dead_letters import Outbox, OutboxSession
from adapters.records.dead_letters import DeadLetter
from adapters.settings import Settings
from domain.errors import CashbackError
from domain.ports import StoreUnavailable
from projections.delivery.retry import RetryPolicy

MAX_BATCH_MESSAGES: Final = 500
POLL_SECONDS: Final = 1.0
STANDBY_SECONDS: Final = 3.0
RETRY: Final = RetryPolicy(base_seconds=0.5, max_seconds=5.0)
COPYING: Final = "copying"
STANDING_BY: Final = "standing by"

log = structlog.get_logger(__name__)


class CopyListener(Protocol):
    """Who wants to know how copying goes on; called from its thread."""

    def dead_letters_state(self, state: str, why: str | None = None) -> None:
        """`copying`, `standing by` (another process copies), or in a few words what it waits for."""

    def dead_letters_copied(self, messages: int) -> None: ...
    def dead_letter_skipped(self) -> None: ...
    def dead_letters_waiting(self, messages: int) -> None:
        """Messages in quarantine that aren't copied yet, as far as this process has to do with it."""


class DeadLetterCopier:
    """`open_topic` makes a DeadLetterTopic anew for each stretch of work."""

    def __init__(self, outbox: Outbox, open_topic: Callable[[], DeadLetterTopic], observer: CopyListener) -> None:
        self._outbox = outbox
        self._open_topic = open_topic
        self._listener = observer
        self._state = ""
        self._failures = 0
        self._rng = random.Random()  # noqa: S311 - only spreads retries
        self._batch_messages = 1
        self._report_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Copies until `stop` is set; the batch in hand is finished first. Never raises."""
        while not stop.is_set():
            try:
                with self._outbox.session() as session:
                    self._stand_by(session, stop)
                    self._copy(session, stop)
            except StoreUnavailable as error:
                self._failed("waiting for the event store", error)
            except CopyFailed as error:
                self._failed(f"waiting for {error.waiting_for}", error)
            except CashbackError as error:
                self._failed("waiting for other settings", error)
            except Exception as error:  # noqa: BLE001 - intake goes on whatever becomes of the copies
                self._failed("failing", error, exc_info=error)
            if not stop.is_set():
                stop.wait(RETRY.wait_seconds(self._failures + 1, None, self._rng))

    def _stand_by(self, session: OutboxSession, stop: threading.Event) -> None:
        while not session.try_lock() and not stop.is_set():
            self._enter(STANDING_BY)
            self._listener.dead_letters_waiting(0)
            stop.wait(STANDBY_SECONDS)

    def _copy(self, session: OutboxSession, stop: threading.Event) -> None:
        cursor = session.noted()
        self._listener.dead_letters_waiting(session.waiting(cursor))
        if stop.is_set():
            return
        with self._open_topic() as topic:
            cursor = max(cursor, topic.open())
            self._enter(COPYING)
            while not stop.is_set():
                self._report(session, cursor)
                dead_letters = session.read(cursor, self._batch_messages)
                if not dead_letters:
                    self._failures = 0
                    stop.wait(POLL_SECONDS)
                elif self._was_copied(topic, dead_letters):
                    cursor = dead_letters[-1].id
                    session.note(cursor)
                    self._failures = 0
                    self._batch_messages = min(2 * self._batch_messages, MAX_BATCH_MESSAGES)

    def _was_copied(self, topic: DeadLetterTopic, dead_letters: list[DeadLetter]) -> bool:
        """False if one of several was refused: then they are to be sent one by one, to find it."""
        try:
            topic.copy(dead_letters)
        except CopyRefused as refused:
            self._batch_messages = 1
            if len(dead_letters) > 1:
                return False
            (lost,) = dead_letters
            topic.skip(lost)
            self._listener.dead_letter_skipped()
            log.error(  # noqa: TRY400 - no trace
                "a quarantined message can't be copied to the dead-letter topic: skipping it",
                quarantine_id=lost.id,
                bytes=len(lost.message.value or b""),
                error=str(refused),
            )
        else:
            self._listener.dead_letters_copied(len(dead_letters))
        return True

    def _report(self, session: OutboxSession, cursor: int) -> None:
        if time.monotonic() >= self._report_at:
            self._listener.dead_letters_waiting(session.waiting(cursor))
            self._report_at = time.monotonic() + POLL_SECONDS

    def _failed(self, state: str, error: Exception, exc_info: Exception | None = None) -> None:
        if state != self._state:
            why = str(error)
            log.warning("dead letters are not copied; trying again", state=state, error=why, exc_info=exc_info)
        self._failures += 1
        self._batch_messages = 1
        self._enter(state, str(error))

    def _enter(self, state: str, why: str | None = None) -> None:
        self._state = state
        self._listener.dead_letters_state(state, why)


def dead_letter_copier(settings: Settings, observer: CopyListener) -> DeadLetterCopier | None:
    """The copier that the settings ask for; None if they name no dead-letter topic."""
    topic, group = settings.kafka_dead_letter_topic, settings.kafka_group
    if topic is None:
        return None
    outbox = Outbox(settings.database_url.get_secret_value(), copier=copier_of(group), topic=topic)
    open_topic = partial(DeadLetterTopic, settings.kafka_bootstrap, settings.kafka_config, topic=topic, group=group)
    return DeadLetterCopier(outbox, open_topic, observer)
