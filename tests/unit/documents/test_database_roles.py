"""The grants of deploy/postgres/roles.sql are what the service's own statements need."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from adapters.postgres.sql import statements

GRANTS: Final = Path(__file__).parents[3] / "deploy" / "postgres" / "roles.sql"
OWNERS: Final = {"rebuild"}
"""Files of statements that make tables: they are the owner's."""
_WRITE: Final = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM) ([a-z_]+)\b")


def granted() -> set[tuple[str, str]]:
    """Privilege and table, of the role of the service."""
    found = set()
    text = re.sub(r"--.*", "", GRANTS.read_text("utf-8"))
    for privileges, tables in re.findall(r"GRANT ([A-Z, ]+) ON ([a-z_,\s]+?)\s+TO cashback_service;", text):
        found |= {(each, table) for each in privileges.split(", ") for table in re.split(r",\s*", tables.strip())}
    return found


def written() -> Iterator[tuple[str, str]]:
    for file in files("adapters.postgres.sql").iterdir():
        name = file.name.removesuffix(".sql")
        if not file.name.endswith(".sql") or name in OWNERS:
            continue
        for statement in statements(name).values():
            _, *parts = _WRITE.split(re.sub(r"--.*", "", statement))
            for verb, table, rest in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
                yield verb.split()[0], table
                if verb == "INSERT INTO" and " DO UPDATE" in rest:
                    yield "UPDATE", table


def test_the_service_may_do_all_that_its_statements_do_and_nothing_else() -> None:
    """A statement that is added is granted in the same change; a grant that nobody needs any more goes."""
    assert granted() == set(written())
