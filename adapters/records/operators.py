"""Who does something to orders and messages, and what people can do, for the record.

The role is what was proved, and so is the name that came with a token of one's own; any other name is what the
caller says it is. Who may do something is decided by the API's tokens and by who has a shell.
"""

import getpass
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

MAX_NAME_LENGTH: Final = 100
MAX_REASON_LENGTH: Final = 1000


class Via(StrEnum):
    """By which door somebody came in."""

    API = "api"
    COMMAND_LINE = "command line"


class Role(StrEnum):
    """What somebody has proved by what they came in with."""

    PERSONAL = "personal token"
    """Of an operator's own: it proves the name."""
    OPERATOR = "operator token"
    """The one that operators share."""
    READER = "reader token"
    """May change nothing, so it stands behind no action."""
    ANYBODY = "no token"
    """Where the service asks for none."""
    SHELL = "command line"


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever asks for something to be done."""

    name: str
    """A claim, unless the role proves it."""
    via: Via
    role: Role | None = None
    """None where nobody wrote it down."""
    request_id: UUID | None = None
    """Of a request with an `Idempotency-Key`: what it asks for is done once."""


class ActionKind(StrEnum):
    """What people can do."""

    RETRY = "retry"
    SKIP = "skip"
    REDELIVER = "redeliver"
    REPUBLISH = "republish"
    BULK_START = "bulk_start"
    BULK_CANCEL = "bulk_cancel"
    QUARANTINE_RETRY = "quarantine_retry"
    QUARANTINE_DISCARD = "quarantine_discard"
    SETTLE = "settle"
    """What is in doubt about an order."""
    RELEASE = "release"
    """Messages that wait for what will never come."""
    REPAIR = "repair"
    """A stream that has lost events."""
    COMPARE = "compare"
    """With the third party's books."""
    COMPARE_CANCEL = "compare_cancel"


def command_line_operator() -> Operator:
    """Whoever has the shell, as the machine calls them."""
    try:
        name = getpass.getuser()[:MAX_NAME_LENGTH]
    except (OSError, KeyError):  # nobody: a container's user without a name
        name = ""
    shown = name if name.isprintable() and name else Via.COMMAND_LINE.value
    return Operator(shown, Via.COMMAND_LINE, Role.SHELL)
