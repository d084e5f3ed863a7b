"""Requests with an `Idempotency-Key`, and the answers kept for them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """`digest` is of all that makes it this request, and not another one with the same key."""

    role: str
    """What whoever asks has proved: their role, or, with a token of their own, who they are."""
    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Claimed:
    """This process is at work on the request."""

    request: KeyedRequest
    id: UUID
    until: datetime


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it was given."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
