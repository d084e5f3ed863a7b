"""What the image is made of, and what is known against it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.audit import judged

ROOT: Final = Path(__file__).parents[3]
KNOWN: Final = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}


@pytest.mark.slow
def test_the_sbom_names_every_package_of_the_image() -> None:
    """With its version, and ourselves."""
    subprocess.run(["make", "--silent", "sbom"], cwd=ROOT, check=True, capture_output=True, timeout=100)
    bom = json.loads((ROOT / "var" / "sbom.cdx.json").read_text("utf-8"))
    locked = re.findall(
        r"^([\w.-]+)==([^ ;]+)", (ROOT / "deploy/requirements.lock").read_text("utf-8"), re.MULTILINE
    )
    assert bom["bomFormat"] == "CycloneDX"
    assert bom["metadata"]["component"]["name"] == "order-cashback-integration"
    assert sorted((each["name"], each["version"]) for each in bom["components"]) == sorted(locked)


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "no known vulnerabilities in 1 packages"),
        ([{"name": "a", "version": "1", "vulns": [KNOWN]}], 1, "a 1: PYSEC-1 CVE-1, mended in 2"),
        ([{"name": "a", "skip_reason": "not found"}], 2, "1 of 1 packages could not be looked up: a"),
        (
            [
                {"name": "b", "skip_reason": "?"},
                {"name": "a", "version": "1", "vulns": [{**KNOWN, "fix_versions": []}]},
            ],
            1,
            "mended in no version yet",
        ),
    ],
)
def test_what_was_not_looked_up_is_no_good_news(dependencies: list[dict[str, Any]], code: int, said: str) -> None:
    """pip-audit itself would end with 0."""
    found, lines = judged({"dependencies": dependencies})
    assert (found, said in "\n".join(lines)) == (code, True)


@pytest.mark.slow
def test_an_audit_that_reaches_nobody_says_so() -> None:
    """And fails, in one line."""
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:1")
    environment = {**os.environ, **nowhere, "NO_PROXY": "", "no_proxy": ""}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.audit"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert re.fullmatch(r"audit: nothing was looked up, the advisory service can't be asked: .*\n", done.stderr)
