"""Which Kafka the tests run on: the embedded broker, Apache Kafka started for them, or a cluster that is there."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

import pytest

from sandbox.servers.apache_kafka import missing

BOOTSTRAP_VARIABLE: Final = "CASHBACK_KAFKA_BOOTSTRAP"


class Choice(StrEnum):
    """What `--kafka` takes."""

    EMBEDDED = "embedded"
    APACHE = "apache"


class Cluster(Protocol):
    """What a test needs that doesn't stop and start its broker."""

    @property
    def bootstrap(self) -> str: ...
    @property
    def client_config(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class GivenCluster:
    """One that somebody else runs, at the address in CASHBACK_KAFKA_BOOTSTRAP."""

    bootstrap: str
    client_config: Mapping[str, str] = field(default_factory=dict)


def given_cluster() -> GivenCluster | None:
    address = os.environ.get(BOOTSTRAP_VARIABLE)
    return GivenCluster(address) if address else None


def apache_kafka_lacks() -> str | None:
    """Why the tests that need Apache Kafka itself can't run here; None if they can."""
    return None if given_cluster() else missing()


def must_not_be_missing() -> bool:
    """In CI a missing part is a failure, never a skip."""
    return bool(os.environ.get("CI"))


def require_apache_kafka() -> None:
    """Skips a test where the machine lacks what Apache Kafka needs, and says what; in CI that is a failure."""
    lacking = missing()
    if lacking is not None:
        if must_not_be_missing():
            pytest.fail(f"Apache Kafka must be tested in CI: {lacking}")
        pytest.skip(f"no Apache Kafka: {lacking}")
