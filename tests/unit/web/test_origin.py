"""Whether another site's page asks, by what its browser says."""

import pytest
from starlette.datastructures import Headers

from adapters.web.origin import is_from_elsewhere


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "none")],
        [("sec-fetch-site", "same-origin"), ("origin", "http://proxied.test")],
        [("host", "localhost:8080"), ("origin", "http://localhost:8080")],
        [("host", "cashback.test"), ("origin", "https://cashback.test")],
        [("host", "Cashback.test:443"), ("origin", "https://cashback.test")],
        [("host", "[::1]:8080"), ("origin", "http://[::1]:8080")],
    ],
)
def test_programs_and_our_own_pages_may_ask(headers: list[tuple[str, str]]) -> None:
    """A program sends neither header; a proxy may have another name than we have."""
    assert not is_from_elsewhere(_headers(headers))


@pytest.mark.parametrize(
    "headers",
    [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-site", "")],
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "cross-site"), ("host", "localhost"), ("origin", "http://localhost")],
        [("host", "localhost:8080"), ("origin", "http://localhost:9090")],
        [("host", "localhost"), ("origin", "http://localhost.evil.test")],
        [("host", "localhost"), ("origin", "null")],
        [("host", "localhost"), ("origin", "")],
        [("host", "localhost"), ("origin", "http://[")],
        [("host", "localhost"), ("origin", "file://localhost")],
        [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.test")],
        [("origin", "http://evil.test")],
    ],
)
def test_another_sites_page_may_not(headers: list[tuple[str, str]]) -> None:
    """Another port is another site, and so is what can't be read."""
    assert is_from_elsewhere(_headers(headers))


def _headers(given: list[tuple[str, str]]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode()) for name, value in given])
