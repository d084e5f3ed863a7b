"""JSON with exact numbers: what is read is what was written."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.exact_json import InvalidJson, dumps, loads

numbers = st.integers() | st.decimals(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def spelled(value: Any) -> Any:
    """Numbers by their digits, so that 2.50 and 2.5 differ. A whole number has no sign at zero."""
    match value:
        case bool():
            return value
        case int() | Decimal():
            return Decimal(value).as_tuple() if value or "." in str(value) else 0
        case list():
            return [spelled(each) for each in value]
        case dict():
            return {name: spelled(each) for name, each in value.items()}
        case _:
            return value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", 2),
        ("-0", 0),
        ("2.50", Decimal("2.50")),
        ("-0.10", Decimal("-0.10")),
        ("0.1", Decimal("0.1")),
        ("25e-1", Decimal("2.5")),
        ("1E+400", Decimal("1E+400")),
        ("19.999999999999999999999999999999999999", Decimal("19.999999999999999999999999999999999999")),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ('"\\ud83d\\ude00"', "😀"),
        (' {"a" : [null, true]} ', {"a": [None, True]}),
    ],
)
def test_numbers_are_read_as_they_are_written(text: str, expected: object) -> None:
    """Whole numbers as int of any size, all others as Decimal with every digit; never a float."""
    found = loads(text)
    assert type(found) is type(expected)
    assert spelled(found) == spelled(expected)
    assert loads(text.encode()) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "nul", "NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "1e", "[1,]", "1 2", "{'a':1}"),
        *('"\t"', '"', '"\\ud800"', "\ufeff1", "[" * 100_000),
        *(b"\xff", b'"\xff"', b'"\xed\xa0\x80"'),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_not_json_is_one_kind_of_error(text: str | bytes) -> None:
    """Bad syntax or UTF-8, half a surrogate pair, nesting beyond measure: InvalidJson and a reason."""
    with pytest.raises(InvalidJson) as caught:
        loads(text)
    assert str(caught.value)


@pytest.mark.parametrize(
    "literal", ["1" * 4300, "1" * 4301, "-" + "1" * 5000, "1e99999999999999999999", "-1e-99999999999999999999"]
)
def test_numbers_beyond_measure_are_written_as_they_were_read(literal: str) -> None:
    """Somebody's members hold them, and what stands beside them must be read."""
    text = f'{{"a":{literal},"b":2.50,"c":-1}}'
    found = loads(text)
    assert (spelled(found["b"]), found["c"]) == (spelled(Decimal("2.50")), -1)
    assert dumps(found) == text.encode()


def test_a_decimal_is_written_as_a_number_with_all_its_digits() -> None:
    """Trailing zeros stay, and the text is compact UTF-8."""
    assert dumps({"a": Decimal("2.50"), "b": [1, Decimal("1E+5"), "é"]}) == '{"a":2.50,"b":[1,1E+5,"é"]}'.encode()


@given(values)
def test_what_is_written_is_read_back(value: Any) -> None:
    """Every value comes back with every digit."""
    assert spelled(loads(dumps(value))) == spelled(value)


@given(values)
def test_writing_what_was_read_gives_the_same_text(value: Any) -> None:
    """A second round changes nothing."""
    text = dumps(loads(dumps(value)))
    assert dumps(loads(text)) == text


@given(st.binary() | st.text())
def test_reading_anything_gives_a_value_or_the_one_error(text: bytes | str) -> None:
    """No other exception comes out."""
    try:
        loads(text)
    except InvalidJson:
        return
