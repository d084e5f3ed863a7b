"""Our SQL, in files: each statement stands behind a line `-- name: …` and a line that says what it's for."""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def statements(file: str) -> dict[str, str]:
    """The statements of `<file>.sql` by name."""
    text = files(__package__).joinpath(f"{file}.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    return {name: body.strip() for name, body in zip(names, bodies, strict=True)}


def completed(statement: str, **parts: str) -> str:
    """The statement with each part in its place, `/* name */`. A part is text of ours; what a caller says is a
    parameter. One for which the statement has no place is left out."""
    for name, part in parts.items():
        statement = statement.replace(f"/* {name} */", part)
    return statement
