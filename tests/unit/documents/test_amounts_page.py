"""The numbers of docs/explanation/amounts.md: each is calculated anew."""

import re
from collections.abc import Iterator
from decimal import ROUND_DOWN, Decimal
from typing import Final

import pytest

from domain.decision import Policy
from domain.effects import effect_of
from domain.events import (
    CashbackCompleted,
    CashbackCorrected,
    CashbackCreated,
    CashbackUpdated,
    MessageRejected,
    OrderEvent,
)
from domain.money import Rounding, Till, total
from tests.support.documents import read
from tests.support.messages import SECOND_NS, History, cancelled, completed, created, updated

PAGE: Final = read("docs/explanation/amounts.md")
BASKET: Final = PAGE.partition("### A whole basket")[2].partition("\n## ")[0]
TELL: Final = {"CREATED": created, "UPDATED": updated, "COMPLETED": completed, "CANCELLED": cancelled}


def rows_of(text: str) -> list[list[str]]:
    """Those that begin with a currency: rounding, quantity × price, exactly, the till says, to pay, left, earns."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| [A-Z]{3} \|", line)]


def number(text: str) -> Decimal:
    return Decimal(text.replace("−", "-"))


def test_the_tables_show_every_rounding_and_currencies_of_every_kind() -> None:
    """Without decimals, with two, with three."""
    rows = rows_of(PAGE)
    assert {row[1].strip("`") for row in rows} == set(Rounding)
    assert {Till(row[0]).decimals for row in rows} == {0, 2, 3}


@pytest.mark.parametrize("row", rows_of(PAGE), ids=" ".join)
def test_a_row_is_what_the_till_calculates(row: list[str]) -> None:
    """Each step of it; what is refused is more than one minor unit below zero."""
    currency, rounding, bought, exactly, said, to_pay, left, earns = row
    till = Till(currency, Rounding(rounding.strip("`")))
    quantity, price = map(number, bought.split(" × "))
    assert quantity * price == number(exactly)
    assert str(till.item_cashback(price, quantity, 0)) == said
    assert number(said) - number(to_pay) == number(left)
    earned = till.item_cashback(price, quantity, number(to_pay))
    if earns == "refused":
        assert earned == number(left).quantize(till.minor_unit, ROUND_DOWN)
        assert earned < -till.minor_unit
    else:
        assert str(earned) == earns


def test_the_basket_earns_the_sum_of_its_items() -> None:
    """In bold below its table."""
    (earned,) = re.findall(r"earns \*\*([\d.]+)\*\*", BASKET)
    assert str(total([number(row[-1]) for row in rows_of(BASKET)])) == earned


@pytest.mark.parametrize("corrections", [False, True])
def test_the_returns_end_as_the_table_says(*, corrections: bool) -> None:
    """What each message leads to, where corrections are off and where they are on."""
    history = History(policy=Policy(corrections=corrections))
    found = re.findall(
        r"^\| (CREATED|UPDATED|COMPLETED|CANCELLED)(?:, ([\d.]+))?(?:: [^|]+)? \| ([^|]+) \| ([^|]+) \|$",
        PAGE,
        re.MULTILINE,
    )
    assert len(found) == 5
    for step, (kind, cashback, off, on) in enumerate(found):
        terms = {"cashback": cashback} if cashback else {}
        events = history.tell(TELL[kind](at_ns=step * 3600 * SECOND_NS, offset=step, **terms))
        assert list(in_words(events)) == [on if corrections else off]


def in_words(events: tuple[OrderEvent, ...]) -> Iterator[str]:
    """As the cells of the table have it."""
    for event in events:
        match event:
            case MessageRejected(refusal=refusal, at_stake=None):
                yield f"`{refusal}`, nothing at stake"
            case MessageRejected(refusal=refusal, at_stake=at_stake):
                yield f"`{refusal}`, {at_stake} at stake".replace("-", "−")
            case CashbackCreated() | CashbackUpdated() | CashbackCompleted() | CashbackCorrected():
                effect = effect_of(event)
                assert effect is not None
                yield f"`{effect.kind}` {event.cashback}"
            case _:
                yield type(event).__name__
