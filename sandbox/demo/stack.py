"""Everything that the demo starts: database, broker, third party, service, order service; each on a free port.

What the environment names already (CASHBACK_DATABASE_URL and so on) is used and not started.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx
from confluent_kafka import KafkaException

from adapters.kafka.cluster import TopicIds, check_reachable
from adapters.operations.loss_acceptance import accept, find_loss
from adapters.postgres.migrate import migrate
from adapters.records.errors import KafkaUnreachable
from adapters.settings import PREFIX, Settings
from domain.errors import CashbackError
from domain.ports import Loss, Partition
from sandbox.demo.program import Program
from sandbox.demo.settings import Scenario, environment, service_settings
from sandbox.order_service.simulator import ALL_CONFIRMED
from sandbox.servers.embedded_kafka import Broker, create_topic
from sandbox.servers.postgres import EmbeddedPostgres
from sandbox.servers.supervisor import PartError, Supervisor

TOPIC_PARTITIONS: Final = 6
USUAL_API_PORT: Final = 8080
MADE_AGAIN: Final = "made again by this run; what an earlier one left unread on it is lost, and that is accepted"
CANT_LISTEN: Final = "can't listen on"
HTTP_TIMEOUT_SECONDS: Final = 5.0
STOP_ORDER_SERVICE_SECONDS: Final = 1.5
STOP_SERVICE_SECONDS: Final = 4.5
STOP_THIRD_PARTY_SECONDS: Final = 1.0


class CantReset(CashbackError):
    """There is something that the demo did not make, and so won't throw away."""


class NoFaults(CashbackError):
    """The third party in use takes no faults."""


@dataclass(frozen=True)
class Addresses:
    """Where everything is once it runs."""

    database_url: str
    kafka_bootstrap: str
    third_party_url: str
    api_url: str


class DemoStack:
    """The parts. Everything is added to the supervisor before it is started, the last to be stopped first.

    `make_broker` gets the folder; `report` gets a line about each part that is ready.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, and who looks after it
        self,
        scenario: Scenario,
        settings: Settings,
        folder: Path,
        *,
        make_broker: Callable[[Path], Broker],
        supervisor: Supervisor,
        report: Callable[[str], None],
    ) -> None:
        self._scenario = scenario
        self._settings = settings
        self._report = report
        self.external = frozenset(
            {"database_url", "kafka_bootstrap", "third_party_url"} & settings.model_fields_set
        )
        """The settings that name a server which was there before."""
        # The database and the third party's books belong together: with a server of the user's each is another one.
        self._partners = _Partners(
            database=settings.third_party_url if "third_party_url" in self.external else "",
            books=settings.database_url.get_secret_value() if "database_url" in self.external else "",
        )
        self._folder = folder
        self._postgres: EmbeddedPostgres | None = None
        if "database_url" not in self.external:
            self._postgres = supervisor.add(EmbeddedPostgres(folder / _name("postgres", self._partners.database)))
        self._broker: Broker | None = None
        if "kafka_bootstrap" not in self.external:
            self._broker = supervisor.add(make_broker(folder))
        self._journal = folder / f"{_name('third-party', self._partners.books)}.journal"
        self._third_party: Program | None = None
        if "third_party_url" not in self.external:
            self._third_party = supervisor.add(
                Program(
                    "third party",
                    ["third-party", "--port", "0", "--journal", str(self._journal)],
                    log=folder / "third-party.log",
                    stop_seconds=STOP_THIRD_PARTY_SECONDS,
                )
            )
        self._service = supervisor.add(
            Program("service", ["serve"], log=folder / "service.log", stop_seconds=STOP_SERVICE_SECONDS)
        )
        self.order_service = supervisor.add(
            Program(
                "order service",
                scenario.simulation(),
                log=folder / "order-service.log",
                stop_seconds=STOP_ORDER_SERVICE_SECONDS,
            )
        )

    def reset(self) -> None:
        """Forgets earlier runs. Raises CantReset."""
        if self._postgres is None:
            raise CantReset(f"--reset: the database was not made here ({PREFIX}DATABASE_URL is set), so it stays")
        self._forget()

    def _forget(self) -> None:
        if self._postgres is not None:
            self._postgres.reset()
        if self._broker is not None:
            self._broker.reset()
        if self._third_party is not None:
            self._journal.unlink(missing_ok=True)

    def start(self) -> Addresses:
        """Returns when the service listens. Raises PartError, or a CashbackError that names what is wrong."""
        if self._partners.are_new(self._folder):
            self._forget()
        if self._third_party is not None:
            self._third_party.start(environment(self._settings))  # needs nobody: gets ready beside the others
        bootstrap = self._start_broker()
        database_url = self._start_database()
        self._accept_what_the_broker_forgot(database_url, bootstrap)
        third_party_url = self._wait_for_third_party()
        given = {"database_url": database_url, "kafka_bootstrap": bootstrap, "third_party_url": third_party_url}
        started = time.monotonic()
        port = self._settings.api_port if self._api_port_is_given else _usual_port_or_any()
        self._start_service(given, port)
        self.order_service.start(environment(self._settings, given))
        try:
            api_url = self._service.wait_until_listening()
        except PartError as error:
            if self._api_port_is_given or CANT_LISTEN not in error.log_tail:
                raise
            self._start_service(given, 0)  # somebody was faster
            api_url = self._service.wait_until_listening()
        self._ready("service", started, api_url)
        return Addresses(database_url, bootstrap, third_party_url, api_url)

    def check(self) -> None:
        """Raises PartError for the first part that has ended on its own; the order service may, with success."""
        for part in (self._postgres, self._broker, self._third_party, self._service):
            if part is not None:
                part.check()
        self.order_service.check_success()

    def published(self, addresses: Addresses) -> dict[Partition, int]:
        """All that the order service published, now that it has ended, lies below these offsets.

        Raises KafkaUnreachable.
        """
        entry = self.order_service.last_entry(ALL_CONFIRMED)
        assert entry is not None, "it says so before it leaves with 0"
        topic = entry["topic"]
        try:
            topic_id = TopicIds(addresses.kafka_bootstrap, self._settings.kafka_config).of([topic])[topic]
        except KafkaException as error:
            raise KafkaUnreachable(f"Kafka can't tell the topic's id: {error.args[0].str()}") from error
        return {Partition(topic, topic_id, int(number)): end for number, end in entry["next_offsets"].items()}

    def _start_broker(self) -> str:
        """Returns the bootstrap address, when the topics are there."""
        started = time.monotonic()
        settings = self._settings
        if self._broker is not None:
            self._report(f"{'broker':12} starting {self._broker.name}")
            bootstrap = self._broker.start()
        else:
            bootstrap = settings.kafka_bootstrap
            check_reachable(bootstrap, settings.kafka_config)
        if self._broker is not None or not settings.kafka_config:
            for topic in settings.kafka_topics:
                create_topic(bootstrap, topic, TOPIC_PARTITIONS)
        else:  # behind TLS or SASL it is for its operators to make topics
            self._report(f"the topic {settings.kafka_topic} must be there already")
        self._ready("broker", started, bootstrap)
        return bootstrap

    def _start_database(self) -> str:
        """Returns the URL, when the schema is there."""
        started = time.monotonic()
        url = self._settings.database_url.get_secret_value() if self._postgres is None else self._postgres.start()
        migrate(url)
        self._ready("PostgreSQL", started, "yours" if self._postgres is None else "")
        return url

    def _accept_what_the_broker_forgot(self, database_url: str, bootstrap: str) -> None:
        """The embedded broker keeps nothing over a restart, and our database does: the topics of an earlier run are
        gone, with what was unread on them. A broker of the user's is for the user to judge."""
        if self._broker is None:
            return
        for topic in self._settings.kafka_topics:
            findings = find_loss(database_url, bootstrap, {}, topic)
            if any(each.stop and each.stop.loss is Loss.TOPIC_RECREATED for each in findings):
                accept(database_url, topic, findings, reason=MADE_AGAIN)
                self._report(f"{'topic':12} {topic}: {MADE_AGAIN}")

    def _wait_for_third_party(self) -> str:
        """Returns its URL, when it shows the scenario's faults."""
        started = time.monotonic()
        external = self._third_party is None
        url = (
            self._settings.third_party_url
            if self._third_party is None
            else self._third_party.wait_until_listening()
        )
        faults = self._scenario.faults()
        if faults:
            try:
                answer = httpx.put(
                    f"{url}/_sandbox/faults", json=faults, timeout=HTTP_TIMEOUT_SECONDS, trust_env=False
                )
            except httpx.HTTPError as error:
                raise NoFaults(f"the third party at {url} can't be told to fail: {error}") from error
            if not answer.is_success:
                raise NoFaults(f"the third party at {url} can't be told to fail: {answer.status_code}")
        self._ready("third party", started, f"{url}, yours" if external else url)
        return url

    @property
    def _api_port_is_given(self) -> bool:
        return "api_port" in self._settings.model_fields_set

    def _start_service(self, given: dict[str, str], port: int) -> None:
        broker_config = self._broker.client_config if self._broker is not None else {}
        own = service_settings(self._settings, self._scenario, broker_config)
        self._service.start(environment(self._settings, {**given, **own, "api_port": str(port)}))

    def _ready(self, part: str, started: float, where: str) -> None:
        self._report(f"{part:12} ready in {time.monotonic() - started:4.1f} s  {where}".rstrip())


@dataclass(frozen=True)
class _Partners:
    """The user's server that our database, or our third party's books, are used with; empty if it's ours too."""

    database: str
    books: str

    def are_new(self, folder: Path) -> bool:
        """Whether what lies in the folder was used with others before; notes these."""
        if not self.database and not self.books:
            return False
        noted = folder / "external.partners"
        digest = sha256(f"{self.database} {self.books}".encode()).hexdigest()
        if noted.exists() and noted.read_text() == digest:
            return False
        noted.write_text(digest)
        return True


def _name(name: str, partner: str) -> str:
    return f"{name}-external" if partner else name


def _usual_port_or_any() -> int:
    """The usual port if it is free just now; 0 takes any."""
    try:
        socket.create_server(("127.0.0.1", USUAL_API_PORT)).close()
    except OSError:
        return 0
    return USUAL_API_PORT
