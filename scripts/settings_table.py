"""Writes the README's table of settings from the settings themselves."""

import sys
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from adapters.settings import PREFIX, Settings

BEGIN = "<!-- settings: made by `python -m scripts.settings_table`; a test compares -->\n"
END = "<!-- /settings -->"
README = Path(__file__).parent.parent / "README.md"


def table() -> str:
    """The table in Markdown."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {default_of(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| name | default | what it is |", "|---|---|---|", *rows, ""])


def with_table(readme: str) -> str:
    """The README with the table in its place."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def default_of(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == {}:
        return ""
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text("utf-8")), "utf-8")
    sys.stdout.write("README.md: settings written\n")
