"""When to try again: full jitter with a cap, and the third party's own wish where it states one."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon. After the n-th failed attempt: anything up to base · 2ⁿ⁻¹, at most the cap."""

    max_attempts: int = 12
    base_seconds: float = 0.5
    max_seconds: float = 60.0
    retry_after_max_seconds: float = 3600.0
    """A longer `Retry-After` is taken for this."""

    def wait_seconds(self, attempts: int, retry_after_seconds: float | None, rng: random.Random) -> float:
        """How long to wait after `attempts` failed ones (1 or more)."""
        longest = min(self.max_seconds, self.base_seconds * 2.0 ** min(attempts - 1, 60))
        return max(rng.uniform(0, longest), self.granted_seconds(retry_after_seconds) or 0.0)

    def granted_seconds(self, retry_after_seconds: float | None) -> float | None:
        """What we grant of the third party's wish, if it has one."""
        return None if retry_after_seconds is None else min(retry_after_seconds, self.retry_after_max_seconds)
