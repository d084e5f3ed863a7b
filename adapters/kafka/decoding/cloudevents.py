"""CloudEvents over Kafka (protocol binding 1.0.2): what differs from our own envelope and headers.

In binary mode the attributes are headers, `ce_…`, and the value is the data. In structured mode the value is a JSON
event that holds both; `with_attributes` gives it the headers that it would have in binary mode, so that whoever
reads on needn't know the mode.
"""

from collections.abc import Mapping
from typing import Any, Final

from domain.messages import Kind

CONTENT_TYPE: Final = "content-type"
SPEC_VERSION: Final = "1.0"
_MEDIA_TYPE: Final = b"application/cloudevents"
_JSON_FORMAT: Final = b"application/cloudevents+json"
_BATCH: Final = b"application/cloudevents-batch"
_REQUIRED: Final = ("specversion", "id", "source", "type")
EVENT_MEMBERS: Final = frozenset({*_REQUIRED, "sequence", "data"})
"""Those that we read."""


class BadCloudEvent(Exception):
    """The message says that it is an event and isn't one that we can read."""


def is_structured(content_type: bytes | None) -> bool:
    """Whether the value is a JSON event. Raises BadCloudEvent for a batch, and for a format other than JSON."""
    if content_type is None:
        return False
    media_type = content_type.partition(b";")[0].strip().lower()
    if not media_type.startswith(_MEDIA_TYPE):
        return False
    if media_type.startswith(_BATCH):
        raise BadCloudEvent("a batch of CloudEvents can't be read: each event needs a message of its own")
    if media_type != _JSON_FORMAT:
        raise BadCloudEvent("of the CloudEvents formats only JSON can be read")
    return True


def data_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event's data. Raises BadCloudEvent if it isn't a JSON object, or the event isn't one of version 1.0."""
    for name in _REQUIRED:
        value = event.get(name)
        if not isinstance(value, str) or not value or not _is_text(value):
            raise BadCloudEvent(f"the CloudEvents attribute {name} must be a text that isn't empty")
    if event["specversion"] != SPEC_VERSION:
        raise BadCloudEvent(f"the CloudEvents attribute specversion must be {SPEC_VERSION}")
    data = event.get("data")
    if not isinstance(data, dict):
        raise BadCloudEvent("the data of a CloudEvent must be a JSON object")
    return data


def _is_text(value: str) -> bool:
    """Half of a surrogate pair, which JSON can hold, is none."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def with_attributes(headers: Mapping[str, bytes | None], event: Mapping[str, Any]) -> dict[str, bytes | None]:
    """The headers, and those that the event's attributes would be. Raises BadCloudEvent where they disagree."""
    attributes = {f"ce_{name}": event[name].encode() for name in _REQUIRED}
    sequence = event.get("sequence")
    if sequence is not None:
        if isinstance(sequence, bool) or not isinstance(sequence, int | str) or not _is_text(str(sequence)):
            raise BadCloudEvent("the CloudEvents attribute sequence must be a text or a whole number")
        attributes["ce_sequence"] = str(sequence).encode()
    for name, value in attributes.items():
        if headers.get(name) not in {None, value}:
            raise BadCloudEvent(f"the header {name} and the event's attribute disagree")
    return {**headers, **attributes}


def kind_of(headers: Mapping[str, bytes | None]) -> Kind | None:
    """What the last part of the event's type says, in any case: `com.example.cashback.created` is a CREATED."""
    event_type = headers.get("ce_type")
    if event_type is None or headers.get("ce_specversion") != SPEC_VERSION.encode():
        return None
    name = event_type.rpartition(b".")[2].decode("latin-1").upper()
    return Kind.__members__.get(name)
