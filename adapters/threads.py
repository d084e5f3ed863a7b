"""How the threads of the process share the interpreter."""

import sys
from typing import Final

SWITCH_SECONDS: Final = 0.0005
"""How long a thread may keep the interpreter while another wants it. With Python's own 5 ms a thread that talks to
PostgreSQL waits that long after each answer while another is busy with messages, and PostgreSQL waits with it."""


def take_turns_quickly() -> None:
    """For a process with a thread that is busy and others that mostly wait."""
    sys.setswitchinterval(SWITCH_SECONDS)
