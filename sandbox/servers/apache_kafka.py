"""Apache Kafka for tests and the demo: one broker in KRaft mode, which is its own controller, on loopback.

It needs a JVM (17 or later) and Maven on the machine; Maven fetches the jars that `sandbox/kafka/pom.xml` names,
once. Where they are missing, `missing()` says what, and the embedded broker serves.
"""

import base64
import fcntl
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Final

from sandbox.servers.embedded_kafka import Broker
from sandbox.servers.free_port import LOOPBACK, free_port
from sandbox.servers.supervisor import Command, PartError

NAME: Final = "Apache Kafka"
POM: Final = Path(__file__).parents[1] / "kafka" / "pom.xml"
JARS: Final = Path(__file__).parents[2] / "var" / "kafka-jars"
FETCH_SECONDS: Final = 600.0
FORMAT_SECONDS: Final = 60.0
HEAP: Final = "512m"
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_DONE: Final = "fetched"

_BASE: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "auto.create.topics.enable": "false",
    "message.max.bytes": "16777216",
}


def missing() -> str | None:
    """What the machine lacks to run Apache Kafka; None if nothing."""
    absent = [program for program in ("java", "mvn") if shutil.which(program) is None]
    return f"not on this machine: {', '.join(absent)}" if absent else None


def fetch(jars: Path = JARS, project: Path = POM) -> Path:
    """The folder with the jars that a Maven project names, fetched unless they are there. Raises PartError."""
    jars.mkdir(parents=True, exist_ok=True)
    pom = project.read_bytes()
    with (jars / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = jars / _DONE
        if done.exists() and done.read_bytes() == pom:
            return jars
        maven = shutil.which("mvn")
        if maven is None:
            raise PartError(NAME, "Maven is not on this machine, and it fetches the broker")
        for old in jars.glob("*.jar"):
            old.unlink()
        log = jars / "maven.log"
        with log.open("wb") as output:
            command = [maven, "--batch-mode", "--quiet", "--file", str(project), _COPY, f"-DoutputDirectory={jars}"]
            try:
                code = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=FETCH_SECONDS,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise PartError(NAME, f"Maven did not fetch it within {FETCH_SECONDS:.0f} s") from error
        if code != 0:
            raise PartError(NAME, "Maven could not fetch it", log.read_text("utf-8", "replace")[-2000:])
        done.write_bytes(pom)
        return jars


class ApacheKafka(Broker):
    """One broker over one folder, which keeps its log and its topics: a second start finds them again.

    behind_proxy: a second port where it listens, and the port that it tells clients who come there to use.
    """

    name = NAME
    ready_seconds = 90.0
    port_taken = "Address already in use"
    client_config: ClassVar = {"session.timeout.ms": "6000"}

    def __init__(
        self,
        folder: Path,
        *,
        properties: Mapping[str, str] | None = None,
        jars: Path = JARS,
        find_port: Callable[[], int] = free_port,
        behind_proxy: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(folder, "kafka.log", find_port=find_port)
        self._properties = dict(properties or {})
        self._behind_proxy = behind_proxy
        self._jars = jars

    def reset(self) -> None:
        assert self._child is None, "still running"
        shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self) -> None:
        lacking = missing()
        if lacking is not None:
            raise PartError(NAME, lacking)
        self.folder.mkdir(parents=True, exist_ok=True)
        fetch(self._jars)
        self._cluster = self._cluster_id()

    def _command(self, port: int) -> Command:
        config = self._write_config(port, free_port())
        self._format(self._cluster, config)
        return Command(name=NAME, argv=[*self._java("kafka.Kafka"), config], log=self.log, cwd=self.folder)

    def _java(self, main_class: str) -> list[str]:
        java = shutil.which("java")
        assert java is not None
        options = [f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN"]
        return [java, *options, "-cp", f"{self._jars}/*", main_class]

    def _cluster_id(self) -> str:
        """The one that the folder was formatted with, or a new one."""
        kept = self.folder / "cluster-id"
        if not kept.exists():
            kept.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        return kept.read_text()

    def _write_config(self, port: int, controller_port: int) -> Path:
        ports = {"PLAINTEXT": port, "CONTROLLER": controller_port}
        advertised = {"PLAINTEXT": port}
        if self._behind_proxy:
            ports["PROXIED"], advertised["PROXIED"] = self._behind_proxy
        properties = {
            **_BASE,
            **self._properties,
            "listeners": _listeners(ports),
            "advertised.listeners": _listeners(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in ports),
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
            "log.dirs": str(self.folder / "data"),
        }
        config = self.folder / "server.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in properties.items()), "utf-8")
        return config

    def _format(self, cluster: str, config: Path) -> None:
        if (self.folder / "data" / "meta.properties").exists():
            return
        # With "=", for an id may begin with a hyphen.
        arguments = ["format", f"--cluster-id={cluster}", "--config", str(config)]
        result = subprocess.run(
            [*self._java("kafka.tools.StorageTool"), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": os.defpath},
            timeout=FORMAT_SECONDS,
            check=False,
        )
        if result.returncode != 0:
            raise PartError(
                NAME, "can't format its folder", (result.stdout + result.stderr).decode("utf-8", "replace")
            )


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in ports.items())
