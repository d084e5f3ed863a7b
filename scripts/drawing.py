"""Boxes, arrows and words as SVG, readable on light and on dark pages."""

from dataclasses import dataclass, field
from typing import Final, Literal
from xml.sax.saxutils import escape

Tone = Literal["plain", "good", "bad", "wait", "faint"]

STYLE: Final = """
svg { --page: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #818b98;
      --plain: #f6f8fa; --good: #dafbe1; --bad: #ffebe9; --wait: #fff8c5;
      --good-line: #1a7f37; --bad-line: #cf222e; --wait-line: #9a6700; }
@media (prefers-color-scheme: dark) {
  svg { --page: #0d1117; --ink: #f0f6fc; --soft: #9198a1; --line: #656c76;
        --plain: #151b23; --good: #12361f; --bad: #3c1618; --wait: #332a08;
        --good-line: #3fb950; --bad-line: #f85149; --wait-line: #d29922; } }
text { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 13px; fill: var(--ink); }
.page { fill: var(--page); }
.small { font-size: 12px; fill: var(--soft); }
.title { font-size: 14px; font-weight: 600; }
.box { stroke-width: 1.2; }
.plain { fill: var(--plain); stroke: var(--line); }
.good { fill: var(--good); stroke: var(--good-line); }
.bad { fill: var(--bad); stroke: var(--bad-line); }
.wait { fill: var(--wait); stroke: var(--wait-line); }
.faint { fill: none; stroke: var(--line); stroke-dasharray: 5 4; }
.arrow { fill: none; stroke: var(--soft); stroke-width: 1.4; marker-end: url(#head); }
.lifeline { stroke: var(--line); stroke-dasharray: 3 4; }
#head path { fill: var(--soft); }
"""
HEAD: Final = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0,0 L8,4 L0,8 z"/></marker></defs>'
)
LINE_HEIGHT: Final = 17
Point = tuple[int, int]


@dataclass
class Picture:
    """Coordinates are those of the middle of what is drawn."""

    title: str
    width: int
    height: int
    parts: list[str] = field(default_factory=list)

    def box(self, place: Point, size: Point, words: str = "", tone: Tone = "plain") -> None:
        (x, y), (width, height) = place, size
        self.parts.append(
            f'<rect class="box {tone}" x="{x - width // 2}" y="{y - height // 2}" width="{width}" height="{height}"'
            ' rx="6"/>'
        )
        self.words(x, y, words)

    def words(self, x: int, y: int, words: str, kind: str = "", anchor: str = "middle") -> None:
        """Several lines about the middle; `kind` is a class of the style."""
        lines = words.split("\n") if words else []
        top = y + 4.5 - (len(lines) - 1) * LINE_HEIGHT / 2
        for number, line in enumerate(lines):
            name, baseline = f' class="{kind}"' if kind else "", top + number * LINE_HEIGHT
            self.parts.append(f'<text{name} x="{x}" y="{baseline:g}" text-anchor="{anchor}">{escape(line)}</text>')

    def arrow(self, *points: Point, words: str = "", at: Point | None = None) -> None:
        """Along the points; the words stand above the middle of the first stretch unless `at` says where."""
        path = "M" + " L".join(f"{x},{y}" for x, y in points)
        self.parts.append(f'<path class="arrow" d="{path}"/>')
        (x1, y1), (x2, y2) = points[:2]
        place = at or ((x1 + x2) // 2, (y1 + y2) // 2 - 10)
        self.words(*place, words, "small")

    def lifeline(self, x: int, top: int, bottom: int) -> None:
        self.parts.append(f'<line class="lifeline" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>')

    def svg(self) -> str:
        size = f'width="{self.width}" height="{self.height}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" {size} role="img">',
            f"<title>{escape(self.title)}</title>",
            f"<style>{STYLE}</style>",
            HEAD,
            f'<rect class="page" {size}/>',
            *self.parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"
