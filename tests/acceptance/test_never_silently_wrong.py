"""The edges of the promise, each with the real service from the topic to the third party's books.

What was published, what the buyer gets, and what a person is shown.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapters.postgres.migrate import migrate
from adapters.records.publishing import Outgoing
from domain.instants import format_instant, parse_instant
from domain.messages import Kind
from sandbox.servers.embedded_kafka import EmbeddedBroker
from sandbox.servers.free_port import LOOPBACK, free_port
from sandbox.servers.postgres import create_database, drop_database
from tests.support import local_http
from tests.support.event_store import sql
from tests.support.messages import product, value_of
from tests.support.processes import App, Apps, quick_group
from tests.support.running_intake import new_group
from tests.support.sandbox_process import held_back, start_sandbox, undelivered
from tests.support.streams import publish
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NOON_NS: Final = parse_instant("2025-02-28T12:00:00Z")
MINUTE_NS: Final = 60 * 10**9
CREATED, UPDATED, CANCELLED, COMPLETED = Kind.CREATED, Kind.UPDATED, Kind.CANCELLED, Kind.COMPLETED


def said(
    kind: Kind,
    order_id: int,
    minute: float,
    earns: str = "6",
    *,
    items: Sequence[Any] | None = None,
    headers: Mapping[str, str] | None = None,
    **changes: Any,
) -> tuple[int, bytes, tuple[tuple[str, bytes | None], ...]]:
    """A message of an order that earns so much with one item of 100."""
    payload: dict[str, Any] = {
        "orderId": order_id,
        "transactionId": f"t{minute}",
        "transactionDate": format_instant(NOON_NS + round(minute * MINUTE_NS)),
    }
    if not kind.is_end:
        price = [product(1, 100, float(Decimal(100) - Decimal(earns)))] if items is None else list(items)
        payload |= {"storeNo": "54645", "buyerId": "1234", "orderItemsWithDiscountSummaryItems": price}
    given = tuple((name, value.encode()) for name, value in (headers or {}).items())
    return order_id, value_of(kind, payload | changes), given


class Shop:
    """The service, what it reads and what it calls."""

    def __init__(
        self, apps: Apps, database_url: str, bootstrap: str, topics: Sequence[str], **settings: object
    ) -> None:
        self.apps = apps
        self.database_url = database_url
        self._bootstrap = bootstrap
        self.topics = topics
        self.third_party = start_sandbox(apps)
        self._settings = settings
        self._port = free_port()
        self.service = self.start(database_url, self._port)
        self.published = 0

    def start(self, database_url: str, port: int) -> App:
        return self.apps.start(
            "serve",
            database_url=database_url,
            kafka_topic=",".join(self.topics),
            kafka_group=new_group(),
            third_party_url=self.third_party.url,
            api_port=port,
            **self._settings,
        )

    def tell(self, *messages: tuple[int, bytes, tuple[tuple[str, bytes | None], ...]], topic: int = 0) -> None:
        """One after another; returns when the service has decided about them and delivered what follows."""
        name = self.topics[topic]
        publish(
            self._bootstrap, [Outgoing(name, b"%d" % order_id, value, given) for order_id, value, given in messages]
        )
        self.published += len(messages)
        self.settle_down(self.database_url)

    def settle_down(self, database_url: str) -> None:
        self.service.wait_until(lambda: self._is_quiet(database_url), "everything read and delivered")

    def _is_quiet(self, database_url: str) -> bool:
        [(read,)] = sql(database_url, "SELECT coalesce(sum(next_offset), 0) FROM kafka_position")
        return bool(read >= self.published and undelivered(database_url) == held_back(database_url))

    def api(self, method: str, path: str, **body: Any) -> httpx.Response:
        answer = local_http.request(method, f"http://{LOOPBACK}:{self._port}{path}", json=body or None)
        assert answer.is_success, answer.text
        return answer

    def order(self, order_id: int) -> dict[str, Any]:
        shown: dict[str, Any] = self.api("GET", f"/api/orders/{order_id}").json()
        return shown

    def books(self, order_id: int) -> tuple[str, Decimal]:
        """How the order stands at the third party."""
        [row] = [each for each in self.third_party.show("orders")["orders"] if each["orderId"] == order_id]
        return row["status"], Decimal(row["cashbackAmount"])

    def doubts(self, order_id: int) -> dict[str, Decimal | None]:
        """With the money at stake."""
        return {
            doubt: None if event["atStake"] is None else Decimal(str(event["atStake"]))
            for event in self.order(order_id)["timeline"]
            for doubt in event["doubts"]
        }

    def retry_quarantined(self, value: bytes) -> None:
        [(number,)] = sql(self.database_url, "SELECT id FROM quarantine WHERE state = 'open'")
        self.api("POST", f"/api/quarantine/{number}/retry", reason="repaired", value=value.decode())
        self.settle_down(self.database_url)


@pytest.fixture
def apps(tmp_path: Path, broker: EmbeddedBroker) -> Iterator[Apps]:
    settings = {
        "kafka_bootstrap": broker.bootstrap,
        "kafka_config": quick_group(),
        "push_backoff_base_seconds": 0.1,
        "third_party_timeout_seconds": 5,
    }
    with Apps(tmp_path, settings) as started:
        yield started


@pytest.fixture
def shop(apps: Apps, database_url: str, broker: EmbeddedBroker, topic: Callable[..., str]) -> Shop:
    """Two lanes: the second topic stands for another partition. Corrections aren't taken."""
    return Shop(
        apps, database_url, broker.bootstrap, [topic(1), topic(1)], max_order_cashback=90, log_format="json"
    )


def test_what_is_refused_or_uncertain_is_neither_paid_silently_nor_lost(shop: Shop) -> None:
    """Each order is a case that was seen; nothing of it is completed before a person has settled its doubt."""
    # An update repaired in quarantine keeps its place: the one behind it counts.
    shop.tell(said(CREATED, 1, 0), said(UPDATED, 1, 1.7, "50", transactionDate="soon"), said(UPDATED, 1, 3.3, "2"))
    shop.retry_quarantined(said(UPDATED, 1, 1.7, "50")[1])
    shop.tell(said(COMPLETED, 1, 5))
    assert (shop.books(1), shop.doubts(1)) == (("COMPLETED", Decimal(2)), {})

    # Repaired after the completion it is late.
    shop.tell(
        said(CREATED, 2, 0),
        said(UPDATED, 2, 1.7, "50", transactionDate="soon"),
        said(UPDATED, 2, 3.3, "2"),
        said(COMPLETED, 2, 5),
    )
    shop.retry_quarantined(said(UPDATED, 2, 1.7, "50")[1])
    assert shop.books(2) == ("COMPLETED", Decimal(2))
    assert shop.doubts(2).keys() == {"late"}
    assert shop.order(2)["timeline"][-1]["decision"] == "rejected"

    # A date that contradicts the partition by more than clocks differ.
    shop.tell(said(CREATED, 3, 0), said(UPDATED, 3, 10, "2"), said(UPDATED, 3, 0.5, "50"), said(COMPLETED, 3, 20))
    assert shop.books(3) == ("PENDING", Decimal(50))
    assert shop.doubts(3) == {"uncertain_order": Decimal(-48)}

    # A till rounds: weighed goods without a discount beside a discounted one.
    weighed = product(0.333, 3.33, 1.11)
    shop.tell(said(CREATED, 4, 0, items=[product(), weighed]), said(COMPLETED, 4, 1))
    assert (shop.books(4), shop.doubts(4)) == (("COMPLETED", Decimal(6)), {})

    # Another buyer, and another store.
    shop.tell(said(CREATED, 5, 0), said(UPDATED, 5, 1, "7", buyerId="9"), said(COMPLETED, 5, 2))
    assert shop.books(5) == ("PENDING", Decimal(6))
    assert shop.doubts(5).keys() == {"buyer_changed"}
    shop.tell(said(CREATED, 6, 0), said(UPDATED, 6, 1, "7", storeNo="9"), said(COMPLETED, 6, 2))
    assert (shop.books(6), shop.order(6)["storeNo"]) == (("COMPLETED", Decimal(7)), "9")

    assert listed(shop) == {2, 3, 5}
    assert shop.third_party.show("violations")["violations"] == []


def listed(shop: Shop) -> set[int]:
    """The doubtful orders of the list of those whose money may be wrong."""
    return {row["orderId"] for row in shop.api("GET", "/api/money-may-be-wrong?kind=doubtful").json()["cases"]}


def test_refusals_and_amounts_that_can_not_be_right_are_shown_with_the_money_at_stake(shop: Shop) -> None:
    """Until a person has settled them; what a publisher tells apart, is apart."""
    # Refusals that would have changed the order say what is at stake; the same again is harmless.
    shop.tell(said(CREATED, 10, 0), said(COMPLETED, 10, 1))
    shop.tell(said(CANCELLED, 10, 2))
    assert (shop.books(10), shop.doubts(10)) == (("COMPLETED", Decimal(6)), {"after_end": Decimal(-6)})
    shop.tell(said(CREATED, 11, 0), said(CANCELLED, 11, 1), said(COMPLETED, 11, 2))
    assert (shop.books(11)[0], shop.doubts(11)) == ("CANCELLED", {"after_end": Decimal(6)})
    shop.tell(said(CREATED, 12, 0), said(CREATED, 12, 1, "8"), said(COMPLETED, 12, 2))
    assert (shop.books(12), shop.doubts(12)) == (("PENDING", Decimal(6)), {"created_twice": Decimal(2)})
    shop.tell(said(CREATED, 13, 0), said(UPDATED, 13, 1, items=[product(1, 1, 3)]), said(COMPLETED, 13, 2))
    assert (shop.books(13), shop.doubts(13)) == (("PENDING", Decimal(6)), {"negative_cashback": Decimal(-6)})
    shop.tell(said(CREATED, 14, 0), said(COMPLETED, 14, 1), said(COMPLETED, 14, 2), said(UPDATED, 14, 3, "6"))
    assert (shop.books(14), shop.doubts(14)) == (("COMPLETED", Decimal(6)), {})

    # Amounts that can't be right.
    shop.tell(said(CREATED, 20, 0, items=[product(1, 100, 0, discountedPrice=90)]), said(COMPLETED, 20, 1))
    assert shop.books(20)[0] == "PENDING"
    assert shop.doubts(20).keys() == {"implausible_amount"}
    shop.tell(said(CREATED, 21, 0, "90.01"), said(COMPLETED, 21, 1))
    assert shop.books(21)[0] == "PENDING"
    assert shop.doubts(21).keys() == {"implausible_amount"}

    # One transaction and one date for all, told apart by numbers; and A, B, A told apart by names.
    same = {"transactionId": "t", "transactionDate": format_instant(NOON_NS)}
    shop.tell(
        *[
            said(kind, 30, 0, amount, headers={"sequence": str(number)}, **same)
            for number, (kind, amount) in enumerate(
                [(CREATED, "6"), (UPDATED, "7"), (UPDATED, "8"), (UPDATED, "7"), (COMPLETED, "0")], 1
            )
        ]
    )
    assert (shop.books(30), shop.doubts(30)) == (("COMPLETED", Decimal(7)), {})
    a, b = said(UPDATED, 31, 1, "7", headers={"ce_id": "a"}), said(UPDATED, 31, 1, "8", transactionId="b")
    shop.tell(said(CREATED, 31, 0), a, b, (*a[:2], (("ce_id", b"c"),)), said(COMPLETED, 31, 2))
    assert (shop.books(31), shop.doubts(31)) == (("COMPLETED", Decimal(7)), {})

    # A publisher's clock that is hours ahead wins no comparison between partitions.
    shop.tell(said(CREATED, 40, 0), said(UPDATED, 40, 180, "50"))
    shop.tell(said(UPDATED, 40, 10, "2"), topic=1)
    assert shop.doubts(40).keys() == {"uncertain_order"}

    assert shop.third_party.show("violations")["violations"] == []
    assert listed(shop) == {10, 11, 12, 13, 20, 21, 40}

    # A person settles one: what was held back goes out, and it leaves the list.
    shop.api("POST", "/api/orders/12/settle", reason="the first amount is right")
    shop.service.wait_until(lambda: shop.books(12) == ("COMPLETED", Decimal(6)), "the completion")
    assert 12 not in listed(shop)
    assert shop.apps.run("rebuild", "--check", database_url=shop.database_url).returncode == 0


def test_a_store_that_is_filled_anew_makes_the_same_calls(
    shop: Shop, postgres_server: str, broker: EmbeddedBroker, topic: Callable[..., str]
) -> None:
    """Stamped messages on two partitions, read a second time into an empty store: the same keys, so that the third
    party answers each call with its first answer. What is published again is decided as it was."""
    numbered = [
        said(kind, order_id, minute, str(minute + 1), headers={"sequence": str(minute + 1)})
        for order_id in range(1, 21)
        for minute, kind in enumerate([CREATED, UPDATED, UPDATED, COMPLETED])
    ]
    shop.tell(*[each for each in numbered if each[0] % 2 or b"UPDATED" not in each[1]])
    shop.tell(*[each for each in numbered if not each[0] % 2 and b"UPDATED" in each[1]], topic=1)
    books = [shop.books(order_id) for order_id in range(1, 21)]
    keys = sql(shop.database_url, "SELECT order_id, kind, idempotency_key FROM effect ORDER BY 1, 2, 3")
    assert len(keys) == len(numbered)
    shop.service.terminate()

    empty = create_database(postgres_server, f"{shop.database_url.rpartition('/')[2]}_again")
    try:
        migrate(empty)
        shop.service = shop.start(empty, free_port())
        shop.settle_down(empty)
        assert sql(empty, "SELECT order_id, kind, idempotency_key FROM effect ORDER BY 1, 2, 3") == keys
        assert [shop.books(order_id) for order_id in range(1, 21)] == books
        assert shop.third_party.show("violations")["violations"] == []
        assert shop.service.terminate() == 0
    finally:
        drop_database(empty)


def test_with_corrections_returns_are_paid_back_without_a_person(
    apps: Apps, database_url: str, broker: EmbeddedBroker, topic: Callable[..., str]
) -> None:
    """The whole amount that is right is what the third party is told last."""
    shop = Shop(apps, database_url, broker.bootstrap, [topic(1)], third_party_corrections="on")
    shop.tell(said(CREATED, 1, 0), said(COMPLETED, 1, 1), said(UPDATED, 1, 2, "2"))
    shop.tell(said(CREATED, 2, 0), said(COMPLETED, 2, 1), said(CANCELLED, 2, 2))
    shop.tell(said(CREATED, 3, 0), said(COMPLETED, 3, 1), said(CANCELLED, 3, 2), said(COMPLETED, 3, 3))
    late = said(UPDATED, 4, 1, "9")
    shop.tell(said(CREATED, 4, 0), said(UPDATED, 4, 1, "9", transactionDate="soon"), said(COMPLETED, 4, 2))
    shop.retry_quarantined(late[1])
    assert [shop.books(order_id)[1] for order_id in (1, 2, 3, 4)] == [2, 0, 6, 9]
    assert all(shop.doubts(order_id) == {} for order_id in (1, 2, 3, 4))
    assert shop.third_party.show("violations")["violations"] == []


def test_a_settled_order_is_settled_after_a_rebuild_and_reconciles(shop: Shop) -> None:
    """What people decide is in the stream: read models made anew say the same, and the books agree."""
    shop.tell(said(CREATED, 1, 0), said(CREATED, 1, 1, "8"), said(COMPLETED, 1, 2))
    shop.api("POST", "/api/orders/1/settle", reason="looked at")
    wait_until(lambda: shop.books(1)[0] == "COMPLETED", "the completion")
    shop.settle_down(shop.database_url)
    for arguments in (["rebuild", "--read-models"], ["rebuild", "--check"], ["reconcile", "1"]):
        done = shop.apps.run(*arguments, database_url=shop.database_url, third_party_url=shop.third_party.url)
        assert done.returncode == 0, done.stdout + done.stderr
    assert shop.order(1)["doubts"] == []


def test_json_of_an_order_tells_all_of_it(shop: Shop) -> None:
    """The command says what the API says."""
    shop.tell(said(CREATED, 1, 0), said(COMPLETED, 1, 1), said(CANCELLED, 1, 2))
    told = shop.apps.run("order", "1", "--json", database_url=shop.database_url)
    assert json.loads(told.stdout)["doubts"] == ["after_end"]
