"""One browser and one service for all tests of this package. Playwright ends with the package: while it runs, this
thread has an event loop, and tests elsewhere want their own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters.postgres.migrate import migrate
from sandbox.servers.browser import Browser, fetch, missing
from sandbox.servers.postgres import create_database, drop_database
from tests.support.browser_pages import DESK, IN_THE_DARK, PHONE, overflow_px, serious_faults
from tests.support.browser_world import READ_TOKEN, TOKEN, World, playing
from tests.support.clusters import Cluster, must_not_be_missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import BrowserContext, ConsoleMessage, Page

SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
DATABASE = "cashback_browser"
WHOLE = {
    "order",
    "skip",
    "replay-new-keys",
    "quarantine-edit",
    "bulk-preview",
    "comparison",
    "replay-many",
    "compare",
}
"""Pictures of pages that are longer than the window."""
PATIENCE_MS = 30_000
"""How long a slow machine may take to show something."""

OPERATOR, READER = "Ada Lovelace", "Rita Reader"

OpenPage = Callable[..., "Page"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", action="store_true", help="make docs/screenshots anew, from the tests' pages")


@pytest.fixture(scope="package")
def browser_parts() -> Browser:
    """Where the machine lacks what it takes, the tests are skipped and say why; in CI that is a failure."""
    lacking = missing()
    if lacking is not None:
        if must_not_be_missing():
            pytest.fail(f"the console must be tested in a browser in CI: {lacking}")
        pytest.skip(f"no browser: {lacking}")
    return fetch()


@pytest.fixture(scope="package")
def chromium(browser_parts: Browser) -> Iterator["Chromium"]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_parts.executable,
            args=browser_parts.arguments,
            env=dict(browser_parts.environment),
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def world(
    browser_parts: Browser, postgres_server: str, broker: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    url = create_database(postgres_server, DATABASE)
    migrate(url)
    with playing(tmp_path_factory.mktemp("world"), url, broker.bootstrap) as played:
        yield played
    drop_database(url)


@pytest.fixture
def open_page(chromium: "Chromium", world: World) -> Iterator[OpenPage]:
    """Opens a page of the console, signed in with a token unless it is None. At the end nothing may have been said
    on the browser's own console, but that a page was refused."""
    contexts: list[BrowserContext] = []
    said: list[str] = []

    def make(path: str = "/", *, token: str | None = TOKEN, url: str | None = None, **options: object) -> "Page":
        context = chromium.new_context(base_url=url or world.url, **options)  # type: ignore[arg-type]  # Playwright's own
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: None if is_refused_page(message) else said.append(message.text))
        page.on("pageerror", lambda error: said.append(f"{page.url}: {error}"))
        page.goto(path)
        if token is not None:
            sign_in(page, token)
            page.get_by_role("button", name="Sign out").wait_for()
            page.wait_for_load_state()
        return page

    yield make
    for context in contexts:
        context.close()
    assert said == []


def expect(what: Any) -> Any:
    """Playwright's: it waits for what is expected."""
    from playwright.sync_api import expect as playwright_expect

    return playwright_expect(what)


def heading(page: "Page") -> Any:
    return page.get_by_role("heading", level=1)


def is_refused_page(message: "ConsoleMessage") -> bool:
    return message.text.startswith("Failed to load resource") and "/static/" not in message.location["url"]


def sign_in(page: "Page", token: str = TOKEN) -> None:
    name = page.get_by_label("Your name")
    expect(name).to_be_focused()  # by the page itself, which says so if somebody else was first
    name.fill(READER if token == READ_TOKEN else OPERATOR)
    page.get_by_label("Token of the API").fill(token)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture
def look_at(browser_parts: Browser, picture_of: Callable[["Page", str], None]) -> Callable[["Page", str], None]:
    """Of a page that only a form leads to: what tests/browser/test_every_page.py sees to for the others."""

    def look(page: "Page", name: str) -> None:
        page.set_viewport_size(DESK)
        picture_of(page, name)
        assert serious_faults(page, browser_parts) == []
        page.emulate_media(color_scheme="dark")
        assert serious_faults(page, browser_parts, only=IN_THE_DARK) == []
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(PHONE)
        assert overflow_px(page) == 0
        page.set_viewport_size(DESK)

    return look


@pytest.fixture
def picture_of(request: pytest.FixtureRequest) -> Callable[["Page", str], None]:
    """Keeps a page's picture for the documents, if asked to."""
    wanted = request.config.getoption("--screenshots")

    def keep(page: "Page", name: str) -> None:
        if wanted:
            SCREENSHOTS.mkdir(exist_ok=True)
            page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=name in WHOLE)

    return keep
