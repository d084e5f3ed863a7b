"""Every list at every width, with ids and amounts as long as they come: nothing is cut, nothing broken."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

from adapters.postgres.migrate import migrate
from sandbox.servers.postgres import create_database, drop_database
from tests.support import hostile_data
from tests.support.browser_pages import overflow_px
from tests.support.hostile_data import AMOUNT, BUYER, FIRST, JOB, QUARANTINED
from tests.support.messages import TOPIC
from tests.support.running_api import running_api

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

WIDTHS: Final = (320, 390, 768, 1024, 1440, 2560)
LISTS: Final = {
    "/orders": (str(FIRST + 11), AMOUNT, "pending"),
    f"/search?q={BUYER}": (str(FIRST), AMOUNT),
    "/money-may-be-wrong": (str(FIRST + 12), AMOUNT, "held"),
    "/parked": (str(FIRST), AMOUNT, "refused with status 422"),
    "/quarantine": (str(QUARANTINED), f"{TOPIC}-11-{QUARANTINED}"),
    "/reconciliation": (str(FIRST), AMOUNT, "amount"),
    "/audit": (str(FIRST), "retry"),
    "/jobs": ("wallets were opened again", "done"),
    f"/jobs/{JOB}": ("done",),
}
"""With what must be seen, in each at any width."""
UNWHOLE: Final = """
() => [...document.querySelectorAll("main .id, main .money, main .chip, main time")].filter((each) => {
  if (!each.checkVisibility() || each.closest("caption")) return false;
  const range = document.createRange();
  range.selectNodeContents(each);
  const rects = [...range.getClientRects()].filter((rect) => rect.width > 0);
  const lines = new Set(rects.map((rect) => Math.round(rect.bottom))).size;
  const frame = (each.closest(".list") ?? document.documentElement).getBoundingClientRect();
  return lines > 1 || rects.some((rect) => rect.left < frame.left - 1 || rect.right > frame.right + 1);
}).map((each) => each.outerHTML)
"""
"""Ids, amounts, states and times of more than one line, or that their list cuts off."""


@pytest.fixture(scope="module")
def hostile(postgres_server: str) -> Iterator[str]:
    """Address of a console over it; nobody needs to sign in."""
    database_url = create_database(postgres_server, f"cashback_lists_{secrets.token_hex(4)}")
    migrate(database_url)
    with ThreadPoolExecutor(1) as other:  # Playwright's event loop is on this one
        other.submit(hostile_data.fill, database_url).result()
    with running_api(database_url) as api:
        yield str(api.client.base_url)
    drop_database(database_url)


@pytest.fixture
def page(chromium: "Chromium", hostile: str) -> Iterator["Page"]:
    with chromium.new_context(base_url=hostile) as context:
        yield context.new_page()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_or_broken(page: "Page", width: int) -> None:
    """And the page doesn't scroll sideways."""
    page.set_viewport_size({"width": width, "height": 900})
    faults: dict[str, Any] = {}
    for path, seen in LISTS.items():
        page.goto(path)
        if pixels := overflow_px(page):
            faults[path] = f"{pixels} px wider than the window"
        elif unwhole := page.evaluate(UNWHOLE):
            faults[path] = unwhole[:3]
        for text in seen:
            if not page.locator(".list, #job").get_by_text(text).filter(visible=True).count():
                faults[f"{path} {text}"] = "isn't seen"
    assert faults == {}
