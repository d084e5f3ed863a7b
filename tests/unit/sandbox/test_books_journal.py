"""The sandbox third party's books across restarts."""

from decimal import Decimal
from pathlib import Path

import pytest

from domain.exact_json import dumps
from sandbox.third_party_server.books import Books
from sandbox.third_party_server.journal import JournalError
from sandbox.third_party_server.views import orders_page
from tests.support.books_caller import CANCEL, COMPLETE, CORRECT, CREATE, DATE, EARLY, LATE, UPDATE, Caller


def test_a_journal_keeps_the_books_across_restarts(tmp_path: Path) -> None:
    """Orders, exact amounts, keys and violations come back; a torn last line is dropped."""
    journal = tmp_path / "books.jsonl"
    before = Caller.fresh(journal)
    before.say(CREATE, EARLY, amount="25.087450", key="one")
    before.say(UPDATE, DATE, amount="1E-30", key="two")
    before.say(CREATE, order_id=2, amount="3")
    before.say(COMPLETE, order_id=2, amount="3")
    before.say(CORRECT, order_id=2, amount="2.5")
    before.say(CORRECT, order_id=2, amount="4")
    before.say(CANCEL, order_id=3)
    expected = orders_page(before.books, 0, 10)
    before.books.close()
    with journal.open("ab") as torn:
        torn.write(b'{"key":"three","digest":"00","sta')

    after = Caller.fresh(journal)
    shown = orders_page(after.books, 0, 10)
    assert dumps(shown["orders"]) == dumps(expected["orders"])
    assert shown["totals"] == {**expected["totals"], "calls": 6}
    assert shown["orders"][0]["bookings"] == (3, Decimal("-0.5"), Decimal("1.5"))
    assert after.violations() == ["illegal_call"]
    assert after.say(CREATE, EARLY, amount="25.087450", key="one").hit
    assert after.say(UPDATE, DATE, amount="1", key="two").status == 422
    assert after.say(COMPLETE, LATE, amount="1E-30").status == 200
    after.books.close()

    once_more = Books(journal=journal)
    assert once_more.orders.counts["COMPLETED"] == 2
    once_more.reset()
    once_more.close()
    assert journal.read_bytes() == b""


@pytest.mark.parametrize("line", [b"no JSON\n", b'{"key":"one"}\n', b"[1]\n", b"7\n"])
def test_a_damaged_journal_is_refused_and_left_alone(tmp_path: Path, line: bytes) -> None:
    """A line that can't be read in the midst of others isn't a torn one."""
    journal = tmp_path / "books.jsonl"
    books = Books(journal=journal)
    Caller(books).say(CREATE)
    books.close()
    damaged = line + journal.read_bytes()
    journal.write_bytes(damaged)
    with pytest.raises(JournalError):
        Books(journal=journal)
    assert journal.read_bytes() == damaged


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    """A second third party on the same file would write over the first."""
    first = Books(journal=tmp_path / "books.jsonl")
    with pytest.raises(JournalError, match="another third party"):
        Books(journal=tmp_path / "books.jsonl")
    first.close()
    Books(journal=tmp_path / "books.jsonl").close()
