"""The README and the pages it leads to are tested like the code: settings, commands, packages and links."""

import re
from pathlib import Path

import typer

from app import app
from scripts.settings_table import BEGIN, README, with_table

ROOT = Path(README).parent
OPERATING = ROOT / "docs" / "operating.md"
LAYOUT = ROOT / "docs" / "explanation" / "layout.md"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group has commands


def test_the_table_of_settings_is_what_the_settings_say() -> None:
    """Every setting is described, with its default; nothing else is."""
    readme = README.read_text("utf-8")
    assert readme == with_table(readme)


def test_the_readme_stays_short() -> None:
    """A hundred lines and the table of settings, which is folded in and comes last: the rest is in docs/."""
    readme = README.read_text("utf-8")
    before, _, rest = readme.partition("<details>\n")
    assert before.count("\n") <= 100
    assert BEGIN in rest
    assert rest.endswith("\n</details>\n")


def test_every_command_is_named_where_it_is_told_how_to_run_it_and_every_command_named_exists() -> None:
    """A reader who types what stands there gets it, and finds all there is."""
    named = set(re.findall(r"app\.py ([a-z][a-z-]+)", OPERATING.read_text("utf-8")))
    assert named == set(COMMANDS)
    assert set(re.findall(r"app\.py ([a-z][a-z-]+)", README.read_text("utf-8"))) <= named


def test_every_option_named_there_exists() -> None:
    """`--option` words next to a command are options of that command."""
    found = re.findall(r"`python app\.py ([a-z-]+)([^`\n]*)`", OPERATING.read_text("utf-8"))
    assert len(found) >= len(COMMANDS)
    for command, rest in found:
        options = {name for parameter in COMMANDS[command].params for name in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) - {"--help"} <= options, command


def test_every_make_target_named_in_the_documents_exists() -> None:
    """`make target` in the README, in CONTRIBUTING and in operating.md is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md", "docs/operating.md"):
        named = set(re.findall(r"^make ([a-z-]+)", (ROOT / document).read_text("utf-8"), re.MULTILINE))
        assert named <= targets, document


def test_the_page_about_the_layout_names_the_packages_that_there_are() -> None:
    """Each of the production tree and the sandbox, and no other."""
    (tree,) = re.findall(r"```\n(.*?)```", LAYOUT.read_text("utf-8"), re.DOTALL)
    named, folders = set(), [ROOT]
    for indent, name in re.findall(r"^( *)(\w+)/", tree, re.MULTILINE):
        folders[len(indent) // 2 + 1 :] = [folders[len(indent) // 2] / name]
        named.add(folders[-1])
    packages = {
        module.parent
        for root in ("domain", "projections", "adapters", "sandbox")
        for module in (ROOT / root).rglob("*.py")
        if module.name != "__init__.py"
    }
    assert packages <= named
    assert all(folder.is_dir() for folder in named)


def test_every_link_between_our_documents_leads_somewhere() -> None:
    """Relative links in Markdown point to files that are there."""
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
