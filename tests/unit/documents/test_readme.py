"""The README is tested like the code: its settings, its commands and its links."""

import re
from pathlib import Path

import typer

from app import app
from scripts.settings_table import README, with_table

ROOT = Path(README).parent
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group has commands


def test_the_table_of_settings_is_what_the_settings_say() -> None:
    """Every setting is described, with its default; nothing else is."""
    readme = README.read_text("utf-8")
    assert readme == with_table(readme)


def test_every_command_named_in_the_readme_exists_and_every_command_is_named() -> None:
    """A reader who types what stands there gets it, and finds all there is."""
    named = set(re.findall(r"app\.py ([a-z][a-z-]+)", README.read_text("utf-8")))
    assert named == set(COMMANDS)


def test_every_option_named_in_the_readme_exists() -> None:
    """`--option` words next to a command are options of that command."""
    for command, rest in re.findall(r"`python app\.py ([a-z-]+)([^`\n]*)`", README.read_text("utf-8")):
        options = {name for parameter in COMMANDS[command].params for name in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) - {"--help"} <= options, command


def test_every_make_target_named_in_the_documents_exists() -> None:
    """`make target` in the README and in CONTRIBUTING is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"^make ([a-z-]+)", (ROOT / document).read_text("utf-8"), re.MULTILINE))
        assert named <= targets, document


def test_every_link_between_our_documents_leads_somewhere() -> None:
    """Relative links in Markdown point to files that are there."""
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
