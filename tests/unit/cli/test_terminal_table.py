"""Lists on a terminal: ids, amounts and states stay whole, whatever the window's width."""

from typing import Final

import pytest

from adapters.cli.terminal_table import fitted, wrapped

ORDER: Final = "218129358832068"
BUYER: Final = "buyer-0d3fd1d0-7f3c-5b0e-9a54-5d64a3c6a0aa"
PLACE: Final = "order-cashback-promotion/11@218129358832"
AMOUNT: Final = "1,234,567.89"
ANSWER: Final = f'refused 422 {{"code":"account_closed","orderId":{ORDER},"message":"the wallet was closed"}}'
COLUMNS: Final = ("order", "status", "cashback", "buyer", "place", "detail")
ROWS: Final = [(ORDER, "NOT_CREATED", AMOUNT, BUYER, PLACE, ANSWER), ("7", "PENDING", "6.00", "–", "–", "–")]
DROP: Final = ("detail", "place", "buyer")


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200, 400])
def test_what_is_shown_is_whole_and_within_the_window(width: int) -> None:
    """A cell of a column that isn't text is on one line, or its column isn't there."""
    shown = fitted(COLUMNS, ROWS, width, right={"order", "cashback"}, drop=DROP)
    if width == 40:
        assert shown is None, "order, status and amount alone are 42 wide with a gap between them"
        return
    assert shown is not None
    assert max(map(len, (shown.head, *shown.rows))) <= width
    for name, value in zip(COLUMNS, ROWS[0], strict=True):
        if name != "detail":
            assert (value in shown.rows[0]) == (name not in shown.dropped), name
    assert list(shown.dropped) == list(DROP[: len(shown.dropped)]), "the first ones went first"


def test_with_room_for_all_nothing_goes_and_nothing_wraps() -> None:
    """One line for each row."""
    shown = fitted(COLUMNS, ROWS, 400, drop=DROP)
    assert shown is not None
    assert (len(shown.rows), shown.dropped) == (2, [])


def test_text_wraps_between_words_and_never_within_an_id() -> None:
    """Whatever stands around it; only what is wider than the line is broken."""
    for width in range(16, 90):
        lines = wrapped(ANSWER, width)
        assert all(len(line) <= width for line in lines)
        assert any(ORDER in line for line in lines), width
        assert "".join(lines).replace(" ", "") == ANSWER.replace(" ", "")
    assert wrapped("x" * 10, 4) == ["xxxx", "xxxx", "xx"]
    assert wrapped("漢字漢字", 5) == ["漢字", "漢字"]
    assert wrapped("", 4) == [""]
