"""What may fail without anything else failing with it: it is said once, and tried again."""

from types import TracebackType
from typing import Final

import structlog

from domain.ports import StoreUnavailable

log = structlog.get_logger(__name__)


class Trouble:
    """A context that swallows every error, and logs each reason when it is new: an outage of the database, which
    others tell loudly, quietly; an error of ours with its trace."""

    def __init__(self, what: str) -> None:
        self._what: Final = what
        self._reason: str | None = None

    @property
    def is_over(self) -> bool:
        """The last attempt went well."""
        return self._reason is None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        before, self._reason = self._reason, None if error is None else repr(error)
        if not isinstance(error, Exception):
            return False
        if self._reason != before:
            if isinstance(error, StoreUnavailable):
                log.debug(self._what, error=str(error))
            else:
                log.warning(self._what, error=str(error), exc_info=error)
        return True
