from typing import NamedTuple

from domain.ports import Quarantined


class DeadLetter(NamedTuple):
    """One message of the quarantine."""

    id: int
    message: Quarantined
