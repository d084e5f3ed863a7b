"""What may fail without anything else failing with it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from adapters.observability.backlog_metrics import BacklogMetrics, watch_backlog
from adapters.observability.metrics import Metrics
from adapters.observability.trouble import Trouble
from adapters.records.status import Backlog
from domain.ports import StoreUnavailable


def test_each_reason_is_logged_once_until_another_or_none_comes() -> None:
    """An outage quietly, as others tell of it; an error of ours loudly."""
    trouble = Trouble("can't count")
    reasons = [None, StoreUnavailable("away"), StoreUnavailable("away"), ValueError("odd"), None, ValueError("odd")]
    with capture_logs() as logs:
        for reason in reasons:
            with trouble:
                if reason is not None:
                    raise reason
            assert trouble.is_over == (reason is None)
    assert [(line["log_level"], line["error"]) for line in logs] == [
        ("debug", "away"),
        ("warning", "odd"),
        ("warning", "odd"),
    ]


def test_who_is_told_to_stop_stops() -> None:
    """A cancellation is no trouble."""
    with pytest.raises(asyncio.CancelledError), Trouble("can't count"):
        raise asyncio.CancelledError


def test_counting_goes_on_whatever_went_wrong() -> None:
    """And there is no sample meanwhile."""

    async def main() -> BacklogMetrics:
        metrics, stop, asked = Metrics(group="readers").backlog, asyncio.Event(), 0

        async def ask() -> Backlog:
            nonlocal asked
            asked += 1
            if asked == 3:
                stop.set()
            raise RuntimeError("an error of ours")

        await watch_backlog(ask, metrics, stop, every_seconds=0)
        assert asked == 3
        return metrics

    assert asyncio.run(main()).sample is None
