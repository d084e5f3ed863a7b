"""Dashboard and alert rules: they ask for what is exported, and say what a person should do."""

import re
from typing import Final

import pytest

from tests.support.promql import BadExpression, grouping_labels, missing, selectors, series_of
from tests.support.signals import (
    DEPLOY,
    alerts,
    everything_that_can_be_exported,
    expressions_of_alerts,
    expressions_of_dashboard,
    panels,
)

ROOT: Final = DEPLOY.parent


def test_dashboard_and_alerts_ask_for_nothing_that_is_not_exported() -> None:
    """Neither a series nor a label, nor a value that a label never has."""
    series = series_of(everything_that_can_be_exported())
    assert missing([*expressions_of_dashboard(), *expressions_of_alerts()], series) == []


def test_whoever_reads_an_alert_knows_what_to_do() -> None:
    """It says so in a sentence, and its runbook is there, with the section that it names."""
    for alert in alerts():
        annotations = alert["annotations"]
        assert annotations.keys() == {"summary", "description", "runbook_url"}
        assert annotations["description"].endswith(".")
        assert alert["labels"]["severity"] in {"page", "ticket"}
        file, _, anchor = annotations["runbook_url"].partition("#")
        text = (ROOT / file).read_text("utf-8")
        headings = {
            re.sub(r"[^\w -]", "", line[3:].lower()).replace(" ", "-")
            for line in text.splitlines()
            if line.startswith("## ")
        }
        assert not anchor or anchor in headings, alert["alert"]
    names = [alert["alert"] for alert in alerts()]
    assert len(set(names)) == len(names)


def test_labels_in_an_alert_s_words_are_left_by_its_expression() -> None:
    """`{{ $labels.x }}` of a label that was summed away is an empty word."""
    for alert in alerts():
        named = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
        assert named <= grouping_labels(alert["expr"]) | ({"instance"} if "sum" not in alert["expr"] else set())


def test_panels_have_places_of_their_own() -> None:
    """None lies upon another, and each has a number of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("sum(cashback_nothing)", "no series cashback_nothing"),
        ("sum by (orderId) (cashback_ready)", "nothing has the label orderId"),
        ('cashback_ready{part="push"}', "cashback_ready has no label part"),
        ('cashback_breaker_state{state=~"open|closing"}', "never has state=~closing"),
        ("rate(cashback_decisions[5m])", "no series cashback_decisions"),
    ],
)
def test_a_slip_in_an_expression_is_noticed(expression: str, problem: str) -> None:
    """Or the tests above would mean nothing."""
    (found,) = missing([expression], series_of(everything_that_can_be_exported()))
    assert problem in found


def test_an_expression_that_is_not_whole_is_refused() -> None:
    """Too few brackets."""
    with pytest.raises(BadExpression):
        selectors("sum(rate(cashback_ready[5m])")
