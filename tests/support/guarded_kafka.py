"""Apache Kafka of a test's own, with an authorizer: everybody may do everything, but for what a test forbids."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are there
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from sandbox.servers.apache_kafka import ApacheKafka
from sandbox.servers.embedded_kafka import create_topic
from tests.support.clusters import require_apache_kafka

GUARDED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
EVERYBODY, ANYWHERE, EVERYTHING = "User:*", "*", "*"
CLUSTER = "kafka-cluster"


class GuardedKafka:
    """One that runs."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def forbid(self, kind: ResourceType, name: str, operation: AclOperation) -> None:
        """That alone: where there is one rule, nothing is allowed that no rule allows."""
        rule = partial(AclBinding, kind, name, ResourcePatternType.LITERAL, EVERYBODY, ANYWHERE)
        rules = [rule(AclOperation.ALL, AclPermissionType.ALLOW), rule(operation, AclPermissionType.DENY)]
        for made in self._admin.create_acls(rules).values():
            made.result()

    def forbid_writing(self) -> None:
        """To any topic. A client of which that is known gets no producer id."""
        self.forbid(ResourceType.TOPIC, EVERYTHING, AclOperation.WRITE)
        self.forbid(ResourceType.BROKER, CLUSTER, AclOperation.IDEMPOTENT_WRITE)

    def forbid_writing_to(self, topic: str) -> None:
        self.forbid(ResourceType.TOPIC, topic, AclOperation.WRITE)

    def forbid_transactions(self) -> None:
        self.forbid(ResourceType.TRANSACTIONAL_ID, EVERYTHING, AclOperation.WRITE)

    def allow_all(self) -> None:
        anything: Any = None  # its annotations don't know that it may be
        every = AclBindingFilter(
            ResourceType.ANY,
            anything,
            ResourcePatternType.ANY,
            anything,
            anything,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        for deleted in self._admin.delete_acls([every]).values():
            deleted.result()


@contextmanager
def guarded_kafka(folder: Path, topics: dict[str, int]) -> Iterator[GuardedKafka]:
    """With topics of so many partitions. Skips where the machine lacks what it needs; in CI that is a failure."""
    require_apache_kafka()
    with ApacheKafka(folder, properties=GUARDED) as kafka:
        for topic, partitions in topics.items():
            create_topic(kafka.bootstrap, topic, partitions)
        yield GuardedKafka(kafka.bootstrap)
