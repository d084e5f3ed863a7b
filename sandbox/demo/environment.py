"""The settings of a running demo, for commands in another terminal.

`eval "$(.venv/bin/python -m sandbox.demo.environment)"`, with the demo's folder as its argument if that isn't the
usual one. They are read from what the parts leave in the folder; a server that the demo was given, and didn't
start, is not among them.
"""

import json
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from adapters.settings import PREFIX
from domain.errors import CashbackError
from sandbox.demo.folder import FOLDER_VARIABLE, REPOSITORY
from sandbox.servers.free_port import LOOPBACK
from sandbox.servers.postgres import DATABASE, USER

CONNECT_TIMEOUT_SECONDS: Final = 2.0
_BROKER_LISTENS: Final = re.compile(r"listening on: (tcp://[^\s/]+)")
_PORT_LINE: Final = 3
"""Of PostgreSQL's postmaster.pid, from 0."""


class NoDemo(CashbackError):
    """No demo runs in the folder."""


def demo_environment(folder: Path) -> dict[str, str]:
    """Values by the names of the variables. Raises NoDemo."""
    found = {name: url for name, url in _found(folder) if _is_there(url)}
    if "API_PORT" not in found:
        raise NoDemo(f"no demo runs in {folder}: `make demo` starts one")
    values = found | {"API_PORT": str(urlsplit(found["API_PORT"]).port)}
    if "KAFKA_BOOTSTRAP" in values:
        values["KAFKA_BOOTSTRAP"] = urlsplit(values["KAFKA_BOOTSTRAP"]).netloc
    return {PREFIX + name: value for name, value in values.items()}


def _found(folder: Path) -> Iterator[tuple[str, str]]:
    """URLs, be they those of an earlier demo."""
    for name, log in (("API_PORT", "service.log"), ("THIRD_PARTY_URL", "third-party.log")):
        listening = [line for line in _lines(folder / log) if '"listening"' in line and line.endswith("}")]
        if listening:
            yield name, json.loads(listening[-1])["url"]
    broker = [found[1] for line in _lines(folder / "broker.log") if (found := _BROKER_LISTENS.search(line))]
    if broker:
        yield "KAFKA_BOOTSTRAP", broker[-1]
    password, state = _lines(folder / "postgres" / "password"), _lines(folder / "postgres/data/postmaster.pid")
    if password and len(state) > _PORT_LINE:
        address = f"{LOOPBACK}:{state[_PORT_LINE]}"
        yield "DATABASE_URL", f"postgresql://{USER}:{quote(password[0], safe='')}@{address}/{DATABASE}"


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except OSError:
        return []


def _is_there(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), CONNECT_TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def main() -> int:
    named = sys.argv[1] if len(sys.argv) > 1 else os.environ.get(FOLDER_VARIABLE)
    try:
        found = demo_environment(Path(named) if named else REPOSITORY / "var" / "demo")
    except NoDemo as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in found.items())
    return 0


if __name__ == "__main__":
    sys.exit(main())
