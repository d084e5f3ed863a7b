"""Text of others, on a terminal and on a page: others have written buyers' names, headers and answers."""

import unicodedata
from typing import Final

_CONTROL: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})
_TURNS_TEXT_ROUND: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LAYOUT: Final = frozenset("\n\t")


def visible(text: str) -> str:
    """Without what a terminal would obey. As many characters as before, for columns."""
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def escaped(text: str) -> str:
    """For a page: what would turn the text round, or show as nothing, is written as what it is, like [U+202E]. Line
    feeds and tabs stay."""
    return text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))


def _visible(character: str) -> str:
    if character < " ":
        return _picture(character)
    return "\N{REPLACEMENT CHARACTER}" if _is_hidden(character) else character


def _escaped(character: str) -> str:
    if character < " ":
        return character if character in _LAYOUT else _picture(character)
    return f"[U+{ord(character):04X}]" if _is_hidden(character) else character


def _picture(control: str) -> str:
    return chr(0x2400 + ord(control))


def _is_hidden(character: str) -> bool:
    return character in _TURNS_TEXT_ROUND or unicodedata.category(character) in _CONTROL
