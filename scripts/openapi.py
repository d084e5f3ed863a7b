"""Writes docs/openapi.json, the description of the HTTP API as the service serves it at /api/openapi.json.

`python -m scripts.openapi`; a test compares.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final, cast

from adapters.web.app import create_app

FILE: Final = Path(__file__).parent.parent / "docs" / "openapi.json"


def document() -> dict[str, Any]:
    """Made without anything to answer from: nobody asks."""
    nothing = cast("Any", None)
    app = create_app(
        queries=nothing,
        replays=nothing,
        bulk=nothing,
        reconciliation=nothing,
        parking=nothing,
        quarantining=nothing,
        actions=nothing,
        requests=nothing,
        health=nothing,
        metrics_text=nothing,
        api_token=None,
    )
    return app.openapi()


def text() -> str:
    """What stands in the file."""
    return json.dumps(document(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
    sys.stdout.write(f"{FILE.relative_to(FILE.parent.parent)}: written\n")
