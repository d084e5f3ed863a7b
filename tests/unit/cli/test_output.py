"""How commands print: plain in a pipe, and nothing that a terminal would obey."""

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.cli import exit_codes, output, reports
from adapters.presentation.printable import visible
from domain.errors import CashbackError, Unavailable
from domain.ports import StoreUnavailable


def test_columns_are_two_spaces_apart_and_rows_are_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    """None is a dash, wide characters take two places, and no line ends in spaces."""
    output.table(("id", "name", "note"), [(1, "漢字", "x" * 300), (20, None, "")], right={"id"}, title="all")
    assert capsys.readouterr().out.splitlines() == [
        "all",
        "id  name  note",
        f" 1  漢字  {'x' * 300}",
        "20  –",
    ]


def test_what_a_terminal_would_obey_is_shown_and_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes, line ends, marks that turn the text round, and rich's own markup."""
    output.say("a\x1b[31mb\nc\u202ed [bold]e[/bold] \x9b")
    assert capsys.readouterr().out == "a␛[31mb␊c�d [bold]e[/bold] �\n"


@given(st.text(st.characters()))
def test_no_text_moves_the_cursor(text: str) -> None:
    """Whatever it is, it stays one line of as many characters."""
    shown = visible(text)
    assert len(shown) == len(text)
    assert all(unicodedata.category(each) not in {"Cc", "Cs", "Zl", "Zp"} for each in shown)
    assert visible(shown) == shown


def test_facts_that_are_not_known_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The others stand below one another."""
    output.facts((("order", 7), ("buyer", None), ("why", "")))
    assert capsys.readouterr().out == "  order  7\n"


@pytest.mark.parametrize(
    "value",
    [datetime(2025, 2, 28, 13, 36, 6, 9, UTC), "2025-02-28T14:36:06.026732837+01:00", 1_740_749_766_000_000_001],
)
def test_moments_are_in_utc_and_to_the_second(value: datetime | str | int) -> None:
    """From a time, a text or nanoseconds."""
    assert output.moment(value) == "2025-02-28 13:36:06Z"


def test_servers_that_are_needed_have_an_exit_code_of_their_own() -> None:
    """So that a script can tell that a difference was found from that nobody could look."""
    assert issubclass(StoreUnavailable, Unavailable)
    assert issubclass(Unavailable, CashbackError)
    assert len(exit_codes.MEANINGS) == len(
        {exit_codes.DONE, exit_codes.FAILURE, exit_codes.USAGE, exit_codes.UNAVAILABLE, exit_codes.INTERRUPTED}
    )
    assert all(f"{code} {meaning}" in exit_codes.EPILOG for code, meaning in exit_codes.MEANINGS.items())


def test_a_republication_is_told_message_by_message(capsys: pytest.CaptureFixture[str]) -> None:
    """With the place where each one lies now, or would lie."""
    message = {"version": 1, "topic": "orders", "partition": 3, "key": "7", "type": "CREATED", "bytes": 512}
    message |= {"transactionDate": "2025-02-28T12:00:00Z", "offset": None}
    report = {"mode": "republish", "orderId": 7, "replayId": None, "how": None, "nonce": None, "items": [message]}
    reports.show_replay(report | {"dryRun": True})
    reports.show_replay(report | {"dryRun": False, "items": [message | {"offset": 41}]})
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["republish order 7: a dry run, nothing is done", "1 message would be published"]
    assert said[3] == "      1  CREATED  2025-02-28T12:00:00Z  orders/3  7      512"
    assert said[4:6] == ["republish order 7: done", "1 message published"]
    assert said[7] == "      1  CREATED  2025-02-28T12:00:00Z  orders/3@41  7      512"


def test_calls_are_queued_and_an_outage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is told that a call was sent that waits for the third party."""
    report = {"mode": "redeliver", "orderId": 7, "replayId": "r", "how": "force", "nonce": None, "items": []}
    reports.show_replay(report | {"dryRun": False, "amountAtRisk": 0, "suppressed": []})
    reports.show_outage(["push-1: open"], 7)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "redeliver order 7: queued"
    assert "0 calls queued" in said
    assert said[-2:] == [
        "! calls are held, they go out after the outage: push-1: open",
        "what becomes of them: app.py order 7",
    ]
