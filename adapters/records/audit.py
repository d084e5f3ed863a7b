"""What people did, as it stands in the record."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from adapters.records.operators import ActionKind, Role, Via


class ActionRow(NamedTuple):
    """Something that was done, as it stands in the record."""

    id: int
    done_at: datetime
    operator: str
    via: Via
    role: Role | None
    kind: ActionKind
    reason: str
    order_id: int | None
    version: int | None
    key: UUID | None
    state_before: str | None
    state_after: str | None
    bulk_id: UUID | None
    quarantine_id: int | None
    detail: dict[str, Any]
