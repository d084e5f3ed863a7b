"""Whether the brokers serve us, from what librdkafka says of itself (a sample of its statistics, cut down)."""

import json
from typing import Any

import pytest

from adapters.kafka.consumer.broker_watch import BrokerWatch

PARTITIONS = [("orders", 0), ("orders", 1)]
SECOND = 1_000_000


def sample() -> dict[str, Any]:
    """Two brokers that serve a partition each, in a group at peace."""

    def broker(number: int, rxidle: int) -> dict[str, Any]:
        return {"name": f"kafka-{number}:9092/{number}", "nodeid": number, "state": "UP", "rxidle": rxidle}

    def partition(broker: int) -> dict[str, Any]:
        return {"broker": broker, "leader": broker, "fetch_state": "active", "fetchq_cnt": 0}

    return {
        "brokers": {
            "kafka-1:9092/1": broker(1, 40_000),
            "kafka-2:9092/2": broker(2, 50_000),
            "GroupCoordinator": {"name": "GroupCoordinator", "nodeid": -1, "state": "UP", "rxidle": 2 * SECOND},
        },
        "topics": {"orders": {"partitions": {"0": partition(1), "1": partition(2), "-1": partition(-1)}}},
        "cgrp": {"state": "up", "join_state": "steady"},
    }


def hindrance(statistics: dict[str, Any], partitions: list[tuple[str, int]] = PARTITIONS) -> str | None:
    watch = BrokerWatch(fetch_wait_seconds=0.05)
    watch.heard(json.dumps(statistics))
    return watch.hindrance(partitions)


def test_brokers_that_answer_hinder_nothing() -> None:
    """Nor does it that nothing is known yet, or not any more."""
    assert hindrance(sample()) is None
    watch = BrokerWatch(fetch_wait_seconds=0.05)
    assert watch.hindrance(PARTITIONS) is None
    watch.heard(json.dumps(sample() | {"cgrp": {"state": "wait-coord"}}))
    watch.forget()
    assert watch.hindrance(PARTITIONS) is None


@pytest.mark.parametrize(("seconds", "said"), [(10, None), (11, "hasn't answered for 11 s")])
def test_a_broker_must_have_been_heard_of_lately(seconds: int, said: str | None) -> None:
    """Of the two only one is frozen: half of the messages don't come."""
    statistics = sample()
    statistics["brokers"]["kafka-2:9092/2"]["rxidle"] = seconds * SECOND
    told = hindrance(statistics)
    assert told == (said and f"orders/1: the broker kafka-2:9092/2 {said}")


def test_a_broker_that_has_none_of_our_partitions_is_no_concern_of_ours() -> None:
    """It may well be away."""
    statistics = sample()
    statistics["brokers"]["kafka-2:9092/2"]["state"] = "DOWN"
    assert hindrance(statistics, [("orders", 0)]) is None
    assert hindrance(statistics) == "orders/1: no connection to the broker kafka-2:9092/2"


def test_a_partition_without_a_leader_is_told() -> None:
    """Its broker is dead, and no other may take it over."""
    statistics = sample()
    statistics["topics"]["orders"]["partitions"]["0"]["broker"] = -1
    assert hindrance(statistics) == "orders/0 has no leader"


def test_while_we_have_messages_enough_nobody_is_asked_for_more() -> None:
    """A broker is silent then because we are."""
    statistics = sample()
    statistics["brokers"]["kafka-2:9092/2"]["rxidle"] = 100 * SECOND
    statistics["topics"]["orders"]["partitions"]["1"]["fetchq_cnt"] = 500
    assert hindrance(statistics) is None


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ({"state": "wait-coord", "join_state": "init"}, "the group's coordinator can't be reached"),
        ({"state": "up", "join_state": "wait-join"}, "waiting for the group to give out its partitions"),
    ],
)
def test_a_group_that_gives_us_nothing_is_told(group: dict[str, str], said: str) -> None:
    """Also when we had nothing: who is no member can't take anything over."""
    assert hindrance(sample() | {"cgrp": group}, []) == said
