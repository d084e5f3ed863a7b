"""Nothing that was said is lost or changed by reading it, storing it, or reading it back."""

import json
import re
from decimal import Decimal
from typing import Any

from eventsourcing.persistence import StoredEvent
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.kafka.decoding import canonical_json
from adapters.kafka.decoding.decoder import Unreadable, decode
from adapters.kafka.decoding.fast_path import quick_facts
from adapters.kafka.decoding.keys import order_id_of_key
from adapters.kafka.decoding.record import Headers, Record
from adapters.kafka.decoding.schema import ITEMS, PRODUCT_MEMBERS, WIRE_TYPES, members_of
from adapters.postgres.codec import EventMapper
from domain.decision import decide
from domain.events import Doubt, MessageEvent, OrderEvent, Refusal, WaitsFor, type_of_topic
from domain.exact_json import loads
from domain.identifiers import MAX_ORDER_ID, stream_id
from domain.instants import parse_instant
from domain.messages import Kind, Message, Origin
from domain.money import DEFAULT_TILL, MAX_DIGITS, MAX_EXPONENT, Rounding, Till
from domain.order import Order, fold
from projections.message_body import json_of
from projections.message_body import payload_of as payload_in
from projections.origin import ORIGIN_HEADER, BadOrigin, read_origin, write_origin
from projections.republication import republications
from sandbox.order_service.lifecycles import lifecycles
from tests.support.decoding import SEED
from tests.support.messages import NOON_NS, NOW_NS, ORDER_ID, History, payload_of, product, record

MAX_INT64 = 2**63 - 1
mapper = EventMapper()
tills = st.builds(Till, st.sampled_from(["TRY", "JPY", "KWD"]), st.sampled_from(Rounding))

texts = st.text(st.characters(codec="utf-8"), max_size=20)
int64s = st.integers(min_value=-MAX_INT64 - 1, max_value=MAX_INT64)
decimals = st.builds(
    lambda sign, digits, exponent: Decimal((sign, digits, exponent)),
    st.integers(0, 1),
    st.lists(st.integers(0, 9), min_size=1, max_size=90),
    st.integers(-60, 60),
)
raw_bytes = st.binary(max_size=30)
headers: st.SearchStrategy[Headers] = st.lists(
    st.tuples(
        st.sampled_from(["ce_id", "sequence", "traceparent", "cashback-replay", "x"]) | texts, st.none() | raw_bytes
    ),
    max_size=4,
).map(tuple)

messages = st.builds(
    Message,
    kind=st.sampled_from(Kind),
    order_id=st.integers(1, MAX_ORDER_ID),
    transaction_id=texts,
    transaction_date=texts,
    happened_at_ns=int64s,
    identity=texts,
    digest=texts,
    sequence=st.none() | st.integers(1, 10**18 - 1),
    store_no=st.none() | texts,
    buyer_id=st.none() | texts,
    reason=st.none() | texts,
    cashback=st.none() | decimals,
    is_negative=st.booleans(),
    topic=texts,
    topic_id=texts,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, MAX_INT64),
    timestamp_ms=st.none() | int64s,
    replay=st.none() | texts,
    headers=headers.map(lambda pairs: tuple((n, None if v is None else v.decode("latin-1")) for n, v in pairs)),
    body=st.binary(max_size=60),
    key=st.none() | texts,
    origin=st.none()
    | st.builds(
        Origin,
        topic=texts,
        topic_id=texts,
        partition=st.integers(0, 2**31 - 1),
        offset=st.integers(0, MAX_INT64),
        timestamp_ms=st.none() | int64s,
    ),
    is_implausible=st.booleans(),
)
_fields: dict[str, st.SearchStrategy[Any]] = {
    "stated_at_ns": int64s,
    "cashback": decimals,
    "waits_for": st.sampled_from(WaitsFor),
    "superseded_by_version": st.integers(1, MAX_INT64),
    "refusal": st.sampled_from(Refusal),
    "against_version": st.none() | st.integers(1, MAX_INT64),
    "doubt": st.none() | st.sampled_from(Doubt),
    "held_version": st.none() | st.integers(1, MAX_INT64),
    "effective_at_ns": int64s,
    "recorded_at_ns": int64s,
    "originator_version": st.integers(1, MAX_INT64),
    "originator_id": st.integers(1, MAX_ORDER_ID).map(stream_id),
    "message": messages,
    "further_doubts": st.lists(st.sampled_from(Doubt), max_size=2).map(tuple),
    "at_stake": st.none() | decimals,
    "decided_by": texts,
    "reason": texts,
    "settled": st.lists(st.tuples(st.sampled_from(Doubt), st.integers(1, MAX_INT64)), max_size=3).map(tuple),
    "first": st.integers(1, 10**18),
    "last": st.integers(1, 10**18),
}


@st.composite
def events(draw: st.DrawFn) -> OrderEvent:
    event_type = draw(st.sampled_from(list(type_of_topic.values())))
    return event_type(**{name: draw(_fields[name]) for name in event_type.__struct_fields__})


@given(events())
def test_every_event_comes_back_from_storage_as_it_was(event: OrderEvent) -> None:
    """All fields of all events: bytes that aren't UTF-8, newlines in the body, every digit of a decimal."""
    stored = mapper.to_stored_event(event)
    assert (stored.originator_id, stored.originator_version) == (event.originator_id, event.originator_version)
    again = mapper.to_domain_event(
        StoredEvent(stored.originator_id, stored.originator_version, stored.topic, stored.state)
    )
    assert again == event
    assert type(again) is type(event)
    assert str(cashback(event)) == str(cashback(again))
    if isinstance(event, MessageEvent) and isinstance(again, MessageEvent):
        assert again.message.body == event.message.body
        assert str(again.message.cashback) == str(event.message.cashback)
    assert mapper.to_stored_event(again) == stored


def cashback(event: OrderEvent) -> Decimal | None:
    found = getattr(event, "cashback", None)
    assert found is None or isinstance(found, Decimal)
    return found


# The decoder.


def assert_is_sound(found: Message | Unreadable, source: Record) -> None:
    """It can be decided about, stored, shown and sent on."""
    if isinstance(found, Unreadable):
        assert found.detail
        assert "\x00" not in found.detail
        assert found.order_id is None or 1 <= found.order_id <= MAX_ORDER_ID
        return
    assert found.body == source.value
    (copy,) = republications(History(found).events, [found.topic])
    assert (copy.key, copy.message.body) == (source.key, source.value)
    assert order_id_of_key(source.key) in {found.order_id, None}
    restored = tuple((name, None if value is None else value.encode("latin-1")) for name, value in found.headers)
    assert restored == source.headers
    for text in (found.transaction_id, found.transaction_date, found.store_no, found.buyer_id, found.reason):
        assert text is None or "\x00" not in text
    assert parse_instant(found.transaction_date) == found.happened_at_ns
    for number in (found.happened_at_ns, found.order_id, found.sequence, found.offset):
        assert number is None or abs(number) <= MAX_INT64
    assert int(loads(bytes(payload_in(found)))["orderId"]) == found.order_id
    first, *others = decide(Order(found.order_id), found, now_ns=NOW_NS)
    assert others == []
    again = mapper.to_domain_event(mapper.to_stored_event(first))
    assert again == first
    assert fold(None, [again]) == fold(None, [first])


@given(st.none() | raw_bytes, st.none() | st.binary(max_size=200), headers)
def test_any_bytes_are_a_message_or_unreadable(key: bytes | None, value: bytes | None, about: Headers) -> None:
    """The decoder never raises."""
    source = record(value, key=key, headers=about)
    assert_is_sound(decode(source), source)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*Kind, "MOVED"]), json_values, json_values)
def test_any_json_is_a_message_or_unreadable(kind: str, payload: Any, extra: Any) -> None:
    """Any payload under a good type, any value under no type."""
    for value in ({"type": kind, "payload": payload, "extra": extra}, payload):
        source = record(json.dumps(value).encode())
        assert_is_sound(decode(source), source)


numbers = st.one_of(
    st.builds(
        "{}{}".format, st.integers(), st.sampled_from(["", "e5", "E+30", "e-31", ".0", ".250", "e400", "e-400"])
    ),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(["0", "-0", "0.00", "24323523", "1740749766026", "1740749766.026732837", "1.7407E9"]),
)
dates = st.sampled_from(
    [
        *("2025-02-28T13:36Z", "2025-02-28T13:36:06.026+0300", "2025-02-28T16:36:06+03:00[Europe/Istanbul]"),
        *("2025-02-28T13:36:06", "2025-02-28", "20250228"),
    ]
)
literals = st.one_of(
    numbers,
    numbers.map('"{}"'.format),
    dates.map('"{}"'.format),
    st.sampled_from(
        [
            *("null", "true", "[]", "{}", "NaN", "", "1e999999", "1e99999999999999999999", "[2025, 2, 28, 13, 36]"),
            *('"\\u0000"', '"\\ud800"', '""', '"x"', '"+1"', '":"', '{"orderId": 1}', '1, "orderId": 24323523'),
        ]
    ),
)
keys_of_order: list[bytes | None] = [
    *([b"%d" % ORDER_ID] * 3),
    *(b'"%d"' % ORDER_ID, ORDER_ID.to_bytes(8, "big"), ORDER_ID.to_bytes(4, "big")),
    *(b"0%d" % ORDER_ID, b"", None),
]


def members(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every member in a JSON value."""
    inside: list[tuple[Any, ...]] = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in items:
        inside += members(each, (*path, name))
    return inside


@st.composite
def mutated(draw: st.DrawFn) -> Record:
    """A valid record in which something, or nothing, was changed: a literal, a member gone or standing there twice,
    the key, the headers, a byte, a schema's id before it."""
    kind = draw(st.sampled_from(Kind))
    envelope: Any = {"type": kind.value, "payload": payload_of(kind)}
    literal = '"__literal__"'
    if draw(st.booleans()):
        *path, last = draw(st.sampled_from(members(envelope)))
        at = envelope
        for name in path:
            at = at[name]
        if draw(st.integers(0, 3)):
            at[last] = "__literal__"
        else:
            del at[last]
    text = json.dumps(envelope).replace(literal, draw(literals))
    if draw(st.integers(0, 9)) == 0:
        name = draw(st.sampled_from(sorted({str(path[-1]) for path in members(envelope)})))
        text = text.replace(f'"{name}": ', f'"{name}": {draw(literals)}, "{name}": ')
    value = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 4)) == 0:
        position = draw(st.integers(0, len(value) - 1))
        value = value[:position] + draw(st.binary(max_size=2)) + value[position + 1 :]
    prefix = draw(st.sampled_from([b"", b"", b"", b"\x00\x00\x00\x00\x07", b"\x00"]))
    key = draw(st.sampled_from(keys_of_order))
    return record(prefix + value, key=key, headers=draw(st.just(()) | headers))


@given(mutated())
def test_a_damaged_message_is_a_message_or_unreadable(source: Record) -> None:
    """Whatever is wrong with it, or isn't: the decoder never raises, and what it lets through is sound."""
    assert_is_sound(decode(source), source)


@given(mutated(), st.sampled_from(Kind), tills)
def test_the_quick_way_says_what_the_models_say_or_nothing(source: Record, kind: Kind, till: Till) -> None:
    """Whatever it lets through, they let through, with the same amounts, by any till."""
    try:
        said, is_plain = canonical_json.read(json_of(source.value or b""))
        payload = said["payload"]
    except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError):
        return
    found = quick_facts(kind, payload, till) if is_plain and isinstance(payload, dict) else None
    if found is not None:
        assert found == WIRE_TYPES[kind].model_validate(payload).facts(till)


FORMS: dict[str, list[str | None]] = {
    "discountedPrice": ["null", None],
    "vatRate": ["null", None, "1.25"],
    "transactionDate": ["1740749766.026732837", "1740749766026", "1740749766", '"2025-02-28T13:36+0000"'],
}


@given(st.sampled_from(sorted(FORMS)), st.data(), st.sampled_from([Kind.CREATED, Kind.UPDATED]))
def test_what_serializers_write_by_default_goes_the_quick_way(member: str, data: st.DataObject, kind: Kind) -> None:
    """Instants as numbers, prices that aren't there: a whole order service may write all its messages so."""
    literal = data.draw(st.sampled_from(FORMS[member]))
    said = json.dumps({"payload": payload_of(kind)})
    if literal is None:
        said = re.sub(rf', "{member}": [^,}}]*', "", said)
    else:
        said = re.sub(rf'"{member}": [^,}}]*', lambda _: f'"{member}": {literal}', said)
    read, is_plain = canonical_json.read(said.encode())
    assert is_plain
    found = quick_facts(kind, read["payload"], DEFAULT_TILL)
    assert found is not None
    assert found == WIRE_TYPES[kind].model_validate(read["payload"]).facts(DEFAULT_TILL)


def test_ordinary_messages_go_the_quick_way() -> None:
    """Or it would be for nothing."""
    for message in lifecycles(1, 50, first_order_id=1, started_at_ns=NOON_NS):
        said, is_plain = canonical_json.read(message.value)
        assert is_plain
        assert quick_facts(Kind(message.kind), said["payload"], DEFAULT_TILL) is not None


# Members that stand twice.


def says_twice(text: str, kind: Kind) -> bool:
    """By a reader that sees every member."""
    known = {"type", "payload"}, members_of(WIRE_TYPES[kind]), {"productItem"}, PRODUCT_MEMBERS
    seen = [False]

    class Pairs(list[tuple[str, Any]]):
        pass

    def look(value: Any, depth: int) -> None:
        names = [name for name, _ in value if name in known[depth]]
        seen[0] = seen[0] or len(names) != len(set(names))
        for name, each in dict(value).items():
            if depth == 1 and name == ITEMS and not kind.is_end:
                for item in each:
                    look(item, 2)
            elif (depth, name) in {(0, "payload"), (2, "productItem")}:
                look(each, depth + 1)

    look(json.loads(text, object_pairs_hook=Pairs), 0)
    return seen[0]


@given(st.data(), st.sampled_from(Kind))
def test_a_member_that_stands_twice_is_seen_wherever_it_counts(data: st.DataObject, kind: Kind) -> None:
    """Among members and texts of all sorts, colons and backslashes included, and nowhere else."""
    value = {"type": kind.value, "payload": payload_of(kind, items=None if kind.is_end else [product(), product()])}
    text = json.dumps(value)
    odd = st.sampled_from(['":"', '"\\\\u003a"', '{"orderId": {"a": 1}}', '[{"quantity": ":"}]', "5", '"\\\\"'])
    for _ in range(data.draw(st.integers(0, 3))):
        names = [found.start() for found in re.finditer(r'"[a-zA-Z]+": ', text)]
        at = data.draw(st.sampled_from(names))
        name = re.match(r'"[a-zA-Z]+": ', text[at:])
        assert name is not None
        again = re.match(r'"[a-zA-Z]+": (?:"[^"\\\\]*"|[0-9.]+)', text[at:])
        twin = again[0] if again and data.draw(st.booleans()) else f'"x": {data.draw(odd)}'
        text = f"{text[:at]}{twin}, {text[at:]}"
    found = decode(record(text.encode()))
    assert isinstance(found, Unreadable) is says_twice(text, kind)
    assert isinstance(found, Message) or found.reason == "duplicate_member"


# Where a message was first received.

origins = st.builds(
    Origin,
    texts,
    texts,
    st.integers(0, 2**31 - 1),
    st.integers(0, MAX_INT64),
    st.none() | st.integers(-1, MAX_INT64),
)


@given(origins)
def test_an_origin_comes_back_from_its_header_as_it_was(origin: Origin) -> None:
    """Any name, and nothing that a header can't hold."""
    text = write_origin(origin)
    assert read_origin(text) == origin
    assert text.isascii()
    found = decode(record(SEED, headers=((ORIGIN_HEADER, text),)))
    assert isinstance(found, Message)
    assert found.origin == origin


@given(raw_bytes | origins.map(write_origin), st.binary(max_size=3), st.integers(0, 40))
def test_a_header_is_an_origin_or_refused(text: bytes, stray: bytes, at: int) -> None:
    """Whatever is read is written again the same: two texts are never one origin."""
    for each in (text, text[:at] + stray + text[at:]):
        try:
            origin = read_origin(each)
        except BadOrigin:
            continue
        assert write_origin(origin) == each


# The digest.

spellings = st.sampled_from(
    [("2.50", "2.5", "25e-1", "0.25E1"), ("0", "0.0", "0e5"), ("1e5", "100000", "100000.0")]
)
small_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)


def digest_of(text: str) -> str:
    found = decode(record(f'{{"type":"CANCELLED","payload":{text}}}'.encode()))
    assert isinstance(found, Message)
    return found.digest


def shuffled(data: st.DataObject, value: Any) -> Any:
    """The same JSON value with the members of its objects in another order."""
    if isinstance(value, dict):
        return {name: shuffled(data, value[name]) for name in data.draw(st.permutations(list(value)))}
    return [shuffled(data, each) for each in value] if isinstance(value, list) else value


@given(st.data(), st.dictionaries(texts, small_json, max_size=4))
def test_the_digest_is_blind_to_the_order_of_members(data: st.DataObject, extra: dict[str, Any]) -> None:
    """Also inside members that nobody knows, and whatever the escapes in the text."""
    payload = {f"x{name}": value for name, value in extra.items()} | payload_of(Kind.CANCELLED)
    other = shuffled(data, payload)
    assert digest_of(json.dumps(payload)) == digest_of(json.dumps(other, ensure_ascii=False, indent=1))


@given(st.data(), spellings)
def test_the_digest_is_blind_to_the_spelling_of_numbers(data: st.DataObject, spelled: tuple[str, ...]) -> None:
    """2.50, 2.5 and 25e-1 are one number."""
    one, other = data.draw(st.sampled_from(spelled)), data.draw(st.sampled_from(spelled))
    text = json.dumps(payload_of(Kind.CANCELLED, x="X"))
    assert digest_of(text.replace('"X"', one)) == digest_of(text.replace('"X"', other))


@given(small_json, small_json)
@example(one=0, other=False)
@example(one=1, other=True)
@example("1", 1)
@example([], {})
@example(None, {})
def test_the_digest_sees_every_change(one: Any, other: Any) -> None:
    """Two values of a member give one digest only if they are the same JSON value."""
    digests = [digest_of(json.dumps(payload_of(Kind.CANCELLED, x=value))) for value in (one, other)]
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digests[0] == digests[1]) == same


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-100, max_value=100),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-100, max_value=100),
)
@example(Decimal("1E+38"), Decimal("1E+39"))
@example(Decimal("1E-31"), Decimal(0))
@example(Decimal("9" * MAX_DIGITS), Decimal("9" * MAX_DIGITS).scaleb(MAX_EXPONENT))
def test_the_digest_sees_every_change_of_a_number(one: Decimal, other: Decimal) -> None:
    """Equal numbers, equal digests, and only they."""
    text = json.dumps(payload_of(Kind.CANCELLED, x="X"))
    digests = [digest_of(text.replace('"X"', str(number))) for number in (one, other)]
    assert (digests[0] == digests[1]) == (one == other)
