"""Calls over TLS, to real servers: who is believed, whom we show a certificate, and what stops the start.

The certificates are made by tests/unit/samples/tls/make.sh.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Final

import pytest

from adapters.third_party_api.client import ThirdPartyClient
from adapters.third_party_api.tls import tls_context
from domain.errors import BadSetting
from projections.delivery.ports import Answer, Outcome
from tests.support.fake_ledger import call
from tests.support.processes import run_app
from tests.support.raw_server import RawServer, agree, raw_server

pytestmark = pytest.mark.slow

TLS: Final = Path(__file__).parents[1] / "unit" / "samples" / "tls"
TIMEOUT_SECONDS: Final = 60.0


def file(name: str) -> str:
    return str(TLS / f"test-only-{name}")


def server_context(certificate: str = "server", *, wants_ours: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file(f"{certificate}.pem"), file(f"{certificate}.key"))
    if wants_ours:
        context.load_verify_locations(file("authority.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def sent(server_tls: ssl.SSLContext, ours: ssl.SSLContext) -> tuple[Answer, RawServer]:
    """What became of one call, and what the server saw."""

    async def main() -> tuple[Answer, RawServer]:
        async with (
            raw_server(agree, server_tls) as server,
            ThirdPartyClient(
                server.url, token="secret", timeout_seconds=TIMEOUT_SECONDS, concurrency=1, tls=ours
            ) as client,
        ):
            return await client.send(call(7, 1)), server

    return asyncio.run(main())


def test_only_the_given_authority_is_believed() -> None:
    """A call goes through to a server that it vouches for."""
    answer, server = sent(server_context(), tls_context(file("authority.pem")))
    assert answer.outcome is Outcome.DELIVERED
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("certificate", "ours"),
    [
        ("server", tls_context()),
        ("server", tls_context(file("other-authority.pem"))),
        ("server-of-another-name", tls_context(file("authority.pem"))),
    ],
    ids=["unknown authority", "another authority", "another name"],
)
def test_a_server_that_cannot_prove_its_name_gets_no_call(certificate: str, ours: ssl.SSLContext) -> None:
    """Nor the token: the handshake fails before anything is said. It's a failed attempt, as with no connection."""
    answer, server = sent(server_context(certificate), ours)
    assert (answer.outcome, answer.status) == (Outcome.FAILED, None)
    assert server.requests == []


def test_a_server_that_asks_for_our_certificate_gets_it() -> None:
    """And takes no call without it, or with one that it doesn't believe."""
    authority, server_tls = file("authority.pem"), server_context(wants_ours=True)
    answer, _ = sent(server_tls, tls_context(authority, file("client.pem"), file("client.key")))
    assert answer.outcome is Outcome.DELIVERED
    stranger = (file("client-of-another-authority.pem"), file("client-of-another-authority.key"))
    for ours in (tls_context(authority), tls_context(authority, *stranger)):
        answer, server = sent(server_tls, ours)
        # In TLS 1.3 the refusal may come when the call is under way already.
        assert answer.outcome in {Outcome.FAILED, Outcome.IN_DOUBT}
        assert server.requests == []


def test_certificate_and_key_may_be_one_file(tmp_path: Path) -> None:
    """As many tools write them."""
    both = tmp_path / "both.pem"
    both.write_text(Path(file("client.key")).read_text() + Path(file("client.pem")).read_text())
    answer, _ = sent(server_context(wants_ours=True), tls_context(file("authority.pem"), str(both)))
    assert answer.outcome is Outcome.DELIVERED


def test_nobody_is_helped_to_read_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Python would write the connections' keys to the file in SSLKEYLOGFILE."""
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    answer, _ = sent(server_context(), tls_context(file("authority.pem")))
    assert answer.outcome is Outcome.DELIVERED
    written = keys.read_text() if keys.exists() else ""
    assert [line for line in written.splitlines() if not line.startswith("#")] == []


@pytest.mark.parametrize(
    ("ca", "certificate", "key", "said"),
    [
        ("/none", None, None, "CA_FILE is /none: can't be used: No such file or directory"),
        ("{dir}", None, None, "CA_FILE is {dir}: can't be used"),
        ("{text}", None, None, "CA_FILE is {text}: can't be used"),
        (None, "/none", None, "CLIENT_CERTIFICATE_FILE is /none: can't be used: No such file or directory"),
        (None, "client.pem", "/none", "CLIENT_KEY_FILE is /none: can't be used: No such file or directory"),
        (None, "{text}", "client.key", "CLIENT_CERTIFICATE_FILE is {text}: can't be used"),
        (None, "client.pem", "server.key", "can't be used: KEY_VALUES_MISMATCH"),
        (None, "client.pem", "{text}", "can't be used"),
        (None, "client.pem", None, "can't be used"),
        (None, "client.pem", "client-encrypted.key", "can't be used: the key is encrypted"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, ca: str | None, certificate: str | None, key: str | None, said: str
) -> None:
    """In one line; nobody is asked for a password on the terminal."""
    text = tmp_path / "text.pem"
    text.write_text("no certificate\n")

    def place(name: str | None) -> str | None:
        if name is None or name.startswith(("/", "{")):
            return name and name.format(dir=tmp_path, text=text)
        return file(name)

    with pytest.raises(BadSetting) as refused:
        tls_context(place(ca), place(certificate), place(key))
    assert str(refused.value).startswith("CASHBACK_THIRD_PARTY_C")
    assert said.format(dir=tmp_path, text=text) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_service_does_not_start_with_a_file_that_it_cannot_use(database_url: str, tmp_path: Path) -> None:
    """One line, and the exit code of bad settings."""
    settings = {
        "database_url": database_url,
        "third_party_url": "https://cashback.example",
        "third_party_ca_file": "/none",
    }
    done = run_app("serve", "--only", "push", folder=tmp_path, settings=settings)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: CASHBACK_THIRD_PARTY_CA_FILE is /none: can't be used: No such file or directory"
    )
    assert "Traceback" not in done.stderr
