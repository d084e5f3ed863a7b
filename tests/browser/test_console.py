"""The console as people use it: a real browser, the real service, from loading a page to the effect."""

import re

import pytest

from adapters.web.failed_attempts import MAX_FAILURES_PER_ADDRESS
from domain.messages import Kind
from tests.browser.conftest import OpenPage, expect, heading, sign_in
from tests.support.browser_world import (
    ADDED,
    BUYER,
    HELD,
    MIN_FAILED_CALLS,
    PARKED,
    PLAIN,
    READ_TOKEN,
    STORY,
    TOKEN,
    World,
    transaction,
)
from tests.support.running_api import running_api

pytestmark = pytest.mark.slow


class TestSigningIn:
    def test_nothing_shows_without_the_token_and_the_wish_is_kept(self, open_page: OpenPage) -> None:
        """A wrong token is told; with the right one the order that was asked for shows."""
        page = open_page(f"/orders/{STORY}", token=None)
        expect(heading(page)).to_have_text("Sign in")
        expect(page.locator("body")).not_to_contain_text(BUYER)
        sign_in(page, "wrong")
        expect(page.get_by_role("alert")).to_contain_text("not ours")
        sign_in(page, TOKEN)
        expect(heading(page)).to_contain_text(str(STORY))
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert TOKEN not in cookie["value"]

    def test_whoever_fails_too_often_is_told_to_wait(self, open_page: OpenPage, world: World) -> None:
        """And for how long; the right token doesn't help before."""
        with running_api(world.database_url, token=TOKEN) as api:
            for number in range(MAX_FAILURES_PER_ADDRESS):
                api.client.post("/sign-in", data={"name": "Mallory", "token": f"guess {number}"})
            page = open_page("/orders", token=None, url=str(api.client.base_url))
            sign_in(page, TOKEN)
            expect(page.get_by_role("alert")).to_contain_text("Too many attempts have failed. Try again in")
            expect(page.get_by_label("Your name")).to_have_value("Ada Lovelace")

    def test_signing_out_ends_it(self, open_page: OpenPage) -> None:
        """The page before isn't shown again, by no way."""
        page = open_page("/orders")
        expect(heading(page)).to_have_text("Orders")
        page.get_by_role("button", name="Sign out").click()
        expect(heading(page)).to_have_text("Sign in")
        page.go_back()
        expect(heading(page)).to_have_text("Sign in")

    def test_a_reader_sees_everything_and_can_do_nothing(self, open_page: OpenPage, world: World) -> None:
        """Not by a request of the reader's own making either."""
        page = open_page(f"/orders/{STORY}/replay?mode=redeliver", token=READ_TOKEN)
        expect(page.get_by_text("You are signed in to read")).to_be_visible()
        expect(page.get_by_role("button", name="Call again")).to_have_count(0)
        before = len(world.calls_of(STORY))
        token = page.locator("input[name=form_token]").first.input_value()
        form: dict[str, str | float | bool] = {"form_token": token, "reason": "I want to", "confirmed": "yes"}
        refused = page.request.post(f"/orders/{STORY}/replay?mode=redeliver", form=form)
        assert (refused.status, "may change nothing" in refused.text()) == (403, True)
        assert len(world.calls_of(STORY)) == before

    def test_a_link_from_elsewhere_leads_in_and_a_form_from_elsewhere_does_nothing(
        self, open_page: OpenPage, world: World
    ) -> None:
        """An operator who clicks in a chat needn't sign in again; a forged form finds nobody signed in."""
        page = open_page("/orders")
        expect(heading(page)).to_have_text("Orders")
        target = f"{world.url}/orders/{STORY}"
        elsewhere = (
            f'<a href="{target}">look</a><form method="post" action="{target}/replay?mode=redeliver">'
            '<input name="reason" value="forged"><input name="confirmed" value="yes"><button>do</button></form>'
        )
        page.route("http://elsewhere.test/", lambda route: route.fulfill(body=elsewhere, content_type="text/html"))
        page.goto("http://elsewhere.test/")
        page.get_by_role("link", name="look").click()
        expect(heading(page)).to_contain_text(str(STORY))
        page.goto("http://elsewhere.test/")
        page.get_by_role("button", name="do").click()
        expect(page.get_by_role("alert")).to_contain_text("another site")
        assert world.sql("SELECT count(*) FROM replay WHERE reason = 'forged'") == [(0,)]

    def test_where_no_token_is_set_a_banner_says_so(self, open_page: OpenPage, world: World) -> None:
        """Loudly, on each page; and everything can be seen and done."""
        with running_api(world.database_url) as api:
            page = open_page("/parked", token=None, url=str(api.client.base_url))
            expect(page.get_by_text("No token is set")).to_be_visible()
            expect(page.get_by_role("link", name=str(PARKED))).to_be_visible()


class TestReading:
    def test_the_overview_is_live(self, open_page: OpenPage, world: World) -> None:
        """One more held message shows without a reload, and so does the money in it."""
        page = open_page()
        held = page.locator("[data-what=held]")
        expect(held.locator(".big")).to_have_text("1")
        expect(held.locator(".money")).to_have_text("6.00")
        expect(page.locator("[data-what=parked] .money")).to_have_text("6.00")
        expect(page.get_by_role("img", name="calls per second")).to_be_visible()
        expect(page.get_by_role("row", name="api, intake, push")).to_contain_text("ready")
        page.evaluate("window.never_reloaded = true")
        world.publish(world.said(Kind.UPDATED, HELD + 1, minute=8))
        expect(held.locator(".big")).to_have_text("2")
        expect(held.locator(".money")).to_have_text("12.00")
        assert page.evaluate("window.never_reloaded")

    @pytest.mark.parametrize(
        "wanted", [str(STORY), transaction(STORY, 2)], ids=["its order id", "the transaction of its completion"]
    )
    def test_an_order_is_found_by(self, open_page: OpenPage, wanted: str) -> None:
        """At once: nothing else has this."""
        page = open_page()
        page.keyboard.press("/")
        page.keyboard.type(wanted)
        page.keyboard.press("Enter")
        expect(heading(page)).to_contain_text(f"Order {STORY}")

    def test_orders_are_found_by_their_buyer(self, open_page: OpenPage) -> None:
        """A list, with what needs a look; what isn't there is told."""
        page = open_page(f"/search?q={BUYER}")
        row = page.get_by_role("row", name=str(STORY))
        expect(row).to_contain_text("late")
        row.get_by_role("link").click()
        expect(heading(page)).to_contain_text(str(STORY))
        page.get_by_role("searchbox").fill("nobody's")
        page.get_by_role("button", name="Find").click()
        expect(page.get_by_role("main")).to_contain_text("Nothing found")

    def test_the_timeline_tells_what_happened_to_an_order(self, open_page: OpenPage, world: World) -> None:
        """Held, released, called again, late: in words, as a picture, and in the states that it went through."""
        page = open_page(f"/orders/{STORY}")
        expect(heading(page)).to_contain_text(str(STORY))
        expect(page.locator(".verdict .say")).to_contain_text("7.50 TRY")
        entries = page.locator("ol.timeline > li")
        expect(entries).to_have_count(5)
        expect(entries.nth(0)).to_contain_text("1. UPDATED held")
        expect(entries.nth(0)).to_contain_text("it waits for the CREATED")
        expect(entries.nth(0)).to_contain_text(f"{world.topic}-0-0")
        expect(entries.nth(1)).to_contain_text("2. CREATED accepted 6.00 TRY")
        expect(entries.nth(1).locator("ol.attempts > li").filter(has_text="503").first).to_contain_text("failed")
        expect(entries.nth(1).locator("ol.attempts > li").last).to_contain_text("delivered")
        expect(entries.nth(2)).to_contain_text("it had been held since version 1")
        expect(entries.nth(4)).to_contain_text("UPDATED rejected late")
        story = page.locator(".plot svg.story")
        expect(story.locator(".mark.message")).to_have_count(4)
        expect(story.locator(".mark.held")).to_have_count(1)
        expect(story.locator(".mark.rejected")).to_have_count(1)
        assert story.locator(".mark.failed").count() >= MIN_FAILED_CALLS
        expect(story.locator(".link.released")).to_have_count(3)
        expect(page.locator("svg.states .here")).to_have_text("completed")
        expect(page.get_by_role("row").filter(has_text="4004")).to_contain_text("1.50")
        page.get_by_label("version 5: UPDATED rejected").click()
        assert page.url.endswith("#v5")

    def test_a_parked_order_says_why(self, open_page: OpenPage) -> None:
        """In the list and on its own page."""
        page = open_page("/parked")
        page.get_by_role("row", name=str(PARKED)).get_by_role("link").first.click()
        expect(page.locator("#verdict")).to_contain_text("the third party refused the create call")
        expect(page.locator("#verdict")).to_contain_text("Parked since")

    def test_filters_choose_orders(self, open_page: OpenPage, world: World) -> None:
        """Each of them alone, and two together."""
        page = open_page("/orders")

        def shown(**filters: bool | str) -> list[str]:
            page.goto("/orders")
            for label, value in filters.items():
                if isinstance(value, bool):
                    page.get_by_label(label).check()
                else:
                    page.get_by_label(label).select_option(value)
            page.get_by_role("button", name="Show").click()
            page.wait_for_url(re.compile(r"/orders\?"))
            orders = page.locator("tbody td:first-child a").all_inner_texts()
            return [order for order in orders if int(order) < ADDED]

        assert str(HELD) in shown(held=True)
        assert shown(late=True) == [str(STORY)]
        assert shown(parked=True) == [str(PARKED)]
        assert shown(State="COMPLETED") == [str(STORY)]
        assert shown(State="COMPLETED", parked=True) == []
        world.sql("DELETE FROM reconciliation")
        world.sql("INSERT INTO reconciliation (order_id, class) VALUES (%s, 'amount')", STORY)
        assert shown(mismatch=True) == [str(STORY)]
        assert shown(mismatch=True, held=True) == []
        world.sql("DELETE FROM reconciliation WHERE order_id = %s", STORY)

    def test_pages_are_turned_by_keyboard(self, open_page: OpenPage) -> None:
        """To the last page and back to the first, then row by row, and into an order."""
        page = open_page("/orders")

        def ids() -> list[int]:
            return [int(text) for text in page.locator("tbody td:first-child a").all_inner_texts()]

        def turn(key: str) -> None:
            before = page.url
            page.keyboard.press(key)
            page.wait_for_url(lambda url: url != before)

        pages = [ids()]
        while page.locator("a[rel=next]").count():
            turn("n")
            pages.append(ids())
        everything = [order_id for each in pages for order_id in each]
        assert everything == sorted(everything, reverse=True)
        assert set(PLAIN) < set(everything)
        assert len(everything) == len(set(everything))
        while page.locator("a[rel=prev]").count():
            turn("p")
        assert ids() == pages[0]
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        expect(heading(page)).to_contain_text(str(pages[0][1]))
        page.keyboard.press("g")
        page.keyboard.press("q")
        expect(heading(page)).to_have_text("Quarantine")

    def test_a_message_in_quarantine_shows_its_bytes(self, open_page: OpenPage) -> None:
        """In hexadecimal and as text; what has no picture has a stand-in."""
        page = open_page("/quarantine")
        page.get_by_role("table", name="Messages that could not be read").locator("tbody a").first.click()
        value = page.get_by_role("region", name="Value in hexadecimal")
        expect(value).to_contain_text("44 22 2c 20 00 ff fe 20")
        expect(value).to_contain_text('{"type": "CREATE')
        expect(page.locator("pre.text").first).to_contain_text("\u2400\ufffd")
        expect(page.get_by_text("a-bad-day")).to_be_visible()
        expect(page.locator("dl.facts").first).to_contain_text("not json")
