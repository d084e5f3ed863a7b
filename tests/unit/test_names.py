"""One public name of a class stands once in what we ship and run: whoever reads it knows which is meant."""

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PRODUCTION = ("domain", "projections", "adapters", "sandbox", "bench", "scripts", "app.py")


def doubles(root: Path, parts: Iterable[str]) -> dict[str, list[str]]:
    """Public classes at the top of modules, by name, where more than one has it: each as `file:line`."""
    found: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        path = root / part
        assert path.exists(), path
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for node in ast.parse(file.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(f"{file.relative_to(root)}:{node.lineno}")
    return {name: places for name, places in sorted(found.items()) if len(places) > 1}


def test_a_public_class_name_stands_once() -> None:
    """Two that mean the same are one class; two that don't have names that say the difference."""
    assert doubles(REPOSITORY, PRODUCTION) == {}


def test_doubles_are_found_with_their_places(tmp_path: Path) -> None:
    """Across packages and within one; what is private, or inside another class or function, may repeat."""
    (tmp_path / "one" / "deep").mkdir(parents=True)
    (tmp_path / "one" / "deep" / "a.py").write_text(
        "class Call: ...\nclass _Own: ...\nclass Only:\n  class In: ...\n"
    )
    (tmp_path / "one" / "b.py").write_text("class _Own: ...\nclass Other:\n  class In: ...\n")
    (tmp_path / "main.py").write_text("x = 1\n\nclass Call: ...\n")

    assert doubles(tmp_path, ["one", "main.py"]) == {"Call": ["one/deep/a.py:1", "main.py:3"]}
