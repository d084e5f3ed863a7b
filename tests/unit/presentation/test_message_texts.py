"""Messages and bodies as texts to read, to compare and to keep."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace as changed

from adapters.presentation.message_texts import MAX_CHANGES, Change, Row, as_json, changes, pretty, side_by_side
from adapters.presentation.order_texts import (
    MAX_CHARACTERS,
    MAX_COMPARED_BYTES,
    MAX_TEXT_CHARACTERS,
    event_document,
    event_texts,
)
from adapters.presentation.order_view import order_view
from adapters.records.calls import AttemptRow, CallRow
from adapters.records.orders import OrderRecord
from domain.exact_json import dumps, loads
from domain.messages import Kind, Message
from domain.money import DEFAULT_TILL
from projections.republication import CallState
from tests.support.decoding import read
from tests.support.messages import History, product, record_of

AT = datetime(2025, 2, 28, 12, tzinfo=UTC)


def said(kind: Kind = Kind.UPDATED, body: bytes | None = None, **payload: Any) -> Message:
    message = read(record_of(kind, **payload))
    return message if body is None else changed(message, body=body)


def recorded(*messages: Message) -> OrderRecord:
    return OrderRecord(History(*messages).events, None, (), (), (), ())


class TestPretty:
    def test_numbers_keep_their_digits(self) -> None:
        """Whatever size they have."""
        text = pretty(b'{"a":306.00,"b":1e400,"c":123456789012345678901234567890}')
        assert text == '{\n  "a": 306.00,\n  "b": 1e400,\n  "c": 123456789012345678901234567890\n}'

    def test_what_isnt_json_is_shown_as_it_is(self) -> None:
        assert pretty(b"<html>\xff") == "<html>\ufffd"
        assert pretty(b'"\\ud800"') == '"\\ud800"'
        assert pretty(b"") == ""

    def test_a_document_takes_json_as_it_came_and_the_rest_as_bytes(self) -> None:
        assert dumps(as_json(b'{"a": 1.00}')) == b'{"a": 1.00}'
        assert as_json(b"{") == {"base64": "ew=="}


class TestComparing:
    def test_two_that_say_the_same_in_another_order_have_no_changes(self) -> None:
        """However their members stand."""
        message = said()
        turned = dict(reversed(loads(message.body)["payload"].items()))
        other = changed(message, body=dumps({"payload": turned, "type": "UPDATED"}))
        assert changes(message, other) == []
        assert {row.look for row in side_by_side(message, other)} == {"same"}

    def test_what_differs_stands_side_by_side(self) -> None:
        """A line that one side lacks is empty there."""
        left, right = said(storeNo="1"), said(storeNo="2", items=[product(), product()])
        rows = side_by_side(left, right)
        assert Row("changed", '  "storeNo": "1",', '  "storeNo": "2",') in rows
        assert any(row.left is None and row.right is not None for row in rows)

    def test_changes_come_with_a_little_of_what_stays(self) -> None:
        found = changes(said(storeNo="1"), said(storeNo="2"))
        assert Change("-", '  "storeNo": "1",') in found
        assert Change("+", '  "storeNo": "2",') in found
        assert 0 < sum(each.sign == " " for each in found) <= 4

    def test_very_many_changes_are_cut(self) -> None:
        """Side by side they are whole."""
        left = said(items=[product(number, 156, number) for number in range(1, 100)])
        other = said(items=[product(number, 157, 1) for number in range(1, 100)])
        assert len(changes(left, other)) == MAX_CHANGES + 1
        assert len(side_by_side(left, other)) > MAX_CHANGES

    def test_a_message_that_cant_be_read_any_more_is_compared_as_text(self) -> None:
        assert changes(said(body=b'{"payload": {}}'), said(body=b'{"payload": []}'))


class TestAnOrdersTexts:
    def test_an_update_is_compared_with_what_counted_before_it(self) -> None:
        """Not with one that was superseded; the first has nothing to be compared with."""
        record = recorded(
            said(Kind.CREATED),
            said(offset=1, at_ns=20, items=[product(final=300)]),
            said(partition=1, at_ns=10, items=[product(final=299)]),
            said(offset=2, at_ns=30, items=[product(final=298)]),
        )
        found = event_texts(record, [1, 2, 3, 4])
        against = {version: each.changed.against if each.changed else None for version, each in found.items()}
        assert against == {1: None, 2: 1, 3: 2, 4: 2}
        assert found[4].changed is not None
        assert (found[4].changed.before, found[4].changed.after) == (Decimal(12), Decimal(14))

    def test_a_page_has_room_for_so_much(self) -> None:
        """Of one message its beginning; and no more comparisons and characters than that in all."""
        number = MAX_CHARACTERS // MAX_TEXT_CHARACTERS + 10
        record = recorded(
            said(Kind.CREATED), *(said(offset=n, at_ns=n, note="x" * MAX_TEXT_CHARACTERS) for n in range(1, number))
        )
        found = event_texts(record, range(1, number + 1))
        texts = [each.message for each in found.values() if each.message is not None]
        assert sum(len(each.text) for each in texts) <= MAX_CHARACTERS
        assert len(texts) < number
        assert texts[1].is_cut
        compared = [version for version, each in found.items() if each.changed is not None]
        size = len(said(note="x" * MAX_TEXT_CHARACTERS).body)
        assert len(compared) in {MAX_COMPARED_BYTES // (2 * size), MAX_COMPARED_BYTES // (2 * size) + 1}

    def test_the_document_of_an_event_has_all_of_it(self) -> None:
        """The message as it came, the body as it was sent, the answers as far as they were kept."""
        record = recorded(said(Kind.CREATED, headers=(("x", b"\xc3\xa9"), ("y", None))))
        body = b'{"cashbackAmount":6.00}'
        call = CallRow(1, CallState.DELIVERED, 2, AT, AT, record.events[0].originator_id, 0, body)
        attempts = [AttemptRow(1, AT, 3, "failed", 503, "<html>"), AttemptRow(1, AT, 4, "delivered", 201, "{}")]
        record = replace(record, calls=[call], attempts=attempts)
        (event,) = order_view(record, DEFAULT_TILL)["timeline"]
        document = event_document(record, event)
        assert b'"cashbackAmount": 6.00' in document
        kept = loads(document)
        assert kept["message"]["headers"] == [["x", "é"], ["y", None]]
        assert kept["message"]["value"]["type"] == "CREATED"
        assert (kept["message"]["key"], kept["message"]["topic"]) == ("24323523", "order-cashback-promotion")
        assert [(each["status"], each["answer"]) for each in kept["call"]["attempts"]] == [
            (503, "<html>"),
            (201, "{}"),
        ]
