"""Makes a process's clock wrong by WRONG_CLOCK_SECONDS: Python runs this first if the folder is on its path."""

import datetime as dt
import os
import time
from typing import Self

_WRONG_BY = float(os.environ.get("WRONG_CLOCK_SECONDS", "0"))
_time, _time_ns = time.time, time.time_ns


class _Datetime(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)


if _WRONG_BY:
    time.time = lambda: _time() + _WRONG_BY
    time.time_ns = lambda: _time_ns() + round(_WRONG_BY * 10**9)
    dt.datetime = _Datetime  # type: ignore[misc]  # what the process imports from here on
