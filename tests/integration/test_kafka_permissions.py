"""What a cluster forbids us: said in one line, and nothing waits for ever."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from adapters.kafka.producer.dead_letters import DeadLetterTopic, copier_of
from adapters.kafka.producer.republisher import KafkaRepublisher
from adapters.postgres.dead_letters import Outbox
from adapters.records.publishing import Outgoing
from adapters.runtime.dead_letter_copier import COPYING, DeadLetterCopier
from domain.messages import Kind
from tests.support import local_http
from tests.support.dead_letters import fill_quarantine
from tests.support.guarded_kafka import GuardedKafka, guarded_kafka
from tests.support.messages import ORDER_ID, TOPIC, record_of
from tests.support.processes import Apps
from tests.support.running_api import tell
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COPIES = "copies"


def is_forbidden(reason: str) -> bool:
    """Says so by the name of the error, or in its words."""
    return "authorization failed" in reason.lower().replace("_", " ")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    with guarded_kafka(tmp_path_factory.mktemp("guarded"), {TOPIC: 1, COPIES: 1}) as kafka:
        yield kafka


@pytest.fixture
def broker(guarded: GuardedKafka) -> Iterator[GuardedKafka]:
    yield guarded
    guarded.allow_all()


@pytest.mark.parametrize("only_there", [False, True], ids=["nowhere", "not to this topic"])
def test_an_order_that_may_not_be_published_is_a_line_and_an_answer(
    broker: GuardedKafka, database_url: str, tmp_path: Path, *, only_there: bool
) -> None:
    """The command ends with 1, the endpoint answers with a problem; both name what is forbidden. Once it is
    allowed, the same process publishes."""
    tell(database_url, record_of(Kind.CREATED), record_of(Kind.COMPLETED, offset=1))
    settings = {"database_url": database_url, "kafka_bootstrap": broker.bootstrap, "kafka_topic": TOPIC}
    republish = ("replay", str(ORDER_ID), "--mode", "republish", "--reason", "a test")
    body = {"mode": "republish", "dryRun": False, "reason": "a test"}
    if only_there:
        broker.forbid_writing_to(TOPIC)
    else:
        broker.forbid_writing()
    with Apps(tmp_path, settings) as apps:
        done = apps.run(*republish)
        (line,) = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (1, "")
        assert line.startswith("error: 0 of 2 messages were published")
        assert is_forbidden(line)

        app = apps.start("serve", "--only", "api", api_port=0)
        app.wait_for("listening")
        url = next(each["url"] for each in app.log if each["event"] == "listening")
        answer = local_http.request("POST", f"{url}/api/orders/{ORDER_ID}/replay", json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (502, "application/problem+json")
        assert is_forbidden(answer.json()["detail"])
        assert (answer.json()["published"], answer.json()["total"]) == (0, 2)

        broker.allow_all()
        assert local_http.request("POST", f"{url}/api/orders/{ORDER_ID}/replay", json=body).status_code == 202
        assert apps.run(*republish).returncode == 0
        assert app.terminate() == 0


def test_orders_that_may_not_be_published_wait(broker: GuardedKafka) -> None:
    """None of them is at fault, and the reason is known: a replay of many waits until it may."""
    messages = {order_id: [Outgoing(TOPIC, b"%d" % order_id, b"{}")] for order_id in range(50)}
    many = KafkaRepublisher(broker.bootstrap, {}).many_orders()
    broker.forbid_writing()
    refused = many.publish(messages, lambda: False)
    assert not any(each.is_own_fault or each.confirmed for each in refused.values())
    # Once one is refused, no more are handed over: those that wait behind it have no error.
    errors = [str(each.error) for each in refused.values() if each.error]
    assert any(map(is_forbidden, errors)), errors
    broker.allow_all()
    assert {each.confirmed for each in many.publish(messages, lambda: False).values()} == {1}
    many.close()


class Watch:
    def __init__(self) -> None:
        self.state = ""
        self.copied = 0

    def dead_letters_state(self, state: str, why: str | None = None) -> None:
        self.state = state

    def dead_letters_copied(self, messages: int) -> None:
        self.copied += messages

    def dead_letter_skipped(self) -> None:
        raise AssertionError("a message is not at fault")

    def dead_letters_waiting(self, messages: int) -> None:
        pass


@pytest.mark.parametrize(
    "forbid",
    [
        GuardedKafka.forbid_writing,
        partial(GuardedKafka.forbid_writing_to, topic=COPIES),
        GuardedKafka.forbid_transactions,
    ],
    ids=["nowhere", "not to this topic", "in no transaction"],
)
def test_dead_letters_wait_while_they_may_not_be_copied(
    broker: GuardedKafka, database_url: str, forbid: Callable[[GuardedKafka], None]
) -> None:
    """Told once, none is skipped, and copying goes on by itself."""
    fill_quarantine(database_url, 1, 5)
    forbid(broker)
    watch, stop, group = Watch(), threading.Event(), f"group-{forbid!r}"
    outbox = Outbox(database_url, copier=copier_of(group), topic=COPIES)
    copier = DeadLetterCopier(
        outbox, partial(DeadLetterTopic, broker.bootstrap, {}, topic=COPIES, group=group), watch
    )
    thread = threading.Thread(target=copier.run, args=(stop,), daemon=True)
    thread.start()
    try:
        wait_until(lambda: watch.state == "waiting for Kafka", "that it waits")
        broker.allow_all()
        wait_until(lambda: (watch.state, watch.copied) == (COPYING, 5), "the copies")
    finally:
        stop.set()
        thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
