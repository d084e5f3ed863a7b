"""Text of others on a terminal."""

import unicodedata
from typing import Final

_CONTROL: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})
_TURNS_TEXT_ROUND: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str) -> str:
    """Without what a terminal would obey: others have written buyers' names, headers and answers."""
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character < " ":
        return chr(0x2400 + ord(character))
    is_hidden = character in _TURNS_TEXT_ROUND or unicodedata.category(character) in _CONTROL
    return "\N{REPLACEMENT CHARACTER}" if is_hidden else character
