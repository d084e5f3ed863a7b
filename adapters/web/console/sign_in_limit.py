"""A limit on failed attempts to sign in, so that a token can't be guessed by trying.

In the memory of one process, and bounded: nobody may try any more once MAX_FAILURES are remembered.
"""

import ipaddress
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW_SECONDS: Final = 300.0
"""For so long a failure counts."""
MAX_FAILURES_PER_ADDRESS: Final = 10
MAX_FAILURES: Final = 200
"""From all addresses together."""
_IPV6_PREFIX_BITS: Final = 64
"""Of one subscriber."""


class FailedSignIns:
    """Those of the last WINDOW_SECONDS. Who is signed in already never comes here."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: deque[tuple[float, str]] = deque(maxlen=MAX_FAILURES)

    def wait_seconds(self, address: str) -> int:
        """How long until one may try from this address; 0: at once."""
        now = self._clock()
        while self._failures and self._failures[0][0] <= now - WINDOW_SECONDS:
            self._failures.popleft()
        network = _network(address)
        own = [at for at, whose in self._failures if whose == network]
        ends = []
        if len(own) >= MAX_FAILURES_PER_ADDRESS:
            ends.append(own[-MAX_FAILURES_PER_ADDRESS] + WINDOW_SECONDS)
        if len(self._failures) >= MAX_FAILURES:
            ends.append(self._failures[0][0] + WINDOW_SECONDS)
        return math.ceil(max((end - now for end in ends), default=0.0))

    def note(self, address: str) -> None:
        """One more."""
        self._failures.append((self._clock(), _network(address)))


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4 or parsed.ipv4_mapped:  # noqa: PLR2004 - the version's name
        return str(parsed)
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX_BITS), strict=False))
