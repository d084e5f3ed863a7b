"""The whole path, from the order service's topic to the third party's books."""

from functools import partial
from typing import Final

from bench import messages
from bench.arithmetic import Figure
from bench.laboratory import PARTITIONS, Laboratory
from bench.processes import App, wait_until
from bench.pushing import DELIVERED, LAST_ATTEMPT, Pushing, pushing
from bench.reading import FullTopic, read_once
from bench.stores import events_of

NAME: Final = "path"
TITLE: Final = "The whole path"
LATENCY_MS: Final = 10
DEADLINE_SECONDS: Final = 180.0
ABOUT: Final = (
    "The simulator's lifecycles are published to the topic; `serve --only intake` and `serve --only push` run"
    " at the same time until every order has ended in the third party's books, which must have nothing to"
    " complain of. The rate is that of the calls, from the first to the last. The reference is the slower of"
    " two in the same round: intake alone, from a full topic, and push alone, in the same processes while"
    f" intake has nothing to do. Latency {LATENCY_MS} ms."
)
PATH: Final = Figure("whole-path", "the whole path", "the slower of intake and push alone", "calls/s", 0.7, 0.9)


def run(lab: Laboratory) -> None:
    if not lab.scale.path_orders:
        return
    topic = lab.topic(PARTITIONS)
    with pushing(lab) as parts:
        parts.party.faults(latencyMs=LATENCY_MS)
        settings = lab.settings(database_url=parts.database_url, kafka_topic=topic)
        with App.of(lab.folder, "serve", "--only", "intake", **settings) as intake:
            intake.line("partitions assigned")
            lab.compare(PATH, partial(_whole, lab, parts, topic), partial(_slower, lab, parts))


def _whole(lab: Laboratory, parts: Pushing, topic: str) -> float:
    sent = messages.lifecycles_of(lab.scale.path_orders)
    last = parts.one(LAST_ATTEMPT)[0]
    before = _ended(parts)
    messages.publish(lab.bootstrap, topic, sent)
    wait_until(
        lambda: _ended(parts) - before >= lab.scale.path_orders,
        "all orders have ended in the books",
        DEADLINE_SECONDS,
        parts.party.app.child,
    )
    expected = len(sent)
    wait_until(lambda: parts.one(DELIVERED, last)[0] >= expected, "all calls are in the record", DEADLINE_SECONDS)
    calls, seconds = parts.one(DELIVERED, last)
    return float(calls / seconds)


def _slower(lab: Laboratory, parts: Pushing) -> float:
    sent = messages.lifecycles_of(lab.scale.path_orders)
    push = parts.ours(events_of(sent))
    name = lab.topic(PARTITIONS)
    messages.publish(lab.bootstrap, name, sent)
    with lab.database() as url:
        intake = read_once(
            lab.folder, url, [FullTopic(lab.bootstrap, lab.kafka_config, name, len(sent), PARTITIONS)]
        )
    lab.report(f"    alone: intake {intake:,.0f} messages/s, push {push:,.0f} calls/s")
    return min(intake, push)


def _ended(parts: Pushing) -> int:
    status = parts.party.show("totals")["byStatus"]
    return int(status["COMPLETED"] + status["CANCELLED"])
