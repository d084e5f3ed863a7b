"""File descriptors: whoever connects to us gets what the parts that pay don't need."""

import resource
from typing import Final

import structlog

MAX_DESCRIPTORS: Final = 65_536
"""More than any process of ours can use."""
KEPT_BACK: Final = 112
"""For the database, Kafka, files and the event loop, beside the calls to the third party. A process with the roles
push and api was measured to have 58 with its calls; a client of Kafka has one for each broker, and a few more."""
ACCEPTED_AT_ONCE: Final = 8
"""Connections that asyncio accepts in one step. It takes three more steps until one that is too many is closed."""
MAX_CONNECTIONS: Final = 1000
MIN_CONNECTIONS: Final = 16
"""Without these nobody could look at what is wrong."""

log = structlog.get_logger(__name__)


def raise_descriptor_limit() -> int:
    """The soft limit goes up to the hard one, which is there for that: many systems begin with 1024. Returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def connection_limit(descriptors: int, third_party_calls: int) -> int:
    """How many callers may be connected at a time."""
    left = descriptors - KEPT_BACK - third_party_calls - 4 * ACCEPTED_AT_ONCE
    if left < MIN_CONNECTIONS:
        log.warning(
            "few file descriptors: connections may fail",
            limit=descriptors,
            needed=descriptors - left + MIN_CONNECTIONS,
        )
    return max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, left))
