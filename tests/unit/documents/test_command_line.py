"""docs/command-line.md is what the commands say, and its examples can be typed."""

import re
import shlex
from typing import Any, Final

import pytest
import typer

from app import app
from scripts.command_line import DOCUMENT, EXAMPLES, NEGATIVE, with_reference

COMMANDS: Final[dict[str, Any]] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group has commands


def test_the_reference_is_what_the_commands_say() -> None:
    """Every command with its arguments, its options and its exit codes."""
    document = DOCUMENT.read_text("utf-8")
    assert document == with_reference(document)
    assert set(re.findall(r"^### (\S+)$", document, re.MULTILINE)) == COMMANDS.keys()


def test_every_argument_and_every_option_says_what_it_is() -> None:
    """Nobody has to guess."""
    silent = [(name, each.name) for name, command in COMMANDS.items() for each in command.params if not each.help]
    assert silent == []


def test_every_command_has_examples_of_its_own() -> None:
    """And nothing is told of commands that don't exist."""
    assert EXAMPLES.keys() == COMMANDS.keys()
    assert NEGATIVE.keys() <= COMMANDS.keys()
    assert all(example.split()[0] == name for name, examples in EXAMPLES.items() for example in examples)


@pytest.mark.parametrize("example", [each for examples in EXAMPLES.values() for each in examples])
def test_the_examples_can_be_typed(example: str) -> None:
    """Each command knows its options and takes their values."""
    name, *arguments = shlex.split(example)
    assert COMMANDS[name].make_context(name, arguments).params is not None


def test_the_commands_in_the_text_can_be_typed_too() -> None:
    """Those that are written by hand."""
    for line in re.findall(r"^python app\.py (.+)$", DOCUMENT.read_text("utf-8"), re.MULTILINE):
        name, *arguments = shlex.split(line.partition("|")[0], comments=True)
        COMMANDS[name].make_context(name, arguments)
