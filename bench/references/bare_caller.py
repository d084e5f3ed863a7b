"""Delivery without a database: the calls of each queue one after the other, as many queues at once as allowed.

`python -m bench.references.bare_caller FILE GO URL CONCURRENCY` reads queues of calls from FILE, says `ready`,
begins when the file GO is there, and writes how long it took. Nothing is remembered: a crash loses it.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from adapters.third_party_api.client import ThirdPartyClient
from projections.delivery.ports import Call, Outcome

TIMEOUT_SECONDS: Final = 10.0
GO_POLL_SECONDS: Final = 0.001
GO_SECONDS: Final = 60.0


def main(file: Path, go: Path, url: str, concurrency: int) -> None:
    queues = msgspec.json.decode(file.read_bytes(), type=list[list[Call]])
    _write_line({"event": "ready"})
    deadline = time.monotonic() + GO_SECONDS
    while not go.exists():
        if time.monotonic() > deadline:
            sys.exit("nobody said go")
        time.sleep(GO_POLL_SECONDS)
    started, ended = asyncio.run(_call_all(queues, url, concurrency))
    _write_line({"event": "done", "started": started, "ended": ended, "calls": sum(map(len, queues))})


async def _call_all(queues: list[list[Call]], url: str, concurrency: int) -> tuple[float, float]:
    """When it began and ended, in seconds since 1970."""
    room = asyncio.Semaphore(concurrency)

    async def in_order(queue: list[Call]) -> None:
        async with room:
            for call in queue:
                answer = await client.send(call)
                assert answer.outcome is Outcome.DELIVERED, answer

    client = ThirdPartyClient(url, token=None, timeout_seconds=TIMEOUT_SECONDS, concurrency=concurrency)
    async with client:
        started = time.time()
        await asyncio.gather(*map(in_order, queues))
        return started, time.time()


def _write_line(line: dict[str, Any]) -> None:
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
