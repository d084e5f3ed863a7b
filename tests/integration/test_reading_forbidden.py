"""What a cluster doesn't let intake read is told as long as it is so, and read when it is allowed again."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are there
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from sandbox.order_service.lifecycles import lifecycles
from sandbox.servers.apache_kafka import ApacheKafka, missing
from sandbox.servers.embedded_kafka import create_topic
from tests.support.clusters import must_not_be_missing
from tests.support.memory_store import MemoryStore
from tests.support.messages import NOON_NS
from tests.support.running_intake import RunningIntake, new_group
from tests.support.streams import outgoing, publish
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "orders"
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """Everybody may do everything, but for what a test forbids."""
    lacking = missing()
    if lacking is not None:
        if must_not_be_missing():
            pytest.fail(f"Apache Kafka must be tested in CI: {lacking}")
        pytest.skip(f"no Apache Kafka: {lacking}")
    with ApacheKafka(tmp_path_factory.mktemp("kafka"), properties=AUTHORIZER) as running:
        create_topic(running.bootstrap, TOPIC, 2)
        yield running


def forbid(kafka: ApacheKafka, kind: ResourceType, name: str, operation: AclOperation) -> None:
    """That alone: where there is one rule, nothing is allowed that no rule allows."""
    rule = partial(AclBinding, kind, name, ResourcePatternType.LITERAL, "User:*", "*")
    rules = [rule(AclOperation.ALL, AclPermissionType.ALLOW), rule(operation, AclPermissionType.DENY)]
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for made in admin.create_acls(rules).values():
        made.result()


def allow_all(kafka: ApacheKafka) -> None:
    whatever: Any = None
    every = AclBindingFilter(
        ResourceType.ANY,
        whatever,
        ResourcePatternType.ANY,
        whatever,
        whatever,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for deleted in admin.delete_acls([every]).values():
        deleted.result()


def publish_some(kafka: ApacheKafka, first: int) -> int:
    messages = list(lifecycles(first, 5, first_order_id=first, started_at_ns=NOON_NS))
    publish(kafka.bootstrap, [outgoing(TOPIC, message) for message in messages])
    return len(messages)


def test_a_topic_that_may_not_be_read_any_more_is_told_until_it_may(kafka: ApacheKafka) -> None:
    """The client says it once; that it then says nothing more doesn't mean that all is well."""
    published = publish_some(kafka, 1)
    with RunningIntake(kafka.bootstrap, [TOPIC], MemoryStore(), group=new_group()) as running:
        running.wait_for_records(published)
        forbid(kafka, ResourceType.TOPIC, TOPIC, AclOperation.READ)
        try:
            running.wait_for_state("waiting for permission to read")
            assert "authorization failed" in (running.watch.why or "")
            changes = len(running.watch.states)
            refused = running.watch.refusals
            wait_until(lambda: running.watch.refusals >= refused + 4, "the same, again and again")
            assert len(running.watch.states) == changes
        finally:
            allow_all(kafka)
        published += publish_some(kafka, 100)
        running.wait_for_records(published)
        running.wait_for_state("reading")


def test_a_group_that_may_not_be_joined_any_more_is_told(kafka: ApacheKafka) -> None:
    """It has no partitions then, and waits."""
    published = publish_some(kafka, 200)
    group = new_group()
    with RunningIntake(kafka.bootstrap, [TOPIC], MemoryStore(), group=group) as running:
        running.wait_for_records(published)
        forbid(kafka, ResourceType.GROUP, group, AclOperation.READ)
        try:
            wait_until(lambda: "authorization failed" in running.watch.doing, "the reason")
        finally:
            allow_all(kafka)
        running.wait_for_state("reading")
