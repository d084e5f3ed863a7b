"""The sandbox third party as a process of its own, and what is still to reach it."""

from collections import Counter
from typing import Any

from domain.exact_json import loads
from tests.support import local_http
from tests.support.event_store import sql
from tests.support.processes import App, Apps


class Sandbox:
    """`app.py third-party`, asked over HTTP."""

    def __init__(self, app: App) -> None:
        app.wait_for("listening")
        self.url = next(line["url"] for line in app.log if line["event"] == "listening")

    def show(self, what: str) -> Any:
        answer = local_http.get(f"{self.url}/_sandbox/{what}")
        return loads(answer.raise_for_status().content)

    def faults(self, **faults: Any) -> None:
        local_http.request("PUT", f"{self.url}/_sandbox/faults", json=faults).raise_for_status()

    def reset(self) -> None:
        """Empty books, no faults."""
        local_http.request("DELETE", f"{self.url}/_sandbox").raise_for_status()

    @property
    def calls(self) -> list[dict[str, Any]]:
        return list(self.show("calls")["calls"])

    @property
    def keys(self) -> Counter[str]:
        """How often each call was seen."""
        return Counter(call["key"] for call in self.calls)

    def is_at_work(self) -> bool:
        return any(call["outcome"] == "in_progress" for call in self.calls)


def start_sandbox(apps: Apps, **settings: object) -> Sandbox:
    return Sandbox(apps.start("third-party", "--port", "0", **settings))


def start_push(apps: Apps, sandbox: Sandbox, **settings: object) -> App:
    return apps.start("serve", "--only", "push", third_party_url=sandbox.url, **settings)


def held_back(database_url: str) -> int:
    """Calls of orders that stand still until a doubt is settled: the completion, and what waits behind it."""
    [(calls,)] = sql(
        database_url,
        "SELECT count(*) FROM effect AS e JOIN delivery AS d USING (order_id)"
        " WHERE d.parked_reason = 'doubtful' AND e.version > d.settled_version AND e.state <> 'delivered'",
    )
    return int(calls)


def undelivered(database_url: str) -> int:
    """Calls that are asked for and not done; events that aren't calls yet are counted with them."""
    [(calls, events)] = sql(
        database_url,
        "SELECT (SELECT count(*) FROM effect WHERE state <> 'delivered'), (SELECT count(*) FROM stored_events"
        " WHERE notification_id > (SELECT notification_id FROM projection_position WHERE name = 'third-party'))",
    )
    return int(calls) + int(events)
