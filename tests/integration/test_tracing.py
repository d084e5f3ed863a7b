"""Traces: from the order service's message to the call, over processes, and never in anybody's way."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapters.records.publishing import Outgoing
from domain.messages import Kind
from sandbox.servers.embedded_kafka import EmbeddedBroker
from sandbox.servers.free_port import LOOPBACK, free_port
from tests.support import local_http
from tests.support.collector import collecting
from tests.support.processes import REPOSITORY, Apps, quick_group
from tests.support.promql import missing, series_of
from tests.support.running_intake import new_group
from tests.support.signals import expressions_of_alerts, expressions_of_dashboard
from tests.support.streams import publish
from tests.support.third_party_server import ThirdParty, serving
from tests.support.traces import BUYER, SAMPLED, SAMPLED_LATER, TRACE, UNSAMPLED, said
from tests.support.waiting import DEADLINE_SECONDS, wait_until


@pytest.fixture
def third_party() -> Iterator[ThirdParty]:
    with serving() as running:
        yield running


@pytest.mark.slow
def test_a_message_s_trace_goes_through_intake_and_push_of_other_processes_to_the_third_party(
    tmp_path: Path,
    database_url: str,
    broker: EmbeddedBroker,
    third_party: ThirdParty,
    topic: Callable[..., str],
) -> None:
    """The batch is linked to its messages, each call is the child of one, and its own context goes out.

    The messages' contexts wait in the event store: intake has ended before push begins. Of the buyer nothing is
    told. And what dashboard and alerts ask for is what these processes export.
    """
    orders = topic(1)
    messages = [
        said(Kind.CREATED, 1, "t1", 1, SAMPLED),
        said(Kind.CANCELLED, 1, "t2", 2, SAMPLED_LATER),
        said(Kind.CREATED, 2, "t3", 3, UNSAMPLED),
        said(Kind.CREATED, 3, "t4", 4, None),
    ]
    publish(broker.bootstrap, [Outgoing(orders, each.key, each.value, each.headers) for each in messages])
    port = free_port()
    third_party.faults(rejectOrders=[3])
    with collecting() as collector:
        settings = {
            "database_url": database_url,
            "kafka_bootstrap": broker.bootstrap,
            "kafka_topic": orders,
            "kafka_group": new_group(),
            "kafka_config": quick_group(),
            "third_party_url": f"http://{LOOPBACK}:{third_party.port}",
            "otel_endpoint": collector.url,
            "probes_port": port,
            "api_port": port,
        }
        with Apps(tmp_path, settings) as apps:
            intake = apps.start("serve", "--only", "intake")
            intake.wait_until(lambda: stored(intake.log) == len(messages), "all messages")
            wait_until(lambda: "kafka_consumergroup_lag{" in scraped(port), "the lag")
            exported = [scraped(port)]
            assert intake.terminate() == 0
            batches = collector.wait_for(1, "CONSUMER")

            push = apps.start("serve", "--only", "push,api")
            push.wait_for("order parked", order_id=3)
            push.wait_until(lambda: third_party.show("totals")["calls"] == 4, "all calls")
            wait_until(lambda: "cashback_oldest_undelivered_call_seconds " in scraped(port), "what waits")
            exported.append(scraped(port))
            assert push.terminate() == 0
            calls = collector.wait_for(3, "CLIENT")

    assert {link for batch in batches for link in batch.links} == {
        f"{TRACE}-b7ad6b7169203331",
        f"{TRACE}-00f067aa0ba902b7",
    }
    assert sum(batch.attributes["messaging.batch.message_count"] for batch in batches) == len(messages)
    assert {batch.attributes["messaging.destination.name"] for batch in batches} == {orders}
    assert TRACE not in {batch.trace_id for batch in batches}

    spans = {
        (span.attributes["cashback.order_id"], span.attributes["cashback.event_version"]): span for span in calls
    }
    assert set(spans) == {(1, 1), (1, 2), (3, 1)}  # the publisher of order 2 wants no trace
    assert (spans[1, 1].trace_id, spans[1, 1].parent_id) == (TRACE, "b7ad6b7169203331")
    assert (spans[1, 2].trace_id, spans[1, 2].parent_id) == (TRACE, "00f067aa0ba902b7")
    assert spans[3, 1].parent_id == ""
    assert {key: span.failed for key, span in spans.items()} == {(1, 1): False, (1, 2): False, (3, 1): True}
    assert spans[1, 2].name == "POST /v1/cashbacks/{orderId}/cancel"
    assert spans[1, 2].attributes["http.response.status_code"] == 200

    heard = [call["headers"]["traceparent"] for call in third_party.show("calls")["calls"]]
    assert {each[3:-3] for each in heard if int(each[-2:], 16) & 1} == {
        f"{span.trace_id}-{span.span_id}" for span in calls
    }
    assert [each[-3:] for each in heard if each.startswith(UNSAMPLED[:36])] == ["-00"]

    assert {span.resource["service.name"] for span in (*batches, *calls)} == {"order-cashback-integration"}
    assert not [body for body in collector.bodies if BUYER.encode() in body]
    logged = [line for line in push.log if line["event"] == "call"]
    assert sorted((line["order_id"], line["version"], line["level"]) for line in logged) == [
        (1, 1, "info"),
        (1, 2, "info"),
        (2, 1, "info"),
        (3, 1, "warning"),
    ]

    wanted = [*expressions_of_dashboard(), *expressions_of_alerts()]
    assert missing(wanted, series_of(*exported), only_names=True) == []


def stored(lines: Sequence[Mapping[str, Any]]) -> int:
    return sum(line["records"] for line in lines if line["event"] == "batch stored")


def scraped(port: int) -> str:
    try:
        return local_http.get(f"http://{LOOPBACK}:{port}/metrics").text
    except httpx.TransportError:
        return ""


NOT_ASKED_FOR: Final = """
import json, sys
from adapters.runtime.service import ProcessRole, Service
from adapters.settings import read_settings
Service(read_settings(None), list(ProcessRole))
names = ("opentelemetry.sdk", "opentelemetry.exporter")
print(json.dumps([name for name in sys.modules if name.startswith(names)]))
"""
NOT_INSTALLED: Final = """
import sys
sys.modules["opentelemetry.sdk"] = None
from app import app, main
main()
"""


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        env={"PATH": "", "LANG": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}],
    ids=["unset", "disabled"],
)
def test_nothing_of_opentelemetry_s_sdk_is_loaded_unless_it_is_asked_for(environment: dict[str, str]) -> None:
    """Traces that nobody wants cost nothing, not even memory."""
    ended = run(NOT_ASKED_FOR, **environment)
    assert (ended.returncode, json.loads(ended.stdout)) == (0, []), ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CASHBACK_OTEL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_either_endpoint_asks_for_traces(name: str) -> None:
    """Ours, or OpenTelemetry's own."""
    ended = run(NOT_ASKED_FOR, **{name: "http://127.0.0.1:1"})
    assert ended.returncode == 0, ended.stderr
    assert "opentelemetry.sdk" in json.loads(ended.stdout)


@pytest.mark.slow
def test_an_endpoint_of_ours_without_the_packages_is_refused_in_one_line(database_url: str) -> None:
    """OpenTelemetry's own variable may be meant for others: then the service runs without traces."""
    ended = run(
        NOT_INSTALLED,
        *("serve", "--only", "push"),
        CASHBACK_OTEL_ENDPOINT="http://127.0.0.1:1",
        CASHBACK_DATABASE_URL=database_url,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: CASHBACK_OTEL_ENDPOINT: needs the extra `otel`, which isn't installed\n"

    ended = run(
        "import sys; sys.modules['opentelemetry.sdk'] = None" + NOT_ASKED_FOR,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
    )
    assert ended.returncode == 0, ended.stderr
    assert "no traces: the extra `otel` isn't installed" in ended.stdout + ended.stderr
