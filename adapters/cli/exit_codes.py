"""Exit codes: the same for every command, and told in `--help` and in docs/command-line.md."""

import signal
from typing import Final

DONE: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 128 + signal.SIGINT

MEANINGS: Final = {
    DONE: "done, and all is well",
    FAILURE: "the answer is no: a difference, something that isn't there, a refusal, a part that failed",
    USAGE: "the command line or a setting can't be used",
    UNAVAILABLE: "PostgreSQL, Kafka or the third party can't be reached, or not used as it is",
    INTERRUPTED: "ended by Ctrl-C",
}
EPILOG: Final = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items()) + "."
