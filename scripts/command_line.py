"""Writes the reference of the commands in docs/command-line.md from the commands themselves."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from adapters.cli.exit_codes import MEANINGS
from app import app
from domain.identifiers import MAX_ORDER_ID

BEGIN: Final = "<!-- commands: made by `python -m scripts.command_line`; a test compares -->\n"
END: Final = "<!-- /commands -->"
DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "command-line.md"
EXAMPLES: Final[Mapping[str, Sequence[str]]] = {
    "serve": ["serve", "serve --only push"],
    "migrate": ["migrate"],
    "rebuild": ["rebuild --check", "rebuild 24323523 --check --json"],
    "status": ["status"],
    "orders": [
        "orders --status PENDING --limit 20",
        "orders --buyer 1234",
        "orders --transaction 9c4b7a52-8f5e-4f0e-9d0a-2f6f3c1f4b5e",
        "orders --held --json",
    ],
    "find": ["find 24323", "find order-cashback-promotion-0-41"],
    "order": ["order 24323523", "order 24323523 --json"],
    "parked": ["parked"],
    "money-may-be-wrong": ["money-may-be-wrong", "money-may-be-wrong --kind doubtful --sort age --json"],
    "statement": ["statement", "statement --day 2026-03-01 --csv"],
    "audit": ["audit --order 24323523"],
    "differences": ["differences --class amount"],
    "reconcile": ["reconcile --since 2025-02-28T00:00:00Z --rate 200", "reconcile 24323523 --json"],
    "replay": [
        "replay 24323523 --mode redeliver --dry-run",
        'replay 24323523 --mode republish --reason "ticket 4711"',
    ],
    "retry": ["retry 24323523 --dry-run", 'retry 24323523 --reason "ticket 4711"'],
    "skip": ["skip 24323523 --dry-run", 'skip 24323523 --version 3 --reason "agreed with them by phone"'],
    "repair": ["repair 24323523 --reason x --dry-run"],
    "settle": ["settle 24323523 --reason x --dry-run", 'settle 24323523 --reason "the shop confirmed 6.00"'],
    "release": [
        "release 24323523 --reason x --dry-run",
        'release 24323523 --numbers 4-6 --reason "lost with their old outbox"',
    ],
    "quarantine": [
        "quarantine --state open",
        "quarantine 17",
        'quarantine 17 --retry --value repaired.json --reason "typing error in the date"',
        'quarantine 17 --discard --reason "a test message"',
    ],
    "accept-loss": [
        "accept-loss order-cashback-promotion --dry-run",
        'accept-loss order-cashback-promotion --reason "disk of broker 2 lost"',
    ],
    "replay-many": [
        "replay-many --status PENDING --changed-from 2025-02-28T12:00:00Z --dry-run",
        'replay-many --mode retry --parked --rate 20 --reason "they fixed it"',
        "replay-many --token 0SgKZ1W2Zl8OfTgBYd0aNQ",
    ],
    "jobs": ["jobs", "jobs 383aae6a-6a01-4537-91d8-d6db001d99f5"],
    "replays": ["replays", "replays 383aae6a-6a01-4537-91d8-d6db001d99f5"],
    "cancel-replay": ["cancel-replay 383aae6a-6a01-4537-91d8-d6db001d99f5"],
    "comparisons": [
        "comparisons",
        'comparisons 383aae6a-6a01-4537-91d8-d6db001d99f5 --cancel --reason "wrong day"',
    ],
    "simulate": [
        "simulate --orders 1000 --rate 100",
        "simulate --chaos shuffled,doubled",
        "simulate --order 24323523 --kind CREATED --sequence 1 --to-pay 306",
    ],
    "third-party": ["third-party --port 8090"],
    "demo": ["demo", "demo --orders 2000 --exit --chaos all"],
}
NEGATIVE: Final[Mapping[str, str]] = {
    "serve": "it couldn't listen, or not stop in time",
    "migrate": "a migration failed",
    "rebuild": "a difference was found (`--check`), or a named order has no events",
    "order": "the order has no events",
    "statement": "it doesn't hold together, or the day hasn't begun",
    "reconcile": "an order differs, breaks an invariant, or couldn't be compared",
    "replay": "the order has no events, its state doesn't allow it, or only a part was published",
    "retry": "the order has no events, or its state doesn't allow it",
    "repair": "the order has no events, or its stream lacks none",
    "settle": "the order has no events, or no open doubt",
    "release": "the order has no events, no message of it waits, or not for these numbers",
    "skip": "the order has no events, its state doesn't allow it, or it stands at another call",
    "quarantine": "there is no such message, it was dealt with before, or it can't be read even so",
    "accept-loss": "nothing is lost, or reading can't go on there",
    "replay-many": "nobody said yes, it was refused or cancelled, or an order failed",
    "jobs": "there is no such job",
    "replays": "there is no such replay",
    "cancel-replay": "there is no such replay, or it has ended",
    "comparisons": "there is no such comparison, or it has ended",
    "simulate": "a message wasn't delivered",
    "third-party": "it couldn't listen, or not use its journal",
    "demo": "the books differ, or a part failed",
}
"""What exit code 1 says, where a command can end so."""


def reference() -> str:
    """The exit codes, and a section for each command, in the order of `--help`."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in MEANINGS.items())
    group: Any = typer.main.get_command(app)
    panels: dict[str, list[str]] = {}
    for name, command in group.commands.items():
        panels.setdefault(command.rich_help_panel, []).append(_section(name, command))
    parts = [f"## Exit codes\n\n| code | means |\n|---|---|\n{codes}\n"]
    for panel, sections in panels.items():
        parts += [f"## {panel}\n", *sections]
    return "\n".join(parts)


def with_reference(document: str) -> str:
    """The document with the reference in its place."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def _section(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    pieces = [piece.strip("{}") for piece in command.collect_usage_pieces(context)]
    usage = " ".join(["python app.py", name, *pieces])
    examples = "\n".join(f"python app.py {example}" for example in EXAMPLES[name])
    rows = [_row(*parameter.get_help_record(context)) for parameter in command.params]
    options = "\n".join(["| argument or option | |", "|---|---|", *rows]) + "\n\n" if rows else ""
    negative = f"Exit code 1: {NEGATIVE[name]}.\n\n" if name in NEGATIVE else ""
    return f"### {name}\n\n{command.help}\n\n`{usage}`\n\n{options}{negative}```sh\n{examples}\n```\n"


def _row(names: str, text: str) -> str:
    """Without the types that say nothing, and with ranges as people write them."""
    names = re.sub(r" <(?:str|int|float|path|(?:int|float) range|list\[int\])>", "", names)
    text = re.sub(rf"1<=x<={MAX_ORDER_ID}(?:; )?", "", text).replace("[]", "")
    text = re.sub(r"([0-9.]+)<=x<=([0-9.]+)", r"\1 to \2", re.sub(r"x>=([0-9.]+)", r"\1 or more", text))
    text = re.sub(r"\s+\[", " [", text).strip()
    return f"| `{_cell(names)}` | {_cell(text)} |"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    DOCUMENT.write_text(with_reference(DOCUMENT.read_text("utf-8")), "utf-8")
    sys.stdout.write("docs/command-line.md: commands written\n")
