"""Our books against the third party's: differences told apart and kept, races survived, broken orders stopped."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from msgspec.structs import replace as replace_event

from adapters.cli import show
from adapters.operations.reconciliation.auditor import Auditor
from adapters.operations.reconciliation.reconciler import ReconcileCounts, Reconciler
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.pool import Database
from adapters.postgres.projection_feeds import PostgresFeed, write_intended_calls
from adapters.postgres.rebuild import rebuild
from adapters.postgres.reconciliation import PostgresReconciliation
from domain.decision import Policy
from domain.effects import EffectKind
from domain.errors import BadSetting
from domain.exact_json import loads
from domain.messages import Kind
from projections import intended_calls as third_party_projection
from projections.delivery.ports import Answer, Lookup, Outcome, Settlement, ThirdParty
from projections.delivery.retry import RetryPolicy
from projections.intended_calls import IntendedCall, intended_calls
from projections.reconciliation import Finding, Invariant, Verdict
from projections.runner import Projection
from sandbox.third_party_server.books import Books
from tests.support.event_store import append, project, sql, stream, streams
from tests.support.fake_ledger import call
from tests.support.fake_third_party import FINE, FakeThirdParty, Fault
from tests.support.processes import run_app
from tests.support.running_api import deliver, running_api
from tests.support.third_party_server import serving
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PER_SECOND: Final = 1000.0
AT_ONCE: Final = RetryPolicy(max_attempts=3, base_seconds=0.001, max_seconds=0.001)

T = TypeVar("T")


class Heard:
    """What an observer is told."""

    def __init__(self) -> None:
        self.compared: list[Verdict] = []
        self.broken: list[tuple[int, tuple[Invariant, ...]]] = []
        self.states: list[str] = []

    def order_compared(self, verdict: Verdict) -> None:
        self.compared.append(verdict)

    def invariant_broken(self, order_id: int, *broken: Invariant) -> None:
        self.broken.append((order_id, broken))

    def audit_state(self, state: str, why: str | None = None) -> None:
        self.states.append(state)


def asked(database_url: str, question: Callable[[PostgresReconciliation], Awaitable[T]]) -> T:
    async def main() -> T:
        async with Database(database_url) as database:
            return await question(PostgresReconciliation(database))

    return asyncio.run(main())


def compare(
    database_url: str, third_party: ThirdParty, *order_ids: int, heard: Heard | None = None
) -> dict[int, Finding]:
    async def question(books: PostgresReconciliation) -> list[Finding]:
        reconciler = Reconciler(books, third_party, heard or Heard(), per_second=PER_SECOND, retry=AT_ONCE)
        return await reconciler.compare(order_ids, ReconcileCounts())

    return {finding.order_id: finding for finding in asked(database_url, question)}


def verdicts(found: dict[int, Finding]) -> dict[int, Verdict]:
    return {order_id: finding.verdict for order_id, finding in found.items()}


def differences(database_url: str, **query: str) -> list[dict[str, Any]]:
    with running_api(database_url) as api:
        return list(api.get("/api/reconciliation", params=query).json()["differences"])


def falsify(books: Books, order_id: int, **changes: Any) -> None:
    order = books.orders.get(order_id)
    assert order is not None
    books.orders.put(replace(order, **changes))


def lose(books: Books, order_id: int) -> None:
    books.orders._orders.pop(order_id)


@pytest.fixture
def third_party() -> FakeThirdParty:
    return FakeThirdParty()


@pytest.fixture
def told(database_url: str, third_party: FakeThirdParty) -> str:
    """Six completed orders, delivered; a seventh whose completion was refused; an eighth that is cancelled."""
    append(database_url, [*streams(range(1, 8)), *stream(8, (Kind.CREATED, Kind.CANCELLED))])
    project(database_url)
    third_party.plan = lambda call: (
        Fault(status=422) if (call.order_id, call.kind) == (7, EffectKind.COMPLETE) else FINE
    )
    deliver(database_url, third_party)
    return database_url


def test_differences_are_told_apart_kept_and_closed(told: str, third_party: FakeThirdParty) -> None:
    """One open row an order, with its first and last moment; what settles is closed, and what fails isn't known."""
    everything = (*range(1, 9), 98, 99)
    assert set(verdicts(compare(told, third_party, *range(1, 7), 8)).values()) == {Verdict.AGREES}
    assert differences(told) == []

    lose(third_party.books, 2)
    falsify(third_party.books, 3, amount=Decimal("7.5"))
    falsify(third_party.books, 4, status="PENDING")
    append(told, stream(98, (Kind.CREATED,)))
    asyncio.run(third_party.send(call(99, 1)))
    lookups_fail = {6}
    third_party.lookup_plan = lambda order_id: Fault(status=503) if order_id in lookups_fail else FINE
    expected = {
        1: Verdict.AGREES,
        2: Verdict.MISSING_THERE,
        3: Verdict.AMOUNT,
        4: Verdict.STATE,
        5: Verdict.AGREES,
        6: Verdict.UNKNOWN,
        7: Verdict.IN_FLIGHT,
        8: Verdict.AGREES,
        98: Verdict.IN_FLIGHT,  # not even projected yet
        99: Verdict.MISSING_HERE,
    }
    assert verdicts(compare(told, third_party, *everything)) == expected
    rows = {row["orderId"]: row for row in differences(told)}
    assert {order_id: row["class"] for order_id, row in rows.items()} == {
        order_id: verdict.value for order_id, verdict in expected.items() if verdict is not Verdict.AGREES
    }
    assert rows[3]["ours"] == {"status": "COMPLETED", "cashbackAmount": 6}
    assert rows[3]["theirs"] == {"status": "COMPLETED", "cashbackAmount": 7.5}
    assert rows[2]["theirs"] is None
    assert rows[99]["ours"] is None
    assert rows[7]["ours"]["status"] == "COMPLETED"
    assert rows[6]["detail"] == "the lookup failed: answered with status 503"
    assert third_party.looked_up.count(6) == 1 + AT_ONCE.max_attempts

    falsify(third_party.books, 3, amount=Decimal(6))
    lose(third_party.books, 99)
    lookups_fail |= {2}
    compare(told, third_party, *everything)
    again = {row["orderId"]: row for row in differences(told)}
    assert again.keys() == rows.keys() - {3, 99}
    assert again[2]["class"] == "missing_there", "a lookup that fails says nothing new"
    assert again[4]["id"] == rows[4]["id"]
    assert again[4]["firstSeenAt"] == rows[4]["firstSeenAt"] < again[4]["lastSeenAt"]
    closed = differences(told, state="closed")
    assert [(row["orderId"], row["class"]) for row in closed] == [(99, "missing_here"), (3, "amount")]
    assert all(row["closedAt"] is not None for row in closed)


def test_the_list_is_paged_and_filtered(told: str, third_party: FakeThirdParty) -> None:
    """By keyset, the last ones first; an unknown class is refused."""
    for order_id in (1, 2, 3):
        lose(third_party.books, order_id)
    falsify(third_party.books, 4, amount=Decimal(1))
    compare(told, third_party, 1, 2, 3, 4)
    with running_api(told) as api:
        first = api.get("/api/reconciliation?class=missing_there&limit=2").json()
        second = api.get(f"/api/reconciliation?class=missing_there&limit=2&cursor={first['next']}").json()
        pages = [[row["orderId"] for row in page["differences"]] for page in (first, second)]
        assert pages == [[3, 2], [1]]
        assert second["next"] is None
        assert api.get("/api/reconciliation?class=odd").status_code == 400
        assert api.get("/api/reconciliation?cursor=x").status_code == 400


class Meanwhile:
    """A third party during whose lookups something happens: the answer is older than what we see afterwards."""

    def __init__(self, third_party: FakeThirdParty, *happenings: Callable[[], None]) -> None:
        self._third_party = third_party
        self._happenings = list(happenings)
        self.send = third_party.send

    async def lookup(self, order_id: int) -> Lookup:
        answer = await self._third_party.lookup(order_id)
        if self._happenings:
            await asyncio.to_thread(self._happenings.pop(0))
        return answer


def test_corrected_orders_agree_once_their_corrections_are_delivered(
    database_url: str, third_party: FakeThirdParty
) -> None:
    """Until then they are in flight; streams, ledger, books and sums are of one amount in the end."""
    kinds = (Kind.CREATED, Kind.COMPLETED, Kind.CANCELLED, Kind.COMPLETED, Kind.CANCELLED)
    events = stream(1, kinds, policy=Policy(corrections=True))
    append(database_url, events[:2])
    project(database_url)
    deliver(database_url, third_party)
    append(database_url, events[2:])
    project(database_url)
    assert verdicts(compare(database_url, third_party, 1)) == {1: Verdict.IN_FLIGHT}

    deliver(database_url, third_party)
    assert [path for _, path in third_party.applied][2:] == ["/v1/cashbacks/1/correct"] * 3
    [order] = third_party.books.orders.many([1])
    assert (order.amount, order.credits) == (Decimal(0), 1)
    assert [int(booked) for booked in order.bookings] == [6, -6, 6, -6]
    found = compare(database_url, third_party, 1)
    assert verdicts(found) == {1: Verdict.AGREES}
    assert found[1].broken == ()
    assert rebuild(database_url, [], lambda *_: None, check=True).differences == []
    assert third_party.violations == []


def test_a_third_party_that_keeps_cents_is_no_difference(database_url: str, third_party: FakeThirdParty) -> None:
    """For an amount of an earlier release, which was finer; a cent more than it could be rounded to is one."""
    finer = [replace_event(event, cashback=Decimal("25.08745")) for event in stream(1, (Kind.CREATED,))]
    append(database_url, finer)
    project(database_url)
    deliver(database_url, third_party)
    for theirs, verdict in (("25.09", Verdict.AGREES), ("25.08", Verdict.AGREES), ("25.10", Verdict.AMOUNT)):
        falsify(third_party.books, 1, amount=Decimal(theirs))
        assert verdicts(compare(database_url, third_party, 1)) == {1: verdict}


def test_a_side_that_moves_during_the_lookup_is_no_difference(
    database_url: str, third_party: FakeThirdParty
) -> None:
    """A delivery in the middle: the order is looked at again. One that never rests is in flight."""
    append(database_url, stream(1, (Kind.CREATED,)))
    project(database_url)
    delivering = Meanwhile(third_party, lambda: deliver(database_url, third_party))
    assert verdicts(compare(database_url, delivering, 1)) == {1: Verdict.AGREES}
    assert third_party.looked_up == [1, 1]

    def more() -> None:
        [(version,)] = sql(database_url, "SELECT count(*) FROM stored_events")
        kinds = [Kind.CREATED, *[Kind.UPDATED] * version]
        append(database_url, stream(1, kinds)[version:])

    found = compare(database_url, Meanwhile(third_party, more, more, more), 1)
    assert found[1].verdict is Verdict.IN_FLIGHT
    assert found[1].detail == "our own side moved each time that we looked"


def test_a_call_that_would_pay_twice_stops_its_order_alone(database_url: str, third_party: FakeThirdParty) -> None:
    """From streams made by hand, in the midst of good ones: the projection leaves the call out and goes on."""
    paid_twice = [*stream(2), *stream(3, (Kind.CREATED, Kind.COMPLETED))]
    second = stream(2, (Kind.CREATED, Kind.UPDATED, Kind.UPDATED, Kind.COMPLETED))[3]
    created_again = stream(4, (Kind.CREATED, Kind.UPDATED))
    created_again[1:] = [renamed(stream(4)[0], created_again[1].originator_version)]
    append(database_url, [*stream(1), *paid_twice, second, *created_again, *stream(5)])
    heard: list[tuple[int, Invariant]] = []

    def write(connection: Any, calls: Sequence[IntendedCall]) -> None:
        write_intended_calls(connection, calls, lambda *said: heard.append(said))

    feed = PostgresFeed(database_url, third_party_projection.NAME, write)
    projection = Projection(third_party_projection.NAME, feed, intended_calls)
    while projection.step():
        pass
    feed.close()
    assert heard == [(2, Invariant.ENDED_ONCE), (4, Invariant.CREATED_ONCE)]
    parked = sql(
        database_url, "SELECT order_id, parked_reason FROM delivery WHERE parked_at IS NOT NULL ORDER BY 1"
    )
    assert parked == [(2, "invariant: ended_once"), (4, "invariant: created_once")]

    deliver(database_url, third_party)
    assert {order_id for order_id, _ in third_party.applied} == {1, 3, 5}
    assert third_party.violations == []
    found = compare(database_url, third_party, 1, 2, 3, 4, 5)
    assert [order_id for order_id, finding in found.items() if finding.broken] == [2, 4]
    assert set(found[2].broken) == {Invariant.ENDED_ONCE, Invariant.LEDGER_IS_STORE}

    sql(database_url, "UPDATE delivery SET parked_at = NULL, parked_reason = NULL")
    deliver(database_url, third_party)  # ends: whoever sets it going again finds every call but the one
    assert [path for order_id, path in third_party.applied if order_id == 2][-1] == "/v1/cashbacks/2/complete"
    assert third_party.violations == []


def renamed(event: Any, version: int) -> Any:
    """The same event, once more in its stream."""
    fields = {name: getattr(event, name) for name in _names_of(event)}
    return type(event)(**fields | {"originator_version": version})


def _names_of(event: Any) -> Sequence[str]:
    return getattr(type(event), "__struct_fields__", None) or tuple(type(event).model_fields)


def test_an_order_whose_ledger_was_changed_is_stopped_once_and_a_claim_cannot_set_it_going(
    database_url: str, third_party: FakeThirdParty
) -> None:
    """Nobody else is; the observer hears of it once."""
    append(database_url, streams([1, 2]))
    project(database_url)
    changed = """replace(convert_from(body, 'UTF8'), '"cashbackAmount":6', '"cashbackAmount":600')"""
    sql(database_url, "ALTER TABLE effect DISABLE TRIGGER ALL")
    sql(database_url, f"UPDATE effect SET body = convert_to({changed}, 'UTF8') WHERE order_id = 1 AND version = 3")
    heard = Heard()

    async def claim_compare_settle() -> None:
        async with (
            PostgresLedger(database_url, lease_seconds=60, call_timeout_seconds=10) as ledger,
            Database(database_url) as database,
        ):
            claims, _ = await ledger.claim(2)
            reconciler = Reconciler(PostgresReconciliation(database), third_party, heard, per_second=PER_SECOND)
            for _ in range(2):
                await reconciler.compare([1, 2], ReconcileCounts())
            lost = await ledger.settle([Settlement(claim, (), 0, 0, 0.0) for claim in claims])
            assert lost == 1

    asyncio.run(claim_compare_settle())
    assert heard.broken == [(1, (Invariant.LEDGER_IS_STORE,))]
    deliver(database_url, third_party)
    assert {order_id for order_id, _ in third_party.applied} == {2}
    [(reason,)] = sql(database_url, "SELECT parked_reason FROM delivery WHERE order_id = 1")
    assert reason == "invariant: ledger_is_store"


@contextmanager
def auditing(database_url: str, third_party: ThirdParty, heard: Heard) -> Iterator[Callable[[], None]]:
    """An auditor on a loop of a thread of its own; gives what stops it."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def main() -> None:
        async with Database(database_url) as database:
            books = PostgresReconciliation(database)
            reconciler = Reconciler(books, third_party, heard, per_second=PER_SECOND, retry=AT_ONCE)
            await Auditor(database_url, books, reconciler, heard, stale_seconds=0.0).run(stop)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), name="auditor")
    thread.start()

    def end() -> None:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        assert not thread.is_alive()

    try:
        yield end
    finally:
        if thread.is_alive():
            end()
        loop.close()


def test_the_auditor_walks_over_all_orders_round_and_round_and_only_one_does(
    told: str, third_party: FakeThirdParty
) -> None:
    """It finds what differs, closes what has settled, and a second one stands by until the first is gone."""
    append(told, streams(range(10, 80)))  # more than one step
    project(told)
    deliver(told, third_party)
    falsify(third_party.books, 75, amount=Decimal(1))
    first, second = Heard(), Heard()
    third_party.looked_up.clear()
    with auditing(told, third_party, first) as end_first:
        wait_until(lambda: third_party.looked_up.count(8) >= 2, "a second round")
        assert set(third_party.looked_up) == {*range(1, 9), *range(10, 80)}
        assert sql(told, "SELECT order_id, class FROM reconciliation WHERE closed_at IS NULL ORDER BY 1") == [
            (7, "in_flight"),
            (75, "amount"),
        ]
        with auditing(told, third_party, second):
            wait_until(lambda: second.states == ["standing by"], "the second to stand by")
            falsify(third_party.books, 75, amount=Decimal(6))
            closed = "SELECT class FROM reconciliation WHERE closed_at IS NOT NULL"
            wait_until(lambda: sql(told, closed) == [("amount",)], "the difference to be closed")
            assert second.compared == []
            end_first()
    assert set(first.compared) == {Verdict.AGREES, Verdict.AMOUNT, Verdict.IN_FLIGHT}
    assert first.states[0] == "running"


def test_the_auditor_waits_for_a_third_party_that_does_not_answer(told: str, third_party: FakeThirdParty) -> None:
    """It doesn't walk on past orders that it couldn't compare, and a restart goes on where the walk was."""
    sql(told, "UPDATE audit_place SET order_id = 5")
    third_party.lookup_plan = lambda _: Fault(unreachable=True)
    third_party.looked_up.clear()
    heard = Heard()
    with auditing(told, third_party, heard):
        wait_until(lambda: bool(heard.states), "a first step")
    assert heard.states[0] == "waiting for the third party"
    assert set(third_party.looked_up) == {6, 7, 8}
    assert sql(told, "SELECT order_id FROM audit_place") == [(5,)]


def test_the_command_shows_what_differs_and_says_so_with_its_exit_code(database_url: str, tmp_path: Path) -> None:
    """Over HTTP: all orders, those named, some by chance; and nothing is said of what it couldn't ask."""
    append(database_url, streams(range(1, 31)))
    project(database_url)
    books = Books()
    with serving(books=books) as sandbox:
        settings = {"database_url": database_url, "third_party_url": f"http://127.0.0.1:{sandbox.port}"}

        def reconcile(*arguments: str, **more: object) -> tuple[int, str]:
            done = run_app("reconcile", "--rate", "1000", *arguments, folder=tmp_path, settings=settings | more)
            return done.returncode, done.stdout + done.stderr.splitlines()[-1]

        deliver(database_url, _over(books))
        long_ago = "now() - interval '91 days'"
        sql(
            database_url,
            f"INSERT INTO reconciliation (order_id, class, closed_at) VALUES (1, 'amount', {long_ago})",
        )
        code, said = reconcile()
        assert sql(database_url, "SELECT * FROM reconciliation") == []
        assert (code, "30 orders compared: 30 agrees" in said) == (0, True), said
        assert "30 completed, owed 180.00; 30 credits in the ledger, 180.00" in said

        falsify(books, 12, amount=Decimal("6.50"))
        code, said = reconcile("--since", "2025-01-01T00:00:00Z")
        assert code == 1
        assert "COMPLETED 6.50" in said
        assert "30 orders compared: 29 agrees, 1 amount" in said

        done = run_app("reconcile", "12", "31", "--json", folder=tmp_path, settings=settings)
        found = loads(done.stdout)
        assert (done.returncode, found["orders"], found["classes"]["amount"]) == (1, 2, 1)
        assert found["differences"] == [
            {
                "orderId": 12,
                "class": "amount",
                "ours": {"status": "COMPLETED", "cashbackAmount": 6},
                "theirs": {"status": "COMPLETED", "cashbackAmount": Decimal("6.50")},
                "detail": None,
                "broken": [],
            }
        ]
        assert found["unheardOf"] == [31]

        code, said = reconcile("--sample", "5")
        assert "5 orders compared" in said
        code, said = reconcile("11", "31", "11")
        assert code == 0
        assert "order 31: neither side knows it" in said
        code, said = reconcile("11", third_party_url="http://127.0.0.1:1")
        assert code == 1
        assert "1 orders compared: 1 unknown" in said
        assert "no connection" in said


def test_a_choice_that_makes_no_sense_is_refused() -> None:
    """Before anything is opened."""
    with pytest.raises(BadSetting, match="--since: not an RFC 3339 date-time"):
        show.reconcile(since="yesterday")
    with pytest.raises(BadSetting, match="--since and --sample choose among all orders"):
        show.reconcile([11], sample=5)


def _over(books: Books) -> FakeThirdParty:
    third_party = FakeThirdParty()
    third_party.books = books
    return third_party


def test_a_lookup_that_is_refused_is_not_asked_again(told: str, third_party: FakeThirdParty) -> None:
    """The third party will never answer it: it isn't an outage either."""

    class Refusing:
        send = third_party.send

        async def lookup(self, order_id: int) -> Lookup:
            third_party.looked_up.append(order_id)
            return Answer(Outcome.REFUSED, 400, "no")

    third_party.looked_up.clear()
    found = compare(told, Refusing(), 1)
    assert third_party.looked_up == [1]
    assert (found[1].verdict, found[1].is_outage) == (Verdict.UNKNOWN, False)
