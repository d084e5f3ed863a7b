"""The doors of a process: who is let in, and what is said to everybody."""

import socket
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from adapters.web.app import create_probes_app
from tests.support import local_http
from tests.support.running_api import FakeHealth, metrics_text, running_api, serving

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
