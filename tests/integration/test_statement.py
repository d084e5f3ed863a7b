"""The day's statement over a real PostgreSQL: held against a model that folds the orders, and as people read it."""

import asyncio
import csv
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.pool import Database
from adapters.postgres.statement import PostgresStatements
from adapters.records.errors import DayNotBegun
from adapters.records.statement import HINDRANCES, Account, Line, Statement, end_of, nanoseconds, start_of
from domain.decision import Policy, decide
from domain.effects import effect_of
from domain.events import CashbackCompleted, CashbackCorrected, OrderEvent
from domain.intervention import Author, settle
from domain.lifecycle import Status
from domain.messages import Kind
from domain.money import ZERO, total
from domain.order import Order, fold
from projections.delivery.ports import Answer, Attempt, AttemptKind, Claim, Outcome, Settlement
from tests.support.commands import run_here
from tests.support.decoding import read
from tests.support.event_store import append, project, sql
from tests.support.ledgers import CALL_TIMEOUT_SECONDS, LEASE_SECONDS
from tests.support.messages import SECOND_NS, product, record_of
from tests.support.running_api import deliver, running_api

pytestmark = pytest.mark.slow

FIRST: Final = date(2025, 3, 1)
DAYS: Final = 4
ORDERS: Final = 12
POLICY: Final = Policy(corrections=True)
TOKEN: Final = "operators-and-nobody-else"
KINDS: Final = (Kind.CREATED, Kind.UPDATED, Kind.UPDATED, Kind.COMPLETED, Kind.COMPLETED, Kind.CANCELLED)
OUTCOMES: Final = (("delivered", 200), ("delivered", 200), ("in_doubt", None), ("failed", 503), ("failed", 502))
_DAY_NS: Final = 86_400 * SECOND_NS


@dataclass
class Tried:
    """What is recorded of a call: an attempt at it, a lookup, or that a person gave it up."""

    version: int
    at_ns: int
    kind: str
    outcome: str = ""
    status: int | None = None
    found_done: bool = False

    @property
    def confirms(self) -> bool:
        return self.outcome == "delivered" or self.found_done

    @property
    def is_doubtful(self) -> bool:
        return self.kind == "call" and (self.outcome == "in_doubt" or self.status == 502)


@dataclass
class Story:
    """One order, and what was recorded of the calls that credit it, in the order of the record."""

    order_id: int
    events: list[OrderEvent] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)

    def before(self, ns: int) -> Order:
        """As it was then. A clock that goes back within an order stands still."""
        known, latest = [], 0
        for event in self.events:
            latest = max(latest, event.recorded_at_ns)
            if latest < ns:
                known.append(event)
        return fold(Order(self.order_id), known) or Order(self.order_id)

    def accounts(self, ns: int) -> dict[Account, Decimal]:
        """Where the order's money was then."""
        order = self.before(ns)
        amount = order.terms.cashback if order.terms else ZERO
        found = dict.fromkeys(Account, ZERO)
        match order.status:
            case Status.PENDING:
                found[Account.OPEN] = amount
            case Status.COMPLETED:
                found[Account.CREDITED] = credited = self.credited(ns)
                found[self.hindrance(ns, order)] += amount - credited
            case _:
                pass
        found[Account.GRANTED] = -total(found.values())
        return found

    def credited(self, ns: int) -> Decimal:
        done = {each.version for each in self.tried if each.confirms and each.at_ns < ns}
        return next((amount for version, amount in reversed(self.credits(ns)) if version in done), ZERO)

    def credits(self, ns: int) -> list[tuple[int, Decimal]]:
        version = self.before(ns).version
        return [
            (event.originator_version, event.cashback)
            for event in self.events[:version]
            if isinstance(event, CashbackCompleted | CashbackCorrected)
        ]

    def hindrance(self, ns: int, order: Order) -> Account:
        version = self.credits(ns)[-1][0]
        known = [each for each in self.tried if each.version == version and each.at_ns < ns]
        if [each.kind for each in known if each.kind != "lookup"][-1:] == ["skip"]:
            return Account.SKIPPED
        is_in_doubt = looked_up = False
        for each in known:
            if each.kind == "lookup":
                looked_up = True
            elif each.kind == "call":
                is_in_doubt = (is_in_doubt and not looked_up) or each.is_doubtful
                looked_up = False
        if is_in_doubt:
            return Account.IN_DOUBT
        return Account.HELD if order.doubts else Account.OWED


def earning(cashback: int) -> list[dict[str, Any]]:
    return [product(quantity=1, original=cashback, final=0)]


def story(rng: random.Random, order_id: int) -> Story:
    """Messages in and out of order over the days, people who settle, and calls with every outcome."""
    told = Story(order_id)
    order, now_ns = Order(order_id), nanoseconds(start_of(FIRST)) + rng.randrange(_DAY_NS)
    for number in range(rng.randint(1, 6)):
        kind = Kind.CREATED if number == 0 and rng.random() < 0.9 else rng.choice(KINDS)
        earns: dict[str, Any] = {} if kind.is_end else {"items": earning(rng.choice([0, 5, 6, 600]))}
        partition = rng.randrange(2)
        at_ns = rng.randint(-2, 2) + number
        said = record_of(kind, order_id=order_id, at_ns=at_ns, offset=number, partition=partition, **earns)
        decided: Sequence[OrderEvent] = decide(order, read(said), now_ns=now_ns, policy=POLICY)
        if order.doubts and rng.random() < 0.4:
            decided = settle(order, Author("Ada", "asked"), now_ns=now_ns)
        order = fold(order, decided) or order
        told.events += decided
        now_ns += rng.choice([-SECOND_NS, 0, SECOND_NS, _DAY_NS // 3, _DAY_NS])
    for event in told.events:
        if effect_of(event) is not None and isinstance(event, CashbackCompleted | CashbackCorrected):
            told.tried += tries(rng, event)
    return told


def tries(rng: random.Random, event: OrderEvent) -> list[Tried]:
    version, at_ns = event.originator_version, event.recorded_at_ns
    found: list[Tried] = []
    for _ in range(rng.randint(0, 4)):
        at_ns += rng.choice([SECOND_NS, _DAY_NS // 2, _DAY_NS])
        match rng.randrange(6):
            case 0:
                found.append(Tried(version, at_ns, "skip"))
            case 1:
                found.append(Tried(version, at_ns, "lookup", "found", 200, found_done=rng.random() < 0.3))
            case _:
                found.append(Tried(version, at_ns, "call", *rng.choice(OUTCOMES)))
        if found[-1].confirms and rng.random() < 0.9:
            break
    return found


def store(database_url: str, stories: Sequence[Story]) -> None:
    tables = "stored_events, posting, effect, delivery, orders, attempt, operator_action"
    sql(database_url, f"TRUNCATE {tables} RESTART IDENTITY")
    sql(database_url, "UPDATE projection_position SET notification_id = 0")
    append(database_url, [event for each in stories for event in each.events])
    project(database_url)
    attempts = [(each.order_id, tried) for each in stories for tried in each.tried if tried.kind != "skip"]
    skips = [(each.order_id, tried) for each in stories for tried in each.tried if tried.kind == "skip"]
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO attempt (kind, order_id, version, started_at, duration_ms, outcome, status, recorded_at,"
            " found_done) VALUES (%s, %s, %s, '2020-01-01Z', 1, %s, %s, %s, %s)",
            [
                (t.kind, order_id, t.version, t.outcome, t.status, moment(t.at_ns), t.found_done)
                for order_id, t in attempts
            ],
        )
        cursor.executemany(
            "INSERT INTO operator_action (operator, via, action, reason, order_id, version, done_at)"
            " VALUES ('Ada', 'api', 'skip', 'asked', %s, %s, %s)",
            [(order_id, tried.version, moment(tried.at_ns)) for order_id, tried in skips],
        )


def moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // SECOND_NS, UTC) + timedelta(microseconds=ns % SECOND_NS // 1000)


def statements_of(database_url: str, days: Sequence[date]) -> list[Statement]:
    async def ask() -> list[Statement]:
        async with Database(database_url) as database:
            statements = PostgresStatements(database)
            return [await statements.statement(day) for day in days]

    return asyncio.run(ask())


class TestAtRandom:
    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(seed=st.integers(0, 2**32))
    def test_each_day_sums_to_zero_carries_over_and_is_what_the_orders_say(
        self, database_url: str, seed: int
    ) -> None:
        """Whatever orders went through: nothing appears or vanishes, and each account is what a fold of the orders
        finds in it."""
        rng = random.Random(seed)
        stories = [story(rng, rng.choice([0, 2**62]) + number) for number in range(1, ORDERS + 1)]
        store(database_url, stories)
        days = [FIRST + timedelta(days=number) for number in range(-1, DAYS + 4)]
        found = statements_of(database_url, days)
        for before, after in pairwise(found):
            assert before.closing == after.opening
        for each in found:
            assert each.faults == ()
            assert each.is_closed
            ns = nanoseconds(end_of(each.day))
            expected = [one.accounts(ns) for one in stories]
            sums = {account: total(one[account] for one in expected) for account in Account}
            assert each.closing.amounts == sums
            counted = sum(one.before(ns).status is Status.PENDING for one in stories)
            assert each.closing.orders[Account.OPEN] == counted

    def test_the_lines_of_a_day(self, database_url: str) -> None:
        """Each kind of thing once, and what it moves."""
        told = Story(7)
        order = Order(7)
        noon = nanoseconds(start_of(FIRST)) + _DAY_NS // 2
        kinds = [(Kind.CREATED, 5), (Kind.UPDATED, 6), (Kind.COMPLETED, 0), (Kind.CANCELLED, 0)]
        for number, (kind, cashback) in enumerate(kinds):
            items: dict[str, Any] = {} if kind.is_end else {"items": earning(cashback)}
            said = read(record_of(kind, order_id=7, at_ns=number, offset=number, **items))
            decided = decide(order, said, now_ns=noon, policy=POLICY)
            order = fold(order, decided) or order
            told.events += decided
        told.tried = [
            Tried(3, noon + SECOND_NS, "call", "delivered", 200),
            Tried(4, noon + 2 * SECOND_NS, "call", "in_doubt"),
        ]
        store(database_url, [told])
        [statement] = statements_of(database_url, [FIRST])
        lines = {
            each.line: (each.number, {key: at for key, at in each.amounts.items() if at})
            for each in statement.entries
        }
        five, one, six = Decimal(5), Decimal(1), Decimal(6)
        assert lines == {
            Line.OPENED: (1, {Account.GRANTED: -five, Account.OPEN: five}),
            Line.CHANGED: (1, {Account.GRANTED: -one, Account.OPEN: one}),
            Line.CANCELLED: (0, {}),
            Line.COMPLETED: (1, {Account.OPEN: -six, Account.OWED: six}),
            Line.CORRECTED: (0, {}),
            Line.TAKEN_BACK: (1, {Account.GRANTED: six, Account.OWED: -six}),
            Line.CREDITED: (1, {Account.OWED: -six, Account.CREDITED: six}),
            Line.CREDIT_CORRECTED: (0, {}),
            Line.CREDIT_TAKEN_BACK: (0, {}),
            Line.HELD: (0, {}),
            Line.IN_DOUBT: (1, {Account.OWED: six, Account.IN_DOUBT: -six}),
            Line.SKIPPED: (0, {}),
        }


class TestFromTheLedger:
    def test_what_a_lookup_found_done_is_credited(self, database_url: str) -> None:
        """Nobody told us that the call was carried out; and a redelivery takes back what the ledger says of it."""
        append(database_url, events_of(7))
        project(database_url)

        async def scenario() -> None:
            async with PostgresLedger(
                database_url, lease_seconds=LEASE_SECONDS, call_timeout_seconds=CALL_TIMEOUT_SECONDS
            ) as ledger:
                [claim], _ = await ledger.claim(1)
                await ledger.settle([Settlement(claim, looked_up(claim), 3, 0, 0.0, None)])

        asyncio.run(scenario())
        sql(database_url, "UPDATE effect SET state = 'due', settled_at = NULL")
        [statement] = statements_of(database_url, [datetime.now(UTC).date()])
        assert statement.closing.amounts[Account.CREDITED] == 6
        assert statement.faults == ()

    def test_a_claim_that_was_never_settled_is_noted_on_the_day_of_the_note(self, database_url: str) -> None:
        """However long ago its calls were sent: that day is over."""
        append(database_url, events_of(7))
        project(database_url)

        async def claim(times: int) -> None:
            async with PostgresLedger(
                database_url, lease_seconds=LEASE_SECONDS, call_timeout_seconds=CALL_TIMEOUT_SECONDS
            ) as ledger:
                for _ in range(times):
                    await ledger.claim(1)

        asyncio.run(claim(1))
        sql(
            database_url,
            "UPDATE delivery SET claimed_at = now() - interval '3 days', next_attempt_at = now() - interval '1 h'",
        )
        asyncio.run(claim(1))
        today = datetime.now(UTC).date()
        before, now = statements_of(database_url, [today - timedelta(days=3), today])
        assert before.closing.amounts[Account.IN_DOUBT] == ZERO
        assert now.closing.amounts[Account.IN_DOUBT] == 6

    def test_events_that_delivery_hasnt_read_keep_a_day_open(self, database_url: str) -> None:
        append(database_url, events_of(7))
        day = moment(events_of(7)[0].recorded_at_ns).date()
        [unread] = statements_of(database_url, [day])
        project(database_url)
        [closed] = statements_of(database_url, [day])
        assert (unread.is_closed, closed.is_closed) == (False, True)
        assert closed.closing.amounts[Account.OWED] == 6

    def test_a_day_to_come_has_none(self, database_url: str) -> None:
        with pytest.raises(DayNotBegun):
            statements_of(database_url, [datetime.now(UTC).date() + timedelta(days=2)])


class TestForPeople:
    def test_command_api_and_console_say_the_same(self, database_url: str, tmp_path: Path) -> None:
        events = events_of(7)
        append(database_url, events)
        project(database_url)
        deliver(database_url)
        day = moment(events[0].recorded_at_ns).date()
        today = datetime.now(UTC).date()
        with running_api(database_url, token=TOKEN) as api:
            said = api.get(f"/api/statement?day={today}").json()
            assert api.get(f"/api/statement?day={today + timedelta(days=2)}").status_code == 409
            for never in ("1969-12-31", "2262-01-01", "0", "20261130", "2026-02-30"):
                assert api.get(f"/api/statement?day={never}").status_code == 400, never
            assert api.get("/api/statement").json()["day"] == f"{today - timedelta(days=1)}"
            sign_in = {"name": "Ada", "token": TOKEN, "next": "/statement"}
            api.client.post("/sign-in", data=sign_in)
            page = api.get(f"/statement?day={day}").text
            file = api.get(f"/statement?day={today}&form=csv")
            as_json = api.get(f"/statement?day={today}&form=json")
        assert said["closing"]["amounts"] | {"credited": None, "granted": None} == {
            "granted": None,
            "open": 0,
            "owed": 0,
            "held": 0,
            "inDoubt": 0,
            "skipped": 0,
            "credited": None,
        }
        assert (said["closing"]["amounts"]["credited"], said["closed"]) == (6, False)
        assert f"Statement of {day}" in page
        assert "closed" in page
        assert as_json.json() == said
        rows = list(csv.DictReader(io.StringIO(file.text)))
        assert file.headers["content-disposition"] == f'attachment; filename="statement-{today}.csv"'
        assert [row["line"] for row in rows] == ["opening", *Line, "closing"]
        assert (rows[-1]["credited"], rows[-1]["granted"], rows[-1]["currency"]) == ("6.00", "-6.00", "TRY")
        here: Any = {"folder": tmp_path, "settings": {"database_url": database_url}}
        command = run_here("statement", "--day", f"{today}", "--json", **here)
        assert (command.code, json.loads(command.out)) == (0, said)
        command = run_here("statement", "--day", f"{today}", "--csv", **here)
        assert command.out.splitlines() == file.text.splitlines()
        command = run_here("statement", "--day", f"{day}", **here)
        assert f"{day} (UTC), in TRY: closed" in command.out
        assert run_here("statement", "--day", "2200-01-01", **here).code == 1

    def test_what_differs_is_taken_from_what_was_compared(self, database_url: str) -> None:
        """The third party's own sum, as far as anybody knows it."""
        events = events_of(7)
        append(database_url, events)
        project(database_url)
        deliver(database_url)
        sql(
            database_url,
            "INSERT INTO reconciliation (order_id, class, our_status, our_amount, their_status, their_amount)"
            " VALUES (7, 'amount', 'COMPLETED', 6, 'COMPLETED', 5), (8, 'in_flight', 'PENDING', 6, NULL, NULL)",
        )
        [statement] = statements_of(database_url, [datetime.now(UTC).date()])
        assert statement.different.orders == 1
        assert statement.credited_there == 5


def events_of(order_id: int) -> list[OrderEvent]:
    """Of an order that earns 6, on a day that is long over."""
    order, events = Order(order_id), list[OrderEvent]()
    for number, kind in enumerate((Kind.CREATED, Kind.UPDATED, Kind.COMPLETED)):
        said = read(record_of(kind, order_id=order_id, at_ns=number, offset=number))
        decided = decide(order, said, now_ns=nanoseconds(start_of(FIRST)) + number)
        order = fold(order, decided) or order
        events += decided
    return events


def looked_up(claim: Claim) -> tuple[Attempt, ...]:
    """What each call was found to be, without being sent."""
    now = datetime.now(UTC)
    return tuple(
        Attempt(call, now, 1, Answer(Outcome.FOUND, 200, "COMPLETED with 6"), AttemptKind.LOOKUP)
        for call in claim.calls
    )


def test_each_hindrance_has_an_account_of_its_name() -> None:
    assert {line.value: account.value for line, account in HINDRANCES.items()} == {
        name: name for name in ("held", "in_doubt", "skipped")
    }
