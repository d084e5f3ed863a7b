"""All that wait for one cause, acted on at once: from the list, by a preview, to what became of it."""

import pytest

from domain.messages import Kind
from tests.browser.conftest import OpenPage, expect, heading
from tests.support.browser_world import ADDED, PARKED, READ_TOKEN, World
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TAKEN, REFUSED_AGAIN = ADDED + 100, ADDED + 101


def test_all_parked_for_one_cause_are_retried_and_told_by_what_became_of_them(
    open_page: OpenPage, world: World
) -> None:
    """A reader may review the preview and can't start it. Of three that are retried one is taken; the page of the
    job says so, and doesn't call the others done."""
    world.sandbox.faults(rejectOrders=[PARKED, TAKEN, REFUSED_AGAIN])
    world.publish(world.said(Kind.CREATED, TAKEN), world.said(Kind.CREATED, REFUSED_AGAIN))
    wait_until(lambda: world.is_parked(TAKEN) and world.is_parked(REFUSED_AGAIN), "both are parked")
    world.sandbox.faults(rejectOrders=[PARKED, REFUSED_AGAIN])
    page = open_page("/parked")
    cause = page.locator("#causes").get_by_role("row", name="refused with status 422")
    expect(cause).to_contain_text("18.00")
    cause.get_by_role("link", name="Retry all 3").click()
    page.get_by_label("Why, for the record").fill("they opened the wallets again")
    page.get_by_role("button", name="Preview").click()
    expect(heading(page)).to_have_text("Preview: three orders")
    page.get_by_role("link", name="this address").click()
    address = page.url
    expect(heading(page)).to_have_text("Preview: three orders")
    reader = open_page(address, token=READ_TOKEN)
    expect(heading(reader)).to_have_text("Preview: three orders")
    expect(reader.get_by_role("button", name="Start it")).to_have_count(0)

    page.get_by_label("I have read what will be done").check()
    page.get_by_role("button", name="Start it").click()

    expect(page.locator(".heading .chip").first).to_have_text("done")
    expect(page.locator("dl.facts dd").first).to_have_text("3 of 3 orders, 0 failed")
    expect(page.locator("#outcomes")).to_have_text("1 delivered 0 waiting 2 parked")
    assert world.there(TAKEN) is not None
    assert world.there(REFUSED_AGAIN) is None
    expect(reader.locator("#outcomes")).to_have_count(0)
    world.sandbox.faults(rejectOrders=[PARKED])
    world.api("POST", f"/api/parked/{REFUSED_AGAIN}/retry", json={"reason": "a test"}).raise_for_status()
    wait_until(lambda: world.stands(REFUSED_AGAIN, 1), "it is delivered")


def test_all_messages_of_one_cause_are_read_again(open_page: OpenPage, world: World) -> None:
    """Of one that can't be read even now the job says why; it stays open."""
    page = open_page("/quarantine")
    cause = page.locator("#causes").get_by_role("row", name=world.topic)
    cause.get_by_role("link", name="Read all").first.click()
    page.get_by_label("Why, for the record").fill("we read more by now")
    page.get_by_role("button", name="Preview").click()
    page.get_by_label("I have read what will be done").check()
    page.get_by_role("button", name="Start it").click()
    expect(page.locator(".heading .chip").first).to_have_text("done")
    expect(page.locator("#job")).to_contain_text("can't be read")
    assert world.sql("SELECT count(*) FROM quarantine WHERE state = 'open'") >= [(1,)]
