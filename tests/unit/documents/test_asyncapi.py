"""The published contract: made from the models, and of one mind with the decoder."""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]  # has no types
from pydantic import ValidationError

from adapters.kafka.decoding.decoder import decode
from adapters.kafka.decoding.schema import AMOUNTS, ITEMS, KEY_PATTERN, PRODUCT, SEQUENCE_PATTERN
from domain.errors import BadInstant
from domain.exact_json import InvalidJson, loads
from domain.identifiers import MAX_ORDER_ID
from domain.instants import read_instant
from domain.messages import Kind, Message
from sandbox.order_service.lifecycles import lifecycles
from scripts.asyncapi import DOCS, document, examples, files, schema_of, schema_of_any
from tests.support.decoding import SEED, read
from tests.support.messages import NOON_NS, ORDER_ID, payload_of, product, record

ANY: Final = Draft202012Validator(schema_of_any())
BY_KIND: Final = {kind: Draft202012Validator(schema_of(kind)) for kind in Kind}
ODD_VALUES: Final[list[Any]] = [
    *(None, True, False, 0, 1, -1, 1.5, -0.01, 5.0, MAX_ORDER_ID, MAX_ORDER_ID + 1, 1e20),
    *("", "1", "CREATED", "created", "a\x00b", "x" * 256, "x" * 257, "ü" * 256, "x" * 4096, "x" * 4097, "a\nb"),
    *([], {}, [1], {"a": 1}, [{}], [{"productItem": None}], [product()["productItem"]], [product()]),
    *("2025-02-28T13:36:06Z", "2025-02-28t13:36:06.026732837+23:59", "2025-02-28 13:36:60z", "2025-02-28"),
    *("2025-02-28T24:00:00Z", "2025-13-28T00:00:00Z", "2025-02-00T00:00:00Z", "2025-02-28T13:36:06.1234567890Z"),
    *("2025-02-28T13:36:06", "2025-02-28T13:36:06+24:00", "1678-01-01T00:00:00Z", "2261-12-31T23:59:60Z"),
    *("1676-12-31T00:00:00Z", "2263-01-01T00:00:00Z", "\u0662025-02-28T13:36:06Z"),
    *(
        "2025-02-28T13:36Z",
        "2025-02-28T13:36:06+0000",
        "2025-02-28T16:36:06+03:00[Europe/Istanbul]",
        1_740_749_766_026,
    ),
    *("0", "-1", "1.50", "1E+2", "01", "+1", " 1", "1,5", "NaN"),
]


def is_read(value: Any) -> bool:
    """Whether the decoder takes it, under the key that it should have."""
    payload = value.get("payload") if isinstance(value, dict) else None
    order_id = payload.get("orderId") if isinstance(payload, dict) else None
    key = b"%d" % int(order_id) if isinstance(order_id, int | float) else str(order_id).encode()
    return isinstance(decode(record(json.dumps(value).encode(), key=key)), Message)


def _number(said: Any) -> Any:
    """Without quotes, if it is one within them."""
    try:
        number = loads(said) if isinstance(said, str) and said == said.strip() else said
    except InvalidJson:
        return said
    return number if isinstance(number, int | Decimal) and not isinstance(number, bool) else said


def as_it_should_be(value: Any) -> Any:
    """In the place of what is taken for the sake of other serializers, what the schemas ask for."""
    value = deepcopy(value)
    payload = value.get("payload") if isinstance(value, dict) else None
    if not isinstance(payload, dict):
        return value
    if isinstance(payload.get("orderId"), str) and re.fullmatch(KEY_PATTERN, payload["orderId"]):
        payload["orderId"] = int(payload["orderId"])
    with suppress(BadInstant):
        date = payload.get("transactionDate")
        payload["transactionDate"] = read_instant(Decimal(str(date)) if isinstance(date, float) else date)[1]
    items = payload.get(ITEMS)
    for item in items if isinstance(items, list) else []:
        product_item = item.get(PRODUCT) if isinstance(item, dict) else None
        if isinstance(product_item, dict):
            item[PRODUCT] = {
                name: _number(said) if name in AMOUNTS else said for name, said in product_item.items()
            }
    return value


def test_the_committed_documents_are_what_the_models_say() -> None:
    """`python -m scripts.asyncapi` writes them; nothing else lies beside them."""
    assert {path: path.read_text("utf-8") for path in files()} == files()
    assert set((DOCS / "schemas").iterdir()) == set(files()) - {DOCS / "asyncapi.json"}


def test_the_schemas_are_schemas_in_both_dialects() -> None:
    """2020-12 in their own files, and what AsyncAPI takes (draft 7) in its document."""
    for path, text in files().items():
        if path.parent.name == "schemas":
            Draft202012Validator.check_schema(json.loads(text))
    for schema in document()["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


def test_the_examples_are_valid_and_the_first_is_the_articles() -> None:
    """Whose cashback is 6."""
    for kind, example in examples().items():
        assert not list(BY_KIND[kind].iter_errors(example))
        assert read(record(json.dumps(example).encode())).kind is kind
    assert examples()[Kind.CREATED] == json.loads(SEED)
    assert read(record(json.dumps(examples()[Kind.CREATED]).encode())).cashback == Decimal(6)


@pytest.fixture(scope="module")
def validate() -> Any:
    """A validator of AsyncAPI documents: it raises ValidationError."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Field name", UserWarning)  # of two models that we don't use
        from asyncapi3 import AsyncAPI3  # type: ignore[import-untyped]  # has no types
    return AsyncAPI3.model_validate


def test_the_document_is_valid_asyncapi(validate: Any) -> None:
    """By the judgement of somebody else; what it doesn't look at, references and schemas, other tests here do."""
    validate(json.loads((DOCS / "asyncapi.json").read_bytes()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("asyncapi",), "2.6.0"),
        (("info", "version"), ...),
        (("publish",), {}),
        (("channels", "orderCashbackPromotion", "address"), 7),
        (("channels", "orderCashbackPromotion", "bindings", "kafka", "partitions"), 0),
        (("operations", "receive", "action"), "listen"),
        (("operations", "receive", "channel"), ...),
        (("components", "messages", "created", "headers"), 5),
    ],
)
def test_the_validator_sees_what_is_wrong(validate: Any, path: tuple[str, ...], value: Any) -> None:
    """So that it is worth something that ours passes."""
    wrong = deepcopy(document())
    _put(wrong, path, value)
    with pytest.raises(ValidationError):
        validate(wrong)


def test_every_reference_in_the_document_leads_somewhere() -> None:
    """Within the document itself: it needs no other file."""
    whole = document()
    for reference in _references(whole):
        found: Any = whole
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        assert isinstance(found, dict)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)


def test_what_the_order_service_says_is_valid() -> None:
    """Whole lifecycles, with members that we don't know."""
    for said in lifecycles(1, 40, first_order_id=1, started_at_ns=NOON_NS):
        value = json.loads(said.value)
        assert [kind for kind in Kind if BY_KIND[kind].is_valid(value)] == [Kind(value["type"])]
        assert ANY.is_valid(value)


def _members(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every member and every element."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield (*path, name)
        yield from _members(each, (*path, name))


def whole_message(kind: Kind) -> dict[str, Any]:
    """With every member that we know of."""
    optional: dict[str, Any] = (
        {"storeNo": "54645", "buyerId": "1234", "reason": "out of stock"} if kind.is_end else {}
    )
    return {"type": kind.value, "payload": payload_of(kind, **optional)}


@pytest.mark.parametrize("kind", list(Kind))
def test_the_schema_takes_exactly_what_the_decoder_takes(kind: Kind) -> None:
    """Every member in turn is left out, and replaced by every odd value; but for the forms that are read for the
    sake of other serializers."""
    assert ANY.is_valid(whole_message(kind))
    taken = refused = 0
    for path in _members(whole_message(kind)):
        for odd in (*ODD_VALUES, ...):
            value = whole_message(kind)
            _put(value, path, odd)
            read_by_us = is_read(value)
            assert ANY.is_valid(as_it_should_be(value)) == read_by_us, (path, odd)
            assert read_by_us or not ANY.is_valid(value), (path, odd)
            taken, refused = taken + read_by_us, refused + (not read_by_us)
    assert taken > 50
    assert refused > 100


def _put(value: Any, path: tuple[Any, ...], odd: Any) -> None:
    """`...` stands for leaving the member out."""
    *way, last = path
    for name in way:
        value = value[name]
    if odd is ...:
        del value[last]
    else:
        value[last] = deepcopy(odd)


@given(kind=st.sampled_from(Kind), seed=st.randoms(use_true_random=False), changes=st.integers(1, 4))
def test_the_schema_and_the_decoder_agree_on_several_changes_at_once(kind: Kind, seed: Any, changes: int) -> None:
    """Whatever is wrong first."""
    value = whole_message(kind)
    for _ in range(changes):
        paths = list(_members(value))
        if paths:
            _put(value, seed.choice(paths), seed.choice([*ODD_VALUES, ...]))
    assert ANY.is_valid(as_it_should_be(value)) == is_read(value)


@pytest.mark.parametrize(
    ("path", "beyond"),
    [
        (("transactionDate",), "2025-02-30T00:00:00Z"),
        (("transactionDate",), "1677-01-01T00:00:00Z"),
        (("orderItemsWithDiscountSummaryItems", 0, "productItem", "quantity"), 1e-41),
        (("orderItemsWithDiscountSummaryItems", 0, "productItem", "originalPrice"), 10**80),
        (("unknown",), json.loads("[" * 150 + "]" * 150)),
    ],
)
def test_what_json_schema_cannot_say_is_refused_all_the_same(path: tuple[Any, ...], beyond: Any) -> None:
    """The documents say so in words."""
    value = whole_message(Kind.CREATED)
    _put(value["payload"], path, beyond)
    assert (ANY.is_valid(value), is_read(value)) == (True, False)


@pytest.mark.parametrize("order_id", [1, 10, ORDER_ID, MAX_ORDER_ID])
def test_the_keys_pattern_is_an_order_id_in_decimal(order_id: int) -> None:
    """Without zeros before it."""
    assert re.search(KEY_PATTERN, str(order_id))
    assert not any(re.search(KEY_PATTERN, text) for text in ("", "0", "01", "+1", " 1", "1.0", "x"))


@given(text=st.text("0127 x", max_size=20))
def test_the_sequences_pattern_is_what_the_decoder_takes(text: str) -> None:
    """A whole number from 1, of up to 18 digits."""
    found = decode(record(SEED, headers=(("sequence", text.encode()),)))
    assert bool(re.search(SEQUENCE_PATTERN, text)) == isinstance(found, Message)


def test_the_documents_hold_the_numbers_that_they_were_made_from() -> None:
    """A reader with exact numbers finds 2⁶³−1."""
    created = loads((DOCS / "schemas" / "created.schema.json").read_bytes())
    assert created["properties"]["payload"]["properties"]["orderId"]["maximum"] == MAX_ORDER_ID
