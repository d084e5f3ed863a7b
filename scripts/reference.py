"""Writes docs/reference/ from the code: settings, metrics, endpoints, decisions. `python -m scripts.reference`.

A test compares.
"""

import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import annotated_types
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from adapters.settings import PREFIX, Settings
from scripts.reference_decisions import decisions_page
from scripts.reference_endpoints import endpoints_page
from scripts.settings_table import default_of
from tests.support.signals import everything_that_can_be_exported

FOLDER: Final = Path(__file__).parent.parent / "docs" / "reference"
MADE: Final = "<!-- made by `python -m scripts.reference`; don't edit -->\n"
MAX_VALUES: Final = 12
"""Of a label, that are named one by one."""
SETTING_UNITS: Final = {
    "_per_second": "per second",
    "_seconds": "seconds",
    "_hours": "hours",
    "_bytes": "bytes",
    "_port": "TCP port",
}
METRIC_UNITS: Final = {
    "_per_second": "calls per second",
    "_seconds": "seconds",
    "_seconds_total": "seconds",
    "_bytes": "bytes",
    "_events": "events",
}
TYPES: Final = {
    str: "text",
    int: "whole number",
    float: "number",
    Decimal: "number",
    bool: "`on` or `off`",
    dict: "JSON object",
}
# Any value that a deployment brings with it; in the exposition that the page is made from it's an example.
OPEN_LABELS: Final = {"topic", "partition", "consumergroup", "version", "build", "python", "reason", "le"}


def settings_page() -> str:
    rows = [
        [
            f"`{PREFIX}{name.upper()}`",
            _type_of(field),
            _unit(name, SETTING_UNITS),
            default_of(field),
            _linked(field),
        ]
        for name, field in Settings.model_fields.items()
    ]
    return (
        f"# Settings\n\n{MADE}\n"
        "From the environment or a `.env` file in the folder where a command is run; the environment wins, and an"
        " empty value\nis none. A setting that can't be used stops the start with one line that names it, and exit"
        " code 2.\n\n" + table(["name", "type", "unit", "default", "what it is"], rows)
    )


def metrics_page() -> str:
    families = sorted(
        text_string_to_metric_families(everything_that_can_be_exported()), key=lambda family: family.name
    )
    rows = []
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels: dict[str, set[str]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
        labels.pop("le", None)
        shown = "; ".join(_label(label, values) for label, values in sorted(labels.items()))
        rows.append([f"`{name}`", family.type, shown, _unit(name, METRIC_UNITS), family.documentation])
    return (
        f"# Metrics\n\n{MADE}\n"
        "What `GET /metrics` answers. What they mean together, and which are those of the whole service, is in"
        " [signals](../signals.md);\nthe alerts on them in [alerts](../runbooks/alerts.md).\n\n"
        + table(["name", "type", "labels", "unit", "what it is"], rows)
    )


def table(columns: list[str], rows: list[list[str]]) -> str:
    head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    return head + "".join("|" + "".join(map(_cell, row)) + "\n" for row in rows)


def _cell(text: str) -> str:
    return f" {text} |".replace("|", "\\|", text.count("|")) if text else " |"


def _label(name: str, values: set[str]) -> str:
    if name in OPEN_LABELS or len(values) > MAX_VALUES:
        return f"`{name}`"
    return f"`{name}`: {', '.join(f'`{value}`' for value in sorted(values))}"


def _unit(name: str, units: dict[str, str]) -> str:
    return next((unit for ending, unit in units.items() if name.endswith(ending)), "")


def _type_of(field: FieldInfo) -> str:
    """With its limits."""
    annotation: Any = field.annotation
    limits = list(field.metadata)
    kinds = [each for each in get_args(annotation) if each is not type(None)]
    if get_origin(annotation) is not Literal and get_origin(annotation) is not dict and kinds:
        annotation = kinds[0]
        while hasattr(annotation, "__metadata__"):
            limits += _flat(annotation.__metadata__)
            annotation = annotation.__origin__
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(annotation))
    if annotation is SecretStr:
        return "text, secret"
    name = TYPES[get_origin(annotation) or annotation]
    return name + _limits(limits)


def _flat(metadata: Any) -> list[Any]:
    """pydantic keeps limits within a FieldInfo where they were given by `Field`."""
    found: list[Any] = []
    for each in metadata:
        found += each.metadata if isinstance(each, FieldInfo) else [each]
    return found


def _limits(metadata: list[Any]) -> str:
    lower = next((f"from {each.ge:g}" for each in metadata if isinstance(each, annotated_types.Ge)), "")
    lower = lower or next((f"above {each.gt:g}" for each in metadata if isinstance(each, annotated_types.Gt)), "")
    upper = next((f"to {each.le:,g}" for each in metadata if isinstance(each, annotated_types.Le)), "")
    if upper:
        upper = re.sub(r"to [\d.e+]+$", f"to {_upper(metadata):,}", upper)
    return f", {' '.join(filter(None, (lower, upper)))}" if lower or upper else ""


def _upper(metadata: list[Any]) -> Any:
    return next(each.le for each in metadata if isinstance(each, annotated_types.Le))


def _linked(field: FieldInfo) -> str:
    """Links of the README's table, from here."""
    return re.sub(r"\[docs/([\w/.-]+)\]\(docs/", r"[\1](../", field.description or "")


def files() -> dict[Path, str]:
    """What stands in which file."""
    return {
        FOLDER / "settings.md": settings_page(),
        FOLDER / "metrics.md": metrics_page(),
        FOLDER / "endpoints.md": endpoints_page(MADE),
        FOLDER / "decisions.md": decisions_page(MADE),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text, "utf-8")
        sys.stdout.write(f"docs/reference/{path.name}: written\n")
