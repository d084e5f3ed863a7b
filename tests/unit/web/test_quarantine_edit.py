"""A message in quarantine as a form, and back."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.records.quarantine import NO_EDIT, Edit, Headers, QuarantinedMessage, QuarantineRow
from adapters.web.console.quarantine_edit import MAX_EDITED_BYTES, edit_of, fields_of


def message(value: bytes | None = b"{}", key: bytes | None = b"1", headers: Headers = ()) -> QuarantinedMessage:
    row = QuarantineRow(
        id=1,
        topic="t",
        partition=0,
        offset=0,
        order_id=None,
        reason="not_json",
        detail="",
        state="open",
        quarantined_at=datetime(2025, 3, 1, tzinfo=UTC),
        value_bytes=None,
    )
    return QuarantinedMessage(row, "id", None, key, value, headers)


def sent_back(came: QuarantinedMessage, **changes: str) -> dict[str, str]:
    """As a browser sends it: it leaves line feeds alone, and the door makes one of each line's end."""
    fields = fields_of(came)
    shown: dict[str, Any] = {"key": fields.key, "value": fields.value, "headers": fields.headers} | changes
    return {name: text for name, text in shown.items() if text is not None}


headers = st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8))).map(tuple)


@given(st.none() | st.binary(), st.none() | st.binary(max_size=20), headers)
def test_what_nobody_touches_stays_as_it_came(value: bytes | None, key: bytes | None, headers: Headers) -> None:
    """Whatever bytes it has, also those that a form can't show."""
    came = message(value, key, headers)
    written = edit_of(came, sent_back(came))
    assert written.edit == NO_EDIT
    assert written.fault == "Nothing is edited yet."


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), headers)
def test_an_edited_field_is_what_was_typed_and_the_others_stay(text: str, headers: Headers) -> None:
    came = message(b"\xff was here", headers=headers)
    assert edit_of(came, sent_back(came, value=text)).edit == Edit(value=text.encode())


def test_headers_are_edited_line_by_line() -> None:
    """Empty lines don't count; a value may hold colons."""
    came = message(headers=(("ce_id", b"a"), ("x", b"")))
    assert fields_of(came).headers == "ce_id: a\nx: "
    written = edit_of(came, sent_back(came, headers="ce_id:  b: c\n\nx:"))
    assert written.edit == Edit(headers=(("ce_id", b"b: c"), ("x", b"")))


@pytest.mark.parametrize("line", ["no colon", ": no name"])
def test_a_line_that_is_no_header_is_told(line: str) -> None:
    came = message()
    written = edit_of(came, sent_back(came, headers=line))
    assert written.fault is not None
    assert line.strip() in written.fault
    assert written.fields.headers == line, "what was typed isn't lost"


@pytest.mark.parametrize("value", [None, b"\xff", b"a\nb", b" a"])
def test_headers_that_no_line_can_hold_stay_as_they_are(value: bytes | None) -> None:
    came = message(headers=(("x", value),))
    assert fields_of(came).headers is None
    assert edit_of(came, sent_back(came, headers="x: y", key="2")).edit == Edit(key=b"2")


def test_a_value_that_is_too_large_for_a_form_is_not_cut() -> None:
    came = message(b"x" * (MAX_EDITED_BYTES + 1))
    assert fields_of(came).value is None
    assert edit_of(came, sent_back(came, value="short", key="2")).edit == Edit(key=b"2")
