"""What people decide about orders over a real PostgreSQL: doubts settled, and held messages released."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from adapters.kafka.decoding.record import Record
from adapters.operations.interventions import InterventionReport, InterventionService
from adapters.postgres.event_store import First, OrderApplication
from adapters.postgres.interventions import PostgresInterventions
from adapters.postgres.pool import Database
from adapters.records.actions import ActionRequest
from adapters.records.errors import OrderChanged
from adapters.records.operators import Operator, Via
from domain.messages import Kind
from domain.ports import Batch
from tests.integration.test_api import is_problem
from tests.integration.test_api_idempotency import WAITING_FOR_A_LOCK
from tests.integration.test_rebuild import check
from tests.support.messages import ORDER_ID, product, record_of
from tests.support.processes import run_app
from tests.support.running_api import Api, RecordingThirdParty, deliver, project, refuse, running_api, sql, tell
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

DOUBTFUL = (
    record_of(Kind.CREATED, offset=1),
    record_of(Kind.CREATED, offset=2, at_ns=1, items=[product(final=300)]),
    record_of(Kind.COMPLETED, offset=3, at_ns=2),
)
"""A second CREATED says another amount, 12 instead of 6."""
ORDER = f"/api/orders/{ORDER_ID}"


def stamped(kind: Kind, number: int, **said: Any) -> Any:
    headers = (("sequence", b"%d" % number),)
    return record_of(kind, offset=number, at_ns=number, headers=headers, **said)


WITH_A_GAP = (stamped(Kind.CREATED, 1), stamped(Kind.UPDATED, 4), stamped(Kind.COMPLETED, 5))
"""The numbers 2 and 3 never came."""
WITHOUT_A_CREATED = (record_of(Kind.UPDATED, offset=1), record_of(Kind.COMPLETED, offset=2, at_ns=1))


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with running_api(database_url) as running:
        yield running


@pytest.fixture
def held(database_url: str) -> str:
    """A database with one doubtful order, whose completion waits."""
    tell(database_url, *DOUBTFUL)
    assert sent_to(database_url) == ["create"]
    return database_url


def act(api: Api, action: str, *, order_id: int = ORDER_ID, **body: Any) -> httpx.Response:
    headers = body.pop("headers", {})
    return api.client.post(f"/api/orders/{order_id}/{action}", json={"reason": "a test"} | body, headers=headers)


def sent_to(database_url: str, third: RecordingThirdParty | None = None) -> list[str]:
    """The kinds of the calls that the third party hears of, once the projections have seen everything."""
    third = third or RecordingThirdParty()
    project(database_url)
    deliver(database_url, third)
    return [call.kind for call in third.calls]


def parked_reason(database_url: str) -> Any:
    [(reason,)] = sql(database_url, "SELECT parked_reason FROM delivery")
    return reason


def events(api: Api) -> list[str]:
    return [each["event"] for each in api.get(ORDER).json()["timeline"]]


class TestSettle:
    def test_the_completion_goes_out_once_the_doubt_is_settled(self, held: str, api: Api) -> None:
        """The dry run says the same and does nothing; what was done is on record and in the order's own stream."""
        assert parked_reason(held) == "doubtful"
        foretold = act(api, "settle", dryRun=True)
        assert (foretold.status_code, sent_to(held)) == (200, [])
        done = act(api, "settle", headers={"X-Operator": "Jane"})
        assert done.status_code == 202
        answer = done.json()
        assert foretold.json() | {"dryRun": False} == answer
        (call,) = answer.pop("calls")
        assert (call["kind"], call["path"], call["cashbackAmount"]) == (
            "complete",
            f"/v1/cashbacks/{ORDER_ID}/complete",
            6,
        )
        (doubt,) = answer.pop("doubts")
        assert doubt | {"since": ""} == {"doubt": "created_twice", "version": 2, "since": "", "atStake": 6}
        assert answer == {
            "orderId": ORDER_ID,
            "action": "settle",
            "dryRun": False,
            "statusBefore": "COMPLETED",
            "statusAfter": "COMPLETED",
            "cashbackBefore": 6,
            "cashbackAfter": 6,
            "givenUp": [],
            "closed": 0,
            "events": [{"version": 4, "event": "doubt-settled", "type": None}],
            "callCount": 1,
            "warnings": [],
        }
        assert sent_to(held) == ["complete"]
        assert sent_to(held) == []
        order = api.get(ORDER).json()
        assert order["doubts"] == []
        assert (order["timeline"][-1]["decidedBy"], order["timeline"][-1]["reason"]) == ("Jane", "a test")
        (action,) = order["actions"]
        assert (action["action"], action["operator"], action["reason"], action["version"]) == (
            "settle",
            "Jane",
            "a test",
            4,
        )
        assert (action["stateBefore"], action["stateAfter"]) == ("parked", "due")
        assert action["detail"]["settled"] == ["created_twice@2"]
        assert api.get("/api/orders?doubtful=true").json()["orders"] == []
        assert check(held) == []

    def test_a_new_doubt_opens_it_again(self, held: str, api: Api) -> None:
        """And can be settled again."""
        assert act(api, "settle").status_code == 202
        tell(held, record_of(Kind.UPDATED, offset=4, at_ns=3, items=[product(final=290)]))
        assert api.get(ORDER).json()["doubts"] == ["after_end"]
        assert sent_to(held) == []
        assert act(api, "settle").status_code == 202
        assert sent_to(held) == ["complete"]

    def test_nothing_is_settled_where_nothing_is_in_doubt(self, database_url: str, api: Api) -> None:
        """And the answer says what is true instead; of an order that is not there, that."""
        is_problem(act(api, "settle"), 404)
        tell(database_url, WITHOUT_A_CREATED[0])
        said = is_problem(act(api, "settle"), 409)["detail"]
        assert said == f"order {ORDER_ID} has no open doubt; it has 1 held, without a CREATED"
        tell(database_url, record_of(Kind.CREATED, offset=3))
        said = is_problem(act(api, "settle", dryRun=True), 409)["detail"]
        assert said == f"order {ORDER_ID} has no open doubt; it is PENDING, and nothing about it is open"
        assert sql(database_url, "SELECT count(*) FROM operator_action") == [(0,)]

    def test_it_needs_a_reason_unless_it_is_a_dry_run(self, held: str, api: Api) -> None:
        """Of more than spaces."""
        for action in ("settle", "release"):
            is_problem(act(api, action, reason=" "), 422)
            is_problem(act(api, action, something="else"), 422)
        assert act(api, "settle", reason="", dryRun=True).status_code == 200
        assert parked_reason(held) == "doubtful"

    def test_a_request_that_is_repeated_settles_once(self, held: str, api: Api) -> None:
        """By its Idempotency-Key."""
        answers = [act(api, "settle", headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert [each.status_code for each in answers] == [202, 202]
        assert answers[0].content == answers[1].content
        assert sql(held, "SELECT count(*) FROM operator_action") == [(1,)]
        assert events(api).count("doubt-settled") == 1

    def test_a_message_that_comes_while_it_is_settled_is_looked_at_first(self, held: str, api: Api) -> None:
        """What was seen is looked at when nobody can change it any more."""
        seen = {"If-Match": api.get(ORDER).headers["ETag"]}
        with ThreadPoolExecutor(1) as pool, psycopg.connect(held) as other:
            other.execute("UPDATE delivery SET attempts = 3")
            waiting = pool.submit(act, api, "settle", headers=seen)
            wait_until(lambda: sql(held, WAITING_FOR_A_LOCK) == [(1,)], "the action waits for the order")
            other.commit()
            is_problem(waiting.result(), 412)
        assert events(api)[-1] == "cashback-completed"

    def test_an_order_parked_for_another_reason_stays_parked(self, database_url: str, api: Api) -> None:
        """And the answer says so."""
        tell(database_url, *DOUBTFUL)
        assert sent_to(database_url, RecordingThirdParty(refuse(ORDER_ID))) == ["create"]
        answer = act(api, "settle").json()
        assert answer["warnings"] == ["the order stays parked: refused with status 422"]
        assert [each["kind"] for each in answer["calls"]] == ["create", "complete"]
        assert sent_to(database_url) == []
        assert parked_reason(database_url) == "refused with status 422"


class TestDoubtfulAndParked:
    def test_a_retry_says_that_the_doubt_must_be_settled_first(self, held: str, api: Api) -> None:
        """With a dry run or without; and it stays as it was."""
        for body in ({"dryRun": True}, {"reason": "x"}):
            problem = is_problem(api.client.post(f"/api/parked/{ORDER_ID}/retry", json=body), 409)
            assert problem["detail"].startswith(f"order {ORDER_ID} is parked as doubtful: settle the doubt first")
        assert parked_reason(held) == "doubtful"

    def test_it_is_listed_among_the_parked_orders(self, held: str, api: Api) -> None:
        """With its reason, and the call that waits."""
        (parked,) = api.get("/api/parked").json()["parked"]
        assert (parked["orderId"], parked["reason"], parked["call"]["kind"]) == (ORDER_ID, "doubtful", "complete")
        assert parked["call"]["lastAttempt"] is None

    def test_a_skip_gives_the_completion_up(self, held: str, api: Api) -> None:
        """As any other call; to settle the doubt then pays nobody."""
        skipped = api.client.post(f"/api/parked/{ORDER_ID}/skip", json={"reason": "fraud"})
        assert skipped.json()["warnings"] == ["the buyer isn't paid 6.00 by the third party"]
        answer = act(api, "settle").json()
        assert answer["calls"] == []
        assert sent_to(held) == []

    def test_other_calls_of_a_doubtful_order_go_out(self, database_url: str, api: Api) -> None:
        """Create, update and cancel wait for nobody."""
        tell(
            database_url,
            *DOUBTFUL[:2],
            record_of(Kind.UPDATED, offset=3, at_ns=2, items=[product(final=310)]),
            record_of(Kind.CANCELLED, offset=4, at_ns=3),
        )
        assert sent_to(database_url) == ["create", "update", "cancel"]
        assert api.get(ORDER).json()["doubts"] == ["created_twice"]

    def test_a_completion_that_went_out_before_the_doubt_is_sent_again_under_its_key_alone(
        self, database_url: str, api: Api
    ) -> None:
        """Nobody is paid by that; under a new key somebody could be, and a person must have looked."""
        tell(database_url, *DOUBTFUL[::2])
        assert sent_to(database_url) == ["create", "complete"]
        tell(database_url, record_of(Kind.UPDATED, offset=4, at_ns=3, items=[product(final=290)]))
        assert api.replay(ORDER_ID, "redeliver").status_code == 202
        assert sent_to(database_url) == ["create", "complete"]
        assert api.replay(ORDER_ID, "redeliver", nonce="lost-books").status_code == 202
        assert sent_to(database_url) == ["create"]
        assert parked_reason(database_url) == "doubtful"
        assert act(api, "settle").status_code == 202
        assert sent_to(database_url) == ["complete"]


class TestRelease:
    def test_what_waits_behind_a_gap_has_its_turn(self, database_url: str, api: Api) -> None:
        """The dry run says the same; a rebuild knows it."""
        tell(database_url, *WITH_A_GAP)
        foretold = act(api, "release", dryRun=True)
        assert sent_to(database_url) == ["create"]
        answer = act(api, "release").json()
        assert foretold.json() | {"dryRun": False} == answer
        assert (answer["givenUp"], answer["closed"], answer["warnings"]) == (["2-3"], 0, [])
        assert [(each["event"], each["type"]) for each in answer["events"]] == [
            ("gap-accepted", None),
            ("cashback-updated", "UPDATED"),
            ("cashback-completed", "COMPLETED"),
        ]
        assert [(each["kind"], each["cashbackAmount"]) for each in answer["calls"]] == [
            ("update", 6),
            ("complete", 6),
        ]
        assert (answer["statusBefore"], answer["statusAfter"]) == ("PENDING", "COMPLETED")
        assert sent_to(database_url) == ["update", "complete"]
        assert api.get(ORDER).json()["held"] == 0
        assert check(database_url) == []

    def test_only_the_numbers_that_are_named_are_given_up(self, database_url: str, api: Api) -> None:
        """One by one, if need be; numbers that have come, or that nobody misses, are refused."""
        tell(database_url, *WITH_A_GAP)
        for numbers in ("1-3", "3-4", "6", "2-5", "3-2"):
            said = is_problem(act(api, "release", numbers=numbers), 409)["detail"]
            assert said.startswith(f"order {ORDER_ID} doesn't wait for these numbers; missing are 2-3")
        for nonsense in ("0", "two", "2-", "", "2 - 3", 2):
            is_problem(act(api, "release", numbers=nonsense), 422)
        first = act(api, "release", numbers="2").json()
        assert [each["event"] for each in first["events"]] == ["gap-accepted"]
        assert first["calls"] == []
        assert len(act(api, "release", numbers="3").json()["calls"]) == 2

    def test_messages_without_a_created_are_closed_and_nothing_is_paid(self, database_url: str, api: Api) -> None:
        """Should it come after all, it counts."""
        tell(database_url, *WITHOUT_A_CREATED)
        answer = act(api, "release").json()
        assert (answer["givenUp"], answer["closed"], answer["calls"]) == (["CREATED"], 2, [])
        assert sent_to(database_url) == []
        assert api.get("/api/orders?held=true").json()["orders"] == []
        said = is_problem(act(api, "release"), 409)["detail"]
        assert said == f"no message of order {ORDER_ID} is held; it is NOT_CREATED, and nothing about it is open"
        tell(database_url, record_of(Kind.CREATED, offset=3))
        assert sent_to(database_url)[0] == "create"

    def test_a_completion_that_is_released_into_a_doubt_waits_for_a_person(
        self, database_url: str, api: Api
    ) -> None:
        """The dry run warns of it."""
        twice = stamped(Kind.CREATED, 2, items=[product(final=300)])
        tell(database_url, WITH_A_GAP[0], twice, stamped(Kind.COMPLETED, 5))
        answer = act(api, "release").json()
        assert [each["kind"] for each in answer["calls"]] == ["complete"]
        assert [each["doubt"] for each in answer["doubts"]] == ["created_twice"]
        assert answer["warnings"] == [
            "the order is doubtful: where doubtful orders are held, its completion waits for `settle`"
        ]
        assert sent_to(database_url) == ["create"]
        assert act(api, "settle").status_code == 202
        assert sent_to(database_url) == ["complete"]


class TestCommands:
    def test_settle_and_release_do_what_the_endpoints_do(self, database_url: str, tmp_path: Path) -> None:
        """The dry run needs no reason and changes nothing; both can be read by people and by programs."""

        def run(*words: str, code: int = 0) -> str:
            done = run_app(*words, folder=tmp_path, settings={"database_url": database_url})
            assert done.returncode == code, done.stderr
            return done.stdout + done.stderr

        order = str(ORDER_ID)
        tell(database_url, *WITH_A_GAP[:2], stamped(Kind.CREATED, 6, items=[product(final=300)]))
        assert run("release", order, code=2).startswith("error: --reason is empty: ")
        assert "are no numbers" in run("release", order, "--reason", "x", "--numbers", "b", code=2)
        assert "missing are 2-3, 5" in run("release", order, "--reason", "x", "--numbers", "4-5", code=1)
        foretold = run("release", order, "--numbers", "2-3", "--dry-run")
        assert "a dry run, nothing is done" in foretold
        assert "update PUT" in foretold
        assert json.loads(run("release", order, "--numbers", "2-3", "--reason", "lost", "--json"))["callCount"] == 1
        assert "given up" in run("release", order, "--reason", "lost")
        assert run("release", order, "--reason", "x", code=1).startswith(
            f"error: no message of order {order} is held; "
        )
        assert "settle the doubt" not in run("settle", order, "--dry-run")
        assert "created twice" in run("settle", order, "--reason", "fine")
        assert run("settle", order, "--reason", "x", code=1).startswith(f"error: order {order} has no open doubt; ")
        assert run("settle", "7", "--reason", "x", code=1) == "error: order 7 has no events\n"
        kept = sql(database_url, "SELECT action, reason, via, role FROM operator_action ORDER BY id")
        assert kept == [
            ("release", "lost", "command line", "command line"),
            ("release", "lost", "command line", "command line"),
            ("settle", "fine", "command line", "command line"),
        ]


class Overtaken(OrderApplication):
    """Whenever it wants to store something the first time, another process has stored something of the order."""

    def __init__(self, database_url: str, overtaking: Record) -> None:
        super().__init__(database_url)
        self._database_url = database_url
        self._overtaking: list[Record] = [overtaking]

    def commit(self, batch: Batch, first: First | None = None) -> None:
        if self._overtaking:
            tell(self._database_url, self._overtaking.pop())
        super().commit(batch, first)


async def _settled(database_url: str, overtaking: Record) -> InterventionReport:
    async with Database(database_url) as database:
        with closing(Overtaken(database_url, overtaking)) as store:
            interventions = InterventionService(PostgresInterventions(database), store)
            return await interventions.settle(ORDER_ID, ActionRequest(Operator("Jane", Via.API), "looked at"))


class TestAtTheSameMoment:
    def test_a_doubt_that_comes_meanwhile_is_not_settled_unseen(self, held: str, api: Api) -> None:
        """Nor is any other; the person looks again."""
        with pytest.raises(OrderChanged):
            asyncio.run(_settled(held, record_of(Kind.UPDATED, offset=4, at_ns=3, items=[product(final=290)])))
        assert api.get(ORDER).json()["doubts"] == ["after_end", "created_twice"]
        assert sql(held, "SELECT count(*) FROM operator_action") == [(0,)]

    def test_a_message_that_raises_no_doubt_keeps_nobody_from_settling(self, held: str, api: Api) -> None:
        """It is decided first, and the settling after it."""
        report = asyncio.run(_settled(held, record_of(Kind.CREATED, offset=4, at_ns=3)))
        assert [each.originator_version for each in report.events] == [5]
        assert events(api)[-2:] == ["message-rejected", "doubt-settled"]
