"""Callers that connect and say nothing, to a process that pays."""

import socket
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest

from domain.messages import Kind
from tests.support import local_http
from tests.support.event_store import append, streams
from tests.support.processes import Apps
from tests.support.sandbox_process import start_sandbox, undelivered
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

DESCRIPTORS: Final = 256
HALF_OPEN: Final = 400
ORDERS: Final = 40
HALF_A_HEAD: Final = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n"


def test_payments_go_on_and_the_process_tells_how_it_is(tmp_path: Path, database_url: str) -> None:
    """With more silent callers than it has file descriptors, it keeps enough of them to pay, and answers probes."""
    with Apps(tmp_path, {"database_url": database_url, "log_format": "json"}) as apps, ExitStack() as stack:
        sandbox = start_sandbox(apps)
        sandbox.faults(latencyMs=50)
        app = apps.start_with_descriptors(
            DESCRIPTORS, "serve", "--only", "push,api", third_party_url=sandbox.url, api_port=0
        )
        app.wait_for("listening")
        (port,) = {line["port"] for line in app.log if line["event"] == "listening"}
        for _ in range(HALF_OPEN):
            half_open = stack.enter_context(
                closing(socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS))
            )
            half_open.sendall(HALF_A_HEAD)

        append(database_url, streams(range(1, ORDERS + 1), (Kind.CREATED, Kind.UPDATED, Kind.COMPLETED)))
        app.wait_until(lambda: local_http.get(f"http://127.0.0.1:{port}/readyz").status_code == 200, "it is ready")
        app.wait_until(lambda: undelivered(database_url) == 0, "everything is paid")

        assert app.has_logged("too many connections: the oldest idle ones are closed")
        assert "Too many open files" not in app.output
        assert "out of system resource" not in app.output
        assert app.terminate() == 0
