"""As much of PromQL as our own expressions use: which series they ask for, and which of those there are."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

OUTSIDE_LABELS: Final = {"job", "instance"}
"""Prometheus adds them to what it scrapes."""
_WORDS: Final = {
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "offset",
    "bool",
}
_GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_MATCHERS: Final = re.compile(r"\{([^}]*)\}")
_MATCHER: Final = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*')
_RANGE: Final = re.compile(r"\[[^\]]*\]")
_NAME: Final = re.compile(r"(?<![\w$.])[a-zA-Z_:][\w:]*(?!\w*\s*\()")
_NUMBERS: Final = {"inf", "nan"}

Series = dict[str, dict[str, set[str]]]
"""By name: the values of each label."""


class Selector(NamedTuple):
    """Series that an expression asks for."""

    name: str
    matchers: list[tuple[str, str, str]]
    """Label, operator, value."""


class BadExpression(Exception):
    """It isn't what we understand of PromQL."""


def selectors(expression: str) -> list[Selector]:
    """Raises BadExpression."""
    for opening, closing in ("()", "{}", "[]"):
        if expression.count(opening) != expression.count(closing):
            raise BadExpression(f"unbalanced {opening}{closing}: {expression}")
    bare = _RANGE.sub("", _GROUPING.sub("", expression))
    found = []
    outside = _MATCHERS.sub(lambda match: " " * len(match[0]), bare)
    for match in _NAME.finditer(outside):
        if match[0] in _WORDS or match[0].lower() in _NUMBERS:
            continue
        braces = _MATCHERS.match(bare, match.end())
        found.append(Selector(match[0], _matchers(braces[1]) if braces else []))
    return found


def grouping_labels(expression: str) -> set[str]:
    return {label.strip() for group in _GROUPING.findall(expression) for label in group.split(",")}


def _matchers(text: str) -> list[tuple[str, str, str]]:
    found = []
    for part in filter(str.strip, text.split(",")):
        match = _MATCHER.fullmatch(part)
        if match is None:
            raise BadExpression(f"no matcher: {part}")
        found.append((match[1], match[2], match[3]))
    return found


def series_of(*expositions: str) -> Series:
    """What these answers of `/metrics` hold; also the names of what has no values yet."""
    series: Series = {}
    for line in "\n".join(expositions).splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            for each in [f"{name}_bucket", f"{name}_sum", f"{name}_count"] if kind == "histogram" else [name]:
                series.setdefault(each, {})
        elif line and not line.startswith("#"):
            match = re.match(r"(\w+)(?:\{(.*)\})? ", line)
            assert match is not None, line
            labels = series.setdefault(match[1], {})
            for name, value in re.findall(r'(\w+)="([^"]*)"', match[2] or ""):
                labels.setdefault(name, set()).add(value)
    return series


def missing(expressions: Iterable[str], series: Series, *, only_names: bool = False) -> list[str]:
    """What the expressions ask for and nobody has: names, labels, values of labels."""
    problems = []
    for expression in expressions:
        labels: set[str] = set(OUTSIDE_LABELS)
        for name, matchers in selectors(expression):
            if name not in series:
                problems.append(f"no series {name}: {expression}")
                continue
            labels |= series[name].keys()
            for label, operator, wanted in [] if only_names else matchers:
                values = series[name].get(label)
                if values is None:
                    problems.append(f"{name} has no label {label}: {expression}")
                    continue
                problems += [
                    f"{name} never has {label}{operator}{alternative}: {expression}"
                    for alternative in wanted.split("|")
                    if not any(re.fullmatch(alternative, value) for value in values)
                ]
        unknown = set() if only_names else grouping_labels(expression) - labels
        problems += [f"nothing has the label {label}: {expression}" for label in sorted(unknown)]
    return problems
