"""What FastAPI can't tell by itself in the API's description (OpenAPI): how an endpoint refuses, and headers."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from adapters.presentation.schemas import Problem
from adapters.web.responses import title_of

_SCHEMAS: Final = "#/components/schemas/"
_CONTENT: Final = {"application/problem+json": {"schema": {"$ref": f"{_SCHEMAS}Problem"}}}


_HEADERS: Final = {
    401: {"WWW-Authenticate": {"description": "RFC 6750", "schema": {"type": "string"}}},
    503: {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 0}}},
}
_HIT: Final = {
    "Idempotency-Hit": {
        "description": "the request was carried out before, under its `Idempotency-Key`: the answer of then",
        "schema": {"type": "string", "const": "true"},
    }
}

Responses = dict[int | str, dict[str, Any]]


def read_problems(*more: int) -> Responses:
    """How an endpoint refuses that changes nothing."""
    return _problems(400, 401, 403, 503, *more)


def write_problems(*more: int) -> Responses:
    """How an endpoint refuses that changes something. 422 and 409 are also those of an `Idempotency-Key`."""
    return _problems(400, 401, 403, 409, 413, 422, 503, *more)


def done(*statuses: int, **more: Any) -> Responses:
    """What an endpoint that changes something says when it was done. `more`: as OpenAPI has it."""
    return {status: {"headers": _HIT, **more} for status in statuses}


def dry_run_or_done(model: type, *problems: int) -> Responses:
    """What an endpoint says that acts on one order, or, on a dry run, only says what it would do."""
    dry_run = done(200, model=model, description="Dry run")
    return {**dry_run, **done(202), **write_problems(404, 412, 415, *problems)}


def _problems(*statuses: int) -> Responses:
    """With a default, or else FastAPI describes a 422 in a form of its own."""
    named = {status: {"headers": _HEADERS[status]} if status in _HEADERS else {} for status in sorted(statuses)}
    return {
        **{
            status: {"content": _CONTENT, "description": title_of(status), **headers}
            for status, headers in named.items()
        },
        "default": {"content": _CONTENT, "description": "Any other error"},
    }


def operation_id(route: APIRoute) -> str:
    """The name of its function, as callers in most languages write it: listOrders."""
    first, *rest = route.name.split("_")
    return first + "".join(each.title() for each in rest)


class DescribedApp(FastAPI):
    """Knows the form of a problem, under a media type of its own."""

    def openapi(self) -> dict[str, Any]:
        description = super().openapi()
        problem = TypeAdapter(Problem).json_schema(ref_template=f"{_SCHEMAS}{{model}}")
        description["components"]["schemas"] |= problem.pop("$defs", {}) | {"Problem": problem}
        return description
