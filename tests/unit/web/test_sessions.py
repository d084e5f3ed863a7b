"""Signing in to the console: what its cookie is good for, and where it leads."""

import base64
import json

import msgspec
import pytest
from itsdangerous.encoding import base64_encode
from pydantic import SecretStr

from adapters.records.personal_tokens import Access
from adapters.runtime.service import ProcessRole, Service
from adapters.settings import Settings, check_api_is_closed
from adapters.web.auth import Bearer, Tokens
from adapters.web.console.session_gate import safe_path
from adapters.web.console.sessions import MAX_COOKIE_LENGTH, SESSION_SECONDS, Sessions
from domain.errors import BadSetting

TOKENS = Tokens("act", "read")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_cookie_says_who_is_signed_in() -> None:
    """In every process that knows the same tokens, and not a word of the token itself."""
    cookie = Sessions(TOKENS).write(Sessions(TOKENS).begin(Access.READ, "Ada, ü"))
    session = Sessions(Tokens("act", "read")).read(cookie)
    assert session is not None
    assert (session.access, session.name, session.may_act) == (Access.READ, "Ada, ü", False)


def test_a_session_ends_after_its_time() -> None:
    """Whatever the browser thinks of the cookie's age."""
    clock = Clock()
    sessions = Sessions(TOKENS, clock=clock)
    cookie = sessions.write(sessions.begin(Access.ACT, "Ada"))
    clock.now += SESSION_SECONDS - 1
    assert sessions.read(cookie) is not None
    clock.now += 1
    assert sessions.read(cookie) is None


def test_a_session_ends_with_its_token() -> None:
    """The other token's sessions go on."""
    sessions = Sessions(TOKENS)
    acting = sessions.write(sessions.begin(Access.ACT, "Ada"))
    reading = sessions.write(sessions.begin(Access.READ, "Rita"))
    changed = Sessions(Tokens("another", "read"))
    assert changed.read(acting) is None
    assert changed.read(reading) is not None
    assert Sessions(Tokens("act")).read(reading) is None


def test_a_cookie_that_was_tampered_with_is_nobodys() -> None:
    """A reader can't become an operator, and nonsense is no error."""
    sessions = Sessions(TOKENS)
    cookie = sessions.write(sessions.begin(Access.READ, "Rita"))
    said, _, mac = cookie.partition(".")
    claims = json.loads(base64.urlsafe_b64decode(said + "=="))
    claims[0] = "act"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    longest = "x" * (MAX_COOKIE_LENGTH + 1)
    nonsense = ("é.é", "\ud800.b", "a.b", "", longest, None)
    for wrong in (f"{forged}.{mac}", said, f"{said}.", f".{mac}", cookie[:-3], *nonsense):
        assert sessions.read(wrong) is None, wrong


def test_who_knows_the_reading_token_cannot_sign_for_more_than_reading() -> None:
    """Its key signs sessions that read, whatever else stands in them."""
    sessions = Sessions(TOKENS)
    acting = msgspec.json.encode(sessions.begin(Access.ACT, "Rita"))
    by_the_reading_key = sessions._cookies[Bearer(Access.READ)].sign(base64_encode(acting)).decode()
    assert sessions.read(by_the_reading_key) is None


def test_a_form_counts_for_its_own_session_only() -> None:
    """Not for another one of the same person, nor is the session's own authentication a form's."""
    sessions = Sessions(TOKENS)
    mine, other = (sessions.begin(Access.ACT, "Ada") for _ in range(2))
    assert sessions.is_form_token(mine, sessions.form_token(mine))
    for wrong in (sessions.form_token(other), "", "é", sessions.write(mine).partition(".")[2]):
        assert not sessions.is_form_token(mine, wrong)


def test_without_tokens_a_session_is_good_for_one_process() -> None:
    """Its key is nobody's: what one process gave out, another doesn't know."""
    first, second = Sessions(Tokens(None)), Sessions(Tokens(None))
    cookie = first.write(first.begin(Access.ACT, ""))
    assert first.read(cookie) is not None
    assert second.read(cookie) is None


@pytest.mark.parametrize("path", ["/", "/orders/1", "/orders?buyer=a%20b&held=1"])
def test_after_signing_in_one_gets_where_one_wanted(path: str) -> None:
    assert safe_path(path) == path


@pytest.mark.parametrize(
    "path", ["//evil.test", "/\\evil.test", "https://evil.test", "evil", "", "/a\r\nSet-Cookie: x", "/\tx", "/é"]
)
def test_after_signing_in_one_gets_nowhere_else(path: str) -> None:
    """A link to our own door can't lead to somebody else's."""
    assert safe_path(path) == "/"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_without_a_token_this_machine_may_be_listened_to(host: str) -> None:
    check_api_is_closed(Settings(_env_file=None, api_host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "db.example", "localhost.example"])
def test_without_a_token_nobody_else_is_listened_to(host: str) -> None:
    """One line that names the setting and what is missing; with a token it's fine."""
    with pytest.raises(BadSetting, match=r"^CASHBACK_API_HOST is .* CASHBACK_API_TOKEN is needed$"):
        check_api_is_closed(Settings(_env_file=None, api_host=host))
    check_api_is_closed(Settings(_env_file=None, api_host=host, api_token=SecretStr("sixteen-letters!")))


def test_a_process_with_the_api_does_not_start_where_others_could_reach_it() -> None:
    """One that only answers probes does."""
    settings = Settings(_env_file=None, api_host="0.0.0.0")
    with pytest.raises(BadSetting, match="API_TOKEN is needed"):
        Service(settings, [ProcessRole.PUSH, ProcessRole.API])
    Service(settings, [ProcessRole.PUSH])
