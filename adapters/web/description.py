"""What FastAPI can't tell by itself in the description of the API (OpenAPI): how an endpoint refuses."""

from typing import Any, Final

from fastapi import FastAPI
from pydantic import TypeAdapter

from adapters.web.models import Problem

_SCHEMAS: Final = "#/components/schemas/"
_CONTENT: Final = {"application/problem+json": {"schema": {"$ref": f"{_SCHEMAS}Problem"}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an endpoint. With a default, or else FastAPI describes a 422 in a form of its own."""
    return {
        **{status: {"content": _CONTENT} for status in statuses},
        "default": {"content": _CONTENT, "description": "Any other error"},
    }


class DescribedApp(FastAPI):
    """Knows the form of a problem, under a media type of its own."""

    def openapi(self) -> dict[str, Any]:
        description = super().openapi()
        problem = TypeAdapter(Problem).json_schema(ref_template=f"{_SCHEMAS}{{model}}")
        description["components"]["schemas"] |= problem.pop("$defs", {}) | {"Problem": problem}
        return description
