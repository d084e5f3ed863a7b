"""Replays over a real PostgreSQL, a real broker and a real server: what the dry run says is what is done."""

import random
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from adapters.kafka.decoding.record import Record
from adapters.kafka.producer.partitioner import partition_for
from domain.exact_json import loads
from domain.messages import Kind
from domain.ports import Partition
from projections.delivery.ports import Answer, Call, Outcome
from sandbox.servers.embedded_kafka import EmbeddedBroker
from tests.support.messages import ORDER_ID, SECOND_NS, record_of
from tests.support.running_api import (
    DEADLINE_SECONDS,
    Api,
    RecordingThirdParty,
    deliver,
    refuse,
    running_api,
    sql,
    tell,
)

pytestmark = pytest.mark.slow

OTHER_ID = ORDER_ID + 1
LIFECYCLE = (
    record_of(Kind.CREATED, offset=1),
    record_of(Kind.UPDATED, offset=2, at_ns=1),
    record_of(Kind.UPDATED, offset=3, at_ns=2),
    record_of(Kind.COMPLETED, offset=4, at_ns=3),
)
LEASE = "lease_token = %s, next_attempt_at = now() + interval '1 h'"


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with running_api(database_url) as running:
        yield running


def keys(calls: list[Call]) -> list[str]:
    return [str(call.key) for call in calls if call.order_id == ORDER_ID]


def accepted(api: Api, mode: str) -> dict[str, Any]:
    """The answer to a replay; the dry run before it said the same, and did nothing."""
    foretold = api.replay(ORDER_ID, mode, dry_run=True)
    assert foretold.status_code == 200
    done = api.replay(ORDER_ID, mode)
    assert done.status_code == 202
    preview, answer = foretold.json(), done.json()
    assert preview["replayId"] is None
    assert UUID(answer["replayId"])
    assert (preview["dryRun"], answer["dryRun"]) == (True, False)
    unknown_before = {"offset": None} if mode == "republish" else {}
    assert preview["items"] == [item | unknown_before for item in answer["items"]]
    assert preview["suppressed"] == answer["suppressed"]
    assert preview["orderId"] == answer["orderId"] == ORDER_ID
    assert preview["mode"] == answer["mode"] == mode
    return dict(answer)


def make_older(database_url: str, version: int, hours: int) -> None:
    """Moves the first attempt into the past."""
    age = f"interval '{hours} h'"
    sql(database_url, f"UPDATE effect SET first_sent_at = first_sent_at - {age} WHERE version = %s", version)
    sql(database_url, f"UPDATE attempt SET started_at = started_at - {age} WHERE version = %s", version)


def delivery(database_url: str) -> tuple[Any, ...]:
    statement = (
        "SELECT settled_version, head_version, attempts, parked_at, parked_reason FROM delivery WHERE order_id = %s"
    )
    (row,) = sql(database_url, statement, ORDER_ID)
    return row


class TestRedeliver:
    def test_delivered_calls_are_sent_again_in_order_with_their_keys_and_bodies(
        self, database_url: str, api: Api
    ) -> None:
        """And the order rests again afterwards. Other orders' calls stay where they are."""
        tell(database_url, *LIFECYCLE, record_of(Kind.CREATED, order_id=OTHER_ID, offset=5))
        first, second = RecordingThirdParty(), RecordingThirdParty()
        deliver(database_url, first)

        answer = accepted(api, "redeliver")

        deliver(database_url, second)
        assert second.calls == [call for call in first.calls if call.order_id == ORDER_ID]
        assert [item["key"] for item in answer["items"]] == keys(second.calls)
        assert [(item["method"], item["path"], item["kind"]) for item in answer["items"]] == [
            ("POST", "/v1/cashbacks", "create"),
            ("PUT", f"/v1/cashbacks/{ORDER_ID}", "update"),
            ("PUT", f"/v1/cashbacks/{ORDER_ID}", "update"),
            ("POST", f"/v1/cashbacks/{ORDER_ID}/complete", "complete"),
        ]
        assert {(item["state"], item["willSend"], item["warning"]) for item in answer["items"]} == {
            ("delivered", True, None)
        }
        assert answer["suppressed"] == []
        assert api.get(f"/api/orders/{ORDER_ID}").json()["delivery"]["state"] == "idle"
        assert delivery(database_url)[:3] == (4, 4, 0)
        assert sql(database_url, "SELECT id, order_id, mode, reason, items FROM replay") == [
            (UUID(answer["replayId"]), ORDER_ID, "redeliver", "a test", 4)
        ]

    def test_the_dry_run_shows_the_very_body(self, database_url: str, api: Api) -> None:
        """Byte for byte, in the answer's own text."""
        tell(database_url, LIFECYCLE[0])
        third = RecordingThirdParty()
        shown = api.replay(ORDER_ID, "redeliver", dry_run=True)
        deliver(database_url, third)
        assert b'"body":' + third.calls[0].body + b"," in shown.content

    def test_a_parked_order_goes_on(self, database_url: str, api: Api) -> None:
        """Its attempts count anew, and the calls that waited behind follow."""
        tell(database_url, *LIFECYCLE)
        deliver(database_url, RecordingThirdParty(refuse(ORDER_ID)))
        assert delivery(database_url)[3] is not None

        answer = accepted(api, "redeliver")

        assert [item["state"] for item in answer["items"]] == ["parked", "due", "due", "due"]
        assert delivery(database_url) == (0, 4, 0, None, None)
        third = RecordingThirdParty()
        deliver(database_url, third)
        assert keys(third.calls) == [item["key"] for item in answer["items"]]
        assert api.get("/api/parked").json()["parked"] == []

    def test_a_call_whose_key_may_be_forgotten_is_not_sent_again(self, database_url: str, api: Api) -> None:
        """It is listed with the reason, and stays delivered; the younger ones go."""
        tell(database_url, *LIFECYCLE)
        deliver(database_url)
        for version in (1, 2):
            make_older(database_url, version, 24)

        answer = accepted(api, "redeliver")

        assert [(each["version"], each["willSend"]) for each in answer["suppressed"]] == [(1, False), (2, False)]
        assert all("key" in each["reason"] for each in answer["suppressed"])
        third = RecordingThirdParty()
        deliver(database_url, third)
        assert [call.version for call in third.calls] == [3, 4]
        states = sql(database_url, "SELECT version, state, attempts FROM effect ORDER BY version")
        assert states == [(1, "delivered", 1), (2, "delivered", 1), (3, "delivered", 2), (4, "delivered", 2)]

    def test_the_earliest_attempt_counts_even_if_its_lease_was_lost(self, database_url: str, api: Api) -> None:
        """Such an attempt is in the record of attempts alone."""
        tell(database_url, LIFECYCLE[0])
        deliver(database_url)
        sql(database_url, "UPDATE attempt SET started_at = started_at - interval '25 h'")
        answer = accepted(api, "redeliver")
        assert (answer["items"], [each["version"] for each in answer["suppressed"]]) == ([], [1])
        assert delivery(database_url)[:2] == (1, 1)

    def test_a_call_that_was_given_up_stays_so_and_the_order_rests_in_the_end(
        self, database_url: str, api: Api
    ) -> None:
        """Though it is the last one, and the cursor went back before it."""
        tell(database_url, *LIFECYCLE)
        deliver(database_url)
        sql(database_url, "UPDATE effect SET state = 'skipped' WHERE version = 4")

        answer = accepted(api, "redeliver")

        assert [each["version"] for each in answer["suppressed"]] == [4]
        third = RecordingThirdParty()
        deliver(database_url, third)
        assert [call.version for call in third.calls] == [1, 2, 3]
        assert api.get(f"/api/orders/{ORDER_ID}").json()["delivery"]["state"] == "idle"

    def test_calls_that_come_after_a_replay_are_sent_after_it(self, database_url: str, api: Api) -> None:
        """The cursor's end moves on again."""
        tell(database_url, *LIFECYCLE[:2])
        deliver(database_url)
        accepted(api, "redeliver")
        tell(database_url, *LIFECYCLE[2:])
        third = RecordingThirdParty()
        deliver(database_url, third)
        assert [call.version for call in third.calls] == [1, 2, 3, 4]

    def test_a_lease_that_runs_is_left_to_its_holder(self, database_url: str, api: Api) -> None:
        """Nobody else may call meanwhile; the calls that it has in hand were to be sent anyhow."""
        tell(database_url, *LIFECYCLE)
        token = uuid4()
        sql(database_url, f"UPDATE delivery SET {LEASE}", token)
        before = sql(database_url, "SELECT lease_token, next_attempt_at FROM delivery")

        accepted(api, "redeliver")

        assert sql(database_url, "SELECT lease_token, next_attempt_at FROM delivery") == before

    def test_a_holder_cannot_settle_past_calls_that_must_be_sent_again(self, database_url: str, api: Api) -> None:
        """The cursor goes back while a later call is under way: when that one has been answered, all of them are
        sent again in order, after the lease's end."""
        tell(database_url, *LIFECYCLE[:1])
        deliver(database_url)
        tell(database_url, *LIFECYCLE[1:])
        replayed: list[str] = []

        def replay_meanwhile(call: Call) -> None:
            if call.version == 3 and not replayed:
                replayed.append(api.replay(ORDER_ID, "redeliver").json()["replayId"])
                sql(database_url, "UPDATE delivery SET next_attempt_at = now() + interval '1 s'")

        third = RecordingThirdParty(replay_meanwhile)
        deliver(database_url, third)
        assert replayed
        versions = [call.version for call in third.calls]
        assert versions[:3] == [2, 3, 4]
        assert versions[3:] == [1, 2, 3, 4]
        assert delivery(database_url)[:2] == (4, 4)
        assert sql(database_url, "SELECT DISTINCT state FROM effect") == [("delivered",)]

    def test_an_expired_lease_is_taken_away(self, database_url: str, api: Api) -> None:
        """Its holder can't settle any more, and the calls are due at once."""
        tell(database_url, *LIFECYCLE)
        sql(database_url, "UPDATE delivery SET lease_token = %s, next_attempt_at = now() - interval '1 s'", uuid4())
        accepted(api, "redeliver")
        due = "next_attempt_at <= now() + interval '1 s'"
        assert sql(database_url, f"SELECT lease_token, {due} FROM delivery") == [(None, True)]

    def test_replays_in_the_midst_of_the_work_leave_nothing_unsent(self, database_url: str, api: Api) -> None:
        """Two dispatchers at work, calls that fail, orders set back again and again: in the end all is settled."""
        ids = range(1, 11)
        steps = tuple(enumerate((Kind.CREATED, Kind.UPDATED, Kind.COMPLETED)))
        tell(
            database_url,
            *(record_of(kind, order_id=each, offset=10 * each + n, at_ns=n) for each in ids for n, kind in steps),
        )
        rng = random.Random(7)

        def fail_now_and_then(_: Call) -> Answer | None:
            return Answer(Outcome.FAILED, 503, "") if rng.random() < 0.1 else None

        with ThreadPoolExecutor(2) as pool:
            working = [
                pool.submit(deliver, database_url, RecordingThirdParty(fail_now_and_then), lease_seconds=1.5)
                for _ in range(2)
            ]
            for _ in range(60):
                assert api.replay(rng.choice(ids), "redeliver").status_code == 202
            for each in working:
                each.result()
        deliver(database_url)
        assert sql(database_url, "SELECT DISTINCT state FROM effect") == [("delivered",)]
        assert sql(database_url, "SELECT count(*) FROM delivery WHERE settled_version = head_version") == [(10,)]

    def test_an_order_without_calls_has_nothing_to_send(self, database_url: str, api: Api) -> None:
        """Its only message is held."""
        tell(database_url, LIFECYCLE[1])
        assert accepted(api, "redeliver")["items"] == []


class TestRepublish:
    @pytest.fixture
    def topics(self, topic: Callable[..., str]) -> tuple[str, str]:
        return topic(7), topic(3)

    @pytest.fixture
    def api(self, database_url: str, broker: EmbeddedBroker, topics: tuple[str, str]) -> Iterator[Api]:
        with running_api(database_url, bootstrap=broker.bootstrap, topics=topics) as running:
            yield running

    def test_messages_come_again_in_order_as_they_were_received(
        self, database_url: str, broker: EmbeddedBroker, topics: tuple[str, str], api: Api
    ) -> None:
        """Held, accepted and rejected ones, each once, byte for byte with their headers, unknown members included,
        on the partition where Java's default partitioner puts them."""
        created = record_of(
            Kind.CREATED, offset=1, weird={"deep": [1.10, None, "é"]}, headers=(("ce_id", b"1"), ("x", None))
        )
        early = record_of(Kind.UPDATED, offset=1, at_ns=100 * SECOND_NS, partition=1, headers=(("b", b"\xff\x00"),))
        twice = record_of(
            Kind.CREATED, offset=2, at_ns=200 * SECOND_NS, headers=(("cashback-replay", b"old"), ("a", b"1"))
        )
        tell(database_url, *(on_topic(each, topics[1]) for each in (early, created, twice)))

        answer = accepted(api, "republish")

        expected = [created, early, twice]
        messages = read(broker, topics[1], 3, 3)
        assert [message.value() for message in messages] == [each.value for each in expected]
        assert (
            loads(messages[0].value() or b"")["payload"]["weird"] == loads(created.value or b"")["payload"]["weird"]
        )
        named = ("cashback-replay", answer["replayId"].encode())

        def first_received(topic: str, of: Record) -> tuple[str, bytes]:
            place = f"{of.partition.number}/{of.offset}/{of.timestamp_ms}"
            return "cashback-origin", f"{topic}@topic-1/{place}".encode()

        assert [message.headers() for message in messages] == [
            [("ce_id", b"1"), ("x", None), named, first_received(topics[1], created)],
            [("b", b"\xff\x00"), named, first_received(topics[1], early)],
            [("a", b"1"), named],  # a copy that never said where it came from
        ]
        key = b"%d" % ORDER_ID
        assert {(message.key(), message.partition()) for message in messages} == {(key, partition_for(key, 3))}
        assert [(item["topic"], item["partition"], item["type"], item["bytes"]) for item in answer["items"]] == [
            (topics[1], partition_for(key, 3), each, len(record.value or b""))
            for each, record in zip(("CREATED", "UPDATED", "CREATED"), expected, strict=True)
        ]
        assert [item["offset"] for item in answer["items"]] == [message.offset() for message in messages]
        assert sql(database_url, "SELECT id, mode, items FROM replay") == [
            (UUID(answer["replayId"]), "republish", 3)
        ]

    def test_what_comes_again_changes_nothing(
        self, database_url: str, broker: EmbeddedBroker, topics: tuple[str, str], api: Api
    ) -> None:
        """Every message is known already."""
        tell(database_url, *(on_topic(each, topics[0]) for each in LIFECYCLE))
        accepted(api, "republish")
        again = [
            Record(
                Partition(topics[0], "topic-1", 5),
                message.offset() or 0,
                None,
                message.key(),
                message.value(),
                tuple(message.headers() or ()),  # type: ignore[arg-type]  # we sent no text
            )
            for message in read(broker, topics[0], 7, 4)
        ]
        tell(database_url, *again)
        assert sql(database_url, "SELECT count(*) FROM stored_events") == [(4,)]

    def test_a_message_from_a_topic_that_is_not_read_any_more_goes_to_the_first_one(
        self, database_url: str, broker: EmbeddedBroker, topics: tuple[str, str], api: Api
    ) -> None:
        tell(database_url, on_topic(LIFECYCLE[0], "an-old-topic"))
        (item,) = accepted(api, "republish")["items"]
        assert item["topic"] == topics[0]
        assert len(read(broker, topics[0], 7, 1)) == 1

    def test_an_order_with_a_thousand_decisions_fits(
        self, database_url: str, broker: EmbeddedBroker, topics: tuple[str, str], api: Api
    ) -> None:
        """Both modes, within the time that a caller waits; the order of the messages is kept."""
        dates = range(1000)
        records = [record_of(Kind.CREATED if n == 0 else Kind.UPDATED, offset=n, at_ns=n) for n in dates]
        tell(database_url, *(on_topic(each, topics[0]) for each in records))
        assert len(accepted(api, "redeliver")["items"]) == 1000
        answer = accepted(api, "republish")
        messages = read(broker, topics[0], 7, 1000)
        assert [message.value() for message in messages] == [each.value for each in records]
        assert len(answer["items"]) == 1000

    def test_without_kafka_nothing_is_done(self, database_url: str) -> None:
        """A 503, for the dry run too: nobody can tell the partitions."""
        tell(database_url, LIFECYCLE[0])
        with running_api(database_url, kafka_timeout_seconds=1.0) as api:
            for dry_run in (True, False):
                refused = api.replay(ORDER_ID, "republish", dry_run=dry_run)
                assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
                assert "Retry-After" in refused.headers
        assert sql(database_url, "SELECT count(*) FROM replay") == [(0,)]

    def test_a_topic_that_is_not_there_is_not_made(self, database_url: str, broker: EmbeddedBroker) -> None:
        """It would have as many partitions as the broker likes."""
        name = f"missing-{secrets.token_hex(4)}"
        tell(database_url, LIFECYCLE[0])
        with running_api(database_url, bootstrap=broker.bootstrap, topics=(name,)) as api:
            assert api.replay(ORDER_ID, "republish").status_code == 503

    def test_a_message_that_the_broker_refuses_ends_the_replay_and_is_counted(
        self, database_url: str, broker: EmbeddedBroker, topics: tuple[str, str], api: Api
    ) -> None:
        """A 502 that says how many went out; nothing after it is sent, and the record says so too."""
        huge = record_of(Kind.UPDATED, offset=2, at_ns=1, note="x" * 1_000_100)
        tell(database_url, *(on_topic(each, topics[0]) for each in (LIFECYCLE[0], huge, *LIFECYCLE[2:])))
        refused = api.replay(ORDER_ID, "republish")
        problem = refused.json()
        assert (refused.status_code, problem["published"], problem["total"]) == (502, 1, 4)
        assert "Message size too large" in problem["detail"]
        assert sql(database_url, "SELECT items FROM replay") == [(1,)]
        assert [message.value() for message in read(broker, topics[0], 7, 1)] == [LIFECYCLE[0].value]


def on_topic(record: Record, topic: str) -> Record:
    partition = Partition(topic, record.partition.topic_id, record.partition.number)
    return Record(partition, record.offset, record.timestamp_ms, record.key, record.value, record.headers)


def read(broker: EmbeddedBroker, topic: str, partitions: int, expected: int) -> "list[KafkaMessage[bytes, bytes]]":
    """All messages of the topic, in each partition's order; fails if there are not just so many."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        messages: list[KafkaMessage[bytes, bytes]] = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(messages) < expected and time.monotonic() < deadline:
            messages += consumer.consume(expected + 1, timeout=0.2)
    finally:
        consumer.close()
    assert [message.error() for message in messages] == [None] * expected
    return messages
