"""Writes deploy/requirements.lock: of requirements.lock what the service itself needs, with the extra `otel`.

What needs what is asked of the packages that are installed, for every Python that the image may have.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parent.parent
LOCK: Final = ROOT / "requirements.lock"
RUNTIME_LOCK: Final = ROOT / "deploy" / "requirements.lock"
EXTRAS: Final = ("otel",)
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")


class NotLocked(Exception):
    """The lock lacks what the service needs."""


def runtime_lock() -> str:
    """Raises NotLocked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    locked = _locked(LOCK.read_text("utf-8"))
    needed = _closure(wanted)
    if missing := sorted(needed - locked.keys()):
        raise NotLocked(f"requirements.lock lacks {', '.join(missing)}")
    return "".join(locked[name] for name in sorted(needed))


def _locked(text: str) -> dict[str, str]:
    """Each package's lines, by its name."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return {canonicalize_name(re.split(r"[=\[]", block, maxsplit=1)[0]): block for block in blocks[1:]}


def _closure(wanted: Iterable[str]) -> set[str]:
    todo = [(Requirement(each), "") for each in wanted]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement, extra_of = todo.pop()
        if not _applies(requirement, extra_of):
            continue
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                todo += [(each, extra) for each in _requirements(name)]
    return {name for name, _ in seen}


def _requirements(name: str) -> Iterator[Requirement]:
    return (Requirement(each) for each in requires(name) or ())


def _applies(requirement: Requirement, extra: str) -> bool:
    if requirement.marker is None:
        return not extra
    machines = ({"python_version": each, "python_full_version": f"{each}.0", "extra": extra} for each in PYTHONS)
    return any(requirement.marker.evaluate(machine) for machine in machines)


if __name__ == "__main__":
    RUNTIME_LOCK.write_text(runtime_lock(), "utf-8")
    sys.stdout.write("deploy/requirements.lock: written\n")
