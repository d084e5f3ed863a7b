"""Bulk replays, as far as they need no server: the pace, what counts as over, and what may be asked for."""

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.cli.bulk_replay import selection
from adapters.operations.jobs.runner import Handled, _Tally
from adapters.operations.rate import MAX_CHUNK, StepRate
from adapters.records.jobs import ALL_KINDS, MAX_ORDERS, JobState, Selection
from adapters.web.bulk_requests import BulkRequest
from domain.errors import BadSetting
from domain.instants import parse_instant
from domain.lifecycle import Status

NOON = "2025-02-28T12:00:00Z"
NOON_NS = parse_instant(NOON)


class TestPace:
    @given(
        per_second=st.floats(0.1, 1000),
        pauses=st.lists(st.floats(0, 100), min_size=1, max_size=30),
    )
    def test_no_span_of_time_sees_more_orders_than_the_rate_allows(
        self, per_second: float, pauses: list[float]
    ) -> None:
        """Whatever the work takes in between: each chunk is followed by the time that it may take, and a long pause
        gives no credit."""
        pace, now, begins = StepRate(per_second), 0.0, list[float]()
        for pause in pauses:
            wait = pace.wait_seconds(pace.chunk, now)
            assert wait >= 0
            now += wait
            begins.append(now)
            now += pause
        spans = [later - earlier for earlier, later in pairwise(begins)]
        assert all(span >= pace.chunk / per_second * (1 - 1e-9) for span in spans)

    @given(per_second=st.floats(0.1, 1000))
    def test_work_that_takes_no_time_goes_at_just_the_rate(self, per_second: float) -> None:
        """No slower than it may."""
        pace, now = StepRate(per_second), 0.0
        for _ in range(20):
            now += pace.wait_seconds(pace.chunk, now)
        assert now == pytest.approx(19 * pace.chunk / per_second)

    @pytest.mark.parametrize(
        ("per_second", "chunk"), [(0.1, 1), (1, 1), (4, 1), (50, 12), (200, MAX_CHUNK), (1000, MAX_CHUNK)]
    )
    def test_slow_replays_go_in_small_steps(self, per_second: float, chunk: int) -> None:
        """So that they can be watched and cancelled."""
        assert StepRate(per_second).chunk == chunk

    def test_a_kind_of_job_may_want_fewer_and_larger_steps(self) -> None:
        """At the same rate."""
        assert [StepRate(rate, 1).chunk for rate in (0.1, 4, 30, 1000)] == [1, 4, 30, MAX_CHUNK]


class TestWhatIsOver:
    @given(done=st.sets(st.integers(1, 20)), failed=st.sets(st.integers(1, 20)))
    def test_whoever_goes_on_begins_behind_orders_that_are_all_over(self, done: set[int], failed: set[int]) -> None:
        """What is over behind a gap is done again; what failed counts as over."""
        failed -= done
        tally = _Tally()
        tally.add(Handled(done, dict.fromkeys(failed, "why")))
        chunk = range(1, 21)
        counted = tally.without_gaps(chunk)
        place = len(counted.done) + len(counted.failed)
        assert counted.done | counted.failed.keys() == set(chunk[:place])
        assert place == len(chunk) or chunk[place] not in done | failed

    def test_reasons_are_kept_short(self) -> None:
        """They are stored."""
        tally = _Tally()
        tally.add(Handled(failed={1: "x" * 10_000}))
        assert len(tally.failed[1]) == 200


def request(**changes: Any) -> BulkRequest:
    return BulkRequest.model_validate(
        {"mode": "republish", "select": {"status": "PENDING"}, "reason": "a test"} | changes
    )


class TestRequests:
    def test_conditions_may_be_combined(self) -> None:
        """With the nanoseconds of the dates."""
        asked = request(
            select={"orders": [2, 1, 2], "status": "COMPLETED", "changedFrom": NOON, "changedTo": NOON[:-1] + ".5Z"}
        )
        assert asked.select.selection == Selection(
            frozenset({1, 2}), Status.COMPLETED, NOON_NS, NOON_NS + 500_000_000
        )
        assert asked.rate_per_second == 50

    @pytest.mark.parametrize(
        "changes",
        [
            {"select": {}},
            {"select": {"orders": []}},
            {"select": {"orders": [0]}},
            {"select": {"orders": [2**63]}},
            {"select": {"orders": ["1"]}},
            {"select": {"orders": [1] * (MAX_ORDERS + 1)}},
            {"select": {"status": "OPEN"}},
            {"select": {"changedFrom": "yesterday"}},
            {"select": {"changedFrom": 5}},
            {"select": {"state": "PENDING"}},
            {"mode": "resend"},
            {"ratePerSecond": 0},
            {"ratePerSecond": 1001},
            {"ratePerSecond": "5"},
            {"reason": "  "},
            {"reason": "\x00"},
            {"dryRun": True},
        ],
        ids=lambda changes: str(changes)[:40],
    )
    def test_what_cannot_be_meant_is_refused(self, changes: dict[str, Any]) -> None:
        """Above all a selection that says nothing: it would be every order there is."""
        with pytest.raises(ValidationError):
            request(**changes)


class TestOptions:
    def test_order_ids_come_from_a_file_or_from_standard_input(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Separated as people do."""
        (tmp_path / "ids").write_text("3, 1\n2\r\n\n3\n")
        assert selection(str(tmp_path / "ids"), None, None, None) == Selection(frozenset({1, 2, 3}))
        monkeypatch.setattr("sys.stdin", io.StringIO("7 8"))
        assert selection("-", Status.PENDING, NOON, None) == Selection(
            frozenset({7, 8}), Status.PENDING, NOON_NS, None
        )

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("1,zwei", "'zwei' is not an order id"),
            ("0", "'0' is not an order id"),
            ("", "'' is not an order id"),
            ("9223372036854775808", "'9223372036854775808' is not an order id"),
            (" ".join(map(str, range(1, MAX_ORDERS + 2))), "more than 100000 orders"),
        ],
        ids=["word", "zero", "empty", "too large", "too many"],
    )
    def test_a_file_that_cannot_be_meant_is_refused(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "ids").write_text(text)
        with pytest.raises(BadSetting, match=said):
            selection(str(tmp_path / "ids"), None, None, None)

    def test_other_faults_are_told_by_the_option(self, tmp_path: Path) -> None:
        for arguments, said in (
            ((str(tmp_path / "none"), None, None, None), "--orders: .* can't be read: FileNotFoundError"),
            ((None, None, "noon", None), "--changed-from: not an RFC 3339 date-time"),
            ((None, None, None, "noon"), "--changed-to: not an RFC 3339 date-time"),
            ((None, None, None, None), "say which orders"),
        ):
            with pytest.raises(BadSetting, match=said):
                selection(*arguments)


def test_the_database_knows_every_mode_and_every_state() -> None:
    """Its checks allow them."""
    from importlib.resources import files

    folder = files("adapters.postgres").joinpath("migrations")

    def allowed(column: str, name: str) -> set[str]:
        (schema,) = (each.read_text() for each in folder.iterdir() if each.name.endswith(name))
        words = schema.split(f"CHECK ({column} IN (")[1].split(")")[0]
        return {word.strip(" \n'") for word in words.split(",")}

    assert allowed("state", "_jobs.sql") == set(JobState)
    assert allowed("kind", "_job_kinds.sql") == set(ALL_KINDS)
