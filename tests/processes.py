"""What tests ask of processes that they do not wait for."""

import os
import time
from contextlib import suppress
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has asked how it ended does not."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def until(condition) -> None:
    """Wait for an event that nothing announces; a test that hangs here has failed."""
    while not condition():
        time.sleep(0.02)


def children_of(parent: int) -> list[int]:
    """The processes that one has started and that have not ended."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((place / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(place.name))
    return found
