"""From a message on the topic to the third party, by the real service: exact, and without a word too many."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from adapters.records.publishing import Outgoing
from domain.exact_json import loads
from sandbox.servers.embedded_kafka import EmbeddedBroker
from sandbox.servers.free_port import LOOPBACK, free_port
from tests.support import local_http
from tests.support.processes import Apps, quick_group
from tests.support.running_intake import new_group
from tests.support.streams import plain_stream, publish
from tests.support.third_party_server import ThirdParty, serving

pytestmark = pytest.mark.slow

ORDER_ID: Final = 2**63 - 1
DATE: Final = "2025-02-28T14:36:06.026732837+01:00"
ITEM: Final = (
    '{"externalProductId": "67867", "quantity": 1.255, "unit": "KG", "originalPrice": 19.99,'
    ' "discountedPrice": 17.990, "finalTotalPrice": 22.57, "vatRate": 1e1, "brand": "Ovac\\u0131k", "lot": 0.10}'
)
SIGNING_SECRET: Final = "whsec_czNjcjN0LWZvci1zaWduaW5nLWNhbGxz"
BUYER: Final = "buyer-4711"
SECRETS: Final = ("s3cr3t-third-party", "s3cr3t-of-the-api", "s3cr3t-kafka", SIGNING_SECRET.removeprefix("whsec_"))


def created(order_id: int, item: str = ITEM) -> bytes:
    return (
        f'{{"type": "CREATED", "payload": {{"orderId": {order_id}, "storeNo": "54645", "buyerId": "{BUYER}",'
        f' "orderItemsWithDiscountSummaryItems": [{{"productItem": {item}}}],'
        f' "transactionId": "5661042b-cc39-4567-a264-265943097139", "transactionDate": "{DATE}"}}}}'
    ).encode()


@pytest.fixture
def third_party() -> Iterator[ThirdParty]:
    with serving(token=SECRETS[0]) as running:
        yield running


@pytest.fixture
def orders(topic: Callable[..., str]) -> str:
    """The topic that the service reads unless told otherwise."""
    return topic()


@pytest.fixture
def apps(
    tmp_path: Path, database_url: str, broker: EmbeddedBroker, third_party: ThirdParty, orders: str
) -> Iterator[Apps]:
    settings = {
        "database_url": database_url,
        "kafka_bootstrap": broker.bootstrap,
        "kafka_topic": orders,
        "kafka_group": new_group(),
        "kafka_config": quick_group(),
        "third_party_url": f"http://{LOOPBACK}:{third_party.port}",
        "third_party_token": SECRETS[0],
        "push_backoff_base_seconds": 0.1,
    }
    with Apps(tmp_path, settings) as started:
        yield started


def test_amounts_and_dates_reach_the_third_party_digit_for_digit(
    apps: Apps, broker: EmbeddedBroker, third_party: ThirdParty, database_url: str, orders: str
) -> None:
    """1.255 × 19.99 is 25.09 at the till, and 22.57 less of it 2.52; prices and quantities keep their digits, and
    nanoseconds, offsets and unknown members stay as they were."""
    publish(broker.bootstrap, [Outgoing(orders, b"%d" % ORDER_ID, created(ORDER_ID))])
    service = apps.start("serve", "--only", "intake,push")
    service.wait_until(lambda: third_party.show("totals")["calls"] == 1, "the call")
    assert service.terminate() == 0

    with psycopg.connect(database_url) as connection:
        ((kept,),) = connection.execute("SELECT body FROM effect").fetchall()
    (call,) = third_party.show("calls")["calls"]
    assert loads(kept) == call["body"]
    body = as_written(kept)
    assert body.pop("items") == [as_written(ITEM.encode())]
    assert body == {
        "orderId": str(ORDER_ID),
        "storeNo": "54645",
        "buyerId": BUYER,
        "transactionId": "5661042b-cc39-4567-a264-265943097139",
        "transactionDate": DATE,
        "cashbackAmount": "2.52",
    }


def as_written(value: bytes) -> Any:
    """Numbers as the text that stands there."""
    return json.loads(value, parse_float=str, parse_int=str)


def test_four_topics_are_read_by_one_service(
    apps: Apps, broker: EmbeddedBroker, third_party: ThirdParty, topic: Callable[..., str]
) -> None:
    """CASHBACK_KAFKA_TOPIC names all of them; the creates come last, and the third party hears it in order."""
    kinds = ("CANCELLED", "COMPLETED", "UPDATED", "CREATED")
    topics = {kind: topic(2) for kind in kinds}
    messages = plain_stream("", 30)
    service = apps.start("serve", "--only", "intake,push", kafka_topic=", ".join(topics.values()))
    service.wait_for("reading")
    for kind in kinds:
        of_kind = [each for each in messages if loads(each.value)["type"] == kind]
        publish(broker.bootstrap, [Outgoing(topics[kind], each.key, each.value, each.headers) for each in of_kind])
    service.wait_until(lambda: third_party.show("totals")["calls"] == len(messages), "all calls")
    assert service.terminate() == 0
    assert third_party.violations() == []
    totals = third_party.show("totals")
    assert totals["byStatus"]["PENDING"] == 0


def test_nothing_that_a_process_writes_shows_a_secret_or_a_buyer(
    apps: Apps, broker: EmbeddedBroker, third_party: ThirdParty, database_url: str, orders: str
) -> None:
    """Good messages, bad ones, a parked order, a token that is refused: JSON lines and metrics tell of all that."""
    port = free_port()
    third_party.faults(rejectOrders=[2])
    publish(
        broker.bootstrap,
        [
            Outgoing(orders, b"1", created(1)),
            Outgoing(orders, b"2", created(2)),
            Outgoing(orders, b"3", created(3, ITEM.replace("22.57", "2257"))),  # a negative cashback
            Outgoing(orders, b"4", created(4, ITEM.replace("1.255", '"much"'))),
            Outgoing(orders, b"5", created(5)[:-1]),
            Outgoing(orders, BUYER.encode(), created(6)),
            Outgoing(orders, b"7", created(7), (("sequence", BUYER.encode()),)),
        ],
    )
    settings = {
        "api_token": SECRETS[1],
        "kafka_config": quick_group(**{"sasl.password": SECRETS[2]}),
        "third_party_signing_secret": SIGNING_SECRET,
        "audit_orders_per_second": 50,
        "log_level": "debug",
        "log_format": "json",
        "probes_port": port,
    }
    service = apps.start("serve", "--only", "intake,push", **settings)
    service.wait_for("order parked", order_id=2)
    service.wait_until(lambda: third_party.show("totals")["orders"] == 1, "the credit")
    service.wait_for("audit round over", in_flight=1)
    metrics = local_http.get(f"http://{LOOPBACK}:{port}/metrics").text
    readiness = local_http.get(f"http://{LOOPBACK}:{port}/readyz").text
    assert service.terminate() == 0

    stranger = apps.start("serve", "--only", "intake,push", **settings | {"third_party_token": "wr0ng"})
    publish(broker.bootstrap, [Outgoing(orders, b"8", created(8))])
    stranger.wait_until(lambda: "refuses our credentials" in stranger.output, "a word about the refused token")
    assert stranger.terminate() == 0

    compared = apps.run("reconcile", **settings)
    assert compared.returncode == 0, compared.stderr
    assert "4 orders compared: 2 agrees, 2 in_flight" in compared.stdout

    lines = [json.loads(line) for each in (service, stranger) for line in each.output.splitlines()]
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    assert 'cashback_quarantined_messages_total{reason="bad_amount"} 1.0' in metrics
    assert 'cashback_reconciled_orders_total{class="in_flight"}' in metrics
    password = database_url.partition("://")[2].partition("@")[0].partition(":")[2]
    for written in (service.output, stranger.output, compared.stdout, compared.stderr, metrics, readiness):
        assert [word for word in (BUYER, *SECRETS, "wr0ng", password) if word in written] == []
