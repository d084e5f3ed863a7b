"""The consumer of the story that we start from: it calls the third party at once, and stores nothing.

`python -m bench.references.straight_through BOOTSTRAP CONFIG TOPIC URL` reads from the end of the topic on until it
is stopped; CONFIG is a JSON object of librdkafka properties.
"""

import json
import sys
from typing import Any, Final
from uuid import uuid4

import httpx
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Message as Received

from adapters.kafka.decoding.decoder import decode
from adapters.kafka.decoding.record import record_of
from domain.exact_json import dumps, loads
from domain.messages import Kind, Message
from domain.ports import Partition

POLL_SECONDS: Final = 1.0
_PATHS: Final = {
    Kind.CREATED: ("POST", "/v1/cashbacks"),
    Kind.UPDATED: ("PUT", "/v1/cashbacks/{}"),
    Kind.CANCELLED: ("POST", "/v1/cashbacks/{}/cancel"),
    Kind.COMPLETED: ("POST", "/v1/cashbacks/{}/complete"),
}


def main(bootstrap: str, config: dict[str, Any], topic: str, url: str) -> None:
    consumer = Consumer(
        {**config, "bootstrap.servers": bootstrap, "group.id": uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic], on_assign=_assigned)
    with httpx.Client(base_url=url, trust_env=False) as client:
        while True:
            record = consumer.poll(POLL_SECONDS)
            if record is not None and not record.error():
                call_at_once(client, decoded(record, topic))


def _assigned(_consumer: Consumer, _partitions: list[TopicPartition]) -> None:
    sys.stderr.write('{"event": "reading"}\n')
    sys.stderr.flush()


def decoded(received: Received, topic: str) -> Message:
    record = record_of(received, Partition(topic, "-", received.partition() or 0))
    assert record is not None
    message = decode(record)
    assert isinstance(message, Message)
    return message


def call_at_once(client: httpx.Client, message: Message) -> int:
    """The call that the message asks for, with a new key; the status of its answer."""
    method, path = _PATHS[message.kind]
    payload = loads(message.body)["payload"]
    body: dict[str, Any] = {name: payload[name] for name in ("orderId", "transactionId", "transactionDate")}
    if message.kind in {Kind.CREATED, Kind.UPDATED}:
        body |= {"storeNo": message.store_no, "buyerId": message.buyer_id, "cashbackAmount": message.cashback}
        body["items"] = [item["productItem"] for item in payload["orderItemsWithDiscountSummaryItems"]]
    if message.kind is Kind.COMPLETED:
        body["cashbackAmount"] = 0  # it knows no amount: it has kept nothing
    headers = {"Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
    return client.request(method, path.format(message.order_id), content=dumps(body), headers=headers).status_code


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], sys.argv[4])
