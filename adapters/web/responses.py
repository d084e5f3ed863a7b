"""Bodies in exact JSON, and errors as problem details (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from domain.exact_json import dumps


class ExactJson(Response):
    """A decimal is a JSON number with all its digits."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dumps(content)


def title_of(status: int) -> str:
    """A status's name in RFC 9110, on every Python: before 3.13 it has the names of older RFCs for these."""
    return {413: "Content Too Large", 422: "Unprocessable Content"}.get(status) or HTTPStatus(status).phrase


class ProblemResponse(ExactJson):
    """An error, in one form whatever its status."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        problem = {"type": "about:blank", "title": title_of(status), "status": status, "detail": detail}
        super().__init__(problem | more, status_code=status, headers=headers)
