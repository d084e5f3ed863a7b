"""The twelve things that an operator does, from a page to the effect in the database and at the third party.

The tests share one service, and each has orders of its own; the third party loses its books in the last one.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from domain.exact_json import dumps, loads
from domain.messages import Kind
from tests.browser.conftest import OPERATOR, READER, OpenPage, expect, heading
from tests.support.browser_world import ADDED, BUYER, HELD, PARKED, PLAIN, READ_TOKEN, STORY, World
from tests.support.messages import product
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

LookAt = Callable[["Page", str], None]
RETRIED, SKIPPED, EDITED, DISCARDED, LOST, REPUBLISHED, DOUBTFUL, RELEASED = range(ADDED + 1, ADDED + 9)


def confirm(page: "Page", button: str, reason: str) -> None:
    page.get_by_label("Why, for the record").fill(reason)
    page.get_by_label("I have read what will be done").check()
    page.get_by_role("button", name=button).click()


def choose(page: "Page", action: str) -> None:
    """From what an order's page offers beside the next step."""
    page.locator("#more summary").click()
    page.get_by_role("link", name=action).click()


def says(page: "Page") -> str:
    """What the page says will happen."""
    return str(page.locator("ul.says").inner_text())


def test_an_order_is_found_and_its_story_read(open_page: OpenPage, world: World) -> None:
    """By keyboard alone; key and number of attempts are those of the ledger and of the third party."""
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type(BUYER)
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name=str(STORY))).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").blur()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(heading(page)).to_contain_text(str(STORY))
    call = page.locator("#v2")
    [(key,)] = world.sql("SELECT idempotency_key FROM effect WHERE order_id = %s AND version = 2", STORY)
    expect(call).to_contain_text(str(key))
    expect(call.locator("ol.attempts > li")).to_have_count(
        sum(each["key"] == str(key) for each in world.calls_of(STORY))
    )
    expect(page.locator(".verdict .say")).to_contain_text("7.50 TRY paid")
    there = world.there(STORY)
    assert there is not None
    assert (there["status"], Decimal(there["cashbackAmount"])) == ("COMPLETED", Decimal("7.5"))


def test_calls_are_sent_again_after_a_dry_run(open_page: OpenPage, world: World, look_at: LookAt) -> None:
    """The dry run sends nothing, and says what each wish would come to; without a reason and a tick nothing goes.
    Then the third party sees the same calls with the same keys."""
    before = world.calls_of(STORY)
    page = open_page(f"/orders/{STORY}")
    choose(page, "Redeliver…")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_label("only what is missing").check()
    page.get_by_role("button", name="Show what that sends").click()
    expect(page.get_by_text("Nothing.")).to_be_visible()
    page.get_by_label("all calls, delivered ones too").check()
    page.get_by_label("new ones, made with").fill("ticket-4711")
    page.get_by_role("button", name="Show what that sends").click()
    expect(page.locator("ul.says")).to_contain_text("7.50 at risk")
    look_at(page, "replay-new-keys")
    page.get_by_label("new ones, made with").fill("")
    page.get_by_role("button", name="Show what that sends").click()
    expect(page.locator("ul.says")).to_contain_text("Nothing is at risk")
    assert "Three calls will be sent" in says(page)
    assert f"POST /v1/cashbacks (6.00), PUT /v1/cashbacks/{STORY} (7.50)" in says(page)
    page.get_by_role("button", name="Call again").click()
    assert "/replay" in page.url
    assert world.calls_of(STORY) == before
    confirm(page, "Call again", "the buyer called")
    expect(page.get_by_role("status").first).to_contain_text("again")
    wait_until(lambda: len(world.calls_of(STORY)) == len(before) + 3, "the third party sees three more calls")
    again = world.calls_of(STORY)[len(before) :]
    assert {call["key"] for call in again} <= {call["key"] for call in before}
    assert world.actions(STORY)[-1] == ("redeliver", OPERATOR, "the buyer called")
    page.goto("/audit")
    expect(page.locator("tbody tr").first).to_contain_text("the buyer called")


def test_messages_are_published_again(open_page: OpenPage, world: World) -> None:
    """They come to the topic once more and change nothing: no event, no call."""
    _completed(world, REPUBLISHED)
    read, events, calls = _read(world), _events(world), len(world.calls_of(REPUBLISHED))
    page = open_page(f"/orders/{REPUBLISHED}")
    choose(page, "Republish…")
    expect(page.locator("ul.says")).to_contain_text("Two messages will be published")
    confirm(page, "Publish again", "they lost their consumer")
    expect(page.get_by_role("status").first).to_contain_text("again")
    wait_until(lambda: _read(world) == read + 2, "both messages are read once more")
    assert (_events(world), len(world.calls_of(REPUBLISHED))) == (events, calls)
    assert world.actions(REPUBLISHED) == [("republish", OPERATOR, "they lost their consumer")]


def test_a_parked_order_is_let_go_on(open_page: OpenPage, world: World) -> None:
    """From the list; nothing goes out before it is confirmed; then the third party has the order."""
    world.sandbox.faults(rejectOrders=[PARKED, RETRIED])
    world.publish(world.said(Kind.CREATED, RETRIED))
    wait_until(lambda: world.is_parked(RETRIED), "the order is parked")
    world.sandbox.faults(rejectOrders=[PARKED])
    page = open_page("/parked")
    page.get_by_role("row", name=str(RETRIED)).get_by_role("link", name="Retry").click()
    assert f"POST /v1/cashbacks (6.00) of order {RETRIED} goes out again at once" in says(page)
    assert world.there(RETRIED) is None
    confirm(page, "Retry", "they repaired it")
    expect(page.get_by_text("The call is due again")).to_be_visible()
    wait_until(lambda: world.stands(RETRIED, 1), "the call is delivered")
    expect(page.locator(".verdict .say")).to_have_text("Nothing owed yet: 6.00 TRY when the order completes")
    there = world.there(RETRIED)
    assert there is not None
    assert there["status"] == "PENDING"
    assert world.actions(RETRIED) == [("retry", OPERATOR, "they repaired it")]


def test_the_call_at_which_an_order_stands_is_skipped(open_page: OpenPage, world: World) -> None:
    """The page says what is given up. The call is never sent, the one behind it is. If the order has moved on
    meanwhile, nothing is done and the new state shows."""
    world.publish(world.said(Kind.CREATED, SKIPPED))
    wait_until(lambda: world.stands(SKIPPED, 1), "the order is created there")
    world.sandbox.faults(rejectOrders=[PARKED, SKIPPED])
    items = [product(2, 156, 306), product(1, 19.5, 18)]
    world.publish(world.said(Kind.UPDATED, SKIPPED, minute=1, number=1, items=items))
    wait_until(lambda: world.is_parked(SKIPPED), "the update is refused")
    page = open_page(f"/orders/{SKIPPED}")
    page.locator("#verdict").get_by_role("link", name="Skip the call").click()
    expect(page.locator("ul.says")).to_contain_text(f"PUT /v1/cashbacks/{SKIPPED} of order {SKIPPED} is given up")
    assert "The amount that it carries, 7.50, is given up" in says(page)
    world.publish(world.said(Kind.CANCELLED, SKIPPED, minute=2, number=2))
    calls = "SELECT version FROM effect WHERE order_id = %s"
    wait_until(lambda: len(world.sql(calls, SKIPPED)) == 3, "a call stands behind it")
    world.sandbox.faults(rejectOrders=[PARKED])
    sent = len(world.calls_of(SKIPPED))
    confirm(page, "Skip it", "agreed with them")
    expect(page.get_by_role("alert")).to_contain_text("Things have changed")
    expect(page.get_by_label("Why, for the record")).to_have_value("agreed with them")
    assert "goes on with one call behind it" in says(page)
    assert world.is_parked(SKIPPED)
    page.get_by_label("I have read what will be done").check()
    page.get_by_role("button", name="Skip it").click()
    expect(page.get_by_text("The call was skipped")).to_be_visible()
    wait_until(lambda: world.stands(SKIPPED, 1, 2, 3), "the order goes on to its end")
    states = world.sql("SELECT state FROM effect WHERE order_id = %s ORDER BY version", SKIPPED)
    assert states == [("delivered",), ("skipped",), ("delivered",)]
    assert [call["method"] for call in world.calls_of(SKIPPED)[sent:]] == ["POST"]
    there = world.there(SKIPPED)
    assert there is not None
    assert there["status"] == "CANCELLED"
    assert world.actions(SKIPPED) == [("skip", OPERATOR, "agreed with them")]


def test_a_doubt_is_settled(open_page: OpenPage, world: World, look_at: LookAt) -> None:
    """From the list of parked orders: the page shows what is at stake; nobody is paid before it is confirmed."""
    twice = world.said(Kind.CREATED, DOUBTFUL, minute=1, number=1, items=[product(2, 156, 300)])
    world.publish(
        world.said(Kind.CREATED, DOUBTFUL), twice, world.said(Kind.COMPLETED, DOUBTFUL, minute=2, number=2)
    )
    wait_until(lambda: world.is_parked(DOUBTFUL), "the completion is held")
    page = open_page("/parked")
    page.get_by_role("row", name=str(DOUBTFUL)).get_by_role("link", name="Settle").click()
    expect(page.locator("ul.says")).to_contain_text("6.00 more is owed")
    assert f"POST /v1/cashbacks/{DOUBTFUL}/complete (6.00)" in says(page)
    look_at(page, "settle")
    there = world.there(DOUBTFUL)
    assert there is not None
    assert there["status"] == "PENDING"
    confirm(page, "Settle it", "the first amount is right")
    expect(page.get_by_text("The doubt is settled")).to_be_visible()
    wait_until(lambda: (world.there(DOUBTFUL) or {}).get("status") == "COMPLETED", "the buyer is paid")
    expect(page.locator(".verdict .say")).to_contain_text("Paid")
    expect(page.locator("#timeline")).to_contain_text("the first amount is right")
    assert world.actions(DOUBTFUL) == [("settle", OPERATOR, "the first amount is right")]


def test_what_is_held_is_released(open_page: OpenPage, world: World) -> None:
    """Without a CREATED it is closed, and nobody is called."""
    world.publish(world.said(Kind.COMPLETED, RELEASED))
    held = "SELECT held FROM orders WHERE order_id = %s"
    wait_until(lambda: world.sql(held, RELEASED) == [(1,)], "the message is held")
    page = open_page(f"/orders/{RELEASED}")
    page.get_by_role("link", name="Release…").click()
    expect(page.locator("ul.says")).to_contain_text("one message is closed, and nothing is paid")
    confirm(page, "Release it", "a test of theirs")
    expect(page.get_by_text("The held messages were released")).to_be_visible()
    wait_until(lambda: world.sql(held, RELEASED) == [(0,)], "nothing is held any more")
    assert world.there(RELEASED) is None
    assert world.actions(RELEASED) == [("release", OPERATOR, "a test of theirs")]


def test_a_message_in_quarantine_is_edited_and_read(open_page: OpenPage, world: World, look_at: LookAt) -> None:
    """Looked at as text and in hexadecimal; what it would come to shows first; what came is kept beside the edit;
    the third party hears of the order."""
    quarantined = _laid_aside(world, EDITED)
    page = open_page("/quarantine")
    page.get_by_role("row", name=str(EDITED)).get_by_role("link").first.click()
    expect(page.locator("pre.text").first).to_contain_text('"quantity":"two"')
    expect(page.locator("pre.hex").first).to_contain_text("7b 22 74 79 70 65 22")
    page.get_by_role("link", name="Read it again…").click()
    expect(page.get_by_role("alert")).to_contain_text("can't be read")
    page.get_by_role("link", name="Edit it").click()
    value = page.locator("textarea[name=value]")
    came = value.input_value()
    value.fill(came.replace('"two"', '"zwei"'))
    page.get_by_role("button", name="Show what it comes to").click()
    expect(page.get_by_role("alert")).to_contain_text("can't be read")
    value.fill(came.replace('"two"', "2"))
    page.get_by_role("button", name="Show what it comes to").click()
    expect(page.locator("ul.says")).to_contain_text(f"the message is read as CREATED of order {EDITED}")
    assert "accepted, the order is created" in says(page)
    look_at(page, "quarantine-edit")
    assert world.there(EDITED) is None
    confirm(page, "Read it so", "the shop wrote a word")
    expect(page.get_by_role("status").first).to_contain_text("It was read")
    [(state, kept, edited)] = world.sql(
        "SELECT state, message_value, edited_value FROM quarantine WHERE id = %s", quarantined
    )
    assert (state, kept.decode(), edited.decode()) == ("retried", came, came.replace('"two"', "2"))
    expect(page.get_by_role("heading", name="Value, edited")).to_be_visible()
    expect(page.locator("pre.text").nth(1)).to_contain_text('"quantity":"two"')
    wait_until(lambda: world.stands(EDITED, 1), "the call is delivered")
    there = world.there(EDITED)
    assert there is not None
    assert Decimal(there["cashbackAmount"]) == 6
    assert world.actions(EDITED) == [("quarantine_retry", OPERATOR, "the shop wrote a word")]


def test_a_message_in_quarantine_is_discarded(open_page: OpenPage, world: World) -> None:
    """By keyboard alone. It is kept to look at, nobody can do anything with it any more, and nobody was called."""
    quarantined = _laid_aside(world, DISCARDED)
    page = open_page(f"/quarantine/{quarantined}")
    page.get_by_role("link", name="Discard…").focus()
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("Discard it")
    assert "nobody is called" in says(page)
    page.get_by_label("Why, for the record").focus()
    page.keyboard.type("a test of theirs")
    for key in ("Tab", "Space", "Tab", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".heading .chip")).to_have_text("discarded")
    expect(page.get_by_role("link", name="Discard…")).to_have_count(0)
    assert world.sql("SELECT state FROM quarantine WHERE id = %s", quarantined) == [("discarded",)]
    assert world.there(DISCARDED) is None
    assert world.actions(DISCARDED) == [("quarantine_discard", OPERATOR, "a test of theirs")]
    page.goto(f"/quarantine/{quarantined}/retry")
    expect(page.get_by_role("alert")).to_contain_text("discarded already")


def test_many_orders_are_replayed(open_page: OpenPage, world: World, look_at: LookAt) -> None:
    """A preview with the sums, its start, progress without a reload; each order's call comes to the third party."""
    some = PLAIN[:30]
    before = {order_id: len(world.calls_of(order_id)) for order_id in some}
    page = open_page("/jobs")
    page.get_by_role("link", name="New…").click()
    page.get_by_label("call the third party again").check()
    page.get_by_label("Order ids").fill(", ".join(map(str, some)) + "\n99999999 nonsense")
    page.get_by_label("At most so many a second").fill("20")
    page.get_by_label("Why, for the record").fill("they restored a backup")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("“nonsense” is no order id")
    page.get_by_label("Order ids").fill(", ".join(map(str, some)) + "\n99999999")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", name="One order that you named is left out")).to_be_visible()
    assert "The calls of 30 orders are sent to the third party again, at most 20 a second: about 2 s." in says(page)
    assert "30 calls will be sent." in says(page)
    look_at(page, "bulk-preview")
    page.get_by_label("I have read what will be done").check()
    page.get_by_role("button", name="Start it").click()
    expect(page.locator(".heading .chip").first).to_have_text("running")
    page.evaluate("window.never_reloaded = true")
    expect(page.locator(".heading .chip").first).to_have_text("done")
    expect(page.locator("dl.facts dd").first).to_have_text("30 of 30 orders, 0 failed")
    assert page.evaluate("window.never_reloaded")
    wait_until(
        lambda: all(len(world.calls_of(order_id)) == before[order_id] + 1 for order_id in some),
        "the third party has seen each once more",
    )
    asked = "SELECT operator, reason FROM operator_action WHERE action = 'bulk_start' ORDER BY id DESC LIMIT 1"
    assert world.sql(asked) == [(OPERATOR, "they restored a backup")]


def test_a_replay_of_many_orders_is_cancelled(open_page: OpenPage, world: World) -> None:
    """What isn't done stays undone."""
    page = open_page("/replays/new")
    page.get_by_label("publish its messages again").check()
    page.get_by_label("Order ids").fill(" ".join(map(str, PLAIN)))
    page.get_by_label("At most so many a second").fill("2")
    page.get_by_label("Why, for the record").fill("a mistake")
    page.get_by_role("button", name="Preview").click()
    page.get_by_label("I have read what will be done").check()
    page.get_by_role("button", name="Start it").click()
    expect(page.locator("dl.facts dd").first).to_have_text(re.compile(r"^[1-9]\d* of 120"))
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator(".heading .chip").first).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Cancel it")).to_have_count(0)
    [(state, done)] = world.sql("SELECT state, done FROM job ORDER BY number DESC LIMIT 1")
    assert (state, done < 120) == ("cancelled", True)
    assert world.sql("SELECT count(*) FROM operator_action WHERE action = 'bulk_cancel'") == [(1,)]


def test_a_reader_finds_no_form_and_is_refused(open_page: OpenPage, world: World) -> None:
    """On no page of an action, and by no request of the reader's own making."""
    [(quarantined,)] = world.sql("SELECT id FROM quarantine ORDER BY id LIMIT 1")
    page = open_page("/parked", token=READ_TOKEN)
    token = page.locator("input[name=form_token]").first.input_value()
    form: dict[str, str | float | bool] = {"form_token": token, "reason": "I want to", "confirmed": "yes"}
    actions = world.sql("SELECT count(*) FROM operator_action")
    for path in (
        f"/orders/{STORY}/replay?mode=redeliver",
        f"/orders/{STORY}/replay?mode=republish",
        f"/parked/{PARKED}/retry",
        f"/parked/{PARKED}/skip",
        f"/orders/{STORY}/settle",
        f"/orders/{HELD}/release",
        f"/quarantine/{quarantined}/retry",
        f"/quarantine/{quarantined}/edit",
        f"/quarantine/{quarantined}/discard",
        "/replays/new",
        "/reconciliation/compare",
    ):
        page.goto(path)
        expect(page.get_by_text("You are signed in to read").or_(page.get_by_role("alert")).first).to_be_visible()
        expect(page.locator("form[method=post]:not(.who)")).to_have_count(0)
        assert page.request.post(path, form=form).status == 403, path
    expect(page.locator("header")).to_contain_text(READER)
    assert world.sql("SELECT count(*) FROM operator_action") == actions


def test_a_difference_is_found_and_mended(open_page: OpenPage, world: World, look_at: LookAt) -> None:
    """The third party has lost its books. A comparison shows the order that is missing there; its calls, sent
    again, bring it back; the next comparison agrees and the difference is closed."""
    _completed(world, LOST)
    world.sandbox.reset()
    page = open_page(f"/orders/{LOST}")

    def compare() -> None:
        page.get_by_role("link", name="Compare now").click()
        expect(page.get_by_label("Order ids")).to_have_value(str(LOST))
        confirm(page, "Compare", "they restored a backup")
        expect(page.locator(".heading .chip")).to_have_text("done")

    compare()
    row = page.get_by_role("row", name=str(LOST))
    expect(row).to_contain_text("missing there")
    expect(row).to_contain_text("no such order")
    look_at(page, "comparison")
    difference = "SELECT class, closed_at IS NULL FROM reconciliation WHERE order_id = %s"
    assert world.sql(difference, LOST) == [("missing_there", True)]
    row.get_by_role("link", name="Redeliver").click()
    confirm(page, "Call again", "it is missing there")
    expect(page.get_by_role("status").first).to_contain_text("again")
    wait_until(lambda: (world.there(LOST) or {}).get("status") == "COMPLETED", "it is back there")
    wait_until(lambda: world.stands(LOST, 1, 2), "both calls are delivered again")
    compare()
    expect(page.get_by_text("Both sides agree")).to_be_visible()
    assert world.sql(difference, LOST) == [("missing_there", False)]
    kinds = [kind for kind, _, _ in world.actions(LOST)]
    assert kinds == ["compare", "redeliver", "compare"]


def test_all_orders_are_compared(open_page: OpenPage, world: World) -> None:
    """Every order that the third party has lost is found; the list of differences has them."""
    [(orders,)] = world.sql("SELECT count(*) FROM stored_events WHERE originator_version = 1")
    page = open_page("/reconciliation")
    page.get_by_role("link", name="Compare now").click()
    page.get_by_label("Lookups a second, at most").fill("500")
    confirm(page, "Compare", "after their restore")
    expect(page.locator(".heading .chip")).to_have_text("done")
    expect(page.locator("dl.facts dd").first).to_contain_text(f"{orders} of {orders}")
    expect(page.locator("dl.facts")).to_contain_text("missing there")
    [(missing,)] = world.sql(
        "SELECT count(*) FROM reconciliation WHERE class = 'missing_there' AND closed_at IS NULL"
    )
    assert missing >= len(PLAIN)
    page.goto("/reconciliation?class=missing_there")
    expect(page.locator("#comparisons tbody tr").first).to_contain_text("after their restore")


def _completed(world: World, order_id: int) -> None:
    world.publish(world.said(Kind.CREATED, order_id), world.said(Kind.COMPLETED, order_id, minute=1, number=1))
    wait_until(lambda: world.stands(order_id, 1, 2), "both calls are delivered")


def _laid_aside(world: World, order_id: int) -> int:
    """Its id in quarantine."""
    message = world.said(Kind.CREATED, order_id)
    said = loads(message.value)
    said["payload"]["orderItemsWithDiscountSummaryItems"][0]["productItem"]["quantity"] = "two"
    world.publish(replace(message, value=dumps(said), headers=(("ce_id", b"of-%d" % order_id),)))

    def found() -> list[tuple[int, ...]]:
        return world.sql("SELECT id FROM quarantine WHERE order_id = %s", order_id)

    wait_until(lambda: bool(found()), "the message is laid aside")
    return found()[0][0]


def _read(world: World) -> int:
    [(number,)] = world.sql("SELECT sum(next_offset) FROM kafka_position")
    return int(number)


def _events(world: World) -> int:
    [(number,)] = world.sql("SELECT count(*) FROM stored_events")
    return int(number)
