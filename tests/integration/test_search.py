"""One search box: whatever a person has at hand leads to the order or to the message."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from adapters.postgres.pool import Database
from adapters.postgres.search import find
from adapters.postgres.service_status import PostgresConsole
from adapters.records.search import MessagePlace, SearchResult, place_of
from domain.messages import Kind
from tests.support.bulk import asked
from tests.support.commands import run_here
from tests.support.messages import TOPIC, record, record_of
from tests.support.running_api import Api, running_api, sql, tell

pytestmark = pytest.mark.slow

ORDER: Final = 24_323_523
OTHER: Final = 243_235_999
TRANSACTION: Final = "0d3fd1d0-7f3c-4b0e-9a54-5d64a3c6a0aa"
RENEWED: Final = UUID("6b0e0f8e-0000-5000-8000-000000000001")


@pytest.fixture
def told(database_url: str) -> str:
    """Two orders whose ids begin alike, and a message in quarantine; searched by nobody so far."""
    tell(
        database_url,
        record_of(Kind.CREATED, order_id=ORDER, offset=41, transactionId=TRANSACTION, buyerId="Buyer-7"),
        record_of(Kind.CREATED, order_id=OTHER, offset=42),
        record(b"{", offset=43, key=b"1"),
    )
    return database_url


def found(database_url: str, text: str) -> SearchResult:
    async def ask(_: object) -> SearchResult:
        async with Database(database_url) as database:
            await PostgresConsole(database).index_transactions()
            return await find(database, text)

    return asked(database_url, ask)


def key_of(database_url: str, order_id: int) -> UUID:
    [(key,)] = sql(database_url, "SELECT idempotency_key FROM effect WHERE order_id = %s", order_id)
    assert isinstance(key, UUID)
    return key


@pytest.fixture
def api(told: str) -> Iterator[Api]:
    with running_api(told) as running:
        yield running


def test_an_order_is_found_by_whatever_is_known_of_it(told: str) -> None:
    """In upper or lower case, with spaces around it."""
    key = key_of(told, ORDER)
    for text, what in (
        (str(ORDER), "order"),
        (f" {ORDER} ", "order"),
        ("Buyer-7", "buyer"),
        (TRANSACTION, "transaction"),
        (TRANSACTION.upper(), "transaction"),
        (str(key), "idempotency key"),
        (str(key).upper(), "idempotency key"),
        (key.hex, "idempotency key"),
        (f"{TOPIC}-0-41", "message"),
        (f"{TOPIC}/0@41", "message"),
    ):
        assert found(told, text) == SearchResult({what: [ORDER]}, []), text
    assert found(told, "24323") == SearchResult({"beginning": [ORDER, OTHER]}, [])
    assert found(told, "24") == SearchResult({}, []), "too many orders begin so"
    for nothing in ("nobody", f"{TOPIC}-0-44", str(RENEWED), "9" * 19, "1" * 30, ""):
        assert found(told, nothing) == SearchResult({}, []), nothing


def test_keys_that_a_person_asked_for_are_found_and_those_before_them(told: str) -> None:
    """The third party may quote either."""
    before = key_of(told, ORDER)
    sql(
        told,
        "INSERT INTO replaced_key (order_id, version, generation, idempotency_key, state, attempts,"
        " last_attempt_id) SELECT order_id, version, generation, idempotency_key, state, attempts, 0 FROM effect"
        " WHERE order_id = %s",
        ORDER,
    )
    sql(
        told,
        "UPDATE effect SET idempotency_key = %s, generation = 1, nonce = 'n' WHERE order_id = %s",
        *(RENEWED, ORDER),
    )
    for key in (before, RENEWED):
        assert found(told, str(key)) == SearchResult({"idempotency key": [ORDER]}, [])


def test_a_message_in_quarantine_is_found_by_its_id_and_its_place(told: str) -> None:
    """It is about no order that we know."""
    [(quarantine_id,)] = sql(told, "SELECT id FROM quarantine")
    assert found(told, str(quarantine_id)) == SearchResult({}, [quarantine_id])
    assert found(told, f"{TOPIC}-0-43") == SearchResult({}, [quarantine_id])


def test_places_are_read_as_people_write_them() -> None:
    """A topic may have dashes and numbers of its own."""
    assert place_of("a-1-2-3") == MessagePlace("a-1", 2, 3)
    assert place_of("a/2@3") == MessagePlace("a", 2, 3)
    assert place_of(TRANSACTION) is None
    assert place_of("a-2") is None


def test_what_alone_is_meant_is_opened_at_once(told: str, api: Api) -> None:
    """Else there is a page with what was found, or with what can be looked for."""
    key = key_of(told, ORDER)
    [(quarantine_id,)] = sql(told, "SELECT id FROM quarantine")
    found(told, "")
    for text, address in (
        (str(ORDER), f"/orders/{ORDER}"),
        (str(key), f"/orders/{ORDER}"),
        (f"{TOPIC}-0-41", f"/orders/{ORDER}"),
        (str(quarantine_id), f"/quarantine/{quarantine_id}"),
    ):
        answer = api.get("/search", params={"q": text})
        assert (answer.status_code, answer.headers["location"]) == (303, address)
    shown = api.get("/search", params={"q": "24323"}).text
    assert f'href="/orders/{ORDER}"' in shown
    assert f'href="/orders/{OTHER}"' in shown
    assert "Nothing found" in api.get("/search", params={"q": "nobody"}).text


def test_the_command_finds_the_same(told: str, tmp_path: Path) -> None:
    """As text and as JSON; nothing found is an exit code of its own."""
    settings = {"database_url": told}
    done = run_here("find", TRANSACTION.upper(), folder=tmp_path, settings=settings)
    assert done.code == 0
    assert done.out.splitlines()[1].split() == ["order", str(ORDER), "transaction"]
    done = run_here("find", str(ORDER), "--json", folder=tmp_path, settings=settings)
    assert json.loads(done.out) == {"orders": {"order": [ORDER]}, "quarantined": []}
    assert run_here("find", "nobody", folder=tmp_path, settings=settings).code == 1
