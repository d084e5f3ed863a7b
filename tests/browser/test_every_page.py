"""What must be true of every page of the console, in the real browser."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from sandbox.servers.browser import Browser
from tests.browser.conftest import OpenPage
from tests.support.browser_pages import DESK, IN_THE_DARK, PHONE, overflow_px, serious_faults
from tests.support.browser_world import BUYER, HELD, PARKED, STORY, World

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

BACKGROUND = "getComputedStyle(document.documentElement).backgroundColor"


@pytest.fixture(scope="module")
def places(world: World) -> Iterator[dict[str, str]]:
    """Every kind of page by its name, with something on it."""
    options = {"mode": "republish", "select": {"orders": [STORY]}, "reason": "the buyer called"}
    world.api("POST", "/api/replays", json=options).raise_for_status()
    [(replay,)] = world.sql("SELECT id FROM job ORDER BY done DESC, number DESC LIMIT 1")
    world.sql(
        "INSERT INTO reconciliation (order_id, class, our_status, our_amount, their_status, their_amount)"
        " VALUES (%s, 'amount', 'COMPLETED', 7.5, 'COMPLETED', 6) ON CONFLICT DO NOTHING",
        STORY,
    )
    world.sql(
        "INSERT INTO operator_action (operator, via, action, reason, order_id)"
        " VALUES ('Ada Lovelace', 'api', 'redeliver', 'the buyer called', %s)",
        STORY,
    )
    world.invent_an_hour()
    [(quarantined,)] = world.sql("SELECT id FROM quarantine ORDER BY id LIMIT 1")
    yield {
        "overview": "/",
        "orders": "/orders",
        "search": f"/search?q={BUYER}",
        "order": f"/orders/{STORY}",
        "messages": f"/orders/{STORY}/messages",
        "runbook": "/runbooks/parked",
        "replay-dry-run": f"/orders/{STORY}/replay?mode=redeliver",
        "republish": f"/orders/{STORY}/replay?mode=republish",
        "money-may-be-wrong": "/money-may-be-wrong",
        "parked": "/parked",
        "retry": f"/parked/{PARKED}/retry",
        "skip": f"/parked/{PARKED}/skip",
        "settle": f"/orders/{STORY}/settle",
        "release": f"/orders/{HELD}/release",
        "quarantine": "/quarantine",
        "quarantined": f"/quarantine/{quarantined}",
        "read-again": f"/quarantine/{quarantined}/retry",
        "edit": f"/quarantine/{quarantined}/edit",
        "discard": f"/quarantine/{quarantined}/discard",
        "jobs": "/jobs",
        "replay-many": "/replays/new",
        "bulk-replay": f"/jobs/{replay}",
        "reconciliation": "/reconciliation",
        "compare": f"/reconciliation/compare?orders={STORY}",
        "statement": "/statement",
        "audit": "/audit",
        "nothing-there": "/nothing",
    }
    world.sql("DELETE FROM reconciliation")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault_of_accessibility(
    open_page: OpenPage,
    browser_parts: Browser,
    places: dict[str, str],
    scheme: str,
    picture_of: Callable[["Page", str], None],
) -> None:
    """Nor in the dark, which is dark."""
    page = open_page("/sign-in", token=None, color_scheme=scheme, viewport=DESK)
    assert serious_faults(page, browser_parts) == []
    if scheme == "light":
        picture_of(page, "sign-in")
    page = open_page("/", color_scheme=scheme, viewport=DESK)
    darkness = sum(int(part) for part in page.evaluate(BACKGROUND).strip("rgb()").split(","))
    assert (darkness < 128 * 3) == (scheme == "dark")
    faults, only = {}, IN_THE_DARK if scheme == "dark" else None
    for name, path in places.items():
        page.goto(path)
        if found := serious_faults(page, browser_parts, only=only):
            faults[name] = found
        if scheme == "light":
            picture_of(page, name)
        elif name in {"overview", "order"}:
            picture_of(page, f"{name}-dark")
    assert faults == {}


def test_no_page_is_wider_than_a_phone(
    open_page: OpenPage, places: dict[str, str], picture_of: Callable[["Page", str], None]
) -> None:
    """Pictures and bytes may scroll within their own frame."""
    page = open_page("/", viewport=PHONE)
    wider = {}
    for name, path in places.items():
        page.goto(path)
        if pixels := overflow_px(page):
            wider[name] = pixels
        if name in {"overview", "order", "skip"}:
            picture_of(page, f"{name}-phone")
    assert wider == {}


def test_no_page_can_be_kept_framed_or_scripted(
    open_page: OpenPage, chromium: "Chromium", places: dict[str, str], world: World
) -> None:
    """The headers say so, and a script that got into a page doesn't run."""
    page = open_page("/")
    for path in places.values():
        answer = page.request.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
    with chromium.new_page() as forged:  # its complaint about the script is no fault of ours
        forged.goto(f"{world.url}/sign-in")
        forged.evaluate(
            "() => { const script = document.createElement('script'); script.textContent = 'window.forged = true';"
            " document.body.append(script); }"
        )
        assert forged.evaluate("window.forged") is None
