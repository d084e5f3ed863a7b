"""The description of the HTTP API: up to date, and complete."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # has no types

from scripts.openapi import FILE, document, text

DOCUMENT: Final = document()
PROBES: Final = {"/livez", "/readyz", "/metrics"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


OPERATIONS: Final = [pytest.param(*each, id=f"{each[1]} {each[0]}") for each in operations()]


def test_the_written_description_is_that_of_the_code() -> None:
    """`python -m scripts.openapi` writes it."""
    assert FILE.read_text("utf-8") == text()


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_every_endpoint_says_what_it_does_how_it_refuses_and_what_it_asks_for(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    """Every refusal is a problem; what changes something takes a key, and says so."""
    assert operation["summary"]
    assert operation["description"]
    answers = operation["responses"]
    if path in PROBES:
        assert "security" not in operation
        return
    assert operation["security"] == [{"HTTPBearer": []}]
    refusals = {status: answer for status, answer in answers.items() if not status.startswith(("2", "3"))}
    assert {"400", "401", "403", "503", "default"} <= refusals.keys()
    assert all(list(answer["content"]) == ["application/problem+json"] for answer in refusals.values())
    assert "{" not in path or "404" in refusals
    assert "WWW-Authenticate" in answers["401"]["headers"]
    assert "Retry-After" in answers["503"]["headers"]
    headers = {each["name"].lower() for each in operation.get("parameters", []) if each["in"] == "header"}
    if method == "post":
        assert {"409", "413", "422"} <= refusals.keys()
        assert "idempotency-key" in headers
        assert all("Idempotency-Hit" in answer["headers"] for status, answer in answers.items() if status[0] == "2")
        assert ("requestBody" in operation) == ("415" in refusals)
    assert ("if-match" in headers) == ("412" in refusals)


def test_what_a_validator_asks_for_stands_in_the_schemas_too() -> None:
    """A reason unless it is a dry run; wishes for redeliveries only; at least one condition."""
    ok = Draft202012Validator(
        {"$ref": "#/components/schemas/ReplayRequest", "components": DOCUMENT["components"]}
    ).is_valid
    assert ok({"mode": "redeliver", "reason": "x"})
    assert ok({"mode": "redeliver", "dryRun": True, "how": "resume"})
    assert not ok({"mode": "redeliver"})
    assert not ok({"mode": "redeliver", "reason": " \n"})
    assert not ok({"mode": "redeliver", "reason": "a\x00"})
    assert not ok({"mode": "republish", "dryRun": True, "how": "resume"})
    some = Draft202012Validator(
        {"$ref": "#/components/schemas/SelectionRequest", "components": DOCUMENT["components"]}
    ).is_valid
    assert some({"parked": True})
    assert some({"changedFrom": "2025-02-28T13:36:06.026732837Z"})
    assert not some({"changedFrom": "1678-02-28T13:36:06Z"})
    assert not some({"parked": False, "orders": None})
