"""Logs: one JSON object a line for machines, lines for people on a terminal."""

import io
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import pytest
import structlog

from adapters.kafka.consumer.intake import BatchOutcome as IntakeOutcome
from adapters.kafka.consumer.intake import Read
from adapters.kafka.consumer.pipeline import MAX_SHOWN_PARTITIONS, log_batch
from adapters.kafka.decoding.decoder import Unreadable
from adapters.kafka.decoding.record import Record
from adapters.observability.logs import configure_logs
from adapters.observability.repeated_troubles import MAX_TROUBLES
from adapters.runtime.observer import log_attempt
from domain.effects import EffectKind
from domain.ports import Advance, Partition
from projections.delivery.ports import Answer, Attempt, Call, Outcome
from tests.support.memory_store import MemoryStore
from tests.support.running_intake import RunningIntake
from tests.support.waiting import wait_until


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging is the process's: what these tests configure must not stay."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_away_from_a_terminal_each_line_is_a_json_object() -> None:
    """With a time in UTC, a level, and the fields by their names."""
    stream = io.StringIO()
    configure_logs(stream=stream)
    structlog.get_logger("a").info("order parked", order_id=7, reason="two\nlines")

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "order parked", "level": "info", "order_id": 7, "reason": "two\nlines"}


def test_on_a_terminal_lines_are_for_people() -> None:
    """Unless JSON is asked for."""
    stream = Terminal()
    configure_logs(stream=stream)
    structlog.get_logger("a").info("order parked", order_id=7)
    assert not stream.getvalue().startswith("{")

    stream = Terminal()
    configure_logs(form="json", stream=stream)
    structlog.get_logger("a").info("order parked", order_id=7)
    assert lines(stream)[0]["order_id"] == 7


def test_people_see_words_where_json_has_words() -> None:
    """Not what an Enum shows of itself within a list."""
    stream = Terminal()
    configure_logs(stream=stream)
    structlog.get_logger("a").info("started", roles=[Outcome.FOUND, Outcome.REFUSED], number=3)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert "roles=['found', 'refused']" in shown
    assert "number=3" in shown


def test_lines_for_people_can_be_asked_for_anywhere() -> None:
    """For a container that somebody looks at."""
    stream = io.StringIO()
    configure_logs(form="console", stream=stream)
    structlog.get_logger("a").info("order parked")
    assert "order parked" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_nothing_below_the_level_is_logged(
    level: Literal["debug", "info", "warning", "error"], expected: int
) -> None:
    """The level itself is."""
    stream = io.StringIO()
    configure_logs(level, stream=stream)
    log = structlog.get_logger("a")
    for name in ("debug", "info", "warning", "error"):
        log.log({"debug": 10, "info": 20, "warning": 30, "error": 40}[name], "said")
    assert len(lines(stream)) == expected


def test_what_libraries_log_comes_in_the_same_form_from_warnings_on() -> None:
    """Their chatter stays out even where ours is wanted."""
    stream = io.StringIO()
    configure_logs("debug", stream=stream)
    logging.getLogger("librdkafka").info("chatter")
    logging.getLogger("librdkafka").warning("broker %s is down", 1)

    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("broker 1 is down", "warning", "librdkafka")


def test_an_exception_is_a_field_of_its_line() -> None:
    """One line still, so that nothing falls out of its order."""
    stream = io.StringIO()
    configure_logs(stream=stream)
    try:
        int("no number")
    except ValueError:
        structlog.get_logger("a").exception("a part died")
        logging.getLogger("library").exception("it failed")

    ours, theirs = lines(stream)
    assert "ValueError: invalid literal" in ours["exception"]
    assert "ValueError: invalid literal" in theirs["exception"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_trace_does_not_show_what_variables_hold(form: Literal["json", "console"]) -> None:
    """A token is in some variable of most traces."""
    stream = io.StringIO()
    configure_logs(form=form, stream=stream)
    token = str(2**70)  # so that the line of the program doesn't show it
    try:
        token.index("?")
    except ValueError:
        structlog.get_logger("a").exception("a part died")
        logging.getLogger("library").exception("it failed")
    assert stream.getvalue().count("ValueError") == 2
    assert token not in stream.getvalue()


class Clock:
    """Stands where it is set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_same_trouble_is_one_line_then_one_a_minute_with_a_count() -> None:
    """Ours or a library's, whatever client it was and however long it took."""
    clock, stream = Clock(), io.StringIO()
    configure_logs(stream=stream, clock=clock)
    ours, theirs = structlog.get_logger("a"), logging.getLogger("librdkafka")
    for number in range(1800):
        clock.seconds = number / 10
        ours.warning("Kafka client", error=f"a:9092: Connection refused (after {number}ms in state CONNECT)")
        theirs.error("GETPID [rdkafka#producer-%s] [thrd:main]: can't, %s identical", number, number)

    assert [(line.get("logger"), line.get("repeated")) for line in lines(stream)] == [
        (logger, repeated) for repeated in (None, 599, 599) for logger in (None, "librdkafka")
    ]


def test_a_cluster_that_is_away_is_a_line_a_minute() -> None:
    """librdkafka's own, which tries again every moment: each failure is told by it and by its callback."""
    clock, stream = Clock(), io.StringIO()
    configure_logs(stream=stream, clock=clock)

    def told() -> list[dict[str, Any]]:
        return [line for line in lines(stream) if "Connection refused" in line["event"] + line.get("error", "")]

    with RunningIntake("127.0.0.1:1", ["t"], MemoryStore()):
        wait_until(lambda: len(told()) == 1, "that it is away")
        while told()[-1].get("repeated", 0) < 5:
            clock.seconds += 60
            before = len(told())
            wait_until(lambda before=before: len(told()) > before, "the next line")  # type: ignore[misc]
            time.sleep(0.5)
    assert len(told()) <= 1 + clock.seconds / 60


def test_what_differs_is_no_repeat() -> None:
    """Another error, another partition, other brokers; and nothing is left out that is no error, or has a trace."""
    stream = io.StringIO()
    configure_logs(stream=stream, clock=Clock())
    log, library = structlog.get_logger("a"), logging.getLogger("library")
    for name in ("a:9092", "b:9092"):
        for down in (1, 2):
            log.warning("Kafka client", error=f"{down}/2 brokers are down", broker=name)
            library.warning("%s: %s/2 brokers are down", name, down)
    assert len(lines(stream)) == 8

    for _ in range(3):
        log.info("call", error="timed out")
        log.warning("state", waiting="for Kafka")
        try:
            int("no number")
        except ValueError as error:
            log.exception("a part died", error=str(error))
            library.exception("it failed")
    assert len(lines(stream)) == 8 + 3 * 4


def test_what_is_remembered_of_troubles_is_bounded() -> None:
    """The one told longest ago is forgotten, and told again."""
    stream = io.StringIO()
    configure_logs(stream=stream, clock=Clock())
    log = structlog.get_logger("a")
    for number in range(MAX_TROUBLES + 1):
        log.warning("trouble", error=str(number))
    for number in (0, MAX_TROUBLES):
        log.warning("trouble", error=str(number))
    assert [line["error"] for line in lines(stream)][MAX_TROUBLES:] == [str(MAX_TROUBLES), "0"]


def test_a_stored_batch_is_one_line() -> None:
    """Which offsets of which partitions, what was decided, what is in quarantine, and how long it took."""
    partition = Partition("orders", "some-id", 3)
    records = [Record(partition, offset, None, b"7", b"{}") for offset in (120, 121, 122)]
    outcome = IntakeOutcome(3, Counter({"cashback-created": 2}), Counter({"not_json": 1}))
    configure_logs(stream=(stream := io.StringIO()))
    read: list[Read] = [(record, Unreadable("not_json", "?")) for record in records]
    log_batch(read, [Advance(partition, 120, 123)], outcome, 0.0123)

    (line,) = lines(stream)
    del line["timestamp"]
    assert line == {
        "event": "batch stored",
        "level": "info",
        "partitions": {"orders/3": "120-122"},
        "records": 3,
        "decisions": {"cashback-created": 2},
        "quarantined": {"not_json": 1},
        "ms": 12.3,
    }


def test_the_line_of_a_batch_over_very_many_partitions_is_bounded() -> None:
    """It says how many it doesn't show."""
    read: list[Read] = [
        (Record(Partition("orders", "some-id", number), 0, None, None, None), Unreadable("no_value", "?"))
        for number in range(MAX_SHOWN_PARTITIONS + 7)
    ]
    configure_logs(stream=(stream := io.StringIO()))
    advances = [Advance(record.partition, 0, 1) for record, _ in read]
    log_batch(read, advances, IntakeOutcome(len(read)), 1.0)
    (line,) = lines(stream)
    assert (len(line["partitions"]), line["more_partitions"]) == (MAX_SHOWN_PARTITIONS, 7)


@pytest.mark.parametrize("outcome", Outcome)
def test_a_call_is_a_line_and_a_warning_if_it_failed(outcome: Outcome) -> None:
    """Neither the body nor the answer is in it: both may name the buyer."""
    call = Call(7, 2, EffectKind.UPDATE, UUID(int=1), b'{"buyerId": "buyer-4711"}')
    answer = Answer(outcome, 422, "no such buyer-4711")
    attempt = Attempt(call, datetime(2025, 2, 28, tzinfo=UTC), 15, answer, number=3)
    configure_logs(stream=(stream := io.StringIO()))
    log_attempt(attempt, structlog.get_logger("a").bind())

    (line,) = lines(stream)
    del line["timestamp"]
    assert line == {
        "event": "call",
        "level": "info" if outcome in {Outcome.DELIVERED, Outcome.FOUND, Outcome.NOT_FOUND} else "warning",
        "order_id": 7,
        "version": 2,
        "kind": "update",
        "attempt": 3,
        "outcome": outcome.value,
        "status": 422,
        "ms": 15,
    }
