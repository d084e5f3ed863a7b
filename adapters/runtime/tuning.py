"""How the process deals with its memory."""

import gc
import sys
from typing import Final

COLLECT_EVERY_ALLOCATIONS: Final = 100_000
"""Containers more than are freed. Python's own 700 was made for programs that leave garbage in cycles: ours hardly
does, and has a hundred thousand objects of cached orders that each full collection must look through. Measured with
intake on one core: 86 µs of CPU a message before, 59 after."""


def collect_rarely() -> None:
    """For a process that handles many messages. What is there by now, the modules, is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY_ALLOCATIONS, 20, 100)


SWITCH_SECONDS: Final = 0.0005


"""How long a thread may keep the interpreter while another wants it. With Python's own 5 ms a thread that talks to
PostgreSQL waits that long after each answer while another is busy with messages, and PostgreSQL waits with it."""


def take_turns_quickly() -> None:
    """For a process with a thread that is busy and others that mostly wait."""
    sys.setswitchinterval(SWITCH_SECONDS)
