"""Messages that could not be read, dealt with by a person: read again at their place, edited, or discarded."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.messages import Kind
from tests.integration.test_api import is_problem
from tests.support.messages import ORDER_ID, SECOND_NS, record, record_of, value_of
from tests.support.processes import run_app
from tests.support.running_api import Api, project, running_api, sql, tell

pytestmark = pytest.mark.slow

CREATED = record_of(Kind.CREATED, offset=1)
BROKEN = record_of(Kind.UPDATED, offset=2, at_ns=SECOND_NS, transactionDate="soon")
REPAIRED = record_of(Kind.UPDATED, offset=2, at_ns=SECOND_NS)
COMPLETED = record_of(Kind.COMPLETED, offset=3, at_ns=2 * SECOND_NS)
STATE = "SELECT state, closed_at IS NOT NULL FROM quarantine ORDER BY id"


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with running_api(database_url) as running:
        yield running


def act(api: Api, action: str, quarantine_id: int = 1, **body: Any) -> httpx.Response:
    return api.client.post(f"/api/quarantine/{quarantine_id}/{action}", json=body)


def text(value: bytes | None) -> str:
    return (value or b"").decode()


def stored(database_url: str) -> list[str]:
    return [topic for (topic,) in sql(database_url, "SELECT topic FROM stored_events ORDER BY notification_id")]


def test_an_edited_message_is_decided_at_the_place_that_it_had(database_url: str, api: Api) -> None:
    """As intake would have done: behind the CREATED of its partition. What came stays as it came."""
    tell(database_url, CREATED, BROKEN)
    foretold = act(api, "retry", value=text(REPAIRED.value), dryRun=True).json()
    assert (stored(database_url), sql(database_url, STATE)) == (["cashback-created"], [("open", False)])

    done = act(api, "retry", value=text(REPAIRED.value), reason="a typing error")

    assert done.status_code == 200
    assert foretold | {"dryRun": False} == done.json()
    assert done.json()["decisions"] == [{"version": 2, "event": "cashback-updated", "type": "UPDATED"}]
    project(database_url)
    update = api.get(f"/api/orders/{ORDER_ID}").json()["timeline"][1]
    assert (update["message"]["topic"], update["message"]["partition"], update["message"]["offset"]) == (
        BROKEN.partition.topic,
        0,
        2,
    )
    assert update["call"]["state"] == "due"
    shown = api.get("/api/quarantine/1").json()
    assert (shown["state"], shown["value"]["text"]) == ("retried", text(BROKEN.value))
    assert (shown["edited"]["value"]["text"], shown["edited"]["key"]) == (text(REPAIRED.value), None)
    assert shown["closedAt"] is not None
    (action,) = api.get(f"/api/audit?order={ORDER_ID}").json()["actions"]
    assert (action["action"], action["quarantineId"], action["reason"]) == (
        "quarantine_retry",
        1,
        "a typing error",
    )
    assert (action["stateBefore"], action["stateAfter"]) == ("open", "retried")
    assert (action["detail"]["was"], action["detail"]["edited"]) == ("bad_date", ["value"])


def test_key_and_headers_can_be_edited_too(database_url: str, api: Api) -> None:
    """As text or as bytes in base64."""
    tell(database_url, record(CREATED.value, key=None, headers=(("sequence", b"one"),)))
    key = {"base64": base64.b64encode(CREATED.key or b"").decode()}
    refused = is_problem(act(api, "retry", key=key), 422)
    assert refused["reason"] == "bad_header"
    headers = [{"name": "sequence", "value": "1"}, {"name": "none", "value": None}]
    assert act(api, "retry", key=key, headers=headers).status_code == 200
    shown = api.get("/api/quarantine/1").json()
    assert [(each["name"], each["value"] and each["value"]["text"]) for each in shown["edited"]["headers"]] == [
        ("sequence", "1"),
        ("none", None),
    ]
    project(database_url)
    assert api.get(f"/api/orders/{ORDER_ID}").json()["timeline"][0]["message"]["sequence"] == 1


def test_what_still_cannot_be_read_stays_open(database_url: str, api: Api) -> None:
    """With the reason; nothing is recorded."""
    tell(database_url, BROKEN)
    assert is_problem(api.client.post("/api/quarantine/1/retry"), 422)["reason"] == "bad_date"
    assert sql(database_url, STATE) == [("open", False)]
    assert sql(database_url, "SELECT count(*) FROM operator_action") == [(0,)]


def test_a_message_that_is_known_already_changes_nothing(database_url: str, api: Api) -> None:
    """It is closed all the same."""
    tell(database_url, CREATED, record_of(Kind.CREATED, offset=2, transactionDate="soon"))
    done = act(api, "retry", value=text(CREATED.value)).json()
    assert (done["isRepeat"], done["decisions"], stored(database_url)) == (True, [], ["cashback-created"])
    assert sql(database_url, STATE) == [("retried", True)]


def test_held_messages_are_released_by_one_that_is_read_at_last(database_url: str, api: Api) -> None:
    """The order's whole story follows from it."""
    broken = record_of(Kind.CREATED, offset=1, transactionDate="soon")
    tell(database_url, broken, REPAIRED, COMPLETED)
    done = act(api, "retry", value=text(CREATED.value)).json()
    assert [each["event"] for each in done["decisions"]] == [
        "cashback-created",
        "cashback-updated",
        "cashback-completed",
    ]


def test_a_message_is_discarded_with_a_reason_and_kept(database_url: str, api: Api) -> None:
    """It can't be read again."""
    tell(database_url, BROKEN)
    is_problem(act(api, "discard"), 422)
    assert act(api, "discard", dryRun=True).json()["stateAfter"] == "discarded"
    assert sql(database_url, STATE) == [("open", False)]
    assert act(api, "discard", reason="a test message").json()["stateAfter"] == "discarded"
    assert sql(database_url, STATE) == [("discarded", True)]
    assert sql(database_url, "SELECT action, reason, quarantine_id FROM operator_action") == [
        ("quarantine_discard", "a test message", 1)
    ]
    for action in ("retry", "discard"):
        assert is_problem(act(api, action, reason="again"), 409)["state"] == "discarded"
    is_problem(act(api, "retry", 2), 404)
    is_problem(act(api, "discard", 2, reason="x"), 404)


def test_of_many_that_deal_with_a_message_at_once_one_does(database_url: str, api: Api) -> None:
    """The events, the message's new state and the record are one transaction."""
    tell(database_url, CREATED, BROKEN)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: act(api, "retry", value=text(REPAIRED.value)), range(8)))
    assert sorted(each.status_code for each in answers) == [200] + [409] * 7
    assert stored(database_url) == ["cashback-created", "cashback-updated"]
    assert sql(database_url, "SELECT count(*) FROM operator_action") == [(1,)]


def test_a_message_is_decided_anew_if_its_order_goes_on_meanwhile(database_url: str, api: Api) -> None:
    """However often others write to the order at the same moment, both have their say."""
    tell(database_url, CREATED, *(record_of(Kind.UPDATED, offset=n, transactionDate="soon") for n in range(2, 8)))

    def retry(number: int) -> httpx.Response:
        value = value_of(Kind.UPDATED, json.loads(text(REPAIRED.value))["payload"] | {"note": number})
        return act(
            api, "retry", number, value=text(value).replace('"transactionId": "t', f'"transactionId": "{number}')
        )

    with ThreadPoolExecutor(3) as pool:
        assert {each.status_code for each in pool.map(retry, range(1, 7))} == {200}
    assert len(stored(database_url)) == 7
    assert sql(database_url, "SELECT DISTINCT state FROM quarantine") == [("retried",)]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"value": 1}, "#/value"),
        ({"value": {"base64": "%"}}, "#/value"),
        ({"key": {"text": "x"}}, "#/key"),
        ({"headers": [{"value": "x"}]}, "#/headers/0/name"),
        ({"headers": [{"name": "\x00"}]}, "#/headers/0/name"),
        ({"edit": "x"}, "#/edit"),
    ],
)
def test_an_edit_that_cannot_be_understood_is_refused(api: Api, body: Any, pointer: str) -> None:
    """As a 422 that points there."""
    assert [each["pointer"] for each in is_problem(act(api, "retry", **body), 422)["errors"]] == [pointer]


def test_a_whole_message_fits_into_an_edit(database_url: str, api: Api) -> None:
    """More than other requests may hold; and the decoder's own limit still counts."""
    tell(database_url, BROKEN)
    long = record_of(Kind.UPDATED, at_ns=SECOND_NS, note="x" * 900_000)
    assert act(api, "retry", value=text(long.value), dryRun=True).status_code == 200
    huge = record_of(Kind.UPDATED, at_ns=SECOND_NS, note="x" * 1_100_000)
    assert is_problem(act(api, "retry", value=text(huge.value)), 422)["reason"] == "too_large"
    is_problem(act(api, "retry", value="x" * 5_000_000), 413)


def test_the_command_lists_shows_and_acts(database_url: str, tmp_path: Path) -> None:
    """As the API does; an edit comes from a file."""
    tell(database_url, CREATED, BROKEN, record(None, offset=3))
    settings = {"database_url": database_url}

    def run(*arguments: str) -> str:
        done = run_app("quarantine", *arguments, "--json", folder=tmp_path, settings=settings)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert [each["id"] for each in json.loads(run("--state", "open"))["quarantined"]] == [2, 1]
    assert json.loads(run("1"))["value"]["text"] == text(BROKEN.value)
    (tmp_path / "repaired.json").write_bytes(REPAIRED.value or b"")
    done = json.loads(run("1", "--retry", "--value", "repaired.json"))
    assert [each["event"] for each in done["decisions"]] == ["cashback-updated"]
    assert json.loads(run("2", "--discard", "--reason", "a test"))["stateAfter"] == "discarded"
    for refused, exit_code in (
        ("1 --retry", 1),
        ("9", 1),
        ("--retry", 2),
        ("1 --retry --discard", 2),
        ("1 --key x", 2),
        ("1 --discard", 2),
    ):
        done_so = run_app("quarantine", *refused.split(), folder=tmp_path, settings=settings)
        assert (done_so.returncode, done_so.stderr[:7]) == (exit_code, "error: "), refused
