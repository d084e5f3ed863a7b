"""Which version this is; pyproject.toml says the same, and a test compares."""

from typing import Final

VERSION: Final = "0.2.0"
