"""Bulk replays on a real PostgreSQL: what is selected, frozen, started, done, passed over, taken over and ended."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.operations.jobs.runner import Handled
from adapters.postgres.job_work import PostgresJobWork
from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.pool import Database
from adapters.postgres.sql import statements
from adapters.records.jobs import (
    KEPT_ENDED,
    MAX_ORDERS,
    BulkMode,
    Job,
    JobState,
    JobStep,
    NotPossibleNow,
    Overlaps,
    Selection,
    TokenExpired,
    TooManyOrders,
    UnknownJob,
    WrongToken,
)
from domain.lifecycle import Status
from tests.support.bulk import SOMEBODY, Remembering, Running, all_done, asked, previewed, started
from tests.support.running_api import sql
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

SOME = range(1, 13)
ORDERS = """
    INSERT INTO orders (order_id, version, status, cashback, held, rejected, superseded, doubts, recorded_at_ns)
    SELECT id, 1, (ARRAY['PENDING', 'COMPLETED', 'CANCELLED', 'NOT_CREATED'])[1 + mod(id, 4)],
           CASE WHEN mod(id, 4) < 3 THEN id * 1.10 END, 0, 0, 0, '{}', id * 1000
    FROM generate_series(%s::bigint, %s) AS id
"""
"""Order 4 and each fourth after it is pending; order n has changed n µs after 1970, and earns 1.10 × n."""


@pytest.fixture
def orders(database_url: str) -> str:
    """A database with a few orders in its read model."""
    sql(database_url, ORDERS, 1, len(SOME))
    return database_url


def get(database_url: str, replay_id: UUID) -> Job:
    return asked(database_url, lambda bulk: bulk.get(replay_id))


def wait_for(database_url: str, replay_id: UUID, state: JobState) -> Job:
    """When its worker has let go of it."""
    at_rest = "SELECT state, lease_token IS NULL FROM job WHERE id = %s"
    wait_until(lambda: sql(database_url, at_rest, replay_id) == [(state, True)], f"the state {state}")
    return get(database_url, replay_id)


class TestSelection:
    @pytest.mark.parametrize(
        ("selection", "expected"),
        [
            (Selection(status=Status.PENDING), {4, 8, 12}),
            (Selection(changed_from_ns=3_000, changed_to_ns=6_000), {3, 4, 5}),
            (Selection(changed_from_ns=11_001), {12}),
            (Selection(frozenset({2, 4, 99})), {2, 4}),
            (Selection(frozenset(SOME), Status.PENDING, 4_000, 12_000), {4, 8}),
            (Selection(status=Status.CANCELLED, changed_to_ns=1), set()),
        ],
    )
    def test_all_conditions_that_are_given_must_hold(
        self, orders: str, selection: Selection, expected: set[int]
    ) -> None:
        """The first moment is part of a span of time, the last one isn't."""
        replay = previewed(orders, selection).replay
        assert sql(orders, "SELECT orders FROM job") == [(sorted(expected),)]
        assert (replay.total, replay.state) == (len(expected), JobState.PREVIEWED)

    def test_a_preview_tells_the_money_the_statuses_and_the_dearest_orders(self, orders: str) -> None:
        """And which of the orders named aren't in the set."""
        preview = previewed(orders, Selection(frozenset({*SOME, 77, 66}), changed_from_ns=2_000))
        assert preview.replay.cashback == sum(
            (Decimal("1.10") * n for n in SOME if n > 1 and n % 4 < 3), Decimal(0)
        )
        assert preview.by_status == {
            Status.PENDING: 3,
            Status.COMPLETED: 2,
            Status.CANCELLED: 3,
            Status.NOT_CREATED: 3,
        }
        assert [each.order_id for each in preview.sample] == [12, 10, 9, 8, 6, 5, 4, 2, 3, 7, 11]
        assert (preview.left_out_count, preview.left_out) == (3, [1, 66, 77])
        assert preview.replay.selection == {"namedOrders": 14, "changedFrom": "1970-01-01T00:00:00.000002000Z"}

    def test_large_sets_are_compared_soon_and_larger_ones_are_refused(self, database_url: str) -> None:
        """As many as there may be, against as many: well within the time that a statement may take."""
        sql(database_url, ORDERS, 1, MAX_ORDERS + 1)
        with pytest.raises(TooManyOrders):
            previewed(database_url, Selection(changed_from_ns=0))
        running = previewed(database_url, Selection(changed_from_ns=2_000))
        assert running.replay.total == MAX_ORDERS
        asked(database_url, lambda bulk: bulk.start(None, running.token, by=SOMEBODY))
        other = previewed(database_url, Selection(changed_to_ns=(MAX_ORDERS + 1) * 1_000))
        assert other.replay.total == MAX_ORDERS
        with pytest.raises(Overlaps):
            asked(database_url, lambda bulk: bulk.start(None, other.token, by=SOMEBODY))

    def test_old_previews_are_forgotten(self, orders: str) -> None:
        """A day after nobody could start them any more."""
        old, recent = (previewed(orders, Selection(frozenset({1}))).replay.id for _ in range(2))
        sql(orders, "UPDATE job SET expires_at = now() - interval '25 h' WHERE id = %s", old)
        sql(orders, "UPDATE job SET expires_at = now() - interval '23 h' WHERE id = %s", recent)
        new = previewed(orders, Selection(frozenset({1}))).replay.id
        assert [each.id for each in asked(orders, lambda bulk: bulk.page(None, 10))] == [new, recent]

    def test_of_those_that_are_over_the_last_ones_are_kept(self, orders: str) -> None:
        """And whichever isn't over, or still has orders under way, however old. The records of its orders stay."""
        states = ["done", "running", "previewed", "cancelled", "done", "cancelled", "failed"]
        states += ["done"] * KEPT_ENDED
        ids = [uuid4() for _ in states]
        sql(
            orders,
            "INSERT INTO job (id, kind, state, selection, reason, rate_per_second, orders, total, cashback,"
            " token_digest, expires_at, lease_until) SELECT id, 'republish', state, '{}', 'why', 1, '{1}', 1, 0,"
            " uuid_send(id), now(), CASE place WHEN 4 THEN now() + interval '1 h' WHEN 5 THEN now() END"
            " FROM unnest(%s::uuid[], %s::text[]) WITH ORDINALITY AS given (id, state, place) ORDER BY place",
            ids,
            states,
        )
        of_an_order = "INSERT INTO replay (id, order_id, mode, reason, items) VALUES (%s, 1, 'republish', 'why', 1)"
        sql(orders, of_an_order, ids[0])
        previewed(orders, Selection(frozenset({1})))
        kept = {each for (each,) in sql(orders, "SELECT id FROM job")}
        assert [place for place, each in enumerate(ids) if each not in kept] == [0, 4, 5, 6]
        with pytest.raises(UnknownJob, match="or not any more"):
            get(orders, ids[0])
        assert sql(orders, "SELECT id FROM replay") == [(ids[0],)]


class TestStart:
    def test_the_set_is_that_of_the_preview_whatever_happens_meanwhile(self, orders: str) -> None:
        """Orders that come to fit aren't done, those that don't fit any more are."""
        preview = previewed(orders, Selection(status=Status.PENDING))
        sql(orders, "UPDATE orders SET status = CASE order_id WHEN 5 THEN 'PENDING' ELSE 'COMPLETED' END")
        asked(orders, lambda bulk: bulk.start(preview.replay.id, preview.token, by=SOMEBODY))
        mode = Remembering(all_done)
        with Running(orders, mode):
            done = wait_for(orders, preview.replay.id, JobState.DONE)
        assert sorted(mode.orders) == [4, 8, 12]
        assert (done.done, done.failed, done.expected_end) == (3, 0, None)

    def test_a_token_starts_its_own_preview_once_and_not_for_ever(self, orders: str) -> None:
        """What is refused stays as it was."""
        one, other = (previewed(orders, Selection(frozenset({order}))) for order in (1, 2))

        def start(replay_id: UUID | None, token: str) -> Job:
            return asked(orders, lambda bulk: bulk.start(replay_id, token, by=SOMEBODY))

        with pytest.raises(WrongToken):
            start(one.replay.id, other.token)
        for unknown in (uuid4(), None):
            with pytest.raises(UnknownJob):
                start(unknown, "no token of ours")
        sql(orders, "UPDATE job SET expires_at = now() - interval '1 s' WHERE id = %s", other.replay.id)
        with pytest.raises(TokenExpired):
            start(other.replay.id, other.token)
        assert {each.state for each in asked(orders, lambda bulk: bulk.page(None, 10))} == {JobState.PREVIEWED}
        assert start(one.replay.id, one.token).state is JobState.RUNNING
        with pytest.raises(NotPossibleNow):
            start(one.replay.id, one.token)

    def test_of_many_that_share_an_order_one_starts(self, orders: str) -> None:
        """At the same moment, over as many connections; one that shares nothing starts too, and once the first is
        cancelled another one may."""
        rivals = [previewed(orders, Selection(frozenset({order, 12}))) for order in range(1, 8)]
        apart = previewed(orders, Selection(frozenset({9})))

        async def all_at_once() -> list[Job | BaseException]:
            async with Database(orders, pool_size=8) as database:
                bulk = PostgresJobs(database)
                starts = [bulk.start(each.replay.id, each.token, by=SOMEBODY) for each in (*rivals, apart)]
                return await asyncio.gather(*starts, return_exceptions=True)

        answers = asyncio.run(all_at_once())
        running = [each for each in answers if isinstance(each, Job)]
        refused = [each for each in answers if isinstance(each, Overlaps)]
        assert (len(running), len(refused)) == (2, 6)
        (winner,) = [each.id for each in running if each.id != apart.replay.id]
        assert {each.other for each in refused} == {winner}
        asked(orders, lambda bulk: bulk.cancel(winner, by=SOMEBODY))
        second = next(each for each in rivals if each.replay.id != winner)
        assert asked(orders, lambda bulk: bulk.start(None, second.token, by=SOMEBODY)).state is JobState.RUNNING

    def test_a_start_waits_for_one_that_has_not_been_committed(self, orders: str) -> None:
        """And sees what it has started."""
        first, second = (previewed(orders, Selection(frozenset({order, 12}))) for order in (1, 2))
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with psycopg.connect(orders) as other_process, ThreadPoolExecutor(1) as pool:
            other_process.execute(statements("jobs")["lock_starts"])
            other_process.execute(
                statements("jobs")["start"],
                {
                    "id": first.replay.id,
                    "lease": None,
                    "lease_seconds": 0,
                    "operator": "x",
                    "via": "api",
                    "role": None,
                },
            )
            answer = pool.submit(asked, orders, lambda bulk: bulk.start(None, second.token, by=SOMEBODY))
            wait_until(lambda: answer.done() or bool(sql(orders, waiting)), "that it waits")
            other_process.commit()
            with pytest.raises(Overlaps):
                answer.result(60)


class TestRunning:
    def test_it_goes_no_faster_than_asked_for(self, orders: str) -> None:
        """From the start to the last order it takes at least the time of all but the last few."""
        begin, ends = time.monotonic(), list[float]()

        def answer(order_ids: Sequence[int]) -> Handled:
            ends.append(time.monotonic())
            return Handled(set(order_ids))

        mode = Remembering(answer)
        replay = started(orders, *SOME, rate_per_second=8)
        with Running(orders, mode):
            wait_for(orders, replay.id, JobState.DONE)
        assert [len(chunk) for chunk in mode.chunks] == [2] * 6
        assert ends[-1] - begin >= (len(SOME) - 2) / 8

    def test_an_order_that_fails_is_passed_over_and_listed(self, orders: str) -> None:
        """With the reason, for the first hundred; the others are done."""
        sql(orders, ORDERS, len(SOME) + 1, 400)
        failing = range(100, 350)
        mode = Remembering(
            lambda ids: Handled(
                set(ids).difference(failing), {each: f"order {each} is ill" for each in ids if each in failing}
            )
        )
        replay = started(orders, *range(1, 401))
        with Running(orders, mode):
            done = wait_for(orders, replay.id, JobState.DONE)
        assert (done.done, done.failed) == (150, 250)
        assert list(done.failures) == [(each, f"order {each} is ill") for each in range(100, 200)]

    def test_what_is_nobodys_fault_is_waited_for(self, orders: str) -> None:
        """The orders that didn't come through are tried again, the others are not; meanwhile it says why."""
        away = threading.Event()

        def answer(order_ids: Sequence[int]) -> Handled:
            if away.is_set():
                return Handled(set(order_ids))
            return Handled({each for each in order_ids if each % 2}, {4: "ill"}, waits="Kafka is away")

        mode = Remembering(answer)
        replay = started(orders, *SOME)
        with Running(orders, mode):
            wait_until(lambda: get(orders, replay.id).note == "Kafka is away", "the reason")
            assert get(orders, replay.id).expected_end is not None
            away.set()
            done = wait_for(orders, replay.id, JobState.DONE)
        assert (done.done, done.failed, done.note) == (11, 1, None)
        assert mode.chunks[0] == list(SOME)
        assert mode.chunks[-1] == [2, 6, 8, 10, 12]

    def test_a_cancelled_replay_ends_behind_the_orders_under_way(self, orders: str) -> None:
        """They are counted; nothing that shares an order starts before they are through."""
        under_way, go_on = threading.Event(), threading.Event()

        def answer(order_ids: Sequence[int]) -> Handled:
            under_way.set()
            assert go_on.wait(60)
            return Handled(set(order_ids))

        mode = Remembering(answer)
        replay = started(orders, *SOME, rate_per_second=8)
        again = previewed(orders, Selection(frozenset({12})))
        with Running(orders, mode):
            assert under_way.wait(60)
            assert asked(orders, lambda bulk: bulk.cancel(replay.id, by=SOMEBODY)).state is JobState.CANCELLED
            with pytest.raises(Overlaps):
                asked(orders, lambda bulk: bulk.start(None, again.token, by=SOMEBODY))
            go_on.set()
            ended = wait_for(orders, replay.id, JobState.CANCELLED)
            assert (ended.done, mode.orders) == (2, [1, 2])
            assert asked(orders, lambda bulk: bulk.cancel(replay.id, by=SOMEBODY)) == ended
            asked(orders, lambda bulk: bulk.start(None, again.token, by=SOMEBODY))
            wait_for(orders, again.replay.id, JobState.DONE)
        with pytest.raises(NotPossibleNow):
            asked(orders, lambda bulk: bulk.cancel(again.replay.id, by=SOMEBODY))

    def test_another_process_goes_on_when_the_lease_has_run_out(self, orders: str) -> None:
        """Behind the last orders that were noted; the first one, should it live, can write nothing any more."""
        replay = started(orders, *SOME)

        async def begin_and_fall_silent() -> None:
            async with Database(orders) as database:
                work = PostgresJobWork(database, lease_seconds=1.0)
                job = await work.claim([BulkMode.REPUBLISH])
                assert job is not None
                assert job.orders == list(SOME)
                assert await work.progress(job, JobStep(0, 5, 5))
                assert not await work.progress(job, JobStep(0, 5, 5)), "the same again doesn't count twice"
                with Running(orders, mode):
                    assert await asyncio.to_thread(under_way.wait, 60)
                    assert not await work.beat(job)
                    assert not await work.progress(job, JobStep(5, 12, 7))
                    await work.end(job, JobState.FAILED)
                    go_on.set()
                    await asyncio.to_thread(wait_for, orders, replay.id, JobState.DONE)

        under_way, go_on = threading.Event(), threading.Event()

        def answer(order_ids: Sequence[int]) -> Handled:
            under_way.set()
            assert go_on.wait(60)
            return Handled(set(order_ids))

        mode = Remembering(answer)
        asyncio.run(begin_and_fall_silent())
        assert mode.orders == list(SOME)[5:]
        assert get(orders, replay.id).done == 12

    def test_a_process_that_stops_leaves_the_rest_to_the_next_one(self, orders: str) -> None:
        """At once, and no order is left out."""

        def answer(order_ids: Sequence[int]) -> Handled:
            running.tell_to_stop()
            return Handled(set(order_ids))

        first, second = Remembering(answer), Remembering(all_done)
        replay = started(orders, *SOME, rate_per_second=16)
        with Running(orders, first) as running:
            running.wait_for_its_end()
        rest = wait_for(orders, replay.id, JobState.RUNNING)
        assert (rest.done, first.orders) == (4, [1, 2, 3, 4])
        with Running(orders, second):
            wait_for(orders, replay.id, JobState.DONE)
        assert first.orders + second.orders == list(SOME)

    def test_an_error_of_ours_ends_the_replay_and_not_the_process(self, orders: str) -> None:
        """Whoever took it over would fail likewise. The next replay is done."""

        def answer(order_ids: Sequence[int]) -> Handled:
            if 3 in order_ids:
                raise RuntimeError("buyer 1234")
            return Handled(set(order_ids))

        ill = started(orders, *SOME)
        with Running(orders, Remembering(answer)):
            failed = wait_for(orders, ill.id, JobState.FAILED)
            assert failed.note == "an error of ours: RuntimeError; the log says where"
            well = started(orders, 1, 2)
            wait_for(orders, well.id, JobState.DONE)
