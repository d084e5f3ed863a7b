"""The page of an order: the verdict first, then everything that was said, at any width and on paper.

With the default topic, order ids of fifteen digits, long ids of buyers and amounts of seven digits.
"""

import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from adapters.kafka.decoding.record import Record
from adapters.postgres.migrate import migrate
from domain.exact_json import loads
from domain.messages import Kind
from projections.delivery.ports import Answer, Call, Outcome
from sandbox.servers.browser import Browser
from sandbox.servers.postgres import create_database, drop_database
from tests.browser.conftest import OpenPage, expect, heading
from tests.support.browser_pages import IN_THE_DARK, overflow_px, serious_faults
from tests.support.browser_world import TOKEN
from tests.support.messages import SECOND_NS, product, record_of
from tests.support.running_api import Api, RecordingThirdParty, deliver, running_api, sql, tell

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

DOUBTFUL, PAID, REFUSED, HELD, CANCELLED, DIFFERENT = (100_000_000_000_000 * n + 23_456_789 for n in range(1, 7))
ORDERS = (DOUBTFUL, PAID, REFUSED, HELD, CANCELLED, DIFFERENT)
BUYER = "buyer-0a1b2c3d-4e5f-6789-abcd-ef0123456789-loyalty-programme-eu-west"
WIDTHS = (320, 390, 768, 1024, 1440, 2560)
PHONE_HEIGHT = 844
WEIGHED = product("1.25", "79.99", 90, externalProductId="4006381333931-weighed")
REASON = '{"code":"unknown_store","message":"store 54645 is not enrolled"}'
OPEN_ALL = "document.querySelectorAll('details').forEach((each) => (each.open = true))"
BROKEN = """
(selector) => [...document.querySelectorAll(selector)]
  .filter((each) => each.checkVisibility() && each.firstChild)
  .filter((each) => {
    const range = document.createRange();
    range.selectNodeContents(each);
    const lines = new Set([...range.getClientRects()].map((line) => Math.round(line.bottom / 8)));
    return lines.size > 1;
  })
  .map((each) => each.textContent)
"""
"""The texts of elements that go over more than one line."""


@dataclass
class Orders:
    """A running API over them."""

    api: Api
    database_url: str

    @property
    def url(self) -> str:
        return str(self.api.client.base_url)


def answer(call: Call) -> Answer:
    if call.order_id == REFUSED:
        return Answer(Outcome.REFUSED, 422, REASON)
    return Answer(Outcome.DELIVERED, 201, f'{{"orderId":{call.order_id},"status":"PENDING"}}')


@pytest.fixture(scope="module")
def orders(postgres_server: str, browser_parts: Browser) -> Iterator[Orders]:
    """One in each of several states."""
    database_url = create_database(postgres_server, f"cashback_order_page_{secrets.token_hex(4)}")
    migrate(database_url)
    offsets = count()

    def said(kind: Kind, order_id: int, at: int, *, partition: int = 0, **more: Any) -> Record:
        place = {"offset": next(offsets), "partition": partition}
        return record_of(kind, order_id=order_id, at_ns=at * SECOND_NS, buyerId=BUYER, **place, **more)

    first, second = product(2, 1_000_000, "765432.50"), product(2, 1_000_000, "765430.00")
    headers = (("ce_id", b"message-1"), ("x-trace", "é".encode()))
    tell(
        database_url,
        said(Kind.CREATED, DOUBTFUL, 0, items=[first, WEIGHED], headers=headers),
        said(Kind.UPDATED, DOUBTFUL, 60, items=[second, WEIGHED]),
        said(Kind.COMPLETED, DOUBTFUL, 300),
        said(Kind.CREATED, PAID, 0),
        said(Kind.UPDATED, PAID, 60, items=[product(2, 156, 300)]),
        said(Kind.COMPLETED, PAID, 300),
        said(Kind.CREATED, REFUSED, 0),
        said(Kind.COMPLETED, REFUSED, 60),
        said(Kind.UPDATED, HELD, 0),
        said(Kind.CREATED, CANCELLED, 0),
        said(Kind.CANCELLED, CANCELLED, 60),
        said(Kind.CREATED, DIFFERENT, 0),
        said(Kind.COMPLETED, DIFFERENT, 60),
    )
    with ThreadPoolExecutor(1) as pool:  # this thread's event loop is Playwright's
        pool.submit(deliver, database_url, RecordingThirdParty(answer)).result()
    tell(database_url, said(Kind.UPDATED, DOUBTFUL, 100, partition=1, items=[product(2, 1_000_000, 262), WEIGHED]))
    sql(
        database_url,
        "INSERT INTO reconciliation (order_id, class, our_status, our_amount, their_status, their_amount)"
        " VALUES (%s, 'amount', 'COMPLETED', 6, 'COMPLETED', 7.5)",
        DIFFERENT,
    )
    sql(database_url, "INSERT INTO last_comparison (order_id, verdict) VALUES (%s, 'agrees')", PAID)
    with running_api(database_url, token=TOKEN) as api:
        yield Orders(api, database_url)
    drop_database(database_url)


@pytest.fixture
def order_page(open_page: OpenPage, orders: Orders) -> Any:
    """Opens the page of one of them."""

    def opened(order_id: int, **options: Any) -> "Page":
        return open_page(f"/orders/{order_id}", url=orders.url, **options)

    return opened


@pytest.mark.parametrize(
    ("order_id", "says", "action", "leads_to"),
    [
        (DOUBTFUL, "Needs a decision: 1,234,579.99 TRY paid, 1,999,747.99 TRY may be owed", "Settle…", "Settl"),
        (PAID, "Paid 12.00 TRY on", None, None),
        (REFUSED, "Owed 6.00 TRY, not paid: the third party refused the create call", "Retry…", "Retry"),
        (HELD, "Nothing owed yet: waiting for the CREATED, 6.00 TRY may follow", "Release…", "Releas"),
        (CANCELLED, "Nothing owed: cancelled on 28 Feb 2025", None, None),
        (DIFFERENT, "Books differ: 6.00 TRY in ours, 7.50 TRY in the third party's", "Compare again…", "Compar"),
    ],
    ids=["doubtful", "paid", "refused", "held", "cancelled", "different"],
)
def test_the_verdict_comes_first_and_leads_to_the_next_step(
    order_page: Any, orders: Orders, order_id: int, says: str, action: str | None, leads_to: str | None
) -> None:
    """In the largest text below the heading; the API says the same."""
    page = order_page(order_id)
    verdict = page.get_by_role("region", name="Verdict")
    expect(verdict.locator("p").first).to_contain_text(says)
    sizes = page.evaluate(
        "[...document.querySelectorAll('main p:not(.say), main td, main dd, main h2, main h3')]"
        ".map((each) => parseFloat(getComputedStyle(each).fontSize))"
    )
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('.say')).fontSize)") > max(sizes)
    assert says in orders.api.get(f"/api/orders/{order_id}").json()["verdict"]["sentence"]
    expect(verdict.locator("a.main")).to_have_count(1 if action else 0)
    if action and leads_to:
        verdict.get_by_role("link", name=action).click()
        expect(heading(page)).to_contain_text(leads_to)


def test_the_books_and_the_runbook_stand_beside_the_verdict(order_page: Any) -> None:
    """When they were compared, with what result; an open difference in the heading, too."""
    page = order_page(PAID)
    verdict = page.get_by_role("region", name="Verdict")
    expect(verdict).to_contain_text("they agree")
    expect(verdict).to_contain_text(re.compile("ago|just now"))
    page.goto(f"/orders/{DIFFERENT}")
    expect(page.locator(".heading")).to_contain_text("books differ")
    page.goto("/orders")
    expect(page.get_by_role("row", name=str(DIFFERENT))).to_contain_text("books differ")
    expect(page.get_by_role("row", name=str(PAID))).not_to_contain_text("books differ")
    page.goto(f"/orders/{REFUSED}")
    page.get_by_role("link", name="Runbook").click()
    expect(heading(page)).to_contain_text("Orders that stand still")


@pytest.mark.parametrize("order_id", ORDERS)
def test_at_any_width_nothing_is_cut_or_broken(order_page: Any, browser_parts: Browser, order_id: int) -> None:
    """With everything open no page scrolls sideways; order id and amounts keep to one line. Light and dark there is
    no serious fault of accessibility."""
    page = order_page(order_id)
    page.evaluate(OPEN_ALL)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": PHONE_HEIGHT})
        assert overflow_px(page) == 0, width
        assert page.evaluate(BROKEN, "h1 .id, .money, dl.sums dd, td.number") == [], width
        if width >= 390:
            assert page.evaluate(BROKEN, ".call p .id, time") == [], width
    assert serious_faults(page, browser_parts) == []
    page.emulate_media(color_scheme="dark")
    assert serious_faults(page, browser_parts, only=IN_THE_DARK) == []


def test_an_order_takes_two_screens_of_a_phone(order_page: Any) -> None:
    """One that was created, updated and completed."""
    page = order_page(PAID, viewport={"width": 390, "height": PHONE_HEIGHT})
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * PHONE_HEIGHT
    expect(page.locator("#story")).to_be_hidden()


def test_on_paper_there_are_no_controls(order_page: Any) -> None:
    """But all that is known."""
    page = order_page(DOUBTFUL)
    page.emulate_media(media="print")
    for each in page.locator("button, input, nav, .actions, footer").all():
        expect(each).to_be_hidden()
    expect(page.locator(".verdict .say")).to_be_visible()
    expect(page.locator("ol.timeline > li").last).to_be_visible()


def test_everything_that_was_said_is_there_to_read(order_page: Any) -> None:
    """The message with its headers, the body of the call and the answer to it, a member a line."""
    page = order_page(REFUSED)
    page.locator("#m1 summary").click()
    payload = page.locator("#t1")
    expect(payload).to_contain_text('\n    "orderId": 300000023456789,\n', use_inner_text=True)
    page.locator("#c1 summary").click()
    expect(page.locator("#r1")).to_contain_text('\n  "cashbackAmount": 6.00,\n', use_inner_text=True)
    expect(page.locator("#c1 ol.attempts")).to_contain_text('"message": "store 54645 is not enrolled"')
    page.goto(f"/orders/{DOUBTFUL}")
    page.locator("#m1 summary").click()
    expect(page.locator("#m1 dl")).to_contain_text("x-trace")
    expect(page.locator("#m1 dl")).to_contain_text("é")
    expect(page.locator("#m1 dl")).to_contain_text("order-cashback-promotion-0-0")


def test_it_is_downloaded_without_scripts(order_page: Any) -> None:
    """One event with its message, call and answers, with all digits as they came; or the whole order."""
    page = order_page(DOUBTFUL, java_script_enabled=False)
    expect(page.locator("button.copy").first).to_be_hidden()
    page.locator("#m1 summary").click()
    with page.expect_download() as event:
        page.locator("#m1").get_by_role("link", name="Download").click()
    assert event.value.suggested_filename == f"order-{DOUBTFUL}-v1.json"
    text = event.value.path().read_text("utf-8")
    assert '"finalTotalPrice": "765432.50"' in text
    document = loads(text)
    assert document["message"]["headers"] == [["ce_id", "message-1"], ["x-trace", "é"]]
    assert document["message"]["value"]["payload"]["buyerId"] == BUYER
    assert document["call"]["body"]["orderId"] == DOUBTFUL
    assert [each["status"] for each in document["call"]["attempts"]] == [201]
    page.locator("#more summary").click()
    with page.expect_download() as whole:
        page.get_by_role("link", name="Download as JSON").click()
    assert loads(whole.value.path().read_bytes())["verdict"]["code"] == "needs_decision"


@pytest.mark.parametrize("clipboard", ["the browser's", "that of plain HTTP"])
def test_what_a_button_copies_can_be_pasted(order_page: Any, clipboard: str) -> None:
    """Ids as they are, payloads as they are shown; a double click takes a whole id."""
    page = order_page(DOUBTFUL)
    if clipboard == "the browser's":
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    else:
        page.evaluate("Object.defineProperty(window, 'isSecureContext', {value: false})")

    def pasted() -> str:
        search = page.get_by_role("searchbox")
        search.fill("")
        search.press("Control+V")
        return str(search.input_value())

    page.get_by_label("Copy the order id").click()
    expect(page.locator("#copied-status")).to_contain_text("order id")
    assert pasted() == str(DOUBTFUL)
    page.get_by_label("Copy the buyer").click()
    expect(page.locator("#copied-status")).to_contain_text("buyer")
    assert pasted() == BUYER
    page.locator("#m1 summary").click()
    page.get_by_label("Copy the payload").first.click()
    expect(page.locator("#copied-status")).to_contain_text("payload")
    assert " ".join(pasted().split()).startswith('{ "type": "CREATED", "payload": { "orderId"')
    page.locator("#v2 .call p .id").dblclick()
    key = page.locator("#v2 .call p .id").inner_text()
    assert page.evaluate("getSelection().toString().trim()") == key
    assert len(key) == 36


def test_messages_are_compared_where_there_are_two(order_page: Any) -> None:
    """That carry items: an order of one CREATED has nothing to compare."""
    compare = "a[href$='/messages']"
    expect(order_page(DOUBTFUL).locator(compare)).to_have_count(1)
    expect(order_page(REFUSED).locator(compare)).to_have_count(0)


def test_what_a_message_changed_or_would_have_changed_is_shown(order_page: Any) -> None:
    """Of a refused one at once; and any two of them side by side."""
    page = order_page(DOUBTFUL)
    refused = page.locator("#d4")
    expect(refused.locator("summary")).to_contain_text("would have changed: 1,234,579.99 → 1,999,747.99 TRY")
    expect(refused.locator("del").first).to_contain_text('"finalTotalPrice": "765430.00"')
    expect(refused.locator("ins").first).to_contain_text('"finalTotalPrice": 262')
    expect(page.locator("#d2 pre")).to_be_hidden()
    refused.get_by_role("link", name="Side by side").click()
    rows = page.locator("table.sides tr.changed")
    expect(rows.filter(has_text="finalTotalPrice")).to_have_count(1)
    expect(page.locator("table.sides tr.same").filter(has_text="buyerId")).to_have_count(1)
    page.get_by_label("Left").select_option(label="1. CREATED of 2025-02-28 12:00:00, 1,234,577.49 TRY")
    page.get_by_role("button", name="Compare").click()
    expect(rows.filter(has_text="765432.50")).to_have_count(1)
    page.goto(f"/orders/{DOUBTFUL}/messages?left=3&right=4")
    expect(page.get_by_role("main")).to_contain_text("has no message of version 3")


def test_what_is_open_stays_open_while_the_page_is_live(order_page: Any, orders: Orders) -> None:
    """And what was closed stays closed."""
    page = order_page(HELD)
    page.locator("#m1 summary").click()
    page.locator("#more summary").click()
    tell(orders.database_url, record_of(Kind.UPDATED, order_id=HELD, offset=7, partition=5, at_ns=7 * SECOND_NS))
    expect(page.locator("ol.timeline > li")).to_have_count(2)
    expect(page.locator("#verdict")).to_contain_text("2 messages are held")
    expect(page.locator("#t1")).to_be_visible()
    expect(page.get_by_role("link", name="Republish")).to_be_visible()
    expect(page.locator("#t2")).to_be_hidden()


def test_the_picture_takes_the_width_of_its_card(order_page: Any) -> None:
    """From the first mark to the last."""
    page = order_page(PAID, viewport={"width": 1440, "height": 900})
    card = page.locator("#story").bounding_box()
    marks = [box for each in page.locator("#story .mark").all() if (box := each.bounding_box())]
    assert card is not None
    left, right = min(box["x"] for box in marks), max(box["x"] + box["width"] for box in marks)
    assert right - left > 0.85 * card["width"]
    assert right < card["x"] + card["width"]
