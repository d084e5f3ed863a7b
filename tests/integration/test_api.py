"""The HTTP API over a real PostgreSQL and a real server: what it shows, and how it refuses."""

import base64
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NoReturn, cast

import httpx
import pytest
from structlog.testing import capture_logs

from adapters.records.orders import OrderFilter
from adapters.web.app import create_app, create_probes_app
from domain.messages import Kind
from sandbox.servers.free_port import free_port
from sandbox.servers.postgres import EmbeddedPostgres
from tests.support import local_http
from tests.support.messages import ORDER_ID, SECOND_NS, product, record, record_of
from tests.support.running_api import (
    Api,
    FakeHealth,
    RecordingThirdParty,
    deliver,
    metrics_text,
    refuse,
    running_api,
    serving,
    sql,
    tell,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from adapters.operations.ports import (
        Actions,
        Interventions,
        Jobs,
        MoneyMayBeWrong,
        Parking,
        QuarantineOperations,
        Queries,
        Reconciliation,
        Replays,
        Statements,
    )
    from adapters.web.idempotency import Requests

pytestmark = pytest.mark.slow

TOKEN = "a-token"
MAX_ORDER_ID = 2**63 - 1


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with running_api(database_url) as running:
        yield running


def is_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem's members, after what every problem has in common was looked at."""
    problem: dict[str, Any] = response.json()
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in response.text
    return problem


def walk(api: Api, path: str, members: str, **query: Any) -> list[Any]:
    """All rows, page by page."""
    rows: list[Any] = []
    cursor = None
    while True:
        page = api.get(path, params=query | ({"cursor": cursor} if cursor else {})).json()
        assert len(page[members]) <= query["limit"]
        rows += page[members]
        cursor = page["next"]
        if cursor is None:
            return rows


class TestProbes:
    def test_probes_and_metrics_need_no_token_and_no_database(self) -> None:
        """They tell about the process alone."""
        with running_api(f"postgresql://127.0.0.1:{free_port()}/none", token=TOKEN) as api:
            api.client.headers.pop("Authorization")
            assert api.get("/livez").json() == {"status": "ok"}
            assert api.get("/readyz").json() == {"status": "ok", "parts": {"api": "listening"}}
            metrics = api.get("/metrics")
            assert (metrics.text, metrics.headers["Content-Type"]) == ("up 1\n", "text/plain; version=1.0.0")

    def test_a_process_that_is_not_ready_or_dead_says_503(self, api: Api) -> None:
        """And which part it is."""
        api.health.is_ready = api.health.is_live = False
        ready = api.get("/readyz")
        assert (ready.status_code, ready.json()["parts"]) == (503, {"api": "waiting for the database"})
        assert api.get("/livez").status_code == 503

    def test_a_process_without_the_api_has_its_probes_all_the_same(self) -> None:
        """And nothing else."""

        async def make(_: AsyncExitStack) -> Any:
            return create_probes_app(health=FakeHealth(), metrics_text=metrics_text, on_loopback=True)

        with serving(make) as url:
            assert local_http.get(f"{url}/livez").status_code == 200
            is_problem(local_http.get(f"{url}/api/orders"), 404)


class TestToken:
    @pytest.mark.parametrize(
        "given", [None, "Bearer wrong", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"]
    )
    def test_without_the_token_everything_under_api_is_closed(self, database_url: str, given: str | None) -> None:
        """The description and unknown paths too."""
        with running_api(database_url, token=TOKEN) as api:
            api.client.headers.pop("Authorization")
            headers = {} if given is None else {"Authorization": given.encode("latin-1")}
            for path in ("/api/orders", "/api/orders/1", "/api/openapi.json", "/api/parked", "/api/nothing"):
                refused = api.client.get(path, headers=cast("dict[str, str]", headers))
                is_problem(refused, 401)
                assert refused.headers["WWW-Authenticate"].startswith("Bearer")

    def test_the_token_opens(self, database_url: str) -> None:
        """The scheme's case doesn't matter (RFC 9110)."""
        with running_api(database_url, token=TOKEN) as api:
            assert api.get("/api/orders").status_code == 200
            assert api.get("/api/orders", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


class TestRefusals:
    @pytest.mark.parametrize("path", ["/api", "/api/nothing", "/api/orders/", "/api/orders/1/nothing", "/api/docs"])
    def test_an_unknown_path_is_a_404(self, api: Api, path: str) -> None:
        is_problem(api.get(path), 404)

    def test_another_method_is_a_405_that_names_the_right_one(self, api: Api) -> None:
        """RFC 9110, section 15.5.6."""
        refused = api.client.delete("/api/orders")
        is_problem(refused, 405)
        assert refused.headers["Allow"] == "GET"

    @pytest.mark.parametrize("order_id", ["0", str(2**63), "-1", "+1", "1.0", "abc", "1_000", "9" * 5000, "%00"])
    @pytest.mark.parametrize("tail", ["", "/replay"])
    def test_what_cannot_be_an_order_id_is_a_400(self, api: Api, order_id: str, tail: str) -> None:
        """From 1 to 2^63-1, in decimal."""
        body = {"json": {"mode": "redeliver", "dryRun": True}} if tail else {}
        refused = api.client.request("POST" if tail else "GET", f"/api/orders/{order_id}{tail}", **body)  # type: ignore[arg-type]
        assert is_problem(refused, 400)["errors"][0]["parameter"] == "orderId"

    @pytest.mark.parametrize("order_id", [1, MAX_ORDER_ID])
    def test_an_order_without_events_is_a_404(self, api: Api, order_id: int) -> None:
        is_problem(api.get(f"/api/orders/{order_id}"), 404)
        is_problem(api.replay(order_id, "redeliver"), 404)
        is_problem(api.replay(order_id, "republish", dry_run=True), 404)

    @pytest.mark.parametrize(
        "query",
        [
            "status=OPEN",
            "limit=0",
            "limit=201",
            "limit=many",
            "doubtful=perhaps",
            "mismatch=amount",
            "stauts=PENDING",
            "buyer=%00",
            "buyer=" + "x" * 257,
            "cursor=nonsense",
            "cursor=%C3%A9",
            "cursor=" + base64.urlsafe_b64encode(b"parked:1    ").decode(),
            "cursor=" + base64.urlsafe_b64encode(b"orders:9223372036854775808").decode(),
        ],
    )
    def test_a_query_that_cannot_be_understood_is_a_400(self, api: Api, query: str) -> None:
        """A misspelled parameter is not ignored; a cursor works for its own list only."""
        is_problem(api.get(f"/api/orders?{query}"), 400)

    @pytest.mark.parametrize(
        "query", ["?limit=1", "?limit=200", "?status=&buyer=&cursor=&doubtful=&held=&mismatch="]
    )
    def test_limits_and_empty_parameters_are_accepted(self, api: Api, query: str) -> None:
        assert api.get(f"/api/orders{query}").json() == {"orders": [], "next": None}

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"mode": "redeliver"}, "#"),
            ({"mode": "redeliver", "reason": " \n"}, "#"),
            ({"mode": "redeliver", "reason": "x" * 1001}, "#/reason"),
            ({"mode": "redeliver", "reason": "\x00"}, "#/reason"),
            ({"mode": "redeliver", "reason": "\ud800"}, "#/reason"),
            ({"mode": "redeliver", "reason": 1}, "#/reason"),
            ({"mode": "resend", "dryRun": True}, "#/mode"),
            ({"mode": "redeliver", "dryRun": "true", "reason": "x"}, "#/dryRun"),
            ({"mode": "redeliver", "dry_run": True, "reason": "x"}, "#/dry_run"),
            ({"mode": "redeliver", "reason": "x", "force/it~": True}, "#/force~1it~0"),
            ({"dryRun": True}, "#/mode"),
            ([], "#"),
        ],
    )
    def test_a_body_that_says_something_wrong_is_a_422_that_points_there(
        self, api: Api, body: Any, pointer: str
    ) -> None:
        refused = api.client.post(
            "/api/orders/1/replay", content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert [error["pointer"] for error in is_problem(refused, 422)["errors"]] == [pointer]

    @pytest.mark.parametrize("body", [b"{", b"mode=redeliver", b"\xff", b"[" * 50_000])
    def test_a_body_that_is_not_json_is_a_400(self, api: Api, body: bytes) -> None:
        refused = api.client.post(
            "/api/orders/1/replay", content=body, headers={"Content-Type": "application/json"}
        )
        is_problem(refused, 400)

    @pytest.mark.parametrize(
        "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
    )
    def test_a_body_of_another_media_type_is_a_415(self, api: Api, media_type: str) -> None:
        refused = api.client.post("/api/orders/1/replay", content=b"{}", headers={"Content-Type": media_type})
        is_problem(refused, 415)

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_body_of_more_than_64_kib_is_a_413(self, api: Api, *, chunked: bool) -> None:
        """One byte less is read, and found wanting for other reasons."""
        headers = {"Content-Type": "application/json; charset=utf-8"}
        for size, status in ((65_536, 422), (65_537, 413)):
            body = b'{"mode":"' + b"x" * (size - 11) + b'"}'
            content: Any = iter([body[:40_000], body[40_000:]]) if chunked else body
            is_problem(api.client.post("/api/orders/1/replay", content=content, headers=headers), status)

    def test_an_outage_of_the_database_is_a_503_and_ends_with_it(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """The API starts without a database, and needs no restart when one comes or goes."""
        from adapters.postgres.migrate import migrate

        port = free_port()
        server = EmbeddedPostgres(tmp_path_factory.mktemp("outage"), durable=False, find_port=lambda: port)
        url = server.start()
        migrate(url)
        server.stop()
        with running_api(url, database_timeout_seconds=1.0) as api, capture_logs() as logs:
            for path in ("/api/orders", "/api/orders/1", "/api/parked", "/api/quarantine", "/api/quarantine/1"):
                refused = api.get(path)
                is_problem(refused, 503)
                assert int(refused.headers["Retry-After"]) > 0
            is_problem(api.replay(1, "redeliver"), 503)
            for _ in range(2):
                server.start()
                wait_until(lambda: api.get("/api/orders").status_code == 200, "the end of the outage")
                server.stop()
                is_problem(api.get("/api/orders?buyer=secret"), 503)
        failed = [entry for entry in logs if entry["event"] == "request failed"]
        assert {entry["status"] for entry in failed} == {503}
        assert "secret" not in str(failed)

    def test_an_error_of_ours_is_a_500_that_tells_the_log_and_not_the_caller(self) -> None:
        """One line in the log, with the place and without the text, which may hold a buyer's data."""

        class Broken:
            async def orders(self, *_: object) -> NoReturn:
                raise RuntimeError("buyer 1234")

        async def make(_: AsyncExitStack) -> Any:
            return create_app(
                queries=cast("Queries", Broken()),
                replays=cast("Replays", None),
                jobs=cast("Jobs", None),
                reconciliation=cast("Reconciliation", None),
                money_may_be_wrong=cast("MoneyMayBeWrong", None),
                statements=cast("Statements", None),
                parking=cast("Parking", None),
                interventions=cast("Interventions", None),
                quarantining=cast("QuarantineOperations", None),
                requests=cast("Requests", None),
                actions=cast("Actions", None),
                health=FakeHealth(),
                metrics_text=metrics_text,
                api_token=None,
            )

        with serving(make) as url, capture_logs() as logs:
            refused = local_http.get(f"{url}/api/orders?buyer=1234")
        is_problem(refused, 500)
        assert "1234" not in refused.text
        (line,) = [entry for entry in logs if entry["log_level"] == "error"]
        assert (line["status"], line["error"], line["path"]) == (500, "RuntimeError", "/api/orders")
        assert "test_api.py" in line["where"][-1]
        assert "1234" not in str({**line, "where": ""})


class TestOrders:
    def test_amounts_keep_all_their_digits(self, database_url: str, api: Api) -> None:
        """No float anywhere: more digits than a float has stand in the answer's own text."""
        exact = product(quantity=1, original=12345678901234567890, final=0)
        tell(
            database_url,
            record(
                json.dumps(
                    {
                        "type": "CREATED",
                        "payload": {
                            "orderId": ORDER_ID,
                            "storeNo": "1",
                            "buyerId": "2",
                            "transactionId": "3",
                            "transactionDate": "2025-02-28T13:36:06.026732837Z",
                            "orderItemsWithDiscountSummaryItems": [exact],
                        },
                    }
                )
                .replace('"quantity": 1,', '"quantity": 1.250,')
                .encode()
            ),
        )
        for path in ("/api/orders", f"/api/orders/{ORDER_ID}"):
            assert '"cashbackAmount":15432098626543209862.5' in api.get(path).text
        detail = api.get(f"/api/orders/{ORDER_ID}")
        assert '"quantity":1.250' in detail.text
        assert '"transactionDate":"2025-02-28T13:36:06.026732837Z"' in detail.text

    def test_filters_choose_and_combine(self, database_url: str, api: Api) -> None:
        """By status, buyer, doubt, held messages, and open differences from the third party's books."""
        tell(
            database_url,
            record_of(Kind.CREATED, order_id=1, offset=1),
            record_of(Kind.CREATED, order_id=2, offset=2, buyerId="77"),
            record_of(Kind.COMPLETED, order_id=2, offset=3, at_ns=SECOND_NS),
            record_of(Kind.UPDATED, order_id=3, offset=4),
            record_of(Kind.CREATED, order_id=4, offset=5),
            record_of(Kind.COMPLETED, order_id=4, offset=6, at_ns=600 * SECOND_NS),
            record_of(Kind.UPDATED, order_id=4, offset=0, at_ns=SECOND_NS, partition=1),
        )

        def ids(**query: str) -> list[int]:
            return [order["orderId"] for order in api.get("/api/orders", params=query).json()["orders"]]

        assert ids() == [4, 3, 2, 1]
        assert ids(status="COMPLETED") == [4, 2]
        assert ids(buyer="77") == [2]
        assert ids(buyer="1234", status="PENDING") == [1]
        assert ids(doubtful="true") == [4]
        assert ids(doubtful="false", status="COMPLETED") == [2]
        assert ids(held="true") == [3]
        assert ids(held="false", limit="2") == [4, 2]
        assert ids(status="CANCELLED") == []
        sql(
            database_url,
            "INSERT INTO reconciliation (order_id, class, closed_at)"
            " VALUES (1, 'amount', NULL), (2, 'state', now()),"
            " (2, 'missing_there', NULL), (3, 'in_flight', NULL), (4, 'unknown', NULL),"
            " (99, 'missing_here', NULL)",
        )
        assert ids(mismatch="true") == [2, 1]
        assert ids(mismatch="false") == [4, 3]
        assert ids(mismatch="true", buyer="77", status="COMPLETED", held="false") == [2]
        assert ids(mismatch="false", limit="1") == [4]
        following = api.get("/api/orders?mismatch=true&limit=1").json()["next"]
        assert ids(mismatch="true", cursor=following) == [1]
        (held,) = api.get("/api/orders?held=true").json()["orders"]
        assert held == {
            "orderId": 3,
            "status": "NOT_CREATED",
            "storeNo": None,
            "buyerId": None,
            "cashbackAmount": None,
            "version": 1,
            "held": 1,
            "rejected": 0,
            "superseded": 0,
            "doubts": [],
            "heldSince": "2025-02-28T18:00:00.000000000Z",
            "atStake": None,
            "doubtfulSince": None,
            "beganAt": "2025-02-28T18:00:00.000000000Z",
            "recordedAt": "2025-02-28T18:00:00.000000000Z",
        }

    def test_a_walk_meets_every_order_once_even_while_orders_are_added(self, database_url: str, api: Api) -> None:
        """Whatever the size of the pages; orders that come meanwhile may be met or not."""
        ids = [*range(10, 200, 10), MAX_ORDER_ID]
        tell(database_url, *(record_of(Kind.CREATED, order_id=each, offset=n) for n, each in enumerate(ids)))
        for limit in (1, 3, 20, 200):
            met = [order["orderId"] for order in walk(api, "/api/orders", "orders", limit=limit)]
            assert met == sorted(ids, reverse=True)
        met, cursor, offset = [], None, 100
        while True:
            page = api.get("/api/orders", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
            met += [order["orderId"] for order in page["orders"]]
            cursor = page["next"]
            if cursor is None:
                break
            around = [met[-1] + 1, met[-1] - 1] if met[-1] < MAX_ORDER_ID else [5]
            tell(
                database_url,
                *(record_of(Kind.CREATED, order_id=each, offset=offset + n) for n, each in enumerate(around)),
            )
            offset += 2
        assert len(met) == len(set(met))
        assert set(ids) <= set(met)


class TestOneOrder:
    def test_the_timeline_tells_every_decision_its_rule_and_its_calls(self, database_url: str, api: Api) -> None:
        """Held, accepted, superseded, rejected and doubled messages, and what was sent because of them."""
        tell(
            database_url,
            record_of(Kind.UPDATED, offset=0, at_ns=400 * SECOND_NS, storeNo="held"),
            record_of(
                Kind.CREATED, offset=0, partition=1, headers=(("ce_id", b"me"), ("x", "é".encode()), ("y", None))
            ),
            record_of(Kind.UPDATED, offset=1, partition=1, at_ns=200 * SECOND_NS),
            record_of(Kind.UPDATED, offset=0, partition=2, at_ns=200 * SECOND_NS),
            record_of(Kind.COMPLETED, offset=2, partition=1, at_ns=500 * SECOND_NS),
            record_of(Kind.CREATED, offset=3, partition=1, at_ns=501 * SECOND_NS),
        )
        deliver(database_url)
        order = api.get(f"/api/orders/{ORDER_ID}").json()
        told = [(event["version"], event["decision"], event["event"]) for event in order["timeline"]]
        assert told == [
            (1, "held", "message-held"),
            (2, "accepted", "cashback-created"),
            (3, "accepted", "cashback-updated"),
            (4, "superseded", "update-superseded"),
            (5, "repeat elsewhere", "repeat-seen-elsewhere"),
            (6, "accepted", "cashback-completed"),
            (7, "rejected", "message-rejected"),
        ]
        rules = [event["rule"] for event in order["timeline"]]
        assert rules[0] == "the order isn't created yet: it waits for the CREATED"
        assert rules[2].endswith("it had been held since version 1")
        assert rules[3] == "the update of version 3, accepted already, happened later"
        assert rules[6] == "the order was created before (version 2)"
        assert [event["otherVersion"] for event in order["timeline"]] == [None, None, None, 3, None, None, 2]
        created = order["timeline"][1]
        assert created["message"] == {
            "type": "CREATED",
            "transactionId": "t0",
            "transactionDate": "2025-02-28T12:00:00.000000000Z",
            "effectiveAt": "2025-02-28T12:00:00.000000000Z",
            "sequence": None,
            "identity": "me",
            "topic": "order-cashback-promotion",
            "partition": 1,
            "offset": 0,
            "replay": None,
            "headers": [["ce_id", "me"], ["x", "é"], ["y", None]],
        }
        call = created["call"]
        (attempt,) = call.pop("attempts")
        assert (attempt["outcome"], attempt["status"], attempt["answer"]) == ("delivered", 200, "{}")
        assert attempt["startedAt"].endswith("Z")
        assert (call["kind"], call["method"], call["path"]) == ("create", "POST", "/v1/cashbacks")
        assert (call["state"], call["attemptCount"]) == ("delivered", 1)
        assert [event["call"] is not None for event in order["timeline"]] == [
            False,
            True,
            True,
            False,
            False,
            True,
            False,
        ]
        assert (order["status"], order["storeNo"], order["buyerId"]) == ("COMPLETED", "held", "1234")
        assert (order["version"], order["held"], order["rejected"], order["superseded"]) == (7, 0, 1, 1)
        assert order["items"] == [product()["productItem"]]
        assert order["doubts"] == ["uncertain_order"]  # of the copy elsewhere
        assert (order["delivery"]["state"], order["delivery"]["parkedReason"]) == ("parked", "doubtful")
        assert (order["delivery"]["headVersion"], order["delivery"]["settledVersion"]) == (6, 3)
        assert (order["truncated"], order["omittedEvents"]) == (False, 0)

    def test_the_order_is_folded_from_its_events_not_from_the_read_model(self, database_url: str, api: Api) -> None:
        """It is right even when the projections have seen nothing yet: the call is foretold."""
        tell(database_url, record_of(Kind.CREATED))
        sql(database_url, "DELETE FROM orders")
        sql(database_url, "DELETE FROM effect")
        sql(database_url, "DELETE FROM delivery")
        order = api.get(f"/api/orders/{ORDER_ID}").json()
        assert (order["status"], order["cashbackAmount"], order["delivery"]["state"]) == ("PENDING", 6, "idle")
        assert order["timeline"][0]["call"]["state"] == "not_in_ledger"

    @pytest.mark.parametrize(
        ("change", "state"),
        [
            ("next_attempt_at = now() - interval '1 s'", "due"),
            ("next_attempt_at = now() + interval '1 h', attempts = 3", "retrying"),
            ("next_attempt_at = now() + interval '1 h', lease_token = gen_random_uuid()", "in_flight"),
            ("next_attempt_at = now() - interval '1 s', lease_token = gen_random_uuid()", "due"),
            ("parked_at = now(), parked_reason = 'refused'", "parked"),
            ("settled_version = head_version", "idle"),
        ],
    )
    def test_delivery_says_where_the_calls_stand(
        self, database_url: str, api: Api, change: str, state: str
    ) -> None:
        """A lease that has run out is as good as none; a next attempt is named only where there will be one."""
        tell(database_url, record_of(Kind.CREATED))
        sql(database_url, f"UPDATE delivery SET {change}")
        delivery = api.get(f"/api/orders/{ORDER_ID}").json()["delivery"]
        assert delivery["state"] == state
        assert (delivery["nextAttemptAt"] is not None) == (state in {"due", "retrying"})
        assert (delivery["parkedReason"], delivery["parkedAt"] is not None) == (
            ("refused", True) if state == "parked" else (None, False)
        )

    def test_attempts_messages_in_quarantine_and_replays_are_listed_within_bounds(
        self, database_url: str, api: Api
    ) -> None:
        """The last twenty attempts at a call, the order's messages in quarantine, the replays asked for."""
        tell(database_url, record_of(Kind.CREATED), record_of(Kind.UPDATED, offset=1, transactionDate="soon"))
        sql(
            database_url,
            "INSERT INTO attempt (order_id, version, started_at, duration_ms, outcome)"
            " SELECT %s, 1, now(), n, 'failed' FROM generate_series(1, 30) AS n",
            ORDER_ID,
        )
        api.replay(ORDER_ID, "redeliver")
        order = api.get(f"/api/orders/{ORDER_ID}").json()
        attempts = order["timeline"][0]["call"]["attempts"]
        assert [attempt["durationMs"] for attempt in attempts] == list(range(11, 31))
        assert [(each["reason"], each["offset"]) for each in order["quarantined"]] == [("bad_date", 1)]
        assert [(each["mode"], each["reason"], each["items"]) for each in order["replays"]] == [
            ("redeliver", "a test", 1)
        ]

    def test_a_long_timeline_is_cut_in_the_middle(self, database_url: str, api: Api) -> None:
        """The first and the last 500 events stay; the state is folded from all of them."""
        from adapters.kafka.consumer.intake import Limits

        updates = (
            record_of(
                Kind.UPDATED, offset=n, at_ns=n * SECOND_NS, orderItemsWithDiscountSummaryItems=[product(final=n)]
            )
            for n in range(1, 301)
        )
        bulk = [record_of(Kind.CREATED), *updates]
        bulk += [record_of(Kind.CREATED, offset=n, at_ns=n * SECOND_NS) for n in range(301, 1100)]
        tell(database_url, *bulk, limits=Limits(max_order_events=2000))
        order = api.get(f"/api/orders/{ORDER_ID}").json()
        versions = [event["version"] for event in order["timeline"]]
        assert versions == [*range(1, 501), *range(601, 1101)]
        assert (order["truncated"], order["omittedEvents"], order["version"]) == (True, 100, 1100)
        assert (order["cashbackAmount"], order["rejected"]) == (12, 799)


class TestParked:
    def test_orders_that_stand_still_are_listed_with_the_call_at_which_they_stand(
        self, database_url: str, api: Api
    ) -> None:
        """The smallest order ids first; other orders are not there."""
        lifecycle = ((Kind.CREATED, 0), (Kind.UPDATED, 1), (Kind.COMPLETED, 2))
        tell(
            database_url,
            *(
                record_of(kind, order_id=order_id, offset=10 * order_id + step, at_ns=step)
                for order_id in (1, 2, 3)
                for kind, step in lifecycle
            ),
        )
        third = RecordingThirdParty(refuse(1, 3))
        deliver(database_url, third)
        first, second = walk(api, "/api/parked", "parked", limit=1)
        assert (first["orderId"], second["orderId"]) == (1, 3)
        (call,) = [call for call in third.calls if call.order_id == 1]
        last = first["call"].pop("lastAttempt")
        assert (last["outcome"], last["status"], last["answer"]) == ("refused", 422, "no")
        assert first["call"] == {
            "kind": "create",
            "method": "POST",
            "path": "/v1/cashbacks",
            "version": 1,
            "idempotencyKey": str(call.key),
        }
        assert (first["waitingCalls"], first["attempts"], first["cashbackAmount"]) == (2, 1, 6)
        assert first["reason"] == "refused with status 422"

    def test_nothing_stands_still(self, api: Api) -> None:
        assert api.get("/api/parked").json() == {"parked": [], "next": None}


class TestQuarantine:
    def test_what_could_not_be_read_is_listed_and_shown_as_it_came(self, database_url: str, api: Api) -> None:
        """The list is without the bytes; a message is shown in base64, and as text if it is UTF-8."""
        tell(
            database_url,
            record(b"\xff\x00", key=b"k", headers=(("h", b"\xfe"), ("h", None), ("ce_id", b"5"))),
            record(None, key=None, offset=1),
            record_of(Kind.CREATED, offset=2, transactionDate="é"),
        )
        sql(database_url, "UPDATE quarantine SET state = 'discarded' WHERE kafka_offset = 1")
        rows = walk(api, "/api/quarantine", "quarantined", limit=1)
        assert [(row["offset"], row["reason"], row["orderId"]) for row in rows] == [
            (2, "bad_date", ORDER_ID),
            (1, "no_value", None),
            (0, "not_json", None),
        ]
        assert [row["offset"] for row in walk(api, "/api/quarantine", "quarantined", limit=9, state="open")] == [
            2,
            0,
        ]
        assert [
            row["offset"] for row in walk(api, "/api/quarantine", "quarantined", limit=9, state="discarded")
        ] == [1]
        is_problem(api.get("/api/quarantine?state=lost"), 400)
        dated, empty, binary = (api.get(f"/api/quarantine/{row['id']}").json() for row in rows)
        assert json.loads(dated["value"]["text"])["payload"]["transactionDate"] == "é"
        assert json.loads(base64.b64decode(dated["value"]["base64"])) == json.loads(dated["value"]["text"])
        assert (empty["key"], empty["value"], empty["state"], empty["valueBytes"]) == (
            None,
            None,
            "discarded",
            None,
        )
        assert binary["value"] == {"base64": "/wA=", "text": None}
        assert binary["key"] == {"base64": "aw==", "text": "k"}
        assert binary["headers"] == [
            {"name": "h", "value": {"base64": "/g==", "text": None}},
            {"name": "h", "value": None},
            {"name": "ce_id", "value": {"base64": "NQ==", "text": "5"}},
        ]
        assert (binary["topic"], binary["partition"], binary["topicId"]) == (
            "order-cashback-promotion",
            0,
            "topic-1",
        )

    def test_a_message_that_is_not_there_is_a_404(self, api: Api) -> None:
        is_problem(api.get("/api/quarantine/1"), 404)
        is_problem(api.get("/api/quarantine/x"), 400)


def test_the_description_names_every_endpoint_and_how_it_refuses(api: Api) -> None:
    """OpenAPI, without FastAPI's own form of validation errors, which is never sent."""
    description = api.get("/api/openapi.json").json()
    assert set(description["paths"]) == {
        "/livez",
        "/readyz",
        "/metrics",
        "/api/orders",
        "/api/orders/{orderId}",
        "/api/orders/{orderId}/replay",
        "/api/orders/{orderId}/settle",
        "/api/orders/{orderId}/release",
        "/api/replays",
        "/api/replays/{id}",
        "/api/replays/{id}/start",
        "/api/replays/{id}/cancel",
        "/api/parked",
        "/api/parked/{orderId}/retry",
        "/api/parked/{orderId}/skip",
        "/api/quarantine",
        "/api/quarantine/{id}",
        "/api/quarantine/{id}/retry",
        "/api/quarantine/{id}/discard",
        "/api/audit",
        "/api/reconciliation",
        "/api/money-may-be-wrong",
        "/api/statement",
    }
    assert "HTTPValidationError" not in description["components"]["schemas"]
    refused = description["paths"]["/api/orders/{orderId}"]["get"]["responses"]["404"]["content"]
    assert list(refused) == ["application/problem+json"]
    amount = description["components"]["schemas"]["OrderSummary"]["properties"]["cashbackAmount"]["anyOf"][0]
    assert amount["type"] == "number"


def test_a_filter_knows_all_its_conditions() -> None:
    """Each field of the filter has a condition for each value that it can have; so have those of the quarantine."""
    from adapters.postgres import queries

    assert {name for name, _ in queries._CONDITIONS} == {*OrderFilter._fields, "state", "reason", "topic"}
