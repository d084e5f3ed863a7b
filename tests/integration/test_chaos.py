"""`simulate --chaos` over real brokers into a real intake: what becomes of each order, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.order import Order
from sandbox.order_service.chaos import Chaos, Disorder, Stage
from sandbox.order_service.lifecycles import COMPRESSED, OrderMessage, lifecycles, outcome
from sandbox.order_service.simulator import ALL_CONFIRMED
from sandbox.servers.embedded_kafka import EmbeddedBroker, create_topic
from tests.support.chaos import End, as_published, completed_after_cancellation
from tests.support.clusters import Cluster
from tests.support.processes import App, Apps, quick_group, run_app
from tests.support.stored import messages_read, orders_stored
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * DEADLINE_SECONDS)]

ORDERS = 150
STAMPED_FROM, UNSTAMPED_FROM = 1, 10**9
ORDERLY = "doubled,skewed,poison,growing,returns"
"""All disorder that leaves the order of publishing as it is."""


class Simulation:
    """One run of `app.py simulate` to its end."""

    def __init__(self, apps: Apps, chaos: str, *, stamped: bool) -> None:
        self._seed = 7
        self._chaos = Chaos.named(chaos)
        self._stamped = stamped
        self._first = STAMPED_FROM if stamped else UNSTAMPED_FROM
        app = apps.start(
            *("simulate", "--orders", str(ORDERS), "--seed", str(self._seed), "--chaos", chaos),
            *("--first-order-id", str(self._first), "--stamped" if stamped else "--no-stamped"),
        )
        app.wait_for("simulation ended")
        assert app.wait() == 0
        self.log = app.log
        self.counts = self.said("simulation ended")
        self.end = sum(self.said(ALL_CONFIRMED)["next_offsets"].values())
        """How many records the topic holds now."""

    def said(self, event: str) -> dict[str, Any]:
        (line,) = (line for line in self.log if line["event"] == event)
        return line

    def messages(self) -> list[OrderMessage]:
        """As they happened; the dates begin with the clock of the run, and here with zero."""
        stream = lifecycles(
            self._seed,
            ORDERS,
            first_order_id=self._first,
            started_at_ns=0,
            stamped=self._stamped,
            returns=Disorder.RETURNS in self._chaos.kinds,
        )
        return list(stream)

    def ends(self) -> dict[int, End]:
        """After all returns."""
        return {**outcome(self.messages(), corrections=True)}

    def published(self) -> list[OrderMessage]:
        """In the order of publishing."""
        stage = Stage(self._chaos, self._seed, COMPRESSED, self._first)
        return [each.message for each in stage.disturb(self.messages()) if each.message is not None]


def settings_for(kafka: Cluster, database_url: str, topic: str) -> dict[str, object]:
    return {
        "database_url": database_url,
        "kafka_bootstrap": kafka.bootstrap,
        "kafka_topic": topic,
        "kafka_group": f"group-{topic}",
        "kafka_config": quick_group(**{"topic.metadata.refresh.interval.ms": 1000}),
        "intake_batch_size": 50,
        "third_party_corrections": "on",
        "log_format": "json",
    }


def wait_until_read(app: App, database_url: str, topic: str, records: int) -> None:
    app.wait_until(lambda: messages_read(database_url, topic) >= records, f"{records} records read")
    assert app.terminate() == 0


def ends_in(database_url: str, simulation: Simulation) -> tuple[dict[int, Order], dict[int, End]]:
    orders = orders_stored(database_url, {each.order_id for each in simulation.messages()})
    ends = {number: (order.status.value, order.terms.cashback) for number, order in orders.items() if order.terms}
    assert not any(order.held for order in orders.values())
    return orders, ends


def assert_undisturbed(database_url: str, simulation: Simulation) -> None:
    """The lifecycles' own ends, to the last digit, and nothing for a person to look at."""
    orders, ends = ends_in(database_url, simulation)
    assert ends == simulation.ends()
    assert simulation.counts.get("returns", 0) > 0
    assert not any(order.doubts for order in orders.values())


def quarantined(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM quarantine").fetchone()
    assert row is not None
    return int(row[0])


def test_stamped_orders_end_undisturbed_and_unstamped_ones_in_the_order_of_publishing(
    broker: Cluster, database_url: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Everything but growing, at once, on any broker; all poison is in quarantine, and nothing else."""
    name = topic(3)
    disorder = ",".join(kind for kind in Disorder if kind is not Disorder.GROWING)
    with Apps(tmp_path, settings_for(broker, database_url, name)) as apps:
        intake = apps.start("serve", "--only", "intake")
        stamped = Simulation(apps, disorder, stamped=True)
        unstamped = Simulation(apps, disorder, stamped=False)
        wait_until_read(intake, database_url, name, unstamped.end)
    assert_undisturbed(database_url, stamped)
    orders, ends = ends_in(database_url, unstamped)
    assert ends == as_published(unstamped.published(), corrections=True)
    assert ends != unstamped.ends()  # which nobody could know, so that no order is doubtful for that
    doubtful = {number for number, order in orders.items() if order.doubts}
    assert doubtful == completed_after_cancellation(unstamped.published())
    poison = stamped.counts["poison"] + unstamped.counts["poison"]
    assert quarantined(database_url) == poison > 0
    copies = stamped.counts["doubled"] + unstamped.counts["doubled"]
    assert unstamped.end == stamped.counts["messages"] + unstamped.counts["messages"] + copies + poison


def test_on_a_growing_topic_stamped_orders_end_undisturbed_and_unstamped_ones_do_or_are_flagged(
    apache_kafka: Cluster, database_url: str, make_apache_topic: Callable[..., str], tmp_path: Path
) -> None:
    """3 → 6 → 12 partitions under the stamped run, and on to 48 under the other, whose messages leave in order."""
    name = make_apache_topic(3)
    with Apps(tmp_path, settings_for(apache_kafka, database_url, name)) as apps:
        intake = apps.start("serve", "--only", "intake")
        stamped = Simulation(apps, "all", stamped=True)
        unstamped = Simulation(apps, ORDERLY, stamped=False)
        wait_until_read(intake, database_url, name, unstamped.end)
    assert (stamped.counts["growing"], unstamped.counts["growing"]) == (9, 36)
    assert_undisturbed(database_url, stamped)
    orders, ends = ends_in(database_url, unstamped)
    expected = unstamped.ends()
    wrong = {number for number, end in expected.items() if ends.get(number) != end}
    assert all(orders[number].doubts for number in wrong)
    assert quarantined(database_url) == stamped.counts["poison"] + unstamped.counts["poison"]


def test_a_broker_that_cannot_grow_is_told_in_one_line(tmp_path: Path) -> None:
    """An error where growing was asked for by name; with `all` the rest goes on. An unknown kind is no setting."""
    with EmbeddedBroker(tmp_path) as broker:
        create_topic(broker.bootstrap, "orders", 3)
        settings = {"kafka_bootstrap": broker.bootstrap, "kafka_topic": "orders", "log_format": "json"}
        growing, everything, unknown = (
            run_app("simulate", "--orders", "20", "--chaos", chaos, folder=tmp_path, settings=settings)
            for chaos in ("doubled,growing", "all", "slow")
        )
    assert growing.returncode == 1
    assert growing.stderr.startswith("error: topic orders can't get more partitions: ")
    assert growing.stderr.count("\n") == 1
    assert everything.returncode == 0
    assert (
        everything.stdout.count("goes on without growing") + everything.stderr.count("goes on without growing") == 1
    )
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: --chaos is 'slow': must be all, or some of shuffled,")


def test_the_demo_reconciles_in_any_disorder(tmp_path: Path) -> None:
    """It waits until every record has been read, copies and poison too, and knows its own poison from others'; a
    second run without disorder finds the first one's poison and doesn't mind."""
    settings = {"demo_folder": tmp_path / "demo"}
    first = run_app("demo", "--orders", "150", "--exit", "--chaos", "all", folder=tmp_path, settings=settings)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "this run: 150 of 150 orders ended as they must, on both sides" in first.stdout
    assert "0 quarantined messages, 0 doubtful orders" in first.stdout
    assert "poisoned records of this run" in first.stdout

    second = run_app("demo", "--orders", "50", "--exit", folder=tmp_path, settings=settings)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "this run: 50 of 50 orders ended as they must, on both sides" in second.stdout
    assert "poison" not in second.stdout

    refused = run_app("demo", "--chaos", "growing", folder=tmp_path, settings=settings)
    assert refused.returncode == 1
    assert (
        refused.stderr == "error: --chaos growing: the embedded broker can't add partitions; --kafka apache can\n"
    )


def test_a_demo_without_corrections_names_the_orders_that_wait_for_a_person(tmp_path: Path) -> None:
    """Switched off by its user: what came after an order's end is theirs to settle, and a completion that was not
    delivered by then is held until they have."""
    settings = {"demo_folder": tmp_path / "demo", "third_party_corrections": "off"}
    done = run_app("demo", "--orders", "150", "--exit", "--chaos", "returns", folder=tmp_path, settings=settings)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT RECONCILED" in done.stdout
    assert re.search(r" [1-9]\d* doubtful orders", done.stdout)
