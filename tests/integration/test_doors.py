"""The doors of a process: who is let in, and what is said to everybody."""

import socket
from contextlib import AsyncExitStack
from typing import Any, Final

import httpx
import pytest
import uvicorn
from structlog.testing import capture_logs

from adapters.runtime.http_server import http_server
from adapters.web.app import create_probes_app
from adapters.web.failed_attempts import MAX_FAILURES_PER_ADDRESS, WINDOW_SECONDS
from adapters.web.responses import ExactJson
from domain.messages import Kind
from tests.support import local_http
from tests.support.messages import ORDER_ID, record_of
from tests.support.running_api import Api, FakeHealth, metrics_text, running_api, serving, tell
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

TOKEN: Final = "the-token-that-may-act"
RETRY: Final = "/api/parked/1/retry"
ANOTHER_SITE: Final = ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.test"})


class TestOtherSites:
    def test_another_sites_page_changes_nothing(self, database_url: str) -> None:
        """The request of such a page has no body, so the browser asks nobody before it sends it."""
        with running_api(database_url) as api:
            for headers in ANOTHER_SITE:
                refused = api.client.post(RETRY, headers=headers)
                assert (refused.status_code, refused.json()["detail"]) == (403, "another site's page can't do this")
                assert api.get("/api/orders", headers=headers).status_code == 200
            for headers in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": str(api.client.base_url)}):
                assert api.client.post(RETRY, headers=headers).status_code == 404

    def test_nor_with_a_token(self, database_url: str) -> None:
        with running_api(database_url, token=TOKEN) as api:
            statuses = [api.client.post(RETRY, headers=headers).status_code for headers in ANOTHER_SITE]
            assert statuses == [403, 403]
            assert api.client.post(RETRY).status_code == 404

    def test_without_a_token_everything_is_asked_by_our_own_name(self, database_url: str) -> None:
        """Also what needs no token where there is one: another site's name may be made to lead to this machine."""
        paths = ("/livez", "/readyz", "/metrics", "/api/orders", "/")
        with running_api(database_url) as api:
            for host, status in (("evil.test:8080", 403), ("localhost:1", 200)):
                assert {api.get(path, headers={"Host": host}).status_code for path in paths} == {status}

    def test_a_process_without_the_api_is_asked_by_our_own_name_on_loopback_only(self) -> None:
        """A pod's probes are asked by its address."""

        async def on_loopback(_: AsyncExitStack) -> Any:
            return create_probes_app(health=FakeHealth(), metrics_text=metrics_text, on_loopback=True)

        async def in_a_pod(_: AsyncExitStack) -> Any:
            return create_probes_app(health=FakeHealth(), metrics_text=metrics_text, on_loopback=False)

        for make, status in ((on_loopback, 403), (in_a_pod, 200)):
            with serving(make) as url:
                for path in ("/livez", "/readyz", "/metrics"):
                    assert local_http.get(f"{url}{path}", headers={"Host": "10.0.0.1"}).status_code == status
                    assert local_http.get(f"{url}{path}").status_code == 200


def test_a_caller_who_goes_away_in_the_middle_of_a_body_is_no_error_of_ours(database_url: str) -> None:
    """Nor is one that is cut off because it took too long."""
    head = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    head += b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    with capture_logs() as logs, running_api(database_url, token=TOKEN) as api:
        address = (api.client.base_url.host, api.client.base_url.port or 0)
        with socket.create_connection(address) as leaving:
            leaving.sendall(head + b"token")
            assert api.get("/api/orders").status_code == 200
    assert [entry for entry in logs if entry["event"] == "request failed"] == []


class TestGuesses:
    def test_whoever_gives_too_many_wrong_tokens_must_wait(self, database_url: str) -> None:
        """With the right one too, or it could be told from the others; who gives none is only asked for it."""
        with running_api(database_url, token=TOKEN) as api:
            for number in range(MAX_FAILURES_PER_ADDRESS):
                assert ask(api, f"wrong {number}").status_code == 401
            refused = ask(api, TOKEN)
            assert (refused.status_code, refused.json()["status"]) == (429, 429)
            assert 0 < int(refused.headers["Retry-After"]) <= WINDOW_SECONDS
            assert api.get("/api/orders", headers={"Authorization": ""}).status_code == 401
            assert api.get("/readyz").status_code == 200

    def test_a_program_with_an_old_token_keeps_nobody_out(self, database_url: str) -> None:
        """While tokens are being changed, say."""
        with running_api(database_url, token=TOKEN) as api:
            statuses = {ask(api, "the one before").status_code for _ in range(3 * MAX_FAILURES_PER_ADDRESS)}
            assert (statuses, ask(api, TOKEN).status_code) == ({401}, 200)


@pytest.mark.parametrize(
    ("trusted", "counted"), [(None, "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("127.0.0.0/8", "192.0.2.7")]
)
def test_a_proxy_is_believed_that_is_named(
    monkeypatch: pytest.MonkeyPatch, trusted: str | None, counted: str
) -> None:
    """Nobody else says where a caller comes from, this machine neither, nor a variable of the server's own."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")

    async def tell_client(scope: Any, receive: Any, send: Any) -> None:
        await ExactJson(scope["client"][0])(scope, receive, send)

    async def make(_: AsyncExitStack) -> Any:
        return tell_client

    def limited(app: Any) -> uvicorn.Server:
        return http_server(app, max_connections=10, shutdown_seconds=1, trusted_proxies=trusted)

    with serving(make, server=limited) as url:
        forwarded = {"X-Forwarded-For": "203.0.113.9, 192.0.2.7"}
        assert local_http.get(url, headers=forwarded).json() == counted


class TestHeaders:
    def test_answers_are_what_they_say_and_kept_nowhere(self, database_url: str) -> None:
        """Refusals, probes and errors too. An order with an ETag may be kept, if it is asked about each time."""
        tell(database_url, record_of(Kind.CREATED))
        with running_api(database_url, token=TOKEN) as api:
            for path, status in (("/api/orders", 200), ("/api/orders/7", 404), ("/readyz", 200), ("/metrics", 200)):
                answer = api.get(path)
                said = (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"])
                assert (answer.status_code, *said) == (status, "nosniff", "no-store"), path
            assert ask(api, "wrong").headers["Cache-Control"] == "no-store"
            order = api.get(f"/api/orders/{ORDER_ID}")
            assert (order.headers["Cache-Control"], "ETag" in order.headers) == ("private, no-cache", True)
            unchanged = api.get(f"/api/orders/{ORDER_ID}", headers={"If-None-Match": order.headers["ETag"]})
            assert (unchanged.status_code, unchanged.headers["Cache-Control"]) == (304, "private, no-cache")

    @pytest.mark.parametrize("path", ["/api/parked/1/retry", "/sign-in", "/readyz"])
    def test_a_request_with_two_lengths_is_refused_and_ends_the_connection(
        self, database_url: str, path: str
    ) -> None:
        """What a proxy takes for the rest of the body would be a request of its own."""
        smuggled = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(smuggled) + 5}\r\n"
        with running_api(database_url) as api:
            address = (api.client.base_url.host, api.client.base_url.port or 0)
            with socket.create_connection(address, DEADLINE_SECONDS) as connected:
                connected.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled)
                with connected.makefile("rb") as answer:
                    received = answer.read()
        assert received.startswith(b"HTTP/1.1 400 ")
        assert received.count(b"HTTP/1.1 ") == 1


def ask(api: Api, token: str) -> httpx.Response:
    return api.get("/api/orders", headers={"Authorization": f"Bearer {token}"})
