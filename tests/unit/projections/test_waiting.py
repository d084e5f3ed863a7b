"""Work that is given up when it is told to stop."""

import asyncio

import pytest

from projections.waiting import run_until


def test_work_under_way_is_given_up_when_told_to_stop() -> None:
    """And has come to its end by then, whatever it does on the way out."""
    told = []

    async def endless(begun: asyncio.Event) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            told.append("over")

    async def given_up() -> None:
        begun, stop = asyncio.Event(), asyncio.Event()
        working = asyncio.create_task(run_until(stop, endless(begun)))
        await begun.wait()
        assert not working.done()
        stop.set()
        await working

    asyncio.run(asyncio.wait_for(given_up(), 20))
    assert told == ["over"]


def test_work_that_ends_by_itself_needs_no_stop() -> None:
    """What it raises is raised, and nothing is left that waits for the stop."""

    async def failing() -> None:
        raise LookupError

    async def ended() -> None:
        before = asyncio.all_tasks()
        await run_until(asyncio.Event(), asyncio.sleep(0))
        with pytest.raises(LookupError):
            await run_until(asyncio.Event(), failing())
        assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(ended(), 20))
