"""Who does something to orders and messages, and what people can do, for the record.

The name is what the caller says it is, the role is what was proved: who may do something is decided by the API's
token and by who has a shell.
"""

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from adapters.postgres.queries import OrderRecord

MAX_NAME_LENGTH: Final = 100
MAX_REASON_LENGTH: Final = 1000


class Via(StrEnum):
    """By which door somebody came in."""

    API = "api"
    COMMAND_LINE = "command line"


class Role(StrEnum):
    """What somebody has proved by what they came in with."""

    OPERATOR = "operator token"
    READER = "reader token"
    """May change nothing, so it stands behind no deed."""
    ANYBODY = "no token"
    """Where the service asks for none."""
    SHELL = "command line"


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever asks for something to be done."""

    name: str
    """A claim."""
    via: Via
    role: Role | None = None
    """None where nobody wrote it down."""
    request_id: UUID | None = None
    """Of a request with an `Idempotency-Key`: what it asks for is done once."""


@dataclass(frozen=True, slots=True)
class Asked:
    """By whom something was asked for, and why."""

    by: Operator
    reason: str
    is_as_seen: "Callable[[OrderRecord], bool] | None" = None
    """Whether the order is still what they have seen; None: they haven't said what that was."""


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
    COMPARE = "compare"
    """With the third party's books."""
    COMPARE_CANCEL = "compare_cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that was done. `version` and `key` are those of the call that it is about, where there is one."""

    kind: ActionKind
    asked: Asked
    order_id: int | None = None
    version: int | None = None
    key: UUID | None = None
    state_before: str | None = None
    state_after: str | None = None
    bulk_id: UUID | None = None
    quarantine_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    """For `domain.exact_json.dumps`."""


def command_line_operator() -> Operator:
    """Whoever has the shell, as the machine calls them."""
    try:
        name = getpass.getuser()[:MAX_NAME_LENGTH]
    except (OSError, KeyError):  # nobody: a container's user without a name
        name = ""
    shown = name if name.isprintable() and name else Via.COMMAND_LINE.value
    return Operator(shown, Via.COMMAND_LINE, Role.SHELL)
