"""The runbooks of docs/runbooks, as HTML for a page of the console."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

FOLDER: Final = Path(__file__).parents[2] / "docs" / "runbooks"
_HERE: Final = re.compile(r"(?:([a-z0-9-]+)\.md)?(#[a-z0-9-]+)?")


class Runbook(NamedTuple):
    title: str
    body: Markup
    """With its title. A link leads to another runbook, or to a place in one; a page that isn't one has none."""


def runbook(name: str) -> Runbook | None:
    """None if there is no runbook of this name."""
    path = FOLDER / f"{name}.md"
    if not re.fullmatch("[a-z0-9-]+", name) or not path.is_file():
        return None
    return rendered(path.read_text("utf-8"))


def rendered(text: str) -> Runbook:
    tokens = _reader.parse(text)
    title = ""
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and after is not None:
            title = title or after.content
            token.attrSet("id", anchor_of(after.content))
        elif token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.children is not None:
            token.children = list(_with_links_of_ours(token.children))
    return Runbook(title.replace("`", ""), Markup(_reader.renderer.render(tokens, _reader.options, {})))  # noqa: S704 - its own marks alone


def anchor_of(title: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def _with_links_of_ours(tokens: Sequence[Token]) -> Iterator[Token]:
    leads_here = False
    for token in tokens:
        if token.type == "link_open":
            found = _HERE.fullmatch(str(token.attrGet("href")))
            leads_here = found is not None
            if found is not None:
                name, place = found.groups()
                token.attrSet("href", f"{f'/runbooks/{name}' if name else ''}{place or ''}")
        if leads_here or token.type not in {"link_open", "link_close"}:
            yield token


class _Renderer(RendererHTML):
    """What scrolls can be reached by keyboard."""

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:  # noqa: ARG002 - its port
        return f'<pre class="json" tabindex="0">{escape(tokens[idx].content)}</pre>\n'

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:  # noqa: ARG002
        return '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:  # noqa: ARG002
        return "</table></div>\n"


_reader: Final = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
