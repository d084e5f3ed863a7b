"""The runbooks as pages of the console: all of them, and each link that a verdict or another one makes."""

import re
from itertools import product

import pytest

from adapters.presentation.runbooks import FOLDER, Block, blocks, runbook
from adapters.presentation.verdict import verdict
from domain.events import Doubt
from domain.lifecycle import Status
from domain.money import DEFAULT_TILL
from tests.support.standings import DELIVERIES, DOWN, LOCKED_OUT, SETTLED, standing

NAMES = sorted(path.stem for path in FOLDER.glob("*.md"))
_LINK = re.compile(r'<a href="(?:/runbooks/([a-z0-9-]+))?(#[^"]+)?">')


def found(name: str) -> list[Block]:
    shown = runbook(name)
    assert shown is not None, name
    return shown


def shown_text(block: Block) -> str:
    return " ".join([*block.lines, *(cell for row in block.rows for cell in row)])


def leads_somewhere(page: str, anchor: str) -> bool:
    return not anchor or anchor in {block.anchor for block in found(page)}


@pytest.mark.parametrize("name", NAMES)
def test_no_mark_is_left_over_and_no_link_leads_nowhere(name: str) -> None:
    """But in code."""
    shown = found(name)
    assert shown[0].kind == "heading"
    for block in shown:
        if block.kind == "code":
            continue
        text = re.sub(r"<code>.*?</code>", "", shown_text(block))
        assert not re.search(r"\*\*|\]\(|^#|^\||```", text), text
        for page, anchor in _LINK.findall(text):
            assert leads_somewhere(page or name, anchor.removeprefix("#")), (page, anchor)
        if block.kind == "table":
            assert len({len(row) for row in block.rows}) == 1


def test_every_verdict_has_its_runbook() -> None:
    """The heading, too."""
    said = set()
    for status, delivery, outage in product(Status, (SETTLED, *DELIVERIES), (None, DOWN, LOCKED_OUT)):
        for more in ({}, {"doubts": [Doubt.LATE]}, {"held": 1}, {"unread": 1}, {"missing_versions": True}):
            said.add(verdict(standing(status, delivery, outage=outage, **more), DEFAULT_TILL).runbook)
    assert len(said) > 5
    for each in said:
        page, _, anchor = each.partition("#")
        assert leads_somewhere(page.removesuffix(".md"), anchor), each


@pytest.mark.parametrize("name", ["nothing", "../index", "PARKED", "parked.md", ""])
def test_there_is_no_other_page(name: str) -> None:
    assert runbook(name) is None


def test_what_stands_in_a_page_is_text() -> None:
    """No markup of its own comes through."""
    (block,) = blocks("a <b> & `<i>` **<u>**")
    assert block.lines == ["a &lt;b&gt; &amp; <code>&lt;i&gt;</code> <strong>&lt;u&gt;</strong>"]
