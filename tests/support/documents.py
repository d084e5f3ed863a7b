"""Our Markdown pages as tests read them: their blocks of commands, headings and links."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

ROOT: Final = Path(__file__).parents[2]
RUNNABLE: Final = ("sh", "console")
_FENCE: Final = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<language>[\w-]*)[^`]*$")
_PROMPT: Final = "$ "
_CONTINUED: Final = "> "
_HEREDOC: Final = re.compile(r"<<-?\s*['\"]?(\w+)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `line` is that of its fence, from 1."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Typed:
    """One command, and what it writes to standard output if the page says so."""

    text: str
    expected: str | None = None


def pages() -> list[str]:
    """The README and everything below docs/, by their paths from the root."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(path.relative_to(ROOT)) for path in found]


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str) -> list[Block]:
    """All fenced blocks, also those within lists. Raises ValueError for one that isn't closed."""
    found: list[Block] = []
    lines = iter(enumerate(read(page).splitlines(), start=1))
    for number, line in lines:
        opening = _FENCE.match(line)
        if opening is None:
            continue
        body: list[str] = []
        for _, inner in lines:
            if inner.strip() == opening["fence"]:
                break
            body.append(inner)
        else:
            raise ValueError(f"{page}:{number}: a block without an end")
        found.append(Block(page, number, opening["language"], textwrap.dedent("\n".join(body)) + "\n"))
    return found


def runnable_blocks(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language in RUNNABLE]


def typed(block: Block) -> list[Typed]:
    """The commands of a block: one a line, unless it goes on behind a backslash, in quotes, a heredoc or braces."""
    return list(_session(block) if block.language == "console" else _script(block))


def _session(block: Block) -> Iterator[Typed]:
    """`$ command`, lines that continue it behind `> `, then what it writes."""
    command: str | None = None
    output: list[str] = []
    for line in block.text.splitlines():
        if line.startswith(_PROMPT):
            if command is not None:
                yield Typed(command, "\n".join(output))
            command, output = line.removeprefix(_PROMPT), []
        elif command is None:
            raise ValueError(f"{block}: begins with no `$ `")
        elif line.startswith(_CONTINUED) and not output:
            command += "\n" + line.removeprefix(_CONTINUED)
        else:
            output.append(line)
    if command is not None:
        yield Typed(command, "\n".join(output))


def _script(block: Block) -> Iterator[Typed]:
    gathered: list[str] = []
    until: str | None = None
    for line in block.text.splitlines():
        if not gathered and (not line.strip() or line.lstrip().startswith("#")):
            continue
        gathered.append(line)
        if until is not None:
            until = None if line == until else until
        elif heredoc := _HEREDOC.search(line):
            until = heredoc[1]
        if until is None and not line.endswith("\\") and _is_whole(gathered):
            yield Typed("\n".join(gathered))
            gathered = []
    if gathered:
        raise ValueError(f"{block}: the last command has no end")


def _is_whole(lines: list[str]) -> bool:
    """Quotes are closed, and so is a function's body."""
    if re.match(r"\w+\(\) \{", lines[0]):
        return lines[-1] == "}"
    if _HEREDOC.search(lines[0]):
        return True
    try:
        shlex.split("\n".join(lines), comments=True)
    except ValueError:
        return False
    return True


def pattern(expected: str) -> re.Pattern[str]:
    """What a page shows of an output: `…` stands for anything in a line, a line of nothing else for any lines."""
    parts = []
    for line in expected.splitlines():
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append("[^\n]*".join(re.escape(part.rstrip()) for part in line.split("…")) + r"[ \t]*\n")
    return re.compile("".join(parts))


def without_code(text: str) -> str:
    """Where links and headings are: outside of fences and of `code`."""
    text = re.sub(r"^( *)```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: str) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    text = re.sub(r"^( *)```.*?^ *```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (name if not number else f"{name}-{number}") in found:
            number += 1
        found.add(name if not number else f"{name}-{number}")
    return found


def links(page: str) -> list[str]:
    """Targets of links and pictures that aren't on other hosts."""
    text = without_code(read(page))
    found = re.findall(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", text) + re.findall(r"<img[^>]* src=\"([^\"]+)\"", text)
    return [unquote(target) for target in found if not re.match(r"[a-z]+:", target)]
