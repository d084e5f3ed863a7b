"""Exit codes: the same for every command, and told in `--help` and in docs/command-line.md."""

import signal
from typing import Final

DONE: Final = 0
NO: Final = 1
UNUSABLE: Final = 2
UNREACHABLE: Final = 3
INTERRUPTED: Final = 128 + signal.SIGINT

MEANINGS: Final = {
    DONE: "done, and all is well",
    NO: "the answer is no: a difference, something that isn't there, a refusal, a part that failed",
    UNUSABLE: "the command line or a setting can't be used",
    UNREACHABLE: "PostgreSQL, Kafka or the third party can't be reached, or not used as it is",
    INTERRUPTED: "ended by Ctrl-C",
}
EPILOG: Final = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items()) + "."
