"""Writes docs/openapi.json, the description of the HTTP API as the service serves it at /api/openapi.json.

`python -m scripts.openapi`; a test compares.
"""

import inspect
import json
import sys
from pathlib import Path
from typing import Any, Final

from adapters.web.app import create_app

FILE: Final = Path(__file__).parent.parent / "docs" / "openapi.json"


def document() -> dict[str, Any]:
    """What `GET /api/openapi.json` answers with. No part of the service is asked for it."""
    parts = inspect.signature(create_app).parameters.values()
    nobody: dict[str, Any] = {part.name: None for part in parts if part.default is part.empty}
    return create_app(**nobody).openapi()


def text() -> str:
    """What stands in the file."""
    return json.dumps(document(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
    sys.stdout.write(f"{FILE.relative_to(FILE.parent.parent)}: written\n")
