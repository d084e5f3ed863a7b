"""Intake as FastStream's documentation writes it: a typed handler on the Confluent broker, a psycopg pool, and one
transaction a message. One message at a time, as orders need it (its workers would mix up one order's messages)."""

import asyncio
import json
import time
from uuid import uuid4

import psycopg
from faststream import AckPolicy
from faststream.confluent import KafkaBroker
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ConfigDict

from bench.processes import TimeUp
from bench.reading import DEADLINE_SECONDS, FullTopic

_SCHEMA = (
    "CREATE TABLE cashback_message (order_id bigint, transaction_id text, kind text, payload jsonb,"
    " PRIMARY KEY (order_id, transaction_id, kind))"
)
_INSERT = "INSERT INTO cashback_message VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"


class Payload(BaseModel):
    """The members that a handler would look at."""

    model_config = ConfigDict(extra="allow")
    orderId: int  # noqa: N815 - as it stands in the message
    transactionId: str  # noqa: N815


class Envelope(BaseModel):
    """The whole message."""

    model_config = ConfigDict(extra="allow")
    type: str
    payload: Payload


def handle_each(database_url: str, topic: FullTopic, messages: int) -> float:
    """Messages a second over the first so many. Raises TimeUp."""
    with psycopg.connect(database_url) as connection:
        connection.execute(_SCHEMA)
    return asyncio.run(_handle(database_url, topic, messages))


async def _handle(database_url: str, topic: FullTopic, messages: int) -> float:
    broker = KafkaBroker(topic.bootstrap, logger=None)
    done = asyncio.Event()
    seen, started = 0, 0.0

    async with AsyncConnectionPool(database_url, min_size=1, max_size=4, open=False) as pool:

        @broker.subscriber(
            topic.name,
            group_id=uuid4().hex,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.ACK_FIRST,  # commits in the background, which costs the least
            fetch_max_wait_ms=50,
            session_timeout_ms=1500,  # the embedded broker lets a group wait for half of it
            heartbeat_interval_ms=300,
        )
        async def handle(message: Envelope) -> None:
            nonlocal seen, started
            started = started or time.perf_counter()
            if seen >= messages:
                return
            payload = message.payload
            async with pool.connection() as connection:
                await connection.execute(
                    _INSERT,
                    (payload.orderId, payload.transactionId, message.type, json.dumps(payload.model_dump())),
                )
            seen += 1
            if seen == messages:
                done.set()

        async with broker:
            await broker.start()
            try:
                await asyncio.wait_for(done.wait(), DEADLINE_SECONDS)
            except TimeoutError:
                raise TimeUp(f"the FastStream handler has read {seen} of {messages} messages") from None
            ended = time.perf_counter()
    return seen / (ended - started)
