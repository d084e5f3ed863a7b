"""Tokens of people's own: the name in the record is proved, and nobody can claim another's."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapters.records.personal_tokens import Access, PersonalToken, digest_of, read_personal_tokens
from adapters.web.auth import Tokens
from adapters.web.console.sessions import Session, Sessions
from domain.errors import BadSetting
from domain.messages import Kind
from tests.support.messages import record_of
from tests.support.running_api import Api, RecordingThirdParty, deliver, refuse, running_api, sql, tell

pytestmark = pytest.mark.slow

SHARED: Final = "all-operators-know-this"
ADA, BOB, RITA = "adas-own-token-and-no-others", "bobs-own-token-and-no-others", "ritas-own-token-to-read-by"
PEOPLE: Final = (
    PersonalToken("Ada Lovelace", Access.ACT, digest_of(ADA.encode())),
    PersonalToken("Bob", Access.ACT, digest_of(BOB.encode())),
    PersonalToken("Rita", Access.READ, digest_of(RITA.encode())),
)
RETRY: Final = "/api/parked/1/retry"


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    """An order is parked, and may be retried again and again."""
    tell(database_url, record_of(Kind.CREATED, order_id=1))
    deliver(database_url, RecordingThirdParty(refuse(1)))
    with running_api(database_url, token=SHARED, personal_tokens=PEOPLE) as running:
        running.client.headers.pop("Authorization")
        yield running


def ask(api: Api, token: str, path: str = RETRY, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})
    return api.client.post(path, json={"reason": "asked"} | more, headers=headers)


def record(database_url: str) -> list[tuple[Any, ...]]:
    return sql(database_url, "SELECT operator, role FROM operator_action ORDER BY id")


class TestApi:
    def test_the_record_has_the_proved_name(self, database_url: str, api: Api) -> None:
        """Without a header, or with the same name in it; a shared token's name stays a claim."""
        assert ask(api, ADA).status_code == 202
        assert ask(api, BOB, headers={"X-Operator": "Bob"}).status_code == 202
        assert ask(api, SHARED, headers={"X-Operator": "Ada Lovelace"}).status_code == 202
        assert record(database_url) == [
            ("Ada Lovelace", "personal token"),
            ("Bob", "personal token"),
            ("Ada Lovelace", "operator token"),
        ]

    def test_nobody_can_claim_anothers_name(self, database_url: str, api: Api) -> None:
        for claimed in ("Bob", "ada lovelace", "api"):
            refused = ask(api, ADA, headers={"X-Operator": claimed})
            assert refused.status_code == 403
            assert "somebody's own" in refused.json()["detail"]
        assert record(database_url) == []

    def test_a_readers_own_token_changes_nothing(self, database_url: str, api: Api) -> None:
        assert ask(api, RITA).status_code == 403
        assert ask(api, RITA, dryRun=True).status_code == 200
        assert api.get("/api/orders", headers={"Authorization": f"Bearer {RITA}"}).status_code == 200
        assert record(database_url) == []

    def test_what_isnt_in_the_file_is_no_token(self, api: Api) -> None:
        """A digest neither: whoever sees the file can do nothing with it."""
        for wrong in ("nobodys-token-whatever-it-is", digest_of(ADA.encode()).hex()):
            assert ask(api, wrong).status_code == 401

    def test_keys_of_one_person_are_no_concern_of_another(self, database_url: str, api: Api) -> None:
        key = {"Idempotency-Key": "k"}
        assert [ask(api, token, headers=key).headers.get("Idempotency-Hit") for token in (ADA, BOB, ADA)] == [
            None,
            None,
            "true",
        ]
        assert [name for name, _ in record(database_url)] == ["Ada Lovelace", "Bob"]


class TestConsole:
    def sign_in(self, api: Api, name: str, token: str) -> int:
        return api.client.post("/sign-in", data={"name": name, "token": token, "next": "/"}).status_code

    def test_what_is_done_there_is_recorded_under_the_proved_name(self, database_url: str, api: Api) -> None:
        assert self.sign_in(api, "Bob", ADA) == 422
        assert self.sign_in(api, "", ADA) == 303
        page = api.get("/parked/1/retry").text
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
        done = api.client.post("/parked/1/retry", data=hidden | {"reason": "asked", "confirmed": "yes"})
        assert done.status_code == 303
        assert record(database_url) == [("Ada Lovelace", "personal token")]
        assert "personal token" in api.get("/audit").text

    def test_a_shared_token_needs_a_name(self, api: Api) -> None:
        assert self.sign_in(api, "", SHARED) == 422
        assert self.sign_in(api, "Ada Lovelace", SHARED) == 303


class TestSessions:
    TOKENS = Tokens(SHARED, None, PEOPLE)

    def test_a_session_ends_with_its_own_token_alone(self) -> None:
        sessions = Sessions(self.TOKENS)
        ada, bob = (
            sessions.write(sessions.begin(Access.ACT, name, is_proved=True)) for name in ("Ada Lovelace", "Bob")
        )
        without_ada = Sessions(Tokens(SHARED, None, PEOPLE[1:]))
        assert sessions.read(ada) is not None
        assert without_ada.read(ada) is None
        assert without_ada.read(bob) is not None
        other = PersonalToken("Bob", Access.ACT, digest_of(b"another"))
        assert Sessions(Tokens(SHARED, None, (other,))).read(bob) is None

    def test_nobody_signs_for_another(self) -> None:
        """Neither by a token of one's own nor by the shared one."""
        sessions = Sessions(self.TOKENS)
        claims = Session(Access.ACT, "Ada Lovelace", "n", 2**40, is_proved=True)
        forged = sessions.write(claims)
        assert sessions.read(forged) == claims
        others = Tokens(SHARED, None, (PersonalToken("Ada Lovelace", Access.ACT, digest_of(BOB.encode())),))
        assert sessions.read(Sessions(others).write(claims)) is None


class TestFile:
    def write(self, folder: Path, text: str) -> str:
        path = folder / "tokens"
        path.write_text(text, "utf-8")
        return str(path)

    def test_names_roles_and_digests(self, tmp_path: Path) -> None:
        lines = ["# operators", "", f"Ada Lovelace:operator:{digest_of(ADA.encode()).hex().upper()}"]
        path = self.write(tmp_path, "\n".join([*lines, f"Rita:reader:{digest_of(RITA.encode()).hex()}"]))
        assert read_personal_tokens(path) == (PEOPLE[0], PEOPLE[2])

    @pytest.mark.parametrize(
        "line",
        [
            "Ada",
            "Ada:operator",
            "Ada:owner:" + "0" * 64,
            "Ada:operator:" + "0" * 63,
            ":operator:" + "0" * 64,
            "A" * 101 + ":operator:" + "0" * 64,
            "A\u202eda:operator:" + "0" * 64,
            f"Ada:operator:{ADA}",
        ],
    )
    def test_what_is_no_line_is_told_and_not_shown(self, tmp_path: Path, line: str) -> None:
        """Somebody may have put a token where its digest belongs."""
        with pytest.raises(BadSetting, match="CASHBACK_API_TOKENS_FILE: line 2 must be") as raised:
            read_personal_tokens(self.write(tmp_path, f"# people\n{line}\n"))
        assert ADA not in str(raised.value)

    def test_nobody_is_there_twice(self, tmp_path: Path) -> None:
        one, other = "1" * 64, "2" * 64
        for second in (f"Ada:operator:{other}", f"Bob:operator:{one}"):
            with pytest.raises(BadSetting, match="line 2 has the name or the token"):
                read_personal_tokens(self.write(tmp_path, f"Ada:operator:{one}\n{second}\n"))

    def test_a_file_that_isnt_there(self, tmp_path: Path) -> None:
        with pytest.raises(BadSetting, match="CASHBACK_API_TOKENS_FILE: the file can't be read"):
            read_personal_tokens(str(tmp_path / "none"))
