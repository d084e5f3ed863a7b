"""The commands that look, over a real database: the JSON is the API's, and the text has what a person needs."""

import asyncio
import json
import os
import pty
import re
import secrets
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

import pytest

from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.migrate import migrate
from adapters.postgres.pool import Database
from adapters.postgres.service_status import PostgresConsole
from adapters.records.actions import ActionRequest
from adapters.records.operators import Operator, Role, Via
from adapters.records.status import EVENTS_PER_STEP
from domain.exact_json import loads
from domain.messages import Kind
from projections.delivery.ports import Answer, Call, Outcome
from sandbox.servers.postgres import create_database, drop_database
from tests.support.commands import run_here
from tests.support.event_store import append, project, streams
from tests.support.messages import ORDER_ID, product, record, record_of
from tests.support.processes import bare_environment, command
from tests.support.running_api import RecordingThirdParty, deliver, running_api, sql, tell
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

PARKED: Final = ORDER_ID
HELD, DELIVERED = 7, 8
ROUGH: Final = "b\x1b[31m8"
"""A buyer whose name would colour a terminal."""

Run = Callable[..., str]
T = TypeVar("T")


def refuse_with_colours(call: Call) -> Answer | None:
    return Answer(Outcome.REFUSED, 422, "no\x1b[31m\nsorry") if call.order_id == PARKED else None


@pytest.fixture(scope="module")
def told(postgres_server: str) -> Iterator[str]:
    """One order parked, one held, one delivered; a message in quarantine, a difference, and an action on record."""
    database_url = create_database(postgres_server, f"cashback_commands_{secrets.token_hex(4)}")
    migrate(database_url)
    weighed = product(1.25, 79.99, 90)
    tell(
        database_url,
        record_of(Kind.CREATED, offset=1),
        record_of(Kind.UPDATED, offset=2, at_ns=1),
        record_of(Kind.COMPLETED, offset=3, at_ns=2),
        record_of(Kind.COMPLETED, order_id=HELD, offset=4),
        record(b"{", offset=5, headers=(("x", b"\xff"),)),
        record_of(Kind.CREATED, order_id=DELIVERED, offset=6, at_ns=5, buyerId=ROUGH, items=[weighed]),
    )
    third_party = RecordingThirdParty(refuse_with_colours)
    deliver(database_url, third_party)
    with running_api(database_url) as api:
        assert api.client.post(f"/api/parked/{PARKED}/retry", json={"reason": "a test"}).status_code == 202
    deliver(database_url, third_party)
    sql(
        database_url,
        "INSERT INTO reconciliation (order_id, class, our_status, our_amount, their_status, their_amount)"
        " VALUES (%s, 'amount', 'COMPLETED', 6, 'COMPLETED', 6.50)",
        DELIVERED,
    )
    yield database_url
    drop_database(database_url)


def ask(url: str, question: Callable[[Database], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with Database(url) as database:
            return await question(database)

    return asyncio.run(asked())


@pytest.fixture
def run(told: str, tmp_path: Path) -> Run:
    """Runs a command that must succeed, and answers what it said."""

    def run(*arguments: str) -> str:
        done = run_here(*arguments, folder=tmp_path, settings={"database_url": told})
        assert (done.code, done.err) == (0, ""), arguments
        return done.out

    return run


def test_the_json_is_what_the_api_answers(told: str, run: Run) -> None:
    """The same members with the same values, in one document; page by page too."""
    with running_api(told) as api:
        for path, arguments in (
            ("/api/orders", "orders"),
            ("/api/orders?status=PENDING&limit=1", "orders --status PENDING --limit 1"),
            ("/api/orders?held=true", "orders --held"),
            ("/api/orders?buyer=1234", "orders --buyer 1234"),
            ("/api/orders?mismatch=true", "orders --mismatch"),
            ("/api/parked", "parked"),
            ("/api/quarantine?state=open", "quarantine --state open"),
            ("/api/quarantine/1", "quarantine 1"),
            ("/api/audit", "audit"),
            (f"/api/audit?order={HELD}", f"audit --order {HELD}"),
            ("/api/reconciliation", "differences"),
            ("/api/reconciliation?class=state", "differences --class state"),
            ("/api/replays", "replays"),
            (f"/api/orders/{PARKED}", f"order {PARKED}"),
        ):
            answer = api.get(path)
            assert answer.status_code == 200, path
            assert loads(run(*arguments.split(), "--json")) == loads(answer.content), arguments
    mismatched = json.loads(run("orders", "--mismatch", "--json"))["orders"]
    assert [each["orderId"] for each in mismatched] == [DELIVERED]
    first = json.loads(run("orders", "--limit", "2", "--json"))
    second = json.loads(run("orders", "--limit", "2", "--after", first["next"], "--json"))
    assert [each["orderId"] for page in (first, second) for each in page["orders"]] == [PARKED, DELIVERED, HELD]
    assert second["next"] is None


def test_amounts_keep_their_digits(run: Run) -> None:
    """In the JSON as numbers, and in the text."""
    said = run("order", str(DELIVERED), "--json")
    assert loads(said)["cashbackAmount"] == Decimal("9.99")
    assert '"cashbackAmount":9.99' in said
    assert "  status   PENDING, cashback 9.99" in run("order", str(DELIVERED))


def test_an_order_is_told_from_its_first_message_to_its_last_call(run: Run) -> None:
    """Where each message was read, what was decided and why, and what became of the calls."""
    said = run("order", str(PARKED)).splitlines()
    assert said[0] == f"order {PARKED}: Owed 6.00 TRY, not paid: the third party refused the create call"
    assert "  runbook  docs/runbooks/parked.md" in said
    assert "  status   COMPLETED, cashback 6.00" in said
    assert any(re.fullmatch(r"67867 +2  KG +156\.00  306\.00 +6\.00", line) for line in said)
    timeline = said[said.index("timeline") :]
    assert timeline[1] == "  1  CREATED accepted: the first CREATED of the order, cashback 6.00"
    assert timeline[2].startswith(
        "     order-cashback-promotion/0@1, dated 2025-02-28T12:00:00.000000000Z, recorded "
    )
    assert "     POST /v1/cashbacks: parked" in timeline
    assert sum(line.endswith("refused 422 no␛[31m␊sorry") for line in timeline) == 2
    assert "     PUT /v1/cashbacks/24323523: due" in timeline
    assert timeline[timeline.index("what people did") + 2].endswith("parked → due  a test")
    held = run("order", str(HELD))
    assert "  1  COMPLETED held: the order isn't created yet: it waits for the CREATED" in held


def test_lists_are_one_row_a_line_and_say_where_they_go_on(told: str, run: Run, tmp_path: Path) -> None:
    """Under a line with the names, without frames, colours or what others' texts would do to a terminal."""
    names, *rows = run("orders").splitlines()
    assert names.split()[:3] == ["order", "status", "cashback"]
    assert [row.split()[0] for row in rows] == [str(PARKED), str(DELIVERED), str(HELD)]
    assert "b␛[31m8" in rows[1]
    part = run_here("orders", "--limit", "1", folder=tmp_path, settings={"database_url": told})
    assert (part.code, part.out.count("\n")) == (0, 2)
    (following,) = re.findall(r"^more: --after (\S+)\n$", part.err)
    after = run("orders", "--after", following).splitlines()[1:]
    assert [row.split() for row in after] == [row.split() for row in rows[1:]]
    for arguments, row in (
        ("parked", rf"{PARKED} .* refused with status 422 +1  create of version 1 +2 +6\.00  no.*"),
        ("quarantine", r" *1  open .* order-cashback-promotion/0@5 +24323523  not_json +the value isn't JSON.*"),
        ("audit", rf".*  retry +{PARKED} +1  parked → due  a test"),
        ("differences", rf" *1 +{DELIVERED}  amount  COMPLETED 6 +COMPLETED 6\.50 .*"),
    ):
        lines = run(arguments).splitlines()
        assert len(lines) == 2, arguments
        assert re.fullmatch(row, lines[1]), lines[1]
    quarantined = run("quarantine", "1")
    assert "header x:\n  000000  ff" in quarantined
    assert quarantined.endswith("value:\n  {\n")


def test_a_transaction_is_found_though_nobody_has_prepared_the_search(told: str, run: Run) -> None:
    """No process with the API runs here; the messages of long ago are read first."""
    found = json.loads(run("orders", "--transaction", "t0", "--json"))["orders"]
    assert [each["orderId"] for each in found] == [PARKED, HELD]
    assert run("orders", "--transaction", "t9").count("\n") == 1


def test_many_events_are_read_before_a_transaction_is_sought(database_url: str, tmp_path: Path) -> None:
    """With a bar that shows how far it has come."""
    append(database_url, streams(range(1, EVENTS_PER_STEP // 3 + 10)))
    project(database_url)
    settings = {"database_url": database_url}
    done = run_here("orders", "--transaction", "t0", "--json", folder=tmp_path, settings=settings)
    assert (done.code, "reading" in done.err) == (0, True)
    assert len(json.loads(done.out)["orders"]) > 0


def test_the_status_tells_what_stands_still_and_how_the_processes_are(told: str, run: Run) -> None:
    """With the money in it; it takes the numbers itself where nobody does."""
    before = json.loads(run("status", "--json"))
    assert (before["parked"]["number"], before["parked"]["cashbackAmount"]) == (1, 6)
    assert (before["held"]["number"], before["quarantined"]["number"], before["differences"]) == (1, 1, 1)
    assert (before["messages"], before["processes"], before["messagesPerSecond"]) == (7, [], None)
    assert "no process of the service has been heard of lately" in run("status")

    state = {"ready": False, "parts": {"push": "waiting for the third party"}, "breaker": "open", "lag": 12}

    ask(told, lambda database: PostgresConsole(database).note_process(uuid4(), "host:1", ["push"], state))
    said = run("status").splitlines()
    assert any(re.fullmatch(r"parked +1 +6\.00  .+", line) for line in said)
    assert any(re.fullmatch(r"host:1 +push +NO +open +12  .+ ago", line) for line in said)
    assert said[-2:] == ["! host:1: push: waiting for the third party", "! host:1: open"]
    (process,) = json.loads(run("status", "--json"))["processes"]
    assert {**process, "startedAt": "", "seenAt": ""} == state | {
        "name": "host:1",
        "roles": ["push"],
        "startedAt": "",
        "seenAt": "",
    }


def test_dry_runs_of_actions_say_in_text_what_would_be_done(run: Run) -> None:
    """Which calls, with their keys and bodies; what it could cost; what becomes of a message."""
    skipped = run("skip", str(PARKED), "--dry-run").splitlines()
    assert skipped[0] == f"skip order {PARKED}: a dry run, nothing is done"
    assert skipped[1] == "  state       parked → due"
    assert re.fullmatch(r" +1  create POST /v1/cashbacks +parked +2 +6\.00  [0-9a-f-]{36}", skipped[4])
    assert skipped[-1].startswith("warning: without the create the third party doesn't know the order")
    again = run("replay", str(DELIVERED), "--mode", "redeliver", "--nonce", "n", "--dry-run").splitlines()
    assert "  could be paid a second time  9.99" in again
    assert "  1  create POST /v1/cashbacks, delivered, 1 attempt" in again
    assert any(re.fullmatch(r" +key [0-9a-f-]{36}, formerly [0-9a-f-]{36}", line) for line in again)
    assert any(line.startswith(f'     body {{"orderId":{DELIVERED},') for line in again)
    nothing = run("replay", str(DELIVERED), "--mode", "redeliver", "--how", "resume", "--dry-run")
    assert "0 calls would be sent" in nothing
    assert "calls that stay as they are" in nothing
    discarded = run("quarantine", "1", "--discard", "--dry-run").splitlines()
    assert discarded[:2] == [
        "quarantine discard message 1: a dry run, nothing is done",
        "  state  open → discarded",
    ]


def test_comparisons_started_in_the_console_are_listed_shown_and_ended(told: str, run: Run) -> None:
    """Once; the action is on record."""
    asked = ActionRequest(Operator("Ada", Via.API, Role.OPERATOR), "they restored a backup")
    started = ask(told, lambda database: PostgresJobs(database).compare([DELIVERED], 5.0, asked))
    assert f"{started}  running  1 orders" in run("comparisons")
    shown = json.loads(run("comparisons", str(started), "--json"))
    assert (shown["id"], shown["total"], shown["operator"]) == (str(started), 1, "Ada")
    (listed,) = json.loads(run("comparisons", "--json"))["comparisons"]
    assert listed == shown
    ended = run("comparisons", str(started), "--cancel", "--reason", "a test").splitlines()
    assert ended[0] == f"comparison {started}: cancelled"
    assert re.fullmatch(r".*  compare_cancel .*  a test", run("audit").splitlines()[1])


def test_a_terminal_gets_frames_and_colours(told: str, tmp_path: Path) -> None:
    """And the text of others colours nothing."""

    ours, theirs = pty.openpty()
    environment = bare_environment({"database_url": told}) | {"TERM": "xterm-256color", "COLUMNS": "200"}
    process = subprocess.Popen(command("orders"), cwd=tmp_path, env=environment, stdout=theirs)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the other end is closed
        while some := os.read(ours, 4096):
            said += some
    os.close(ours)
    assert process.wait(DEADLINE_SECONDS) == 0
    shown = said.decode()
    assert "───" in shown
    assert "\x1b[1m" in shown
    assert "b␛[31m8" in shown
    assert "\x1b[31m" not in shown


@pytest.mark.parametrize("form", ["", "--json"])
def test_a_reader_that_goes_away_is_no_accident(told: str, tmp_path: Path, form: str) -> None:
    """As `| head -1` does: no trace."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command(*f"order {PARKED} {form}".split()),
        cwd=tmp_path,
        env=bare_environment({"database_url": told}),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("order 99", 1, "order 99 has no events"),
        ("order 0", 2, "Invalid value for 'ORDER_ID': Input should be greater than or equal to 1"),
        ("order x", 2, "Invalid value for 'ORDER_ID': Input should be a valid integer"),
        ("orders --status OPEN", 2, "Invalid value for '--status': "),
        ("orders --after 17", 2, "--after is '17': must be the `next` of a page of this list"),
        ("orders --transaction t0 --held", 2, "--transaction goes with no other choice of orders"),
        ("quarantine 99", 1, "there is no message 99 in quarantine"),
        ("comparisons 99", 1, "there is no comparison 99, or not any more"),
        ("replays 99", 1, "there is no bulk replay 99"),
        ("replay-many --status PENDING --json", 2, "--json goes with --dry-run, --yes or --token: it asks nobody"),
    ],
)
def test_what_is_not_there_or_not_understood_is_one_line(
    told: str, tmp_path: Path, arguments: str, code: int, said: str
) -> None:
    """On the standard error stream, with the exit code that says which."""
    done = run_here(*arguments.split(), folder=tmp_path, settings={"database_url": told})
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert done.err.startswith(f"error: {said}")
