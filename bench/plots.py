"""Curves as SVG: axes from zero, a line and its points for each series, and a legend."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from bench.results import Plot, Series

WIDTH: Final = 720
HEIGHT: Final = 400
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 44, 76
COLOURS: Final = ("#1f5fa8", "#c2571a", "#2a7d4f", "#7b4aa3")
TICKS: Final = 5
LEGEND_COLUMN: Final = 168
_FONT: Final = "font-family='sans-serif' font-size='12' fill='#333'"


def svg(plot: Plot) -> str:
    """The whole document. Raises ValueError if there is no point, or one that a logarithm has no place for."""
    points = [point for series in plot.series for point in series.points]
    if not points or (plot.log_x and min(x for x, _ in points) <= 0):
        raise ValueError(f"nothing to draw: {plot.name}")
    x_of, x_ticks = _x_axis(plot, sorted({x for x, _ in points}))
    top = _rounded_up(max(y for _, y in points))

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    low = HEIGHT - BOTTOM
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>",
        f"<title>{escape(plot.title)}</title>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>",
        f"<text x='{LEFT}' y='24' {_FONT} font-weight='bold'>{escape(plot.title)}</text>",
    ]
    for tick in (top * number / TICKS for number in range(TICKS + 1)):
        y = y_of(tick)
        parts += [
            f"<line x1='{LEFT}' y1='{y:.1f}' x2='{WIDTH - RIGHT}' y2='{y:.1f}' stroke='#ddd'/>",
            f"<text x='{LEFT - 8}' y='{y + 4:.1f}' {_FONT} text-anchor='end'>{_number(tick)}</text>",
        ]
    for tick in x_ticks:
        x = x_of(tick)
        parts += [
            f"<line x1='{x:.1f}' y1='{low}' x2='{x:.1f}' y2='{low + 5}' stroke='#888'/>",
            f"<text x='{x:.1f}' y='{low + 19}' {_FONT} text-anchor='middle'>{_number(tick)}</text>",
        ]
    across, up = (LEFT + WIDTH - RIGHT) / 2, (low + TOP) / 2
    turned = f"text-anchor='middle' transform='rotate(-90 16 {up:.0f})'"
    parts += [
        f"<line x1='{LEFT}' y1='{low}' x2='{WIDTH - RIGHT}' y2='{low}' stroke='#888'/>",
        f"<text x='{across:.0f}' y='{low + 37}' {_FONT} text-anchor='middle'>{escape(plot.x_label)}</text>",
        f"<text x='16' y='{up:.0f}' {_FONT} {turned}>{escape(plot.y_label)}</text>",
    ]
    for number, series in enumerate(plot.series):
        parts += _curve(series, COLOURS[number % len(COLOURS)], x_of, y_of)
        parts += _legend(series, COLOURS[number % len(COLOURS)], LEFT + number * LEGEND_COLUMN)
    return "\n".join([*parts, "</svg>", ""])


def _x_axis(plot: Plot, xs: Sequence[float]) -> tuple[Callable[[float], float], Sequence[float]]:
    """Where a value stands, and the values that are named: those measured while they are few."""
    scale: Callable[[float], float] = math.log10 if plot.log_x else float
    low = scale(xs[0]) if plot.log_x else 0.0
    span = (scale(xs[-1]) - low) or 1.0
    room = WIDTH - LEFT - RIGHT - 24

    def x_of(value: float) -> float:
        return LEFT + 12 + room * (scale(value) - low) / span

    if plot.log_x:
        return x_of, xs
    top = _rounded_up(xs[-1])
    return x_of, [tick for tick in (top * number / TICKS for number in range(TICKS + 1)) if tick <= xs[-1]]


def _curve(
    series: Series, colour: str, x_of: Callable[[float], float], y_of: Callable[[float], float]
) -> list[str]:
    places = [(x_of(x), y_of(y)) for x, y in series.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashes = " stroke-dasharray='6 4'" if series.dashed else ""
    line = f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'{dashes}/>"
    return [line, *(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>" for x, y in places)]


def _legend(series: Series, colour: str, x: int) -> list[str]:
    y = HEIGHT - 14
    dashes = " stroke-dasharray='6 4'" if series.dashed else ""
    return [
        f"<line x1='{x}' y1='{y - 4}' x2='{x + 24}' y2='{y - 4}' stroke='{colour}' stroke-width='2'{dashes}/>",
        f"<text x='{x + 30}' y='{y}' {_FONT}>{escape(series.label)}</text>",
    ]


def _rounded_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5 and 10 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def _number(value: float) -> str:
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.3g}"
