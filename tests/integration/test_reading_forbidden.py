"""What a cluster doesn't let intake read is told as long as it is so, and read when it is allowed again."""

from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AclOperation, ResourceType  # type: ignore[attr-defined]  # they are there

from sandbox.order_service.lifecycles import lifecycles
from tests.support.guarded_kafka import GuardedKafka, guarded_kafka
from tests.support.memory_store import MemoryStore
from tests.support.messages import NOON_NS
from tests.support.running_intake import RunningIntake, new_group
from tests.support.streams import outgoing, publish
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "orders"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    with guarded_kafka(tmp_path_factory.mktemp("kafka"), {TOPIC: 2}) as running:
        yield running


def publish_some(kafka: GuardedKafka, first: int) -> int:
    messages = list(lifecycles(first, 5, first_order_id=first, started_at_ns=NOON_NS))
    publish(kafka.bootstrap, [outgoing(TOPIC, message) for message in messages])
    return len(messages)


def test_a_topic_that_may_not_be_read_any_more_is_told_until_it_may(kafka: GuardedKafka) -> None:
    """The client says it once; that it then says nothing more doesn't mean that all is well."""
    published = publish_some(kafka, 1)
    with RunningIntake(kafka.bootstrap, [TOPIC], MemoryStore(), group=new_group()) as running:
        running.wait_for_records(published)
        kafka.forbid(ResourceType.TOPIC, TOPIC, AclOperation.READ)
        try:
            running.wait_for_state("waiting for permission to read")
            assert "authorization failed" in (running.watch.why or "")
            changes = len(running.watch.states)
            refused = running.watch.refusals
            wait_until(lambda: running.watch.refusals >= refused + 4, "the same, again and again")
            assert len(running.watch.states) == changes
        finally:
            kafka.allow_all()
        published += publish_some(kafka, 100)
        running.wait_for_records(published)
        running.wait_for_state("reading")


def test_a_group_that_may_not_be_joined_any_more_is_told(kafka: GuardedKafka) -> None:
    """It has no partitions then, and waits."""
    published = publish_some(kafka, 200)
    group = new_group()
    with RunningIntake(kafka.bootstrap, [TOPIC], MemoryStore(), group=group) as running:
        running.wait_for_records(published)
        kafka.forbid(ResourceType.GROUP, group, AclOperation.READ)
        try:
            wait_until(lambda: "authorization failed" in running.watch.doing, "the reason")
        finally:
            kafka.allow_all()
        running.wait_for_state("reading")
