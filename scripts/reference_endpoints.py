"""docs/reference/endpoints.md: the HTTP interface, from its OpenAPI document."""

from http import HTTPStatus
from typing import Any, Final

from scripts.openapi import document

METHODS: Final = ("get", "post", "put", "delete")
GROUPS: Final = {
    "/api/orders": "Orders",
    "/api/replays": "Replays of many orders",
    "/api/parked": "Parked orders",
    "/api/quarantine": "Quarantine",
    "/api/reconciliation": "The third party's books",
    "/api/audit": "What people did",
}
PROBES: Final = "Probes and metrics"
INTRODUCTION: Final = """\
# Endpoints

{made}
JSON under `/api`, with `Authorization: Bearer …` where a token is set; the probes and metrics are open. A process
with the role `api` describes the same for programs at `/api/openapi.json`. Errors are problem details (RFC 9457) of
the media type `application/problem+json`, with a `type`, a `title`, a `status` and a `detail`.
"""


def endpoints_page(made: str) -> str:
    described = document()
    groups: dict[str, list[str]] = {}
    for path, item in described["paths"].items():
        title = next((title for prefix, title in GROUPS.items() if path.startswith(prefix)), PROBES)
        for method in METHODS:
            if method in item:
                groups.setdefault(title, []).append(_endpoint(described, method, path, item[method]))
    parts = [INTRODUCTION.format(made=made)]
    for title, endpoints in groups.items():
        parts += [f"## {title}\n", *endpoints]
    return "\n".join(parts).rstrip("\n") + "\n"


def _endpoint(described: dict[str, Any], method: str, path: str, endpoint: dict[str, Any]) -> str:
    lines = [f"### {method.upper()} {path}\n"]
    if endpoint.get("description"):
        lines.append(" ".join(str(endpoint["description"]).split()) + "\n")
    rows = [
        (each["name"], each["in"], _type(described, each["schema"]), each.get("description", ""))
        for each in endpoint.get("parameters", [])
    ]
    content = endpoint.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if content is not None:
        schema = _resolved(described, content)
        needed = schema.get("required", [])
        for name, member in schema.get("properties", {}).items():
            said = str(_resolved(described, member).get("description", "") if "$ref" in member else "")
            said = member.get("description", said)
            rows.append((name, "body, needed" if name in needed else "body", _type(described, member), said))
        if schema.get("description"):
            lines.append("Body: " + " ".join(str(schema["description"]).split()) + "\n")
    if rows:
        lines += ["| name | in | type | |", "|---|---|---|---|"]
        lines += [f"| `{name}` | {where} | {kind} | {_cell(said)}|" for name, where, kind, said in rows]
        lines.append("")
    lines.append("Answers: " + ", ".join(_answers(endpoint["responses"])) + ".\n")
    return "\n".join(lines)


def _answers(responses: dict[str, Any]) -> list[str]:
    """With what a status means here, where that isn't what it means everywhere."""
    found = []
    for status, answer in sorted(responses.items()):
        if status != "default":
            said = answer.get("description", "")
            usual = {"", "Successful Response", HTTPStatus(int(status)).phrase}
            found.append(status if said in usual else f"{status} ({said[0].lower()}{said[1:]})")
    return found


def _resolved(described: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that is meant; of a choice with null, the other one."""
    for each in schema.get("anyOf", []):
        if each.get("type") != "null":
            return _resolved(described, each) | {
                name: value for name, value in schema.items() if name not in {"anyOf", "title"}
            }
    if "$ref" in schema:
        found: dict[str, Any] = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def _type(described: dict[str, Any], schema: dict[str, Any]) -> str:
    choices = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    if len(choices) > 1:
        return " or ".join(_type(described, each) for each in choices)
    whole = _resolved(described, schema)
    if "enum" in whole:
        name = ", ".join(f"`{value}`" for value in whole["enum"])
    elif "const" in whole:
        name = f"`{whole['const']}`"
    elif whole.get("type") == "array":
        name = f"list of {_type(described, whole['items'])}"
    else:
        name = str(whole.get("format") or whole.get("type", "any"))
    default = schema.get("default")
    return name + _limits(whole) + ("" if default is None else f"; {_json(default)} unless given")


def _limits(schema: dict[str, Any]) -> str:
    lower = schema.get("ge", schema.get("minimum"))
    upper = schema.get("le", schema.get("maximum"))
    found = []
    if lower is not None:
        found.append(f"from {lower}")
    if upper is not None:
        found.append(f"to {upper}")
    if "maxLength" in schema:
        found.append(f"at most {schema['maxLength']} characters")
    if "maxItems" in schema:
        found.append(f"at most {schema['maxItems']}")
    return f", {' '.join(found)}" if found else ""


def _json(value: Any) -> str:
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _cell(text: str) -> str:
    """With the space that stands behind it, if there is anything."""
    return "".join(f"{word} " for word in text.split()).replace("|", "\\|")
