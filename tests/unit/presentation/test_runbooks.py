"""The runbooks as pages of the console: all of them, and each link that a verdict or another one makes."""

import re
from itertools import product

import pytest

from adapters.presentation.runbooks import FOLDER, rendered, runbook
from adapters.presentation.verdict import verdict
from domain.events import Doubt
from domain.lifecycle import Status
from domain.money import DEFAULT_TILL
from tests.support.standings import DELIVERIES, DOWN, LOCKED_OUT, SETTLED, standing

NAMES = sorted(path.stem for path in FOLDER.glob("*.md"))
_LINK = re.compile(r'<a href="(?:/runbooks/([a-z0-9-]+))?(#[^"]+)?">')


def found(name: str) -> str:
    shown = runbook(name)
    assert shown is not None, name
    return shown.body


def leads_somewhere(page: str, anchor: str) -> bool:
    return not anchor or f'id="{anchor}"' in found(page)


@pytest.mark.parametrize("name", NAMES)
def test_no_mark_is_left_over_and_no_link_leads_nowhere(name: str) -> None:
    """But in code."""
    shown = found(name)
    assert shown.startswith("<h1 id=")
    text = re.sub(r"<pre.*?</pre>|<code>.*?</code>", "", shown, flags=re.DOTALL)
    assert not re.search(r"\*\*|\]\(|^#|^\||```", text, re.MULTILINE), text
    links = re.findall(r"<a [^>]*>", text)
    assert all(map(_LINK.fullmatch, links)), links
    for page, anchor in _LINK.findall(text):
        assert leads_somewhere(page or name, anchor.removeprefix("#")), (page, anchor)


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
    """No markup of its own comes through, nor a link out of the console."""
    assert rendered("a <b> & `<i>` **<u>** [x](javascript:alert(1)) [y](//elsewhere/z.md)").body == (
        "<p>a &lt;b&gt; &amp; <code>&lt;i&gt;</code> <strong>&lt;u&gt;</strong> [x](javascript:alert(1)) y</p>\n"
    )
