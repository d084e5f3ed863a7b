"""What is said of an order first, over a real database: from the record to the API and the command line."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.postgres.pool import Database
from adapters.postgres.reconciliation import PostgresReconciliation
from domain.effects import EffectKind
from domain.exact_json import loads
from domain.lifecycle import Status
from domain.messages import Kind
from projections.delivery.ports import Answer, Call, Outcome
from projections.reconciliation import BookEntry, Finding, OrderComparison, Verdict
from tests.support.commands import run_here
from tests.support.messages import ORDER_ID, product, record_of
from tests.support.running_api import Api, RecordingThirdParty, deliver, refuse, running_api, sql, tell

pytestmark = pytest.mark.slow

OURS: Final = BookEntry(Status.COMPLETED, Decimal(6))
PATH: Final = f"/api/orders/{ORDER_ID}"


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with running_api(database_url) as running:
        yield running


def found(database_url: str, verdict: Verdict, theirs: BookEntry | None) -> None:
    """A comparison has found this."""

    async def keep() -> None:
        async with Database(database_url) as database:
            await PostgresReconciliation(database).keep([Finding(ORDER_ID, OrderComparison(verdict, OURS, theirs))])

    asyncio.run(keep())


def the_third_party_is_down(
    database_url: str, breaker: str, why: str = "the third party is down: status 503"
) -> None:
    """By what a process tells of itself."""
    state = {"breaker": breaker, "breakerSince": "2025-02-28T12:04:00+00:00", "breakerReason": why}
    sql(
        database_url,
        "INSERT INTO service_process (id, name, roles, state) VALUES (%s, 'host:1', '{push}', %s)"
        " ON CONFLICT (id) DO UPDATE SET state = excluded.state",
        "0" * 32,
        json.dumps(state),
    )


def verdict_of(api: Api) -> dict[str, Any]:
    return dict(loads(api.get(PATH).content)["verdict"])


def complete(database_url: str, *after: Any) -> None:
    tell(database_url, record_of(Kind.CREATED), record_of(Kind.COMPLETED, offset=1, at_ns=1), *after)


def test_a_paid_order_says_so_everywhere(database_url: str, api: Api, tmp_path: Path) -> None:
    """The sentence, the sum, and the moment at which the third party confirmed it; in the API and on the command
    line alike."""
    complete(database_url)
    assert verdict_of(api)["sentence"] == "Owed 6.00 TRY, about to be sent"
    deliver(database_url)
    [(paid_at,)] = sql(database_url, "SELECT settled_at FROM effect WHERE kind = 'complete'")
    said = verdict_of(api)
    assert said["sentence"] == f"Paid 6.00 TRY on {paid_at.day} {paid_at:%b %Y}"
    assert (said["code"], said["amount"], said["currency"]) == ("paid", 6, "TRY")
    assert [(each["name"], each["amount"]) for each in said["sums"]] == [("Earned", 6), ("Paid", 6)]
    assert said["comparison"] == {
        "says": "Never compared with the third party's books.",
        "at": None,
        "result": None,
        "difference": None,
    }
    assert said["nextStep"] is None
    settings = {"database_url": database_url}
    text = run_here("order", str(ORDER_ID), folder=tmp_path, settings=settings).out
    assert text.splitlines()[0] == f"order {ORDER_ID}: {said['sentence']}"
    document = run_here("order", str(ORDER_ID), "--json", folder=tmp_path, settings=settings).out
    assert loads(document)["verdict"] == said


def test_a_doubt_asks_for_a_decision_with_both_amounts(database_url: str, api: Api) -> None:
    """What was paid, what may be owed, what is at stake, and the command that settles it."""
    tell(database_url, record_of(Kind.CREATED), record_of(Kind.COMPLETED, offset=1, at_ns=2))
    deliver(database_url)
    tell(database_url, record_of(Kind.UPDATED, offset=0, partition=1, at_ns=1, items=[product(2, 156, 262)]))
    said = verdict_of(api)
    assert said["code"] == "needs_decision"
    assert said["sentence"] == "Needs a decision: 6.00 TRY paid, 50.00 TRY may be owed"
    assert (said["amount"], said["runbook"]) == (44, "doubtful.md#settle")
    assert said["nextStep"]["command"] == f"settle {ORDER_ID} --reason …"
    api.client.post(f"{PATH}/settle", json={"reason": "6 is right"}).raise_for_status()
    assert verdict_of(api)["code"] == "paid"


def test_a_refused_order_says_what_is_owed_and_how_to_go_on(database_url: str, api: Api) -> None:
    complete(database_url)
    deliver(database_url, RecordingThirdParty(refuse(ORDER_ID)))
    said = verdict_of(api)
    assert said["sentence"] == "Owed 6.00 TRY, not paid: the third party refused the create call"
    assert said["nextStep"]["command"] == f"retry {ORDER_ID}"


def test_a_payment_that_may_have_been_made_is_never_called_unpaid(database_url: str, api: Api) -> None:
    """Sent until the attempts were spent, and never answered."""

    def silent(call: Call) -> Answer | None:
        return Answer(Outcome.IN_DOUBT, None, "no answer within 5 s") if call.kind is EffectKind.COMPLETE else None

    complete(database_url)
    deliver(database_url, RecordingThirdParty(silent))
    said = verdict_of(api)
    assert said["sentence"] == (
        "Owed 6.00 TRY, perhaps paid: nobody knows whether the third party took the completion"
    )
    assert (said["code"], said["nextStep"]["command"]) == ("not_paid", f"retry {ORDER_ID}")


def test_an_outage_is_told_while_it_lasts(database_url: str, api: Api) -> None:
    """As long as a process says so that was heard of lately; an order that is paid is no concern of it."""
    complete(database_url)
    the_third_party_is_down(database_url, "probing")
    down = "Owed 6.00 TRY, not yet sent: the third party has been down since 28 Feb 2025, 12:04 UTC"
    assert verdict_of(api)["sentence"] == down
    the_third_party_is_down(database_url, "open", "the third party refuses our credentials")
    assert "has refused our credentials since" in verdict_of(api)["sentence"]
    for state in ("ramping", "closed"):
        the_third_party_is_down(database_url, state)
        assert verdict_of(api)["sentence"] == "Owed 6.00 TRY, about to be sent"
    the_third_party_is_down(database_url, "open")
    sql(database_url, "UPDATE service_process SET seen_at = now() - interval '1 minute'")
    assert verdict_of(api)["sentence"] == "Owed 6.00 TRY, about to be sent"
    the_third_party_is_down(database_url, "open")
    deliver(database_url)
    assert verdict_of(api)["code"] == "paid"


def test_books_are_said_to_agree_to_differ_or_to_be_unknown(database_url: str, api: Api) -> None:
    """The last answer of the third party counts: one that couldn't be asked has said nothing."""
    complete(database_url)
    deliver(database_url)
    found(database_url, Verdict.AGREES, OURS)
    agrees = verdict_of(api)["comparison"]
    assert (agrees["result"], agrees["says"].endswith(": they agree.")) == ("agrees", True)
    found(database_url, Verdict.UNKNOWN, None)
    assert verdict_of(api)["comparison"] == agrees
    found(database_url, Verdict.AMOUNT, BookEntry(Status.COMPLETED, Decimal("7.50")))
    said = verdict_of(api)
    assert said["sentence"] == "Books differ: 6.00 TRY in ours, 7.50 TRY in the third party's"
    assert (said["code"], said["amount"]) == ("books_differ", Decimal("1.5"))
    assert said["comparison"]["difference"]["theirs"] == {"status": "COMPLETED", "cashbackAmount": Decimal("7.5")}
    found(database_url, Verdict.AGREES, OURS)
    assert (verdict_of(api)["code"], verdict_of(api)["comparison"]["result"]) == ("paid", "agrees")
    assert sql(database_url, "SELECT count(*) FROM last_comparison") == [(1,)]


def test_what_only_the_verdict_shows_doesnt_keep_an_operator_from_acting(database_url: str, api: Api) -> None:
    """The answer has another tag, so nobody keeps the old one; the order is the same, so `If-Match` holds."""
    complete(database_url)
    deliver(database_url, RecordingThirdParty(refuse(ORDER_ID)))
    before = api.get(PATH).headers["ETag"]
    found(database_url, Verdict.IN_FLIGHT, None)
    the_third_party_is_down(database_url, "open")
    again = api.get(PATH, headers={"If-None-Match": before})
    assert (again.status_code, again.headers["ETag"] == before) == (200, False)
    retried = api.client.post(f"/api/parked/{ORDER_ID}/retry", headers={"If-Match": before})
    assert retried.status_code == 202
    again = api.client.post(f"/api/parked/{ORDER_ID}/retry", headers={"If-Match": before})
    assert again.status_code == 412
