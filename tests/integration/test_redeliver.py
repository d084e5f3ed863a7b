"""Redelivery by a person's wish, to a strict third party over HTTP: what the dry run lists is what gets there."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import psycopg
import pytest

from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.rebuild import rebuild
from adapters.third_party_api.client import ThirdPartyClient
from domain.exact_json import loads
from domain.messages import Kind
from projections.delivery.ports import Answer, Call, Lookup
from tests.support.messages import ORDER_ID, record_of
from tests.support.running_api import (
    DEADLINE_SECONDS,
    Api,
    RecordingThirdParty,
    deliver,
    project,
    refuse,
    running_api,
    sql,
    tell,
)
from tests.support.third_party_server import ThirdParty, serving

pytestmark = pytest.mark.slow

LIFECYCLE = (
    record_of(Kind.CREATED, offset=1),
    record_of(Kind.UPDATED, offset=2, at_ns=1),
    record_of(Kind.COMPLETED, offset=3, at_ns=2),
)
CURSOR = "SELECT settled_version, head_version, parked_at IS NULL FROM delivery"


class OverHttp:
    """The third party as the service calls it."""

    def __init__(self, sandbox: ThirdParty) -> None:
        self._url = f"http://127.0.0.1:{sandbox.port}"

    def _client(self) -> ThirdPartyClient:
        return ThirdPartyClient(self._url, token=None, timeout_seconds=DEADLINE_SECONDS, concurrency=1)

    async def send(self, call: Call) -> Answer:
        async with self._client() as client:
            return await client.send(call)

    async def lookup(self, order_id: int) -> Lookup:
        async with self._client() as client:
            return await client.lookup(order_id)


@pytest.fixture
def sandbox() -> Iterator[ThirdParty]:
    with serving() as running:
        yield running


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with running_api(database_url) as running:
        yield running


def seen_by(sandbox: ThirdParty) -> list[dict[str, Any]]:
    """Its calls, with lookups, in the order of arrival."""
    return list(sandbox.show("calls", orderId=ORDER_ID)["calls"])


def sent(database_url: str, api: Api, sandbox: ThirdParty, **options: Any) -> dict[str, Any]:
    """Redelivers by the wish. The dry run did nothing and said the same as the act; exactly what it lists, in that
    order, has come to the third party."""
    before = len(seen_by(sandbox))
    foretold = api.replay(ORDER_ID, "redeliver", dry_run=True, **options)
    assert foretold.status_code == 200, foretold.text
    done = api.replay(ORDER_ID, "redeliver", **options)
    assert done.status_code == 202, done.text
    preview, answer = loads(foretold.content), loads(done.content)
    assert preview | {"replayId": answer["replayId"], "dryRun": False} == answer
    deliver(database_url, OverHttp(sandbox))
    listed = [(item["method"], item["path"], item["key"], item["body"]) for item in preview["items"]]
    calls = [(call["method"], call["path"], call["key"], call["body"]) for call in seen_by(sandbox)[before:]]
    assert calls == listed
    return dict(answer)


def versions(items: list[dict[str, Any]]) -> list[int]:
    return [item["version"] for item in items]


def keys(items: list[dict[str, Any]]) -> list[UUID]:
    return [UUID(item["key"]) for item in items]


def make_older(database_url: str, hours: int = 25) -> None:
    """Moves all that was sent into the past."""
    sql(database_url, f"UPDATE effect SET first_sent_at = first_sent_at - interval '{hours} h'")
    sql(database_url, f"UPDATE attempt SET started_at = started_at - interval '{hours} h'")


def delivered(database_url: str, sandbox: ThirdParty) -> None:
    tell(database_url, *LIFECYCLE)
    deliver(database_url, OverHttp(sandbox))


def test_all_calls_go_again_with_their_keys_and_pay_nobody_twice(
    database_url: str, api: Api, sandbox: ThirdParty
) -> None:
    """The third party knows them all; nothing is at risk."""
    delivered(database_url, sandbox)
    answer = sent(database_url, api, sandbox, how="force")
    assert (versions(answer["items"]), answer["amountAtRisk"]) == ([1, 2, 3], 0)
    assert [call["hit"] for call in seen_by(sandbox)] == [False] * 3 + [True] * 3
    assert sandbox.violations() == []
    ((action, operator, before, after, detail),) = sql(
        database_url, "SELECT action, operator, state_before, state_after, detail FROM operator_action"
    )
    assert (action, operator, before, after) == ("redeliver", "api", "idle", "due")
    assert (detail["versions"], detail["replayId"]) == ([1, 2, 3], answer["replayId"])


def test_what_is_missing_goes_alone(database_url: str, api: Api, sandbox: ThirdParty) -> None:
    """The delivered calls are listed with the reason why they stay."""
    sandbox.faults(rejectOrders=[ORDER_ID])
    tell(database_url, *LIFECYCLE[:1])
    deliver(database_url, OverHttp(sandbox))
    sandbox.faults(rejectOrders=[])
    sent(database_url, api, sandbox, how="resume")
    tell(database_url, *LIFECYCLE[1:])
    answer = sent(database_url, api, sandbox, how="resume")
    assert (versions(answer["items"]), versions(answer["suppressed"])) == ([2, 3], [1])
    assert sandbox.lookup()["status"] == "COMPLETED"
    assert sandbox.violations() == []


def test_new_keys_tell_a_third_party_that_has_forgotten_everything(
    database_url: str, api: Api, sandbox: ThirdParty
) -> None:
    """They are made from the old ones, which are kept; from then on they are the calls' keys for every attempt. The
    amount that could be paid again is foretold, and the same wish once more risks nothing."""
    delivered(database_url, sandbox)
    old = keys(seen_by(sandbox))
    sandbox.client.delete("/_sandbox").raise_for_status()

    answer = sent(database_url, api, sandbox, how="force", nonce="lost-1")

    assert keys(answer["items"]) == [uuid5(key, "lost-1") for key in old]
    assert [UUID(item["formerKey"]) for item in answer["items"]] == old
    assert answer["amountAtRisk"] == Decimal(6)
    assert sandbox.lookup()["status"] == "COMPLETED"
    assert sandbox.violations() == []
    assert sql(
        database_url, "SELECT idempotency_key, state, attempts, generation FROM replaced_key ORDER BY version"
    ) == [(key, "delivered", 1, 0) for key in old]
    calls = [event["call"] for event in api.get(f"/api/orders/{ORDER_ID}").json()["timeline"]]
    assert [UUID(call["idempotencyKey"]) for call in calls] == keys(answer["items"])
    assert {(call["generation"], call["attemptCount"]) for call in calls} == {(1, 1)}
    assert rebuild(database_url, [], lambda *_: None, check=True).differences == []

    again = sent(database_url, api, sandbox, how="force", nonce="lost-1")
    assert (again["amountAtRisk"], keys(again["items"])) == (0, keys(answer["items"]))
    assert all(call["hit"] for call in seen_by(sandbox)[-3:])

    assert api.replay(ORDER_ID, "redeliver", nonce="lost-2").status_code == 202
    refused = api.replay(ORDER_ID, "redeliver", dry_run=True, nonce="lost-1")
    assert (refused.status_code, "lost-1" in refused.json()["detail"]) == (409, True)


def test_attempts_under_an_old_key_do_not_age_the_new_one(database_url: str, api: Api, sandbox: ThirdParty) -> None:
    """Nothing was sent under it yet: it is remembered from its own first attempt on."""
    delivered(database_url, sandbox)
    make_older(database_url)
    assert versions(api.replay(ORDER_ID, "redeliver", dry_run=True).json()["suppressed"]) == [1, 2, 3]
    sandbox.client.delete("/_sandbox").raise_for_status()
    sent(database_url, api, sandbox, nonce="n")
    foretold = api.replay(ORDER_ID, "redeliver", dry_run=True).json()
    assert (versions(foretold["items"]), foretold["amountAtRisk"]) == ([1, 2, 3], 0)


def test_calls_whose_keys_may_be_forgotten_go_only_if_they_are_named(
    database_url: str, api: Api, sandbox: ThirdParty
) -> None:
    """Then without a lookup before, and with the amount at risk."""
    delivered(database_url, sandbox)
    make_older(database_url)
    kept = sent(database_url, api, sandbox)
    assert (kept["items"], versions(kept["suppressed"])) == ([], [1, 2, 3])
    answer = sent(database_url, api, sandbox, include=["forgotten"])
    assert (versions(answer["items"]), answer["amountAtRisk"]) == ([1, 2, 3], 6)
    assert all("do it again" in item["warning"] for item in answer["items"])


def test_a_call_that_may_be_under_way_gets_no_new_key(database_url: str, api: Api) -> None:
    """Which of the two keys the third party hears would depend on chance. With the old keys nothing is wrong."""
    tell(database_url, *LIFECYCLE)
    claim(database_url)
    refused = api.replay(ORDER_ID, "redeliver", nonce="n")
    assert (refused.status_code, refused.json()["state"]) == (409, "in_flight")
    assert int(refused.headers["Retry-After"]) > 0
    assert sql(database_url, "SELECT count(*) FROM replaced_key") == [(0,)]
    assert api.replay(ORDER_ID, "redeliver").status_code == 202


def claim(database_url: str) -> None:
    """By a dispatcher that is never heard of again."""

    async def take() -> None:
        async with PostgresLedger(database_url, lease_seconds=60, call_timeout_seconds=10) as ledger:
            claims, _ = await ledger.claim(1)
            assert [each.order_id for each in claims] == [ORDER_ID]

    asyncio.run(take())


def test_however_often_an_order_is_set_back_nobody_else_calls_while_a_lease_runs(
    database_url: str, api: Api
) -> None:
    """The first time takes the token away; the lease's end stays where it was for all that follow."""
    tell(database_url, *LIFECYCLE[:1])
    deliver(database_url)
    tell(database_url, *LIFECYCLE[1:])
    claim(database_url)
    end = sql(database_url, "SELECT next_attempt_at FROM delivery")
    for _ in range(3):
        assert api.replay(ORDER_ID, "redeliver").status_code == 202
        assert sql(database_url, "SELECT next_attempt_at FROM delivery") == end


def test_what_a_dispatcher_may_have_sent_before_it_was_cut_off_is_not_forgotten(
    database_url: str, api: Api
) -> None:
    """The calls of its claim, and no others, are in doubt from then on."""
    tell(database_url, *LIFECYCLE[:1])
    deliver(database_url)
    tell(database_url, *LIFECYCLE[1:])
    claim(database_url)
    assert api.replay(ORDER_ID, "redeliver").status_code == 202
    assert sql(database_url, "SELECT version FROM attempt WHERE kind = 'lost' ORDER BY id") == [(2,), (3,)]
    assert sql(database_url, "SELECT version FROM effect WHERE maybe_done AND first_sent_at IS NOT NULL") == [
        (1,),
        (2,),
        (3,),
    ]
    sql(database_url, "UPDATE delivery SET next_attempt_at = now() - interval '1 s'")
    third = RecordingThirdParty()
    deliver(database_url, third)
    assert [call.version for call in third.calls] == [1, 2, 3]
    assert sql(database_url, "SELECT count(*) FROM attempt WHERE kind = 'lost'") == [(2,)]


def test_a_skip_is_undone_by_name(database_url: str, api: Api) -> None:
    """The call that was given up goes after all, before those behind it."""
    tell(database_url, *LIFECYCLE)
    deliver(database_url, RecordingThirdParty(refuse(ORDER_ID)))
    assert api.client.post(f"/api/parked/{ORDER_ID}/skip", json={"reason": "a test"}).status_code == 200
    assert versions(api.replay(ORDER_ID, "redeliver", dry_run=True).json()["items"]) == [2, 3]
    assert api.replay(ORDER_ID, "redeliver", how="resume", include=["skipped"]).status_code == 202
    third = RecordingThirdParty()
    deliver(database_url, third)
    assert [call.version for call in third.calls] == [1, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        "body = 'x'",
        "body = 'x', body_digest = sha256('x')",
        "kind = 'cancel'",
        "idempotency_key = gen_random_uuid()",
        "idempotency_key = gen_random_uuid(), generation = 1, nonce = 'n'",
        "generation = 1, nonce = 'n'",
        "version = 9",
    ],
)
def test_the_database_itself_keeps_what_a_call_says_and_its_key(database_url: str, change: str) -> None:
    """Whoever writes to it: a key only changes with its generation, after the old one has been kept."""
    tell(database_url, *LIFECYCLE)
    with pytest.raises(psycopg.errors.CheckViolation):
        sql(database_url, f"UPDATE effect SET {change} WHERE version = 2")
    sql(database_url, "UPDATE effect SET state = 'delivered', attempts = 3")


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"how": "again"}, "#/how"),
        ({"nonce": ""}, "#/nonce"),
        ({"nonce": "two words"}, "#/nonce"),
        ({"nonce": "x" * 101}, "#/nonce"),
        ({"include": ["everything"]}, "#/include/0"),
        ({"include": "skipped"}, "#/include"),
        ({"nonce": "n", "reason": " "}, "#"),
    ],
)
def test_a_wish_that_cannot_be_understood_is_refused(api: Api, options: dict[str, Any], pointer: str) -> None:
    """As a 422 that points there; and a republication has no such wishes."""
    refused = api.replay(ORDER_ID, "redeliver", **options)
    assert (refused.status_code, [each["pointer"] for each in refused.json()["errors"]]) == (422, [pointer])
    assert api.replay(ORDER_ID, "republish", dry_run=True, nonce="n").status_code == 422


def test_an_order_that_is_not_there_is_not_found(database_url: str, api: Api) -> None:
    project(database_url)
    assert api.replay(1, "redeliver", nonce="n").status_code == 404
