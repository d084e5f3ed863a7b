"""What the commands of our pages find, page by page, and what happens behind the reader's back between them."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from domain.messages import Kind
from sandbox.servers.embedded_kafka import create_topic
from sandbox.servers.postgres import drop_database, url_of
from tests.support.docs_stage import Stage, valid_value
from tests.support.messages import ORDER_ID
from tests.support.waiting import wait_until

SECOND_ORDER_ID: Final = ORDER_ID + 2
BACKUP: Final = "docs/runbooks/backup.md"
DOUBTFUL: Final = "docs/runbooks/doubtful.md"
FOUR_TOPICS: Final = "docs/runbooks/four-topics-to-one.md"
PARKED: Final = "docs/runbooks/parked.md"
TUTORIAL: Final = "docs/tutorial.md"
UPGRADE: Final = "docs/runbooks/upgrade.md"

Scene = Callable[[Stage], None]


# Scenes: what a page's commands find.


def nothing(_: Stage) -> None:
    """The page starts all that it needs."""


def an_order(stage: Stage) -> None:
    """The service runs; the order is PENDING, and its calls are delivered."""
    stage.serve()
    stage.say(Kind.CREATED)
    stage.say(Kind.UPDATED, cashback=12)


def a_parked_order(stage: Stage) -> None:
    """At its third call. And two messages in quarantine, the first of which could be repaired."""
    an_order(stage)
    stage.third_party.faults(rejectOrders=[ORDER_ID])
    stage.say(Kind.UPDATED, cashback=15)
    stage.sql("SELECT setval(pg_get_serial_sequence('quarantine', 'id'), 16)")
    stage.publish(valid_value(SECOND_ORDER_ID)[:-1], b"hello?")
    (stage.folder / "clone" / "repaired.json").write_bytes(valid_value())


def orders_to_be_decided(stage: Stage) -> None:
    """One is doubtful and completed; of the other, two messages wait for two others."""
    stage.serve()
    stage.say(Kind.CREATED)
    stage.say(Kind.CREATED, cashback=12)
    stage.say(Kind.COMPLETED)
    stage.say(Kind.CREATED, SECOND_ORDER_ID)
    stage.sequences[SECOND_ORDER_ID] = 3
    stage.say(Kind.UPDATED, SECOND_ORDER_ID, cashback=8)
    stage.say(Kind.COMPLETED, SECOND_ORDER_ID)


def a_lost_topic(stage: Stage) -> None:
    """It isn't the one that was read."""
    an_order(stage)
    stage.stop_serving()
    stage.sql("UPDATE kafka_position SET topic_id = 'another'")


def four_topics(stage: Stage) -> None:
    """And the new one; the API runs."""
    for name in ("created", "updated", "cancelled", "completed"):
        create_topic(stage.bootstrap, f"cashback-{name}", 1)
    stage.serve("api")


def lost_orders(stage: Stage) -> None:
    an_order(stage)
    (stage.folder / "clone" / "lost.txt").write_text(f"{ORDER_ID}\n")


def two_roles(stage: Stage) -> None:
    """Of PostgreSQL; and the API asks for a token."""
    stage.sql("DROP ROLE IF EXISTS cashback_2")
    stage.sql("DROP ROLE IF EXISTS cashback")
    stage.sql("CREATE ROLE cashback")

    for name in ("cashback", "cashback_2"):  # the last one first
        stage.at_the_end.callback(stage.sql, f"DROP ROLE IF EXISTS {name}")
    stage.serve("api", api_token=stage.settings["api_token"])


def a_backed_up_service(stage: Stage) -> None:
    an_order(stage)
    stage.at_the_end.callback(drop_database, url_of(stage.database_url, "cashback_restored"))


def only_the_api(stage: Stage) -> None:
    stage.serve("api")


SCENES: Final[Mapping[str, Scene]] = {
    "docs/operating.md": nothing,
    "docs/index.md": only_the_api,
    TUTORIAL: nothing,
    BACKUP: a_backed_up_service,
    FOUR_TOPICS: four_topics,
    PARKED: a_parked_order,
    DOUBTFUL: orders_to_be_decided,
    "docs/runbooks/messages-lost.md": a_lost_topic,
    "docs/runbooks/redeliver.md": lost_orders,
    "docs/runbooks/republish.md": lost_orders,
    "docs/runbooks/storage.md": nothing,
    "docs/runbooks/tokens.md": two_roles,
}
SETTINGS: Final[Mapping[str, dict[str, object]]] = {
    "docs/runbooks/tokens.md": {"api_token": "s3cr3t-of-the-api"},
}


def books_are_whole(stage: Stage) -> None:
    """After the restore: everything was found out by lookups, nobody was called twice, nobody is parked."""
    assert stage.third_party.show("violations")["violations"] == []
    totals = stage.third_party.show("totals")
    assert (totals["byStatus"]["COMPLETED"], totals["byStatus"]["PENDING"]) == (1, 1)
    assert stage.sql("SELECT count(*) FROM delivery WHERE parked_at IS NOT NULL") == [(0,)]
    assert stage.sql("SELECT count(*) FROM attempt WHERE kind = 'lookup'")[0][0] >= 2


LEFT_AS: Final[Mapping[str, Scene]] = {BACKUP: books_are_whole}
"""What must be true behind a page's last command."""


# What happens behind the reader's back, before a command is typed.


def park_it_again(stage: Stage) -> None:
    """The command before has let it go, or given its call up."""
    if not stage.sql("SELECT 1 FROM delivery WHERE parked_at IS NOT NULL"):
        stage.say(Kind.UPDATED, cashback=20)


def doubt_it_again(stage: Stage) -> None:
    """The command before has settled it."""
    if not stage.sql("SELECT 1 FROM orders WHERE doubts <> '{}'"):
        stage.say(Kind.UPDATED, cashback=20)


def hold_it_again(stage: Stage) -> None:
    """The command before has released it."""
    if not stage.sql("SELECT 1 FROM orders WHERE held > 0"):
        stage.sequences[SECOND_ORDER_ID] += 2
        stage.say(Kind.UPDATED, SECOND_ORDER_ID, cashback=9)


def go_on_and_stop(stage: Stage) -> None:
    """After the backup an order ends, another begins; the third party forgets its keys, and we are stopped."""
    stage.say(Kind.COMPLETED)
    stage.say(Kind.CREATED, SECOND_ORDER_ID)
    stage.stop_serving()
    stage.third_party.faults(keyRetentionSeconds=0)


def an_old_version_goes_on(stage: Stage) -> None:
    """With a schema that is newer than it knows; but it can't be started again."""
    stage.sql("INSERT INTO schema_migration VALUES (9999, 'of the next version')")
    stage.say(Kind.COMPLETED)
    assert stage.third_party.show("totals")["byStatus"]["COMPLETED"] == 1
    started = stage.run("serve", "--only", "push")
    assert "the database has migration 9999, and this version knows" in started.stderr
    stage.sql("DELETE FROM schema_migration WHERE number = 9999")


def read_all(stage: Stage) -> None:
    """Everything since the backup is read, and its calls are noted."""
    wait_for(stage, "SELECT count(*) FROM stored_events", 4)
    wait_for(stage, "SELECT count(*) FROM effect", 4)


def called_all(stage: Stage) -> None:
    wait_for(stage, "SELECT count(*) FROM effect WHERE state = 'delivered'", 4)


def wait_for(stage: Stage, question: str, count: int) -> None:
    wait_until(lambda: stage.sql(question) == [(count,)], f"{count} as the answer to {question!r}")


class Meanwhile(NamedTuple):
    """Before commands of a page that begin so."""

    page: str
    beginning: str
    happens: Scene
    ends_what_runs: bool = False


MEANWHILE: Final = (
    Meanwhile(PARKED, r"python app\.py (retry|skip)|curl -X POST", park_it_again),
    Meanwhile(DOUBTFUL, r"python app\.py settle|curl -X POST \S+/settle", doubt_it_again),
    Meanwhile(DOUBTFUL, r"python app\.py release|curl -X POST \S+/release", hold_it_again),
    Meanwhile(UPGRADE, 'curl -s "[$]API/readyz"', an_old_version_goes_on),
    Meanwhile(BACKUP, "psql .* -c 'CREATE DATABASE", go_on_and_stop),
    Meanwhile(BACKUP, 'psql .* -c "UPDATE delivery', read_all, ends_what_runs=True),
    Meanwhile(BACKUP, 'curl -s "[$]API/api/parked"', called_all),
)
