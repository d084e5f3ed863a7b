"""Asks PyPI which of the locked packages have known vulnerabilities (`make audit`): the image's and the tools'.

pip-audit itself ends with 0 when the service knew nothing of any package. Here what wasn't looked up is a failure.
Exit codes: 0 none known; 1 some are; 2 some packages couldn't be looked up; 3 nobody could be asked.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
LOCK: Final = ROOT / "requirements.lock"
REPORT: Final = ROOT / "var" / "audit.json"
TIMEOUT_SECONDS: Final = 15
MAX_NAMED: Final = 5


def judged(report: Mapping[str, Any]) -> tuple[int, list[str]]:
    """The exit code, and lines for people. `report`: pip-audit's JSON."""
    packages = report["dependencies"]
    found = [
        f"{each['name']} {each['version']}: {one['id']} {' '.join(one.get('aliases', ()))}".rstrip()
        + f", mended in {', '.join(one['fix_versions']) or 'no version yet'}"
        for each in packages
        for one in each.get("vulns", ())
    ]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    lines = [*found]
    if skipped:
        named = ", ".join(skipped[:MAX_NAMED]) + (", …" if len(skipped) > MAX_NAMED else "")
        lines.append(f"{len(skipped)} of {len(packages)} packages could not be looked up: {named}")
    if not lines:
        lines.append(f"no known vulnerabilities in {len(packages)} packages")
    return 1 if found else 2 if skipped else 0, lines


def main() -> int:
    options = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")
    asked = subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-m", "pip_audit", *options, "--timeout", str(TIMEOUT_SECONDS), "--requirement", LOCK],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report = json.loads(asked.stdout)
    except json.JSONDecodeError:
        why = (asked.stderr.strip().splitlines() or [f"ended with {asked.returncode}"])[-1]
        sys.stderr.write(f"audit: nothing was looked up, the advisory service can't be asked: {why}\n")
        return 3
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(asked.stdout, "utf-8")
    code, lines = judged(report)
    (sys.stderr if code else sys.stdout).write("".join(f"audit: {line}\n" for line in lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
