"""The console over HTTP and what it asks of the database; what a browser must show is in tests/browser."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from html import unescape
from typing import Any, Final, TypeVar
from uuid import uuid4

import httpx
import psycopg
import pytest

from adapters.postgres.pool import Database
from adapters.postgres.queries import narrowed
from adapters.postgres.service_status import PostgresConsole
from adapters.postgres.sql import statements
from adapters.records.orders import OrderFilter
from adapters.records.status import SILENT_SECONDS
from adapters.web.console.session_gate import COOKIE, MAX_FORM_BYTES
from adapters.web.failed_attempts import MAX_FAILURES_PER_ADDRESS, WINDOW_SECONDS
from domain.lifecycle import Status
from domain.messages import Kind
from sandbox.servers.free_port import free_port
from tests.support.messages import ORDER_ID, SECOND_NS, product, record, record_of
from tests.support.running_api import Api, RecordingThirdParty, deliver, refuse, running_api, sql, tell

pytestmark = pytest.mark.slow

TOKEN: Final = "to-act"
READ_TOKEN: Final = "to-read"
REPLAY: Final = f"/orders/{ORDER_ID}/replay?mode=redeliver"
PAGES: Final = [
    "/",
    "/orders",
    f"/orders/{ORDER_ID}",
    REPLAY,
    "/search?q=1",
    "/parked",
    f"/parked/{ORDER_ID}/retry",
    f"/parked/{ORDER_ID}/skip",
    f"/orders/{ORDER_ID}/settle",
    f"/orders/{ORDER_ID}/release",
    "/quarantine",
    "/quarantine/1/retry",
    "/quarantine/1/edit",
    "/quarantine/1/discard",
    "/replays/new",
    "/reconciliation/compare",
    f"/reconciliation/runs/{uuid4()}",
    "/quarantine/1",
    "/jobs",
    f"/jobs/{uuid4()}",
    "/replays",
    f"/replays/{uuid4()}",
    "/reconciliation",
    "/statement",
    "/audit",
    "/nothing",
    "/docs",
]

MANY: Final = 100_000
MAX_ROWS_READ: Final = 300
"""For a page of 51, from all tables together."""

T = TypeVar("T")


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    """With tokens, and nobody signed in."""
    with running_api(database_url, token=TOKEN, read_token=READ_TOKEN) as running:
        running.client.headers.pop("Authorization")
        yield running


def sign_in(api: Api, token: str = TOKEN, **headers: str) -> httpx.Response:
    return api.client.post("/sign-in", data={"name": "Ada", "token": token}, headers=headers)


def form_token(page: httpx.Response) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def form_of(page: httpx.Response) -> dict[str, str]:
    """What a page's form carries unseen."""
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))


def rows_read(plan: dict[str, Any]) -> int:
    """From tables, by a plan and all its parts."""
    parts = sum(rows_read(each) for each in plan.get("Plans", []))
    if "Relation Name" in plan:
        parts += round((plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"])
    return parts


def put_orders(database_url: str, number: int) -> None:
    """Into the list alone: there is nothing to tell of them."""
    sql(
        database_url,
        "INSERT INTO orders (order_id, version, status, held, rejected, superseded, doubts, recorded_at_ns)"
        f" SELECT n, 1, 'PENDING', 0, 0, 0, '{{}}', n FROM generate_series(1, {number}) AS n",
    )


def ask(database_url: str, question: Callable[[PostgresConsole], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with Database(database_url) as database:
            return await question(PostgresConsole(database))

    return asyncio.run(asked())


async def of_transaction(console: PostgresConsole, text: str) -> list[int]:
    return list((await console.find(text)).orders.get("transaction", []))


class TestTokens:
    def test_the_reading_token_reads_the_api_and_changes_nothing(self, api: Api) -> None:
        api.client.headers["Authorization"] = f"Bearer {READ_TOKEN}"
        assert api.get("/api/orders").status_code == 200
        refused = api.replay(ORDER_ID, "redeliver")
        assert (refused.status_code, refused.json()["detail"]) == (403, "the token may read, and change nothing")
        assert "insufficient_scope" in refused.headers["WWW-Authenticate"]

    def test_without_a_token_only_this_machine_is_answered_by_its_name(self, database_url: str) -> None:
        """A name of somebody else's that is made to lead here (DNS rebinding) opens nothing, probes neither."""
        with running_api(database_url) as open_api:
            for path in ("/", "/api/orders"):
                assert open_api.get(path).status_code == 200
                assert open_api.get(path, headers={"Host": "localhost:1"}).status_code == 200
                assert open_api.get(path, headers={"Host": "[::1]:1"}).status_code == 200
                assert open_api.get(path, headers={"Host": "evil.test:8080"}).status_code == 403
            assert open_api.get("/livez", headers={"Host": "10.0.0.1"}).status_code == 403


class TestDoor:
    def test_every_page_asks_to_sign_in(self, api: Api) -> None:
        """Those that don't exist, too; a form finds nobody; the script is told so."""
        for path in PAGES:
            asked = api.get(path)
            assert (asked.status_code, asked.headers["Location"].partition("?")[0]) == (303, "/sign-in"), path
            assert api.get(path, headers={"X-Refresh": "1"}).status_code == 401, path
            assert api.client.post(path, data={"reason": "x"}).status_code == 401, path
            assert api.client.delete(path).status_code == 405, path

    def test_the_cookie_is_for_this_console_and_no_script(self, api: Api) -> None:
        """And for https alone where that is how one came in, be it through a proxy."""
        plain = sign_in(api).headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(plain.split("; "))
        assert "Secure" not in plain
        assert sign_in(api, **{"X-Forwarded-Proto": "https"}).headers["Set-Cookie"].endswith("; Secure")

    def test_a_wrong_token_or_no_name_lets_nobody_in(self, api: Api) -> None:
        for data in (
            {"name": "Ada", "token": "wrong"},
            {"name": "", "token": TOKEN},
            {"name": "A\nB", "token": TOKEN},
        ):
            refused = api.client.post("/sign-in", data=data)
            assert (refused.status_code, "Set-Cookie" in refused.headers) == (422, False)
            assert TOKEN not in refused.text

    def test_whoever_fails_too_often_must_wait(self, api: Api) -> None:
        """Told so, with the time; even with the right token. Who is signed in already isn't concerned."""
        sign_in(api)
        for number in range(MAX_FAILURES_PER_ADDRESS):
            assert sign_in(api, f"wrong {number}").status_code == 422
        refused = sign_in(api)
        assert (refused.status_code, "Set-Cookie" in refused.headers) == (429, False)
        assert 0 < int(refused.headers["Retry-After"]) <= WINDOW_SECONDS
        assert "Too many attempts have failed. Try again in" in refused.text
        assert TOKEN not in refused.text
        assert api.get("/orders").status_code == 200

    def test_signing_out_ends_the_session_for_every_copy_of_its_cookie(self, api: Api, database_url: str) -> None:
        """In every process; another session of the same person goes on."""
        sign_in(api)
        copy, form = api.client.cookies[COOKIE], {"form_token": form_token(api.get("/parked"))}
        sign_in(api)
        other = api.client.cookies[COOKIE]
        api.client.cookies.clear()
        with running_api(database_url, token=TOKEN, read_token=READ_TOKEN) as another:
            asked = [(each, cookie) for each in (api, another) for cookie in (copy, other)]

            def statuses() -> list[int]:
                return [
                    each.get("/parked", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code
                    for each, cookie in asked
                ]

            assert statuses() == [200, 200, 200, 200]
            signed_out = api.client.post("/sign-out", data=form, headers={"Cookie": f"{COOKIE}={copy}"})
            assert signed_out.status_code == 303
            assert statuses() == [303, 200, 303, 200]

    def test_what_ended_long_ago_is_forgotten(self, api: Api, database_url: str) -> None:
        sql(database_url, "INSERT INTO ended_session VALUES ('old', now() - interval '2 hours'), ('new', now())")
        sign_in(api)
        api.client.post("/sign-out", data={"form_token": form_token(api.get("/parked"))})
        kept = {row[0] for row in sql(database_url, "SELECT session FROM ended_session")}
        assert (len(kept), "old" in kept, "new" in kept) == (2, False, True)

    def test_a_form_that_is_not_ours_does_nothing(self, api: Api, database_url: str) -> None:
        """Whatever is wrong with it; the same with its own token is carried out."""
        tell(database_url, record_of(Kind.CREATED))
        deliver(database_url)
        sign_in(api)
        form = form_of(api.get(REPLAY)) | {"reason": "asked for", "confirmed": "yes"}
        refused = [
            api.client.post(REPLAY, data=form | {"form_token": "x"}),
            api.client.post(REPLAY, data=form, headers={"Sec-Fetch-Site": "same-site"}),
            api.client.post(REPLAY, json=form),
            api.client.post(REPLAY, data=form | {"reason": "x" * MAX_FORM_BYTES}),
            api.client.post(REPLAY, data=form | {"reason": "\x00"}),
            api.client.post(REPLAY, data=form | {"reason": " "}),
            api.client.post(REPLAY, data=form | {"reason": "x" * 1001}),
            api.client.post(REPLAY, data=form | {"confirmed": ""}),
            api.client.post(REPLAY, data=form | {"seen": "another plan"}),
        ]
        assert [each.status_code for each in refused] == [403, 403, 415, 413, 400, 422, 422, 422, 409]
        assert sql(database_url, "SELECT * FROM replay") == []
        assert api.client.post(REPLAY, data=form).status_code == 303
        assert sql(database_url, "SELECT operator, via, reason FROM operator_action") == [
            ("Ada", "api", "asked for")
        ]

    def test_only_whoever_may_act_sends_large_forms(self, api: Api) -> None:
        """Thousands of order ids, to the one form that takes them."""
        orders = " ".join(str(10**9 + number) for number in range(2 * MAX_FORM_BYTES // 11))
        statuses = {}
        for token in (TOKEN, READ_TOKEN):
            sign_in(api, token)
            form = {"form_token": form_token(api.get("/parked")), "orders": orders, "reason": "why", "rate": "1"}
            form["mode"] = "republish"
            paths = ("/replays/new", "/reconciliation/compare")
            statuses[token] = [api.client.post(path, data=form).status_code for path in paths]
        assert statuses == {TOKEN: [200, 413], READ_TOKEN: [413, 413]}

    def test_a_reader_looks_at_a_plan_and_cannot_carry_it_out(self, api: Api, database_url: str) -> None:
        """With a form of their own making, for their own session."""
        tell(database_url, record_of(Kind.CREATED))
        sign_in(api, READ_TOKEN)
        page = api.get(REPLAY)
        assert "signed in to read" in page.text
        data = {"form_token": form_token(page), "reason": "x", "confirmed": "yes"}
        assert api.client.post(REPLAY, data=data).status_code == 403
        assert api.client.post("/sign-out", data=data).status_code == 303
        assert api.client.cookies.get(COOKIE) is None


class TestDeciding:
    @pytest.fixture
    def doubtful(self, database_url: str) -> str:
        """A database with a doubtful order, one of whose messages is held."""
        tell(
            database_url,
            record_of(Kind.CREATED),
            record_of(Kind.CREATED, offset=1, at_ns=1, items=[product(final=300)]),
            record_of(Kind.COMPLETED, offset=2, at_ns=2),
            record_of(Kind.UPDATED, offset=3, at_ns=3, headers=(("sequence", b"9"),)),
        )
        deliver(database_url)
        return database_url

    def test_a_doubt_is_settled_as_shown(self, api: Api, doubtful: str) -> None:
        """From the list of parked orders, with the money at stake; not if something was decided meanwhile."""
        sign_in(api)
        path = f"/orders/{ORDER_ID}/settle"
        for address in ("/parked", f"/orders/{ORDER_ID}"):
            assert f'href="{path}"' in api.get(address).text
        page = api.get(path)
        assert "If the doubt is right after all, 6.00 more is owed." in page.text
        assert f"One call goes out, in this order: POST /v1/cashbacks/{ORDER_ID}/complete (6.00)." in page.text
        form = form_of(page) | {"confirmed": "yes", "reason": "looked at"}
        tell(doubtful, record_of(Kind.CREATED, offset=4, at_ns=4, items=[product(final=299)]))
        changed = api.client.post(path, data=form)
        assert (changed.status_code, "Two doubts" in changed.text) == (409, True)
        done = api.client.post(path, data=form | form_of(changed) | {"confirmed": "yes", "reason": "looked at"})
        assert (done.status_code, done.headers["Location"]) == (303, f"/orders/{ORDER_ID}?done=settle")
        assert "The doubt is settled" in api.get(done.headers["Location"]).text
        third = RecordingThirdParty()
        tell(doubtful)
        deliver(doubtful, third)
        assert [call.kind for call in third.calls] == ["complete"]
        assert api.get(path).status_code == 409

    def test_what_is_held_is_released(self, api: Api, doubtful: str) -> None:
        """Some numbers first, if they are named; the story tells who decided it."""
        sign_in(api)
        path = f"/orders/{ORDER_ID}/release"
        assert api.get(f"{path}?numbers=two").status_code == 400
        assert "No call follows." in api.get(f"{path}?numbers=4-5").text
        page = api.get(path)
        assert "The numbers 4-8 of order" in page.text
        done = api.client.post(path, data=form_of(page) | {"confirmed": "yes", "reason": "lost"})
        assert (done.status_code, done.headers["Location"]) == (303, f"/orders/{ORDER_ID}?done=release")
        assert "Ada gave up the missing sequence 4-8: lost" in api.get(f"/orders/{ORDER_ID}").text
        assert sql(doubtful, "SELECT action, operator, reason FROM operator_action") == [("release", "Ada", "lost")]

    def test_many_doubts_are_settled_after_a_preview(self, api: Api, doubtful: str) -> None:
        """Chosen on a form; what is wrong with it is told."""
        sign_in(api)
        page = api.get("/replays/new?mode=settle&doubtful=1")
        form = {
            "form_token": form_token(page),
            "mode": "settle",
            "doubt": "created_twice",
            "rate": "10",
            "reason": "all looked at",
            "held_from": "2020-01-01T00:00",
        }
        assert api.client.post("/replays/new", data=form | {"at_stake_max": "much"}).status_code == 422
        shown = api.client.post("/replays/new", data=form)
        assert "What is in doubt about one order is settled" in shown.text
        assert "One completion that the doubt held back will be sent" in shown.text
        assert sql(doubtful, "SELECT kind, total FROM job") == [("settle", 1)]


class TestPages:
    def test_what_goes_wrong_is_a_page(self, api: Api) -> None:
        """With the status that the API gives it."""
        sign_in(api)
        for path, status in (
            ("/nothing", 404),
            ("/orders/1", 404),
            ("/orders/0", 400),
            ("/orders?held=1&stauts=PENDING", 400),
            ("/parked?cursor=nonsense", 400),
            ("/quarantine/7", 404),
            (f"/jobs/{uuid4()}", 404),
        ):
            shown = api.get(path)
            assert (shown.status_code, shown.headers["Content-Type"]) == (status, "text/html; charset=utf-8"), path

    def test_an_outage_of_the_database_is_a_page_that_says_so(self) -> None:
        """Signing in needs no database."""
        nowhere = f"postgresql://127.0.0.1:{free_port()}/none"
        with running_api(nowhere, token=TOKEN, database_timeout_seconds=1.0) as api:
            sign_in(api)
            shown = api.get("/")
            assert (shown.status_code, "be reached; try again" in shown.text) == (503, True)
            assert int(shown.headers["Retry-After"]) > 0

    def test_what_others_wrote_is_shown_and_not_believed(self, api: Api, database_url: str) -> None:
        """Markup in a message, in an answer and in a search stays text."""
        evil = "<script>alert(1)</script>"
        tell(
            database_url,
            record_of(Kind.CREATED, buyerId=evil, items=[product(externalProductId=evil)]),
            record(evil.encode(), offset=1),
        )
        sign_in(api)
        for path in (
            f"/orders/{ORDER_ID}",
            "/orders",
            f"/search?q={evil}",
            "/quarantine/1",
            f"/orders?buyer={evil}",
        ):
            shown = api.get(path)
            assert shown.status_code == 200
            assert evil not in shown.text
            assert "&lt;script&gt;" in shown.text

    def test_what_would_turn_the_text_round_is_named(self, api: Api, database_url: str) -> None:
        """In what was received, searched for and typed; only a form's fields keep it, to give it back as it is."""
        evil = "a\u202eb\x9bc"
        tell(
            database_url,
            record_of(Kind.CREATED, buyerId=evil, items=[product(externalProductId=evil)]),
            record(evil.encode(), offset=1),
        )
        sign_in(api)
        for path in (f"/orders/{ORDER_ID}", "/orders", f"/search?q={evil}", "/quarantine/1"):
            shown = api.get(path).text
            assert "a[U+202E]b[U+009B]c" in shown, path
            assert not {"\u202e", "\x9b"} & set(shown), path
        assert f'name="buyer" maxlength="256" value="{evil}"' in api.get(f"/orders?buyer={evil}").text
        edited = api.get("/quarantine/1/edit").text
        assert f">\n{evil}</textarea>" in edited
        assert "turn the text round" in edited

    def test_a_comparison_is_started_watched_and_cancelled(self, api: Api, database_url: str) -> None:
        """A wish that can't be met is told on the form, with what was typed; a second one must wait."""
        tell(database_url, record_of(Kind.CREATED))
        sign_in(api)
        path = "/reconciliation/compare"
        form = form_of(api.get(path)) | {"which": "some", "orders": f"{ORDER_ID}", "rate": "1", "confirmed": "yes"}
        form["reason"] = "asked for"
        wrong = [{"orders": "x"}, {"orders": ""}, {"rate": "0"}, {"reason": ""}, {"confirmed": ""}]
        for each in wrong:
            refused = api.client.post(path, data=form | each)
            assert (refused.status_code, f'value="{(form | each)["rate"]}"' in refused.text) == (422, True)
        started = api.client.post(path, data=form)
        assert started.status_code == 303
        assert api.client.post(path, data=form).status_code == 409
        run = started.headers["Location"]
        assert "running" in api.get(run).text
        assert api.client.post(f"{run}/cancel", data=form).status_code == 303
        assert "cancelled" in api.get(run).text
        asked = "SELECT action, operator, reason FROM operator_action ORDER BY id"
        assert sql(database_url, asked) == [
            ("compare", "Ada", "asked for"),
            ("compare_cancel", "Ada", "asked for"),
        ]

    def test_the_list_of_mismatches_goes_on_page_by_page(self, api: Api, database_url: str) -> None:
        """With every order once, forth and back."""
        put_orders(database_url, 120)
        sql(
            database_url,
            "INSERT INTO reconciliation (order_id, class) SELECT n, 'state' FROM generate_series(2, 120, 2) AS n",
        )
        sign_in(api)

        def page(address: str, way: str) -> tuple[list[int], str | None]:
            """Its orders, and the address of the page that lies this way."""
            shown = api.get(address).text
            assert re.search(r'name="mismatch" value="1" checked', shown)
            ids = [
                int(each) for each in re.findall(r'data-label="Order"><a class="id" href="/orders/(\d+)"', shown)
            ]
            link = re.search(rf'rel="{way}" href="([^"]+)"', shown)
            return ids, unescape(link[1]) if link else None

        first, older = page("/orders?mismatch=1", "next")
        assert older is not None
        second, none = page(older, "next")
        assert (first + second, none) == (list(range(120, 0, -2)), None)
        _, newer = page(older, "prev")
        assert newer is not None
        assert page(newer, "next") == (first, older)

    def test_a_action_is_kept_for_longer_than_the_replay_that_it_began(self, api: Api, database_url: str) -> None:
        """Its link leads to a page that says so."""
        sql(
            database_url,
            "INSERT INTO operator_action (operator, via, action, reason, bulk_id)"
            " VALUES ('Ada', 'api', 'bulk_start', 'a year ago', gen_random_uuid())",
        )
        sign_in(api)
        link = re.search(r'href="(/jobs/[^"]+)">many orders', api.get("/audit").text)
        assert link is not None
        shown = api.get(link[1])
        assert (shown.status_code, "or not any more" in shown.text) == (404, True)

    def test_an_asset_may_be_kept_and_a_page_may_not(self, api: Api) -> None:
        """An asset's address changes with it; what isn't there is told as such."""
        asset = api.get("/static/console.css")
        assert (asset.status_code, "immutable" in asset.headers["Cache-Control"]) == (200, True)
        assert api.get("/static/..%2Fapp.py").status_code == 404
        assert api.get("/sign-in").headers["Cache-Control"] == "no-store"


class TestQueries:
    def test_orders_are_turned_both_ways(self, database_url: str) -> None:
        """The page above begins where the one below ended; filters go with both."""
        tell(database_url, *(record_of(Kind.CREATED, order_id=n, offset=n) for n in range(1, 8)))
        deliver(database_url, RecordingThirdParty(refuse(2, 5)))

        async def walk(console: PostgresConsole) -> list[list[int]]:
            pages = [
                await console.orders(OrderFilter(), parked=False, start=None, upwards=False, limit=3),
                await console.orders(OrderFilter(), parked=False, start=4, upwards=False, limit=3),
                await console.orders(OrderFilter(), parked=False, start=5, upwards=True, limit=3),
                await console.orders(OrderFilter(), parked=True, start=None, upwards=False, limit=3),
                await console.orders(OrderFilter(Status.PENDING), parked=True, start=3, upwards=True, limit=3),
                await console.orders(OrderFilter(held=True), parked=False, start=None, upwards=False, limit=3),
            ]
            assert {each.row.order_id: each.delivery for page in pages for each in page}[5] == "parked"
            return [[each.row.order_id for each in page] for page in pages]

        assert ask(database_url, walk) == [[7, 6, 5], [4, 3, 2], [5, 6, 7], [5, 2], [5], []]

    @pytest.mark.parametrize(("mismatch", "differing"), [(True, "n"), (False, "10 * n")])
    def test_a_page_of_mismatches_is_not_sought_among_all_orders(
        self, database_url: str, differing: str, *, mismatch: bool
    ) -> None:
        """Few rows are read, wherever the page begins, and however far from there the orders that differ are."""
        put_orders(database_url, MANY)
        among = f"generate_series(1, {MANY // 10}) AS n"
        sql(database_url, f"INSERT INTO reconciliation (order_id, class) SELECT {differing}, 'amount' FROM {among}")
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) orders, reconciliation")
            for file, place, direction, start in (
                ("queries", "<=", "DESC", MANY),
                ("queries", "<=", "DESC", MANY // 20),
                ("console", "<=", "DESC", MANY),
                ("console", "<=", "DESC", MANY // 20),
                ("console", ">=", "ASC", MANY // 20),
            ):
                statement = (
                    narrowed(statements(file)["orders_page"], {"mismatch": mismatch})
                    .replace("/* place */", place)
                    .replace("/* direction */", direction)
                )
                explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                [(plans,)] = connection.execute(explained, {"start": start, "limit": 51}).fetchall()
                assert plans[0]["Plan"]["Actual Rows"] == 51
                assert rows_read(plans[0]["Plan"]) < MAX_ROWS_READ, (file, place, start)

    def test_transactions_lead_to_their_orders(self, database_url: str) -> None:
        """To several, if several have it; reading on twice finds nothing new, and nothing twice."""
        tell(
            database_url,
            record_of(Kind.CREATED, order_id=1, offset=1, transactionId="shared, é"),
            record_of(Kind.CREATED, order_id=2, offset=2, transactionId="shared, é"),
            record_of(Kind.UPDATED, order_id=3, offset=3, transactionId="held"),
        )

        async def look(console: PostgresConsole) -> list[list[int]]:
            assert sum(await asyncio.gather(*(console.index_transactions() for _ in range(3)))) == 3
            assert await console.index_transactions() == 0
            return [await of_transaction(console, each) for each in ("shared, é", "held", "none")]

        assert ask(database_url, look) == [[1, 2], [3], []]

    def test_what_a_person_decided_keeps_no_transaction_from_being_found(self, api: Api, database_url: str) -> None:
        """It is about no message."""
        tell(database_url, record_of(Kind.COMPLETED, order_id=1, transactionId="held"))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        released = api.client.post("/api/orders/1/release", json={"reason": "lost"}, headers=headers)
        assert released.status_code == 202
        tell(database_url, record_of(Kind.CREATED, order_id=2, offset=1, transactionId="behind it"))

        async def look(console: PostgresConsole) -> list[list[int]]:
            assert await console.index_transactions() == 3
            return [await of_transaction(console, each) for each in ("held", "behind it")]

        assert ask(database_url, look) == [[1], [2]]

    def test_a_sample_tells_what_stands_still_and_the_money_in_it(self, database_url: str) -> None:
        """Exact to the last digit; what is held before its create has the amount of its last message. Of several
        processes one takes the sample."""
        huge = product(quantity=1, original=12345678901234567890123456789, final=0)
        tell(
            database_url,
            record_of(Kind.CREATED, order_id=1, offset=1, items=[huge]),
            record_of(Kind.CREATED, order_id=2, offset=2, items=[product(quantity=1, original=1, final=0)]),
            record_of(Kind.UPDATED, order_id=3, offset=3),
            record_of(Kind.UPDATED, order_id=3, offset=4, at_ns=SECOND_NS, items=[product(1, 10, 0)]),
            record_of(Kind.COMPLETED, order_id=3, offset=5, at_ns=2 * SECOND_NS),
            record(b"nonsense", offset=6),
        )
        deliver(database_url, RecordingThirdParty(refuse(1, 2)))

        async def take(console: PostgresConsole) -> None:
            state = {"ready": True, "lag": 7}
            await console.note_process(uuid4(), "a:1", ["intake"], state)
            await console.note_process(uuid4(), "b:1", ["intake"], state)
            await console.note_process(uuid4(), "c:1", ["push"], {"ready": True, "lag": None})
            taken = await asyncio.gather(*(console.take_sample() for _ in range(4)))
            assert 1 <= sum(taken) <= 2, "two at most, if a step ended just now"
            numbers = (await console.samples(60))[-1].numbers
            assert (numbers.messages, numbers.events, numbers.unprojected, numbers.lag) == (7, 5, 0, 14)
            assert (numbers.parked.number, numbers.parked.amount) == (2, Decimal(12345678901234567890123456790))
            assert (numbers.held.number, numbers.held.amount) == (1, Decimal(10))
            assert (numbers.quarantined.number, numbers.quarantined.since is None) == (1, False)
            assert (numbers.waiting.number, numbers.doubtful, numbers.differences) == (0, 0, 0)

        ask(database_url, take)

    def test_a_process_that_is_silent_is_not_shown(self, database_url: str) -> None:
        """Nor one that has stopped; a row is there for each process, however often it tells."""
        quiet, gone = uuid4(), uuid4()

        async def tell_of_themselves(console: PostgresConsole) -> list[str]:
            for process, name in ((uuid4(), "here"), (quiet, "quiet"), (gone, "gone")):
                for _ in range(3):
                    await console.note_process(process, name, ["api"], {"ready": True})
            await console.forget_process(gone)
            return [each.name for each in await console.processes()]

        assert ask(database_url, tell_of_themselves) == ["here", "quiet"]
        longer = f"UPDATE service_process SET seen_at = now() - interval '{SILENT_SECONDS + 1} s' WHERE id = %s"
        sql(database_url, longer, quiet)
        assert [each.name for each in ask(database_url, lambda console: console.processes())] == ["here"]
