"""How long a single message takes from the topic to the third party when there is little to do."""

import json
import time
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any, Final

from adapters.kafka.producer.publisher import Publisher
from adapters.records.publishing import Outgoing
from bench import messages
from bench.arithmetic import Figure, Pair, percentile
from bench.laboratory import Laboratory
from bench.processes import App, RunningThirdParty, third_party, wait_until
from bench.results import Plot, Series
from domain.instants import NANOSECONDS_PER_SECOND, parse_instant

NAME: Final = "trickle"
TITLE: Final = "Latency under a trickle"
RATE_PER_SECOND: Final = 50
SETTLE_SECONDS: Final = 60.0
WARM_UP_MESSAGES: Final = 25
SAMPLES_FOR_P99: Final = 400
FETCH_WAIT_MS: Final = "10"
PERCENTS: Final = (1, 5, 10, 25, 50, 75, 90, 95, 98, 99)
ABOUT: Final = (
    f"New orders at {RATE_PER_SECOND} messages a second; the time from handing the message to the producer until"
    " its call arrives at the third party. Ours: `serve --only intake,push`, which commits three times on the"
    " way (the decision, the intended call, the claim; the second doesn't wait for the disk). The reference: a"
    f" consumer that calls at once and stores nothing. Both with fetch.wait.max.ms={FETCH_WAIT_MS}."
)
_REFERENCE: Final = "a consumer that calls at once and stores nothing"


def run(lab: Laboratory) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(lab.database())
        party = stack.enter_context(third_party(lab.folder))
        ours, theirs = lab.topic(), lab.topic()
        config = {**lab.kafka_config, "fetch.wait.max.ms": FETCH_WAIT_MS}
        service = stack.enter_context(
            App.of(
                lab.folder,
                *("serve", "--only", "intake,push"),
                **lab.settings(
                    database_url=url,
                    third_party_url=party.url,
                    kafka_topic=ours,
                    kafka_config=json.dumps(config),
                ),
            )
        )
        arguments = (lab.bootstrap, json.dumps(config), theirs, party.url)
        reference = stack.enter_context(App.module(lab.folder, "bench.references.straight_through", *arguments))
        service.line("partitions assigned")
        reference.line("reading")
        _measure(lab, party, ours, theirs)
        party.check()


def _measure(lab: Laboratory, party: RunningThirdParty, ours: str, theirs: str) -> None:
    stream = messages.whole_lifecycles()
    created = (message for message in stream if message.sequence == 1)
    count = round(RATE_PER_SECOND * lab.scale.trickle_seconds)
    publisher = Publisher(lab.bootstrap, config={"linger.ms": 0})
    trickle = partial(_trickle, publisher, party)
    for topic in (ours, theirs):
        trickle(topic, list(islice(created, WARM_UP_MESSAGES)))
    mine: list[float] = []
    bare: list[float] = []
    pairs: dict[int, list[Pair]] = {50: [], 99: []}
    for number in range(1, lab.rounds + 1):
        lab.report(f"latency at {RATE_PER_SECOND}/s: round {number} of {lab.rounds}")
        first = trickle(ours, list(islice(created, count)))
        second = trickle(theirs, list(islice(created, count)))
        mine += first
        bare += second
        for percent, found in pairs.items():
            found.append(Pair(percentile(first, percent), percentile(second, percent)))
    of_times = partial(Figure, reference=_REFERENCE, unit="ms", at_most=True, waits=True)
    title = f"latency at {RATE_PER_SECOND}/s, topic to call"
    lab.note(of_times("latency-p50", f"{title}, p50", must=3.0, aim=2.0), pairs[50])
    if count >= SAMPLES_FOR_P99:
        lab.note(of_times("latency-p99", f"{title}, p99"), pairs[99])
    series = [
        Series("ours", [(float(percent), percentile(mine, percent)) for percent in PERCENTS]),
        Series("calls at once", [(float(percent), percentile(bare, percent)) for percent in PERCENTS], dashed=True),
    ]
    lab.chapter.plots.append(Plot("latency", title, "percent of the calls within", "ms", series))


def _trickle(
    publisher: Publisher, party: RunningThirdParty, topic: str, sent: list[messages.TopicMessage]
) -> list[float]:
    """Milliseconds until the call of each message arrives."""
    after = party.calls
    published: dict[int, int] = {}
    began = time.monotonic()
    for number, each in enumerate(sent):
        while (early := began + number / RATE_PER_SECOND - time.monotonic()) > 0:
            publisher.poll()
            time.sleep(min(early, 0.005))
        published[each.order_id] = time.time_ns()
        publisher.publish(Outgoing(topic, each.key, each.value, each.headers))
        publisher.poll()
    arrived: dict[int, int] = {}

    def all_arrived() -> bool:
        calls: list[dict[str, Any]] = party.show(f"calls?after={after}")["calls"]
        arrived.update((call["orderId"], parse_instant(call["time"])) for call in calls)
        return arrived.keys() >= published.keys()

    wait_until(all_arrived, f"{len(sent)} calls", SETTLE_SECONDS, party.app.child)
    return [(arrived[order_id] - at_ns) * 1000 / NANOSECONDS_PER_SECOND for order_id, at_ns in published.items()]
