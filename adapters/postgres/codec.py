"""The form in which an event is stored: a line of JSON about the decision, then the message's body as received.

A person's decision is the line alone.

The body is not part of the JSON: it is neither parsed nor escaped to store or to fold a stream, and it comes out
again byte for byte.
"""

from typing import Any, Final
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, MapperDeserialisationError, StoredEvent
from msgspec.structs import replace

from adapters.msgspec_ready import make_ready
from domain.events import MessageEvent, OrderEvent, type_of_topic

# In columns of their own, or beside the record.
_NOT_IN_RECORD: Final = {"originator_id": msgspec.UNSET, "originator_version": msgspec.UNSET}
_NO_BODY: Final = {"body": msgspec.UNSET}
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder()
make_ready(*type_of_topic.values())


class EventMapper(Mapper[UUID]):
    """Between events of the domain and rows of the event store."""

    def __init__(self) -> None:
        super().__init__(JSONTranscoder())  # the base class wants one; both methods below do without it

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        assert isinstance(domain_event, OrderEvent)
        if isinstance(domain_event, MessageEvent):
            message = domain_event.message
            record = replace(domain_event, **_NOT_IN_RECORD, message=replace(message, **_NO_BODY))
            state = b"%s\n%s" % (_encoder.encode(record), message.body)
        else:
            state = _encoder.encode(replace(domain_event, **_NOT_IN_RECORD))
        return StoredEvent(domain_event.originator_id, domain_event.originator_version, domain_event.TOPIC, state)

    def to_domain_event(self, stored_event: StoredEvent) -> OrderEvent:
        try:
            event_type = type_of_topic[stored_event.topic]
            record, _, body = stored_event.state.partition(b"\n")
            fields: dict[str, Any] = _decoder.decode(record)
            if "message" in fields:
                fields["message"]["body"] = body
            fields["originator_id"] = stored_event.originator_id
            fields["originator_version"] = stored_event.originator_version
            return msgspec.convert(fields, event_type)
        except (KeyError, TypeError, ValueError) as error:
            raise MapperDeserialisationError(
                f"can't read event {stored_event.originator_version} of stream {stored_event.originator_id}"
                f" ({stored_event.topic}): {type(error).__name__}"
            ) from error
