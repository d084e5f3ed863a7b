"""Messages that come as CloudEvents: the mode in which they come is no part of what they say."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from adapters.kafka.decoding.decoder import Unreadable, decode
from adapters.kafka.decoding.record import Headers, Record
from adapters.postgres.codec import EventMapper
from adapters.presentation.order_view import order_view
from adapters.records.orders import OrderRecord
from domain.events import MessageEvent
from domain.exact_json import loads
from domain.messages import Kind, Message
from domain.money import DEFAULT_TILL
from projections.feed import Recorded
from projections.intended_calls import intended_calls
from projections.republication import republications
from tests.support.decoding import SEED, read, refused
from tests.support.messages import ORDER_ID, TOPIC, History, payload_of, record, value_of

STRUCTURED: Headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
TYPE = "com.example.cashback.created"
BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"m-1"),
    ("ce_source", b"/orders"),
    ("ce_type", TYPE.encode()),
    ("content-type", b"application/json"),
)
BARE = json.dumps(loads(SEED)["payload"]).encode()


def event(data: bytes = SEED, **changes: Any) -> bytes:
    """A structured event around the data; a change to None leaves the attribute out."""
    attributes = {"specversion": "1.0", "id": "m-1", "source": "/orders", "type": TYPE} | changes
    text = json.dumps({name: value for name, value in attributes.items() if value is not None} | {"data": "DATA"})
    return text.encode().replace(b'"DATA"', data)


def structured(data: bytes = SEED, *, headers: Headers = (), **changes: Any) -> Record:
    return record(event(data, **changes), headers=STRUCTURED + headers)


FORMS = {
    "plain": record(SEED),
    "binary": record(SEED, headers=BINARY),
    "binary, bare": record(BARE, headers=BINARY),
    "structured": structured(),
    "structured, bare": structured(BARE),
    "structured, behind a schema's id": record(b"\x00\x00\x00\x00\x07" + event(), headers=STRUCTURED),
}


# What is the same in both modes.


@pytest.mark.parametrize("form", FORMS)
def test_the_mode_is_no_part_of_the_content(form: str) -> None:
    """One digest for all, so that a repeat in another mode is a repeat; the bytes are kept as received."""
    found = read(FORMS[form])
    assert found.digest == read(record(SEED)).digest
    assert found.body == FORMS[form].value
    assert (found.kind, found.order_id, found.cashback) == (Kind.CREATED, ORDER_ID, Decimal(6))
    assert found.identity == (found.digest if form == "plain" else "m-1")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Message) == found


def told(source: Record) -> History:
    """An order that heard of one message, after its events were stored and read again."""
    mapper = EventMapper()
    history = History(read(source))
    stored = [mapper.to_domain_event(mapper.to_stored_event(each)) for each in history.events]
    assert stored == history.events
    return history


@pytest.mark.parametrize("form", FORMS)
def test_the_third_party_is_told_the_same_in_every_mode(form: str) -> None:
    """And so are the operators: the items stand in the stored body as they were received, wherever in it."""
    expected = loads(_call(told(FORMS["plain"]).events).body)
    events = told(FORMS[form]).events
    call = _call(events)
    assert loads(call.body) == expected
    assert len(expected["items"]) == 1
    seen = order_view(
        OrderRecord(events, calls=[], attempts=[], delivery=None, quarantined=[], replays=[]), DEFAULT_TILL
    )
    assert seen["items"] == expected["items"]


def _call(events: list[MessageEvent]) -> Any:
    (call,) = intended_calls([Recorded(1, each) for each in events])
    return call


@pytest.mark.parametrize("form", FORMS)
def test_what_is_published_again_is_what_was_received(form: str) -> None:
    """Bytes and headers: a structured event stays structured, and is the same message when it is read again."""
    source = FORMS[form]
    (again,) = republications(told(source).events, [TOPIC])
    assert (again.message.body, again.headers("r-1")) == (
        source.value,
        (
            *source.headers,
            ("cashback-replay", b"r-1"),
            ("cashback-origin", b"order-cashback-promotion@topic-1/0/0/1740744000000"),
        ),
    )
    copy = read(record(again.message.body, headers=again.headers("r-1")))
    assert (copy.identity, copy.digest, copy.replay) == (read(source).identity, read(source).digest, "r-1")


# The identity and the sequence.


@pytest.mark.parametrize("sequence", [7, "7", "007", 7.0])
def test_an_events_sequence_counts_like_the_header(sequence: object) -> None:
    """As the extension attribute in either mode; a header that says the same may stand beside it."""
    assert read(structured(sequence=sequence)).sequence == 7
    assert read(structured(sequence=sequence, headers=(("sequence", b"07"),))).sequence == 7
    assert read(record(SEED, headers=(*BINARY, ("ce_sequence", b"7")))).sequence == 7


@pytest.mark.parametrize("sequence", [0, -1, "", "x", "1.0", 1.5, True, [], "1" * 19, "\udfff"])
def test_an_events_sequence_that_is_none_is_refused(sequence: object) -> None:
    """Deciding without it would be guessing."""
    found = refused(structured(sequence=sequence))
    assert found.reason in {"bad_header", "bad_cloudevent"}
    assert (found.order_id, "sequence" in found.detail) == (ORDER_ID, True)


def test_an_event_without_a_sequence_has_that_of_the_header() -> None:
    """Null counts as absent."""
    assert read(structured()).sequence is None
    assert read(structured(headers=(("sequence", b"3"),))).sequence == 3
    value = event(sequence=0).replace(b'"sequence": 0', b'"sequence": null')
    assert read(record(value, headers=STRUCTURED)).sequence is None


@pytest.mark.parametrize(
    "header",
    [("ce_id", b"other"), ("ce_type", b"other"), ("ce_source", b"other"), ("ce_specversion", b"0.3")],
)
def test_headers_that_contradict_the_event_are_refused(header: tuple[str, bytes]) -> None:
    """Which of them to believe is not ours to say; those that agree are no harm."""
    found = refused(structured(headers=(header,)))
    assert (found.reason, found.order_id) == ("bad_cloudevent", ORDER_ID)
    assert header[0] in found.detail
    assert read(structured(headers=BINARY[:4])).identity == "m-1"


@pytest.mark.parametrize("source", [structured(sequence=1), record(SEED, headers=(("ce_sequence", b"1"),))])
def test_two_sequences_that_disagree_are_refused(source: Record) -> None:
    """In either mode."""
    both = record(source.value, headers=(*source.headers, ("sequence", b"2")))
    found = refused(both)
    assert (found.reason, found.order_id) == ("bad_header", ORDER_ID)
    assert "disagree" in found.detail


def test_an_events_id_is_bounded_like_the_header() -> None:
    """It is the same thing."""
    assert read(structured(id="№" * 256)).identity == "№" * 256
    assert refused(structured(id="x" * 257)).reason == "bad_header"


# What is no event.


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize("value", [None, "", 5, ["x"], "\ud800"])
def test_an_event_must_have_what_every_event_has(name: str, value: Any) -> None:
    """The four required attributes, as texts that aren't empty."""
    found = refused(record(event(**{name: value}), headers=STRUCTURED))
    assert (found.reason, name in found.detail, found.order_id) == ("bad_cloudevent", True, ORDER_ID)


def test_another_version_of_the_specification_is_refused() -> None:
    """It may mean something else."""
    assert refused(structured(specversion="1.1")).reason == "bad_cloudevent"


@pytest.mark.parametrize("data", [b"null", b"[]", b'"text"', b"5"])
def test_data_that_is_no_object_is_refused(data: bytes) -> None:
    """So is an event without data, and one whose data is binary."""
    assert refused(structured(data)).reason == "bad_cloudevent"
    binary = event(data_base64="e30=").replace(b', "data": ' + SEED, b"")
    assert refused(record(binary, headers=STRUCTURED)).reason == "bad_cloudevent"


@pytest.mark.parametrize(
    ("content_type", "word"),
    [
        (b"application/cloudevents-batch+json", "batch"),
        (b"Application/CloudEvents-Batch+JSON; charset=utf-8", "batch"),
        (b"application/cloudevents+avro", "JSON"),
        (b"application/cloudevents+xml", "JSON"),
        (b"application/cloudevents", "JSON"),
    ],
)
def test_a_batch_and_an_unknown_format_are_refused_by_name(content_type: bytes, word: str) -> None:
    """Whatever the value holds, a good message included."""
    for value in (SEED, b"[" + event() + b"]", b"\x00\x01", None):
        found = refused(record(value, headers=(("content-type", content_type),)))
        assert (found.reason, word in found.detail) == ("bad_cloudevent", True)


@pytest.mark.parametrize(
    "content_type", [b"application/json", b"text/plain", b"", b"\xff", None, b"application/cloud"]
)
def test_any_other_content_type_says_nothing_to_us(content_type: bytes | None) -> None:
    """The value is what it always was."""
    assert read(record(SEED, headers=(("content-type", content_type),))).digest == read(record(SEED)).digest


@pytest.mark.parametrize("content_type", [b"APPLICATION/CLOUDEVENTS+JSON", b"application/cloudevents+json ;x=1"])
def test_a_media_type_is_known_in_any_case_and_with_parameters(content_type: bytes) -> None:
    """As RFC 9110 has it."""
    assert read(record(event(), headers=(("content-type", content_type),))).identity == "m-1"


def test_an_event_without_its_content_type_is_no_message() -> None:
    """Its members are not ours."""
    assert refused(record(event())).reason == "unknown_type"


# A payload without an envelope.


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("spelt", [str.lower, str.upper, str.title])
def test_a_bare_payloads_kind_is_the_last_part_of_the_events_type(kind: Kind, spelt: Any) -> None:
    """In any case, in both modes."""
    bare = json.dumps(payload_of(kind)).encode()
    for name in (f"com.example.cashback.{spelt(kind.value)}", spelt(kind.value)):
        in_binary = [(key, name.encode() if key == "ce_type" else value) for key, value in BINARY]
        found = [read(record(bare, headers=tuple(in_binary))), read(structured(bare, type=name))]
        assert {each.kind for each in found} == {kind}
        assert {each.digest for each in found} == {read(record(value_of(kind, payload_of(kind)))).digest}


@pytest.mark.parametrize("name", ["com.example.moved", "created.", "com.example.cashback-created", "\u00e9"])
def test_a_bare_payload_whose_kind_is_not_told_is_refused(name: str) -> None:
    """And so is one with a type or a payload of its own: then that is what counts."""
    assert refused(structured(BARE, type=name)).reason == "unknown_type"
    for member in (b'"type"', b'"payload"'):
        assert refused(structured(BARE[:-1] + b", " + member + b": null}")).reason == "unknown_type"


@pytest.mark.parametrize("lacking", ["ce_type", "ce_specversion"])
def test_a_bare_payload_counts_in_a_whole_event_only(lacking: str) -> None:
    """Its headers must say that it is one, and of which version."""
    headers = tuple(header for header in BINARY if header[0] != lacking)
    assert refused(record(BARE, headers=headers)).reason == "unknown_type"


def test_the_envelopes_type_counts_before_the_events() -> None:
    """The event's type is the publisher's own name for it."""
    value = value_of(Kind.CANCELLED, payload_of(Kind.CANCELLED))
    assert read(structured(value)).kind is Kind.CANCELLED
    assert read(record(value, headers=BINARY)).kind is Kind.CANCELLED


def test_a_fault_in_the_payload_is_named_as_ever() -> None:
    """Its order is known, and the key is compared."""
    spoilt = SEED.replace(b'"quantity": 2', b'"quantity": 0')
    found = refused(structured(spoilt))
    assert (found.reason, found.order_id) == ("bad_amount", ORDER_ID)
    assert refused(record(event(), key=b"1", headers=STRUCTURED)).reason == "key_mismatch"
    assert isinstance(decode(record(b"[]", headers=STRUCTURED)), Unreadable)
