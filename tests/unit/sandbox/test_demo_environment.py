"""The settings of a running demo, read from its folder."""

import json
import socket
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.demo.environment import NoDemo, demo_environment
from sandbox.servers.free_port import LOOPBACK, free_port


def test_an_empty_folder_has_no_demo(tmp_path: Path) -> None:
    """Nor has one that isn't there."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoDemo, match="`make demo` starts one"):
            demo_environment(folder)


def test_what_an_earlier_demo_has_left_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    """Its logs stay; nobody listens any more."""
    leave_behind(tmp_path, free_port())
    with pytest.raises(NoDemo):
        demo_environment(tmp_path)


def test_only_servers_that_are_there_are_named(tmp_path: Path) -> None:
    """One that the demo was given, and didn't start, may have left logs of another time."""
    with closing(socket.create_server((LOOPBACK, 0))) as server:
        port = server.getsockname()[1]
        leave_behind(tmp_path, port)
        (tmp_path / "broker.log").write_text(f"tansu\nlistening on: tcp://{LOOPBACK}:{port} (advertised: …)\n")
        data = tmp_path / "postgres" / "data"
        data.mkdir(parents=True)
        (tmp_path / "postgres" / "password").write_text("p@ss")
        (data / "postmaster.pid").write_text(f"1\n/data\n1700000000\n{free_port()}\n")
        assert demo_environment(tmp_path) == {
            "CASHBACK_API_PORT": str(port),
            "CASHBACK_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{port}",
        }
        (data / "postmaster.pid").write_text(f"1\n/data\n1700000000\n{port}\n")
        url = f"postgresql://postgres:p%40ss@{LOOPBACK}:{port}/cashback"
        assert demo_environment(tmp_path)["CASHBACK_DATABASE_URL"] == url


def leave_behind(folder: Path, port: int) -> None:
    """A log as the service writes it, with a line that isn't whole at its end."""
    listening = json.dumps({"url": f"http://{LOOPBACK}:{port}", "event": "listening"})
    (folder / "service.log").write_text(f'{{"event": "started"}}\n{listening}\n{{"event": "listening", "ur')
