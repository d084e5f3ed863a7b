"""The roles in processes of their own against all of them in one."""

from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import psycopg

from bench import messages
from bench.arithmetic import Figure
from bench.laboratory import PARTITIONS, Laboratory
from bench.processes import App, third_party, wait_until
from bench.pushing import DELIVERED

NAME: Final = "roles"
TITLE: Final = "Roles in processes of their own"
LATENCY_MS: Final = 10
DEADLINE_SECONDS: Final = 180.0
ABOUT: Final = (
    "`serve` with all roles in one process, against a process for each role. Whole lifecycles are published to the"
    " topic while they stand ready, and must end in the third party's books, which must have nothing to complain"
    f" of. The rate is that of the calls, from the first to the last. Latency {LATENCY_MS} ms."
)
FIGURE: Final = Figure("roles", "a process for each role", "all roles in one process", "calls/s")
_APART: Final = ("intake", "push", "api")


def run(lab: Laboratory) -> None:
    if lab.scale.path_orders:
        lab.compare(FIGURE, partial(_rate, lab, _APART), partial(_rate, lab, (",".join(_APART),)))


def _rate(lab: Laboratory, processes: tuple[str, ...]) -> float:
    sent = messages.lifecycles_of(lab.scale.path_orders)
    topic = lab.topic(PARTITIONS)
    with ExitStack() as stack:
        url = stack.enter_context(lab.database())
        party = stack.enter_context(third_party(lab.folder))
        party.faults(latencyMs=LATENCY_MS)
        settings = lab.settings(database_url=url, kafka_topic=topic, third_party_url=party.url, api_port=0)
        apps = [stack.enter_context(App.of(lab.folder, "serve", "--only", each, **settings)) for each in processes]
        for app, roles in zip(apps, processes, strict=True):
            app.line("partitions assigned" if "intake" in roles else "started")
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        messages.publish(lab.bootstrap, topic, sent)
        found: tuple[Any, ...] = (0, 0.0)

        def done() -> bool:
            nonlocal found
            found = connection.execute(DELIVERED, (0,)).fetchone() or found
            return bool(found[0] >= len(sent))

        wait_until(done, f"{len(sent)} calls", DEADLINE_SECONDS, *(app.child for app in apps), party.app.child)
        party.check()
    return float(found[0] / found[1])
