"""The first messages and events of a process, which several threads read at the same moment."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).parents[3]
PROCESSES: Final = 12
"""Without any care half of them die."""
PROGRAM: Final = """
import sys, threading
sys.setswitchinterval(0.00001)
from adapters.kafka.decoding.decoder import decode
from adapters.postgres.codec import EventMapper
from domain.decision import decide
from domain.order import Order
from tests.support.messages import record_of
from domain.messages import Kind

record, mapper, together, done = record_of(Kind.CREATED), EventMapper(), threading.Barrier(3), []

def read():
    together.wait()
    for _ in range(20):
        [event] = decide(Order(decode(record).order_id), decode(record), now_ns=1)
        done.append(mapper.to_domain_event(mapper.to_stored_event(event)) == event)

threads = [threading.Thread(target=read) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert done == [True] * 60
"""


@pytest.mark.slow
def test_several_threads_may_read_the_first_message_at_once() -> None:
    """As intake, projections and API do when a process begins its work."""
    argv = [sys.executable, "-c", PROGRAM]
    ends = [subprocess.run(argv, cwd=REPOSITORY, check=False).returncode for _ in range(PROCESSES)]
    assert ends == [0] * PROCESSES
