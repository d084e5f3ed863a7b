"""When to try again: full jitter with a cap, and the third party's own wish where it states one."""

import random
from dataclasses import dataclass
from typing import Final

RETRY_AFTER_CEILING_SECONDS: Final = 3600.0
"""A longer `Retry-After` is taken for this."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon. After the n-th failed attempt: anything up to base · 2ⁿ⁻¹, at most the cap."""

    max_attempts: int = 12
    base_seconds: float = 0.5
    max_seconds: float = 60.0

    def wait_seconds(self, attempts: int, retry_after_seconds: float | None, dice: random.Random) -> float:
        """How long to wait after `attempts` failed ones (1 or more)."""
        longest = min(self.max_seconds, self.base_seconds * 2.0 ** min(attempts - 1, 60))
        wished = min(retry_after_seconds or 0.0, RETRY_AFTER_CEILING_SECONDS)
        return max(dice.uniform(0, longest), wished)
