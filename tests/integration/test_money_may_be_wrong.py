"""The list of orders whose money may be wrong, over a real PostgreSQL: reasons, money, ages, and how they end."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
import pytest

from adapters.postgres import money_may_be_wrong as listing
from adapters.postgres.backlog import PostgresBacklog
from adapters.postgres.money_may_be_wrong import PostgresMoneyMayBeWrong, page_statement
from adapters.postgres.pool import Database
from adapters.postgres.service_status import PostgresConsole
from adapters.records.money_may_be_wrong import (
    DEFAULT_LIMITS,
    KINDS,
    Case,
    CaseKind,
    CaseLimits,
    CaseSort,
    CaseTotal,
    next_step,
)
from domain.events import OrderEvent
from domain.intervention import Author, settle
from domain.messages import Kind
from domain.order import Order
from tests.support.commands import run_here
from tests.support.event_store import append, project, store_at
from tests.support.messages import NOW_NS, product, record_of
from tests.support.running_api import RecordingThirdParty, deliver, refuse, running_api, sql, tell

pytestmark = pytest.mark.slow

TOKEN: Final = "to-act"
PATH: Final = "/api/money-may-be-wrong"
DOUBTFUL, HELD, PARKED, QUARANTINED, DIFFERENT, PENDING = range(1, 7)
"""The orders of the world below, by why they are on the list."""
YOUNG: Final = "UPDATE orders SET began_at_ns = (extract(epoch FROM now()) * 1e9)::bigint"
SOMEBODY: Final = Author("Ada", "the order service says that this is right")
MANY: Final = 60_000
MAX_ROWS_READ: Final = 400
"""For a page of 51, from all tables together, with what is asked of each of its orders."""

T = TypeVar("T")


def ask(database_url: str, question: Callable[[Database], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with Database(database_url) as database:
            return await question(database)

    return asyncio.run(asked())


def cases(
    database_url: str,
    kind: CaseKind | None = None,
    sort: CaseSort = CaseSort.AMOUNT,
    limits: CaseLimits = DEFAULT_LIMITS,
    page_rows: int = 1000,
) -> list[Case]:
    """All of them, page by page."""

    async def walk(database: Database) -> list[Case]:
        found: list[Case] = []
        while page := await PostgresMoneyMayBeWrong(database, limits).page(
            kind, sort, found[-1].place(sort) if found else None, page_rows
        ):
            found += page
        return found

    return ask(database_url, walk)


def reasons(found: Sequence[Case]) -> list[tuple[int, str]]:
    return [(each.order_id, each.kind.value) for each in found]


def earning(cashback: int) -> list[dict[str, Any]]:
    return [product(quantity=1, original=cashback, final=0)]


def said(order_id: int, kind: Kind, number: int, **more: Any) -> Any:
    return record_of(kind, order_id=order_id, offset=100 * order_id + number, at_ns=number, **more)


def stamped(number: int) -> tuple[tuple[str, bytes], ...]:
    return (("sequence", b"%d" % number),)


@pytest.fixture
def world(database_url: str) -> str:
    """One order for each reason, with 10, 20, … at stake; one that is well."""
    late_end = said(DOUBTFUL, Kind.COMPLETED, 3)
    tell(
        database_url,
        said(DOUBTFUL, Kind.CREATED, 1, items=earning(10)),
        said(DOUBTFUL, Kind.CANCELLED, 2),
        late_end,
        said(HELD, Kind.CREATED, 1, items=earning(20), headers=stamped(1)),
        said(HELD, Kind.UPDATED, 2, items=earning(20), headers=stamped(3)),
        said(PARKED, Kind.CREATED, 1, items=earning(30)),
        said(QUARANTINED, Kind.CREATED, 1, items=earning(40)),
        said(QUARANTINED, Kind.UPDATED, 2, transactionDate="yesterday"),
        said(QUARANTINED, Kind.UPDATED, 3, transactionDate="today"),
        said(DIFFERENT, Kind.CREATED, 1, items=earning(60)),
        said(PENDING, Kind.CREATED, 1, items=earning(60)),
        said(7, Kind.CREATED, 1, items=earning(70)),
        said(7, Kind.COMPLETED, 2),
    )
    deliver(database_url, RecordingThirdParty(refuse(PARKED)))
    sql(database_url, f"{YOUNG} WHERE order_id <> {PENDING}")
    sql(
        database_url,
        "INSERT INTO reconciliation (order_id, class, our_status, our_amount, their_status, their_amount)"
        f" VALUES ({DIFFERENT}, 'amount', 'PENDING', 60, 'PENDING', 10), (7, 'in_flight', NULL, NULL, NULL, NULL)",
    )
    return database_url


def settled(order: Order) -> tuple[OrderEvent, ...]:
    return settle(order, SOMEBODY, now_ns=NOW_NS + 1)


class TestReasons:
    def test_each_reason_has_its_order_with_the_money_and_the_next_step(self, world: str) -> None:
        found = cases(world)
        assert [(each.order_id, each.kind, each.amount) for each in found] == [
            (PENDING, CaseKind.PENDING, Decimal(60)),
            (DIFFERENT, CaseKind.DIFFERENT, Decimal(50)),
            (QUARANTINED, CaseKind.QUARANTINED, Decimal(40)),
            (PARKED, CaseKind.PARKED, Decimal(30)),
            (HELD, CaseKind.HELD, Decimal(20)),
            (DOUBTFUL, CaseKind.DOUBTFUL, Decimal(10)),
        ]
        assert [each.detail for each in found] == [
            "no end",
            "amount",
            "bad_date",
            "refused with status 422",
            "1 message",
            "after_end",
        ]
        [(message,)] = sql(world, "SELECT min(id) FROM quarantine")
        assert [next_step(each).command for each in found] == [
            f"order {PENDING}",
            f"reconcile {DIFFERENT}",
            f"quarantine {message} --retry",
            f"retry {PARKED}",
            f"release {HELD} --reason …",
            f"settle {DOUBTFUL} --reason …",
        ]

    @pytest.mark.parametrize("kind", CaseKind)
    def test_one_reason_can_be_asked_for(self, world: str, kind: CaseKind) -> None:
        for sort in CaseSort:
            assert reasons(cases(world, kind, sort)) == [(KINDS.index(kind) + 1, kind)]

    def test_the_oldest_comes_first_if_that_is_asked_for(self, world: str) -> None:
        """To the microsecond, whichever table the age comes from."""
        old = "now() - interval '{} days'"
        in_ns = f"(extract(epoch FROM {old}) * 1e9)::bigint"
        sql(world, f"UPDATE orders SET doubtful_since_ns = {in_ns.format(60)} WHERE order_id = {DOUBTFUL}")
        sql(world, f"UPDATE orders SET held_since_ns = {in_ns.format(50)} WHERE order_id = {HELD}")
        sql(world, f"UPDATE delivery SET parked_at = {old.format(40)} WHERE order_id = {PARKED}")
        sql(world, f"UPDATE quarantine SET quarantined_at = {old.format(35)}")
        sql(world, f"UPDATE reconciliation SET first_seen_at = {old.format(30)}")
        sql(world, f"UPDATE orders SET began_at_ns = {in_ns.format(20)} WHERE order_id = {PENDING}")
        found = cases(world, sort=CaseSort.AGE)
        assert [each.order_id for each in found] == [DOUBTFUL, HELD, PARKED, QUARANTINED, DIFFERENT, PENDING]
        ages = [each.since_ns or 0 for each in found]
        assert ages == sorted(ages)
        day_ns = 86_400 * 10**9
        assert [round((ages[-1] - each) / day_ns) for each in ages] == [40, 30, 20, 15, 10, 0]

    def test_how_long_is_too_long_is_a_setting(self, world: str) -> None:
        """Just turning too old, and what isn't yet."""
        in_ns = "(extract(epoch FROM now() - interval '{}') * 1e9)::bigint"
        pending = f"UPDATE orders SET began_at_ns = {in_ns} WHERE order_id = {PENDING}"
        sql(world, pending.format("14 days 1 second"))
        assert reasons(cases(world, CaseKind.PENDING)) == [(PENDING, "pending")]
        sql(world, pending.format("13 days 23 hours"))
        assert cases(world, CaseKind.PENDING) == []
        assert reasons(cases(world, CaseKind.PENDING, limits=CaseLimits(pending_days=13))) == [(PENDING, "pending")]

        held = f"UPDATE orders SET held_since_ns = {in_ns} WHERE order_id = {HELD}"
        sql(world, held.format("59 minutes"))
        assert cases(world, CaseKind.HELD) == []
        sql(world, held.format("61 minutes"))
        assert reasons(cases(world, CaseKind.HELD)) == [(HELD, "held")]

    def test_an_order_with_several_reasons_is_there_for_each_and_says_so(self, world: str) -> None:
        """And in any order of pages, however small, each is met once: also where amounts and ages are the same."""
        sql(world, f"UPDATE orders SET began_at_ns = 1, held = 1, held_since_ns = 1 WHERE order_id = {PARKED}")
        sql(world, f"UPDATE orders SET cashback = 30, held = 1, held_since_ns = 1 WHERE order_id = {PENDING}")
        wanted = {(PARKED, kind) for kind in ("parked", "held", "pending")}
        found = cases(world)
        assert {each for each in reasons(found) if each[0] == PARKED} == wanted
        assert {each.kinds for each in found if each.order_id == PARKED} == {
            (CaseKind.HELD, CaseKind.PARKED, CaseKind.PENDING)
        }
        for sort in CaseSort:
            whole = reasons(cases(world, sort=sort))
            assert len(whole) == len(set(whole)) == 9
            for page_rows in (1, 2, 4):
                assert reasons(cases(world, sort=sort, page_rows=page_rows)) == whole

    def test_what_only_waits_for_a_doubt_to_be_settled_is_there_once(self, world: str) -> None:
        """As doubtful: there is nothing to retry."""
        sql(
            world,
            f"UPDATE delivery SET parked_at = now(), parked_reason = 'doubtful' WHERE order_id = {DOUBTFUL}",
        )
        found = [each for each in cases(world) if each.order_id == DOUBTFUL]
        assert [(each.kind, each.kinds) for each in found] == [(CaseKind.DOUBTFUL, (CaseKind.DOUBTFUL,))]
        assert reasons(cases(world, CaseKind.PARKED)) == [(PARKED, "parked")]

    def test_an_order_stopped_by_a_broken_rule_is_not_to_be_retried(self, world: str) -> None:
        sql(world, f"UPDATE delivery SET parked_reason = 'invariant: created_once' WHERE order_id = {PARKED}")
        (case,) = cases(world, CaseKind.PARKED)
        assert next_step(case)[:2] == ("find out what broke the rule; don't retry", f"order {PARKED}")

    def test_what_waits_for_its_create_has_the_amount_that_it_tells(self, database_url: str) -> None:
        """That of the last message: nothing else is known of the order."""
        tell(
            database_url,
            said(8, Kind.UPDATED, 1, items=earning(20)),
            said(8, Kind.UPDATED, 2, items=earning(30)),
            said(8, Kind.COMPLETED, 3),
            said(9, Kind.UPDATED, 4, items=earning(25)),
        )
        found = [(each.order_id, each.amount) for each in cases(database_url, page_rows=1)]
        assert found == [(8, Decimal(30)), (9, Decimal(25))]

    def test_orders_of_which_nothing_can_be_read_are_there_without_an_amount(self, database_url: str) -> None:
        """Their messages name them; a message that names none is on the quarantine's own list."""
        tell(
            database_url,
            said(9, Kind.CREATED, 1, transactionDate="yesterday"),
            said(8, Kind.COMPLETED, 1),
        )
        sql(
            database_url,
            "INSERT INTO quarantine (topic, topic_id, partition, kafka_offset, headers, reason, detail)"
            " VALUES ('t', 'i', 0, 1, '[]', 'not_json', 'x')",
        )
        for sort in CaseSort:
            found = cases(database_url, sort=sort, page_rows=1)
            assert {(each.order_id, each.kind, each.amount) for each in found} == {
                (9, CaseKind.QUARANTINED, None),
                (8, CaseKind.HELD, None),
            }

    def test_rows_that_an_upgrade_has_not_made_anew_yet_are_there(self, world: str) -> None:
        """In doubt as they are; amount and age come later."""
        sql(world, f"UPDATE orders SET at_stake = NULL, doubtful_since_ns = NULL WHERE order_id = {DOUBTFUL}")
        for sort in CaseSort:
            found = cases(world, sort=sort, page_rows=1)
            assert [(each.amount, each.since_ns) for each in found if each.order_id == DOUBTFUL] == [(None, None)]
            assert len(found) == 6


class TestDoubtsEnd:
    def test_a_settled_order_leaves_the_list_and_a_new_doubt_opens_it_again(self, world: str) -> None:
        """And the gauge with it."""

        def counted() -> CaseTotal:
            backlog = ask(world, lambda database: PostgresBacklog(database).backlog())
            assert backlog.doubtful == backlog.money_may_be_wrong[CaseKind.DOUBTFUL].number
            return backlog.money_may_be_wrong[CaseKind.DOUBTFUL]

        assert counted() == CaseTotal(1, Decimal(10))
        with store_at(world) as store:
            order = store.load([DOUBTFUL])[DOUBTFUL]
        append(world, settled(order))
        project(world)
        assert cases(world, CaseKind.DOUBTFUL) == []
        assert counted() == CaseTotal()

        tell(world, said(DOUBTFUL, Kind.UPDATED, 1000, items=earning(3)), said(DOUBTFUL, Kind.COMPLETED, 1001))
        (again,) = cases(world, CaseKind.DOUBTFUL)
        assert (again.order_id, again.amount) == (DOUBTFUL, Decimal(10))
        assert counted() == CaseTotal(1, Decimal(10))

    def test_what_is_put_right_leaves_by_itself(self, world: str) -> None:
        """Whatever the reason was."""
        tell(
            world,
            said(HELD, Kind.UPDATED, 1000, headers=stamped(2)),
            said(HELD, Kind.COMPLETED, 1001, headers=stamped(4)),
            said(PENDING, Kind.COMPLETED, 1000),
        )
        deliver(world)
        sql(world, "UPDATE quarantine SET state = 'discarded'")
        sql(world, "UPDATE reconciliation SET closed_at = now()")
        sql(world, "UPDATE delivery SET parked_at = NULL")
        assert reasons(cases(world)) == [(DOUBTFUL, "doubtful")]


class TestTotals:
    def test_each_reason_is_counted_with_the_money_in_it(self, world: str) -> None:
        totals = ask(world, lambda database: PostgresMoneyMayBeWrong(database).totals())
        assert totals == {kind: CaseTotal(1, Decimal(10 * n)) for n, kind in enumerate(KINDS, 1)}

    def test_a_sample_for_the_console_has_them(self, world: str) -> None:
        """With exact amounts."""
        sql(world, f"UPDATE orders SET at_stake = 12345678901234567890123456789012.34 WHERE order_id = {DOUBTFUL}")

        async def take(database: Database) -> CaseTotal:
            console = PostgresConsole(database, CaseLimits(pending_days=365 * 100))
            await console.take_sample()
            totals = (await console.samples(60))[-1].numbers.money_may_be_wrong
            assert totals[CaseKind.PENDING] == CaseTotal()
            return totals[CaseKind.DOUBTFUL]

        assert ask(world, take) == CaseTotal(1, Decimal("12345678901234567890123456789012.34"))


def put_many(database_url: str) -> None:
    """Orders of which a tenth has each reason, and as many that are well."""
    sql(
        database_url,
        "INSERT INTO orders (order_id, version, status, cashback, held, rejected, superseded, doubts,"
        " held_since_ns, recorded_at_ns, at_stake, doubtful_since_ns, began_at_ns)"
        " SELECT n, 1, CASE n %% 10 WHEN 1 THEN 'PENDING' ELSE 'COMPLETED' END, n %% 977, (n %% 10 = 2)::int, 0, 0,"
        " CASE n %% 10 WHEN 3 THEN '{late}'::text[] ELSE '{}' END, CASE n %% 10 WHEN 2 THEN n END, n,"
        " CASE n %% 10 WHEN 3 THEN n %% 977 END, CASE n %% 10 WHEN 3 THEN n END, n"
        f" FROM generate_series(1, {MANY}) AS n",
    )
    sql(
        database_url,
        "INSERT INTO delivery (order_id, head_version, parked_at, parked_reason)"
        " SELECT n, 1, CASE n %% 10 WHEN 4 THEN now() END, CASE n %% 10 WHEN 4 THEN 'refused' END"
        f" FROM generate_series(1, {MANY}) AS n",
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def rows_read(plan: dict[str, Any]) -> int:
    """From tables, by a plan and all its parts."""
    parts = sum(rows_read(each) for each in plan.get("Plans", []))
    if "Relation Name" in plan:
        parts += round((plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"])
    return parts


class TestCost:
    def test_a_page_reads_what_is_on_it_however_many_orders_there_are(self, database_url: str) -> None:
        """The first one and one from the middle; reasons with an index for the order that is asked for."""
        put_many(database_url)
        with psycopg.connect(database_url, autocommit=True) as connection:
            for kind, sort in (
                (CaseKind.DOUBTFUL, CaseSort.AMOUNT),
                (CaseKind.DOUBTFUL, CaseSort.AGE),
                (CaseKind.HELD, CaseSort.AGE),
                (CaseKind.PENDING, CaseSort.AGE),
            ):
                middle = cases(database_url, kind, sort)[MANY // 20].place(sort)
                for place in (None, middle):
                    statement, parameters = page_statement(kind, sort, place, 51, DEFAULT_LIMITS)
                    explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                    [(plans,)] = connection.execute(explained, parameters).fetchall()
                    assert plans[0]["Plan"]["Actual Rows"] == 51
                    assert rows_read(plans[0]["Plan"]) < MAX_ROWS_READ, (kind, sort, place)

    def test_counting_stops_behind_its_limit(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listing, "MAX_COUNTED", 1000)
        put_many(database_url)
        totals = ask(database_url, lambda database: PostgresMoneyMayBeWrong(database).totals())
        assert {kind.value: each.number for kind, each in totals.items()} == {
            **dict.fromkeys(("doubtful", "held", "parked", "pending"), 1001),
            **dict.fromkeys(("quarantined", "different"), 0),
        }


class TestApi:
    def test_a_walk_through_the_pages_meets_every_case_once(self, world: str) -> None:
        """By amount and by age; a filter goes with the cursor, and the sort is the first page's."""
        with running_api(world, token=TOKEN) as api:
            for sort in CaseSort:
                found: list[dict[str, Any]] = []
                following: str | None = ""
                while following is not None:
                    answer = api.get(PATH, params={"limit": 2, "sort": sort, "cursor": following})
                    assert answer.status_code == 200
                    found += answer.json()["cases"]
                    following = answer.json()["next"]
                assert [(each["orderId"], each["kind"]) for each in found] == reasons(cases(world, sort=sort))
            first = api.get(PATH, params={"limit": 1, "sort": "age"}).json()
            by_age = api.get(PATH, params={"cursor": first["next"], "sort": "amount"}).json()["cases"]
            assert [each["orderId"] for each in by_age] == [
                each.order_id for each in cases(world, sort=CaseSort.AGE)
            ][1:]

    def test_a_case_tells_all_that_is_known(self, world: str) -> None:
        """Exact amounts, nine digits of time, and what to do."""
        with running_api(world, token=TOKEN) as api:
            answer = api.get(PATH, params={"kind": "doubtful"})
        assert answer.json() == {
            "cases": [
                {
                    "orderId": DOUBTFUL,
                    "kind": "doubtful",
                    "kinds": ["doubtful"],
                    "amountAtStake": 10,
                    "since": "2025-02-28T18:00:00.000000000Z",
                    "detail": "after_end",
                    "quarantineId": None,
                    "nextStep": {
                        "says": "find out which amount is right, and settle the doubt",
                        "command": f"settle {DOUBTFUL} --reason …",
                        "endpoint": f"POST /api/orders/{DOUBTFUL}/settle",
                    },
                }
            ],
            "next": None,
        }

    def test_a_wish_that_makes_no_sense_is_refused(self, world: str) -> None:
        with running_api(world, token=TOKEN, read_token="r") as api:
            for options in (
                {"cursor": "nonsense"},
                {"cursor": "orders-0000000000000001"},
                {"cursor": "money-may-be-wrong-age-1.5-0-0000000000000001"},
                {"cursor": "money-may-be-wrong-amount-1-9-0000000000000001"},
                {"kind": "other"},
                {"sort": "other"},
                {"limit": "0"},
            ):
                assert api.get(PATH, params=options).status_code == 400, options
            longest = f"money-may-be-wrong-amount-{'9' * 400}.{'9' * 400}-5-7{'f' * 15}"
            for cursor in (longest, f"money-may-be-wrong-age-8{'9' * 18}-0-7{'f' * 15}"):
                assert api.get(PATH, params={"cursor": cursor}).status_code == 200
            api.client.headers["Authorization"] = "Bearer r"
            assert api.get(PATH).status_code == 200
            api.client.headers["Authorization"] = "Bearer x"
            assert api.get(PATH).status_code == 401


class TestConsole:
    def test_the_page_shows_each_case_and_leads_to_its_next_step(self, world: str) -> None:
        with running_api(world) as api:
            shown = unescape(api.get("/money-may-be-wrong").text)
            ids = re.findall(r'data-label="Order"><a class="id" href="/orders/(\d+)"', shown)
            assert [int(each) for each in ids] == [6, 5, 4, 3, 2, 1]
            assert "six cases" in shown
            assert "210.00" in shown
            for case in cases(world):
                assert f'href="{next_step(case).page}"' in shown
                assert api.get(next_step(case).page).status_code == 200, case.kind
            only = api.get("/money-may-be-wrong?kind=doubtful&sort=age").text
            assert re.findall(r'data-label="Order"><a class="id" href="/orders/(\d+)"', only) == ["1"]
            assert api.get("/money-may-be-wrong?cursor=nonsense").status_code == 400

    def test_pages_follow_one_another(self, database_url: str) -> None:
        """With the filter and the sort that were chosen."""
        put_many(database_url)
        with running_api(database_url) as api:
            seen: list[int] = []
            address = "/money-may-be-wrong?kind=doubtful&sort=age"
            for _ in range(3):
                shown = api.get(address).text
                seen += map(int, re.findall(r'data-label="Order"><a class="id" href="/orders/(\d+)"', shown))
                following = re.search(r'rel="next" href="([^"]+)"', shown)
                assert following is not None
                address = unescape(following[1])
        assert seen == list(range(3, 1500, 10))

    def test_every_page_tells_in_its_menu_how_many_there_are(self, world: str) -> None:
        """As counted last; nothing before that, and nothing where all is well."""

        def menu() -> str | None:
            entry = re.search(
                r'data-key="m"[^>]*>Money may be wrong(?: <span class="chip bad">([^<]*)</span>)?</a>',
                api.get("/audit").text,
            )
            assert entry is not None
            return entry[1]

        with running_api(world) as api:
            assert menu() is None
            ask(world, lambda database: PostgresConsole(database).take_sample())
            assert menu() == "6"
            assert "210.00" in api.get("/").text


class TestCommand:
    def test_the_command_says_what_the_endpoint_says(self, world: str, tmp_path: Path) -> None:
        """In a table, or with `--json` in the API's words; page by page."""
        settings = {"database_url": world}
        with running_api(world, token=TOKEN) as api:
            expected = api.get(PATH, params={"limit": 2}).json()
        done = run_here("money-may-be-wrong", "--limit", "2", "--json", folder=tmp_path, settings=settings)
        assert (done.code, json.loads(done.out)) == (0, expected)
        more = run_here("money-may-be-wrong", "--after", expected["next"], folder=tmp_path, settings=settings)
        lines = more.out.splitlines()
        assert lines[0].split()[:2] == ["order", "why"]
        assert [line.split()[:2] for line in lines[1:]] == [
            ["4", "quarantined"],
            ["3", "parked"],
            ["2", "held"],
            ["1", "doubtful"],
        ]
        assert lines[-1].endswith("settle 1 --reason …")
        settings |= {"pending_alert_days": "3650"}
        young = run_here("money-may-be-wrong", "--kind", "pending", "--json", folder=tmp_path, settings=settings)
        assert json.loads(young.out)["cases"] == []
        wrong = run_here("money-may-be-wrong", "--after", "x", folder=tmp_path, settings=settings)
        assert (wrong.code, "must be the `next` of a page of this list" in wrong.err) == (2, True)

    def test_the_status_has_the_sum(self, world: str, tmp_path: Path) -> None:
        done = run_here("status", "--json", folder=tmp_path, settings={"database_url": world})
        assert json.loads(done.out)["moneyMayBeWrong"]["different"] == {"number": 1, "amountAtStake": 50}
        shown = run_here("status", folder=tmp_path, settings={"database_url": world}).out
        assert re.search(r"orders whose money may be wrong +6, 210\.00 at stake", shown)
