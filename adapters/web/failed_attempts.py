"""A limit on wrong tokens, so that one can't be guessed by trying. In the memory of one process, and bounded."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

WINDOW_SECONDS: Final = 300.0
"""For so long a failure counts."""
MAX_FAILURES_PER_ADDRESS: Final = 10
MAX_FAILURES: Final = 200
"""From all addresses together, where somebody signs in: a page can wait."""
MAX_ADDRESSES: Final = 10_000
"""Remembered; of more, those that have failed last."""
_IPV6_PREFIX_BITS: Final = 64
"""Of one subscriber."""


class FailedAttempts:
    """Those of the last WINDOW_SECONDS. The same wrong token again is no further guess: a program that has an old
    one doesn't keep its neighbours out."""

    def __init__(self, *, max_failures: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """With `max_failures` nobody may try any more once so many have failed, wherever they came from."""
        self._clock = clock
        self._max_failures = max_failures
        self._failures: OrderedDict[str, dict[bytes, float]] = OrderedDict()
        """When each wrong token was given, by network; both in order, the last at the end."""

    def wait_seconds(self, address: str) -> int:
        """How long until one may try from this address; 0: at once."""
        now = self._clock()
        ends = []
        own = self._recent(_network(address), now)
        if len(own) >= MAX_FAILURES_PER_ADDRESS:
            ends.append(own[-MAX_FAILURES_PER_ADDRESS] + WINDOW_SECONDS)
        if self._max_failures is not None:
            every = sorted(at for network in tuple(self._failures) for at in self._recent(network, now))
            if len(every) >= self._max_failures:
                ends.append(every[-self._max_failures] + WINDOW_SECONDS)
        return math.ceil(max((end - now for end in ends), default=0.0))

    def note(self, address: str, token: bytes) -> None:
        """One more."""
        network = _network(address)
        own = self._failures.setdefault(network, {})
        self._failures.move_to_end(network)
        own.setdefault(blake2b(token, digest_size=16).digest(), self._clock())
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)

    def _recent(self, network: str, now: float) -> list[float]:
        """When attempts from there have failed, the oldest first. What is older is forgotten."""
        own = self._failures.get(network, {})
        for token in [token for token, at in own.items() if at <= now - WINDOW_SECONDS]:
            del own[token]
        if not own:
            self._failures.pop(network, None)
        return list(own.values())


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4 or parsed.ipv4_mapped:  # noqa: PLR2004 - the version's name
        return str(parsed)
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX_BITS), strict=False))
