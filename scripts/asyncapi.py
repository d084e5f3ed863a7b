"""Writes docs/asyncapi.json and docs/schemas/ from the models that read the topic (kafka/decoding/schema.py).

`python -m scripts.asyncapi`; a test compares, and holds the schemas against the decoder.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DecimalSchema

from adapters.kafka.decoding.cloudevents import SPEC_VERSION
from adapters.kafka.decoding.decoder import MAX_NESTING
from adapters.kafka.decoding.schema import ITEMS, KEY_PATTERN, MAX_TEXT_LENGTH, SEQUENCE_PATTERN, WIRE_TYPES
from adapters.kafka.producer.dead_letters import HEADER_NAMES
from adapters.settings import PREFIX, Settings
from domain.messages import Kind
from domain.money import MAX_DIGITS, MAX_EXPONENT

DOCS: Final = Path(__file__).parent.parent / "docs"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
BINDING_VERSION: Final = "0.5.0"

ORDER_ID: Final = 24323523
TRANSACTION_ID: Final = "5661042b-cc39-4567-a264-265943097139"
_SAID: Final = {
    Kind.CREATED: "The order earns cashback: originalPrice × quantity as the till rounds it, − finalTotalPrice,"
    " summed over its items.",
    Kind.UPDATED: "The order's items have changed; an empty list: nothing left to earn.",
    Kind.CANCELLED: "The order won't be delivered.",
    Kind.COMPLETED: "The order has arrived.",
}
_BEYOND: Final = (
    "Members that are not named here are kept and are no error. What JSON Schema can't say: a date is a day of the"
    f" calendar; a number has at most {MAX_DIGITS} digits, none of them more than {MAX_EXPONENT} places from the"
    " point; no member that is named here stands in its object twice; a message has at most"
    f" {PREFIX}MESSAGE_MAX_BYTES bytes, and no more than {MAX_NESTING} objects and lists inside one another."
)
_TAKEN_TOO: Final = (
    "What serializers of JVM clients write by default is read as well, by exact rules (docs/publishing.md): an"
    " instant as a number, a date with +0000, without seconds, or with a zone's name behind its offset; the order"
    " id and the numbers of a product item in quotes; the key in quotes, or in 8 or 4 bytes, big-endian; the five"
    " bytes of a schema registry before the JSON. New publishers should write what the schemas say."
)


class _Schemas(GenerateJsonSchema):
    def decimal_schema(self, schema: DecimalSchema) -> JsonSchemaValue:  # noqa: ARG002 - the base class's signature
        """We take numbers only; pydantic itself would take texts too."""
        return {"type": "number"}


def schema_of(kind: Kind) -> dict[str, Any]:
    """The whole value of a message of this kind."""
    generated = WIRE_TYPES[kind].model_json_schema(by_alias=True, schema_generator=_Schemas)
    payload = _plain(generated, generated.get("$defs", {}))
    return {
        "type": "object",
        "description": _SAID[kind],
        "properties": {"type": {"const": kind.value}, "payload": payload},
        "required": ["type", "payload"],
    }


def schema_of_any() -> dict[str, Any]:
    return {"oneOf": [schema_of(kind) for kind in Kind]}


def _plain(schema: Any, definitions: dict[str, Any]) -> Any:
    """With definitions in their places, and only what says what is valid."""
    if isinstance(schema, list):
        return [_plain(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "properties" in schema:
        members = {name: _plain(each, definitions) for name, each in schema["properties"].items()}
        return {"type": schema["type"], "properties": members, "required": schema["required"]}
    names = {"ge": "minimum", "gt": "exclusiveMinimum"}
    return {
        names.get(name, name): _plain(each, definitions)
        for name, each in schema.items()
        if name not in {"$defs", "title", "default"}
    }


def examples() -> dict[Kind, dict[str, Any]]:
    """One order's messages, a possible whole life and an end that it doesn't take. The CREATED earns 6."""
    product = {
        "externalProductId": "67867",
        "quantity": 2,
        "unit": "KG",
        "originalPrice": 156,
        "discountedPrice": 153,
        "finalTotalPrice": 306,
        "vatRate": 1,
    }
    parties = {"storeNo": "54645", "buyerId": "1234"}
    weighed = product | {"quantity": 1.25, "finalTotalPrice": 191.25}
    said: dict[Kind, tuple[dict[str, Any], str]] = {
        Kind.CREATED: (parties | {ITEMS: [{"productItem": product}]}, "2025-02-28T13:36:06.026732837Z"),
        Kind.UPDATED: (parties | {ITEMS: [{"productItem": weighed}]}, "2025-02-28T14:02:11.5Z"),
        Kind.CANCELLED: ({"reason": "out of stock"}, "2025-02-28T15:20:00Z"),
        Kind.COMPLETED: ({}, "2025-02-28T18:45:30.000000001+03:00"),
    }
    return {
        kind: {
            "type": kind.value,
            "payload": {"orderId": ORDER_ID, "transactionId": TRANSACTION_ID, "transactionDate": date} | members,
        }
        for kind, (members, date) in said.items()
    }


def _headers() -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_LENGTH}
    number = {"type": "string", "pattern": SEQUENCE_PATTERN}
    return {
        "type": "object",
        "description": "All optional, as UTF-8 text.",
        "properties": {
            "ce_id": text | {"description": "The message's identity; without it a digest of the content is."},
            "sequence": number | {"description": "1, 2, 3 … of the order; a doubled message has the same."},
            "traceparent": {"type": "string", "description": "W3C Trace Context."},
            "cashback-replay": {"type": "string", "description": "The replay that sent this copy."},
            "cashback-origin": {
                "type": "string",
                "description": "Where the message of this copy was first received:"
                " `topic@topic-id/partition/offset/timestamp`, the names percent-encoded, the timestamp in"
                " milliseconds or `-`. Only what we publish again has it.",
            },
            "ce_specversion": {"type": "string"},
            "ce_source": {"type": "string"},
            "ce_type": {"type": "string"},
            "ce_sequence": number | {"description": "The extension attribute; the same as `sequence`."},
            "content-type": {
                "type": "string",
                "description": "`application/cloudevents+json`: the value is a CloudEvent in structured mode.",
            },
        },
    }


def _cloud_event() -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "description": "Structured mode. The data is the message, or its bare payload if the last part of the type,"
        " in any case, says its kind: com.example.cashback.created.",
        "properties": {
            "specversion": {"const": SPEC_VERSION},
            "id": text | {"maxLength": MAX_TEXT_LENGTH},
            "source": text,
            "type": text,
            "sequence": {"type": ["string", "integer", "null"]},
            "data": {"type": "object"},
        },
        "required": ["specversion", "id", "source", "type", "data"],
    }


def _message(kind: Kind) -> dict[str, Any]:
    headers = {"ce_id": f"{ORDER_ID}-{kind.value.lower()}", "sequence": str(list(Kind).index(kind) + 1)}
    return {
        "name": kind.value,
        "title": kind.value.capitalize(),
        "summary": _SAID[kind],
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/headers"},
        "payload": {"$ref": f"#/components/schemas/{kind.value.lower()}"},
        "bindings": {"kafka": _key("The order id in decimal.")},
        "examples": [{"name": kind.value.lower(), "headers": headers, "payload": examples()[kind]}],
    }


def _key(description: str) -> dict[str, Any]:
    key = {"type": "string", "pattern": KEY_PATTERN, "description": description}
    return {"key": key, "bindingVersion": BINDING_VERSION}


def _dead_letter() -> dict[str, Any]:
    return {
        "name": "deadLetter",
        "summary": "A message that could not be read, as it came: key, value and headers, and why.",
        "headers": {
            "type": "object",
            "description": "Names and encodings are Spring Kafka's; numbers are big-endian, of 4 or 8 bytes.",
            "properties": {name: {"description": said} for name, said in HEADER_NAMES.items()},
            "required": sorted(HEADER_NAMES),
        },
        "payload": {"description": "Any bytes, or none."},
    }


def document() -> dict[str, Any]:
    """The AsyncAPI document; topic and group are the defaults of the settings."""
    topic, group = (Settings.model_fields[name].default for name in ("kafka_topic", "kafka_group"))
    kinds = [kind.value.lower() for kind in Kind]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Order-cashback integration",
            "version": "1.0.0",
            "description": "What the order service says about an order's cashback.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "orderCashbackPromotion": {
                "address": topic,
                "description": "All messages of an order have its id as their key, so that they keep their order."
                " Partitions are chosen as Java's default partitioner does: murmur2 over the key. The value is"
                " JSON, or a CloudEvent around it (components.schemas.cloudEvent). " + _BEYOND + " " + _TAKEN_TOO,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in kinds},
                "bindings": {"kafka": {"topic": topic, "bindingVersion": BINDING_VERSION}},
            },
            "deadLetters": {
                "address": None,
                "description": f"The topic named in {PREFIX}KAFKA_DEAD_LETTER_TOPIC, if one is.",
                "messages": {"deadLetter": {"$ref": "#/components/messages/deadLetter"}},
            },
        },
        "operations": {
            "receive": {
                "action": "receive",
                "channel": {"$ref": "#/channels/orderCashbackPromotion"},
                "messages": [{"$ref": f"#/channels/orderCashbackPromotion/messages/{name}"} for name in kinds],
                "bindings": {
                    "kafka": {
                        "groupId": {"type": "string", "const": group},
                        "bindingVersion": BINDING_VERSION,
                    }
                },
            },
            "sendDeadLetter": {
                "action": "send",
                "channel": {"$ref": "#/channels/deadLetters"},
                "messages": [{"$ref": "#/channels/deadLetters/messages/deadLetter"}],
            },
        },
        "components": {
            "messages": {kind.value.lower(): _message(kind) for kind in Kind} | {"deadLetter": _dead_letter()},
            "schemas": {kind.value.lower(): schema_of(kind) for kind in Kind}
            | {"headers": _headers(), "cloudEvent": _cloud_event()},
        },
    }


def files() -> dict[Path, str]:
    """What stands in which file."""
    schemas = {kind.value.lower(): schema_of(kind) for kind in Kind} | {"message": schema_of_any()}
    written = {
        DOCS / "schemas" / f"{name}.schema.json": {
            "$schema": DIALECT,
            "title": name,
            "$comment": f"{_BEYOND} {_TAKEN_TOO}",
        }
        | schema
        for name, schema in schemas.items()
    }
    contents = {DOCS / "asyncapi.json": document(), **written}
    return {
        path: json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for path, content in contents.items()
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        sys.stdout.write(f"{path.relative_to(DOCS.parent)}: written\n")
