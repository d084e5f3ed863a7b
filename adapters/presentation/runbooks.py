"""The runbooks of docs/runbooks, as parts of a page: only what those pages use of Markdown."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Final, Literal

from markupsafe import Markup, escape

FOLDER: Final = Path(__file__).parents[2] / "docs" / "runbooks"
_INLINE: Final = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)]+)\)")
_HERE: Final = re.compile(r"(?:([a-z0-9-]+)\.md)?(#[a-z0-9-]+)?")
_ITEM: Final = re.compile(r"(?:[-*]|\d+\.) ")


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a runbook. `level` is a heading's, or the first number of a list. `lines` are a list's items, or
    one with a whole paragraph; `rows` are a table's, the first one its head."""

    kind: Literal["heading", "code", "table", "list", "numbers", "paragraph"]
    lines: Sequence[Markup] = ()
    rows: Sequence[Sequence[Markup]] = ()
    level: int = 0
    anchor: str = ""


def runbook(name: str) -> list[Block] | None:
    """None if there is no runbook of this name."""
    path = FOLDER / f"{name}.md"
    if not re.fullmatch("[a-z0-9-]+", name) or not path.is_file():
        return None
    return list(blocks(path.read_text("utf-8")))


def blocks(text: str) -> Iterator[Block]:
    for chunk in _chunks(text.splitlines()):
        first = chunk[0]
        if _is_fence(first):
            yield Block("code", [escape(dedent("\n".join(chunk[1:])))])
        elif first.startswith("#"):
            marks, _, title = first.partition(" ")
            yield Block("heading", [_inline(title)], level=len(marks), anchor=anchor_of(title))
        elif first.startswith("|"):
            rows = [[_inline(cell.strip()) for cell in _cells(line)] for line in chunk]
            yield Block("table", rows=[rows[0], *rows[2:]])
        elif _ITEM.match(first):
            items = [_inline(each) for each in _items(chunk)]
            number = int(first.partition(".")[0]) if first[0].isdigit() else 0
            yield Block("numbers" if number else "list", items, level=number)
        else:
            yield Block("paragraph", [_inline(" ".join(chunk))])


def anchor_of(title: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def _chunks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Lines that belong together; of a block of code without its last fence."""
    chunk: list[str] = []
    for line in lines:
        if chunk and _is_fence(chunk[0]):
            if _is_fence(line):
                yield chunk
                chunk = []
            else:
                chunk.append(line)
            continue
        ends_here = not line.strip() or line.startswith("#") or _is_fence(line)
        if chunk and (ends_here or chunk[0].startswith("#")):
            yield chunk
            chunk = []
        if line.strip():
            chunk.append(line)
    if chunk:
        yield chunk


def _is_fence(line: str) -> bool:
    return line.lstrip().startswith("```")


def _items(chunk: Sequence[str]) -> Iterator[str]:
    item = ""
    for line in chunk:
        if found := _ITEM.match(line):
            if item:
                yield item
            item = line[found.end() :]
        else:
            item += f" {line.strip()}"
    yield item


def _cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line.strip().strip("|"))


def _inline(text: str) -> Markup:
    shown, end = Markup(""), 0
    for found in _INLINE.finditer(text):
        shown += escape(text[end : found.start()]) + _marked(found)
        end = found.end()
    return shown + escape(text[end:])


def _marked(found: re.Match[str]) -> Markup:
    code, bold, words, target = found.groups()
    if code is not None:
        return Markup("<code>{}</code>").format(code)
    if bold is not None:
        return Markup("<strong>{}</strong>").format(_inline(bold))
    here = _HERE.fullmatch(target)
    if here is None:  # a page that isn't a runbook: there is no such page here
        return _inline(words)
    name, place = here.groups()
    return Markup('<a href="{}{}">{}</a>').format(f"/runbooks/{name}" if name else "", place or "", _inline(words))
