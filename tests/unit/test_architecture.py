"""What the packages may import, and that importing them does nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TOOLING, is_tooling

ROOT = Path(__file__).parents[2]

# No clock, no chance, no input and output: those arrive as arguments.
DOMAIN_MAY_IMPORT = {
    *("collections.abc", "dataclasses", "datetime", "decimal", "enum", "functools", "json", "re", "typing", "uuid"),
    *("msgspec", "msgspec.structs", "eventsourcing.domain"),
}
# Ways to the clock, to chance and to the world that the modules above would leave open.
FORBIDDEN_NAMES = {
    "now",
    "utcnow",
    "today",
    "uuid1",
    "uuid4",
    "open",
    "print",
    "input",
    "eval",
    "exec",
    "__import__",
}

WATCH = """
import importlib, sys, threading
sys.dont_write_bytecode = True
seen = []
OPENING = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.fork",
           "os.mkdir", "os.remove", "os.rename", "sqlite3.connect")
def watch(event, arguments):
    writing = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event in OPENING or writing:
        seen.append((event, str(arguments)))
importlib.import_module("ssl")
sys.addaudithook(watch)
for name in sys.argv[1:]:
    importlib.import_module(name)
assert not seen, seen
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
"""


def modules_of(package: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))


def imported_by(path: Path) -> Iterator[str]:
    """Names of modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, level=level):
                assert level == 0, f"{path} imports by a relative name"
                yield module or ""
            case _:
                pass


@pytest.mark.parametrize("path", modules_of("domain"), ids=str)
def test_the_domain_imports_only_what_is_pure(path: Path) -> None:
    """The standard library's types and arithmetic, msgspec's, eventsourcing.domain, and itself."""
    imported = set(imported_by(path))
    strangers = {name for name in imported - DOMAIN_MAY_IMPORT if not name.startswith("domain.")}
    assert strangers == set()


@pytest.mark.parametrize("path", modules_of("domain"), ids=str)
def test_the_domain_calls_no_clock_and_no_chance(path: Path) -> None:
    """Not by the back doors of the modules that it may import either."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert named & FORBIDDEN_NAMES == set()


def test_the_tests_of_the_product_are_those_of_its_packages(request: pytest.FixtureRequest) -> None:
    """Whatever else tests/unit has a folder for is tooling, and `make test` leaves it out."""
    packages = {"domain", "projections", *(path.parent.name for path in ROOT.glob("adapters/*/__init__.py"))}
    for folder in (path.parent for path in ROOT.glob("tests/unit/*/__init__.py")):
        assert is_tooling(folder / "test_any.py") == (folder.name not in packages), folder
    assert all(
        any(path.as_posix().startswith(f"{ROOT}/{each}") for path in ROOT.glob("tests/*/**/*")) for each in TOOLING
    )
    assert request.node.get_closest_marker("tooling") is None


@pytest.mark.parametrize("package", ["domain", "projections", "adapters"])
def test_importing_a_module_opens_nothing(package: str) -> None:
    """No connection, no file to write, no process, no thread; and nothing is printed."""
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in modules_of(package)]
    result = subprocess.run(
        [sys.executable, "-c", WATCH, *names], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("package", ["domain", "projections", "adapters", "sandbox", "bench"])
def test_nothing_imports_the_program(package: str) -> None:
    """The linter of imports takes packages only, and `app` is a module. The scripts that describe it may."""
    assert [str(path) for path in modules_of(package) if "app" in set(imported_by(path))] == []
