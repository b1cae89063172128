"""Files that are replaced in one step, so that nobody ever reads half of one, and folders that a user names."""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
"""The folder that holds the package: the repository's in a checkout, else see ``is_checkout``."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when a file can't grow: a full disk, a quota, a limit of the process."""
HOST = re.sub(r"[^\w-]", "_", platform.node())
PARTIAL = re.compile(r"\.(?P<host>[\w-]*)\.(?P<pid>\d+)\.[0-9a-f]{16}\.partial")


class NoRoomError(OSError):
    """A disk is full, or a quota or a limit reached; the message says where and what to do."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write into; it takes the place of ``path`` when the scope ends without an error.

    The folder is made if it is missing. After an error ``path`` is as it was and nothing is left beside it. The name of
    the file says which process of which machine writes it, and cannot be guessed; no link is followed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{HOST}.{os.getpid()}.{secrets.token_hex(8)}.partial")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@cache
def is_checkout(folder: Path) -> bool:
    """Whether a folder is this project's source, and not one into which a wheel was installed."""
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"] == "radio-bnn"
    except (OSError, ValueError, KeyError, TypeError):
        return False


def remove_abandoned(folder: Path, *, older_than: float = 3600.0) -> None:
    """Remove what killed processes left half written in ``folder`` and below.

    That is what a process of this machine wrote that has ended, and whatever is untouched for ``older_than`` seconds.
    """
    for partial in folder.glob("**/*.partial"):
        with suppress(OSError):  # whoever writes it, or another sweep, was quicker
            if _writer_has_ended(partial.name) or time.time() - partial.lstat().st_mtime > older_than:
                partial.unlink()


def _writer_has_ended(name: str) -> bool:
    found = PARTIAL.search(name)
    if os.name != "posix" or found is None or found["host"] != HOST:
        return False
    try:
        os.kill(int(found["pid"]), 0)  # asks, sends nothing
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False


def named_place(variable: str) -> Path | None:
    """The file or folder that an environment variable names, absolute and with ``~`` expanded; None if it names none.

    Raises ValueError for the home of somebody who is unknown here.
    """
    name = os.environ.get(variable)
    return absolute(Path(name), of=variable) if name else None


def absolute(path: Path, *, of: str) -> Path:
    """A path that means the same wherever a process goes; ``of`` says whose it is in the ValueError for a home."""
    try:
        return path.expanduser().absolute()
    except RuntimeError as problem:
        raise ValueError(f"{of}={path}: there is no such home folder on this machine; name it in full") from problem


def check_writable(folder: Path, *, of: str) -> None:
    """Raise OSError, in one line, unless files can be written into ``folder``, which is made if it is missing.

    ``of`` says what would go there, and how to name another place. To be asked before what takes long.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**16))
            file.flush()
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        kind = NoRoomError if no_room(problem) else type(problem)
        raise kind(f"{folder} cannot be written ({reason}): {of}") from problem


def no_room(problem: BaseException) -> bool:
    """Whether an error says that a disk is full, or a quota or the largest size of a file reached."""
    return isinstance(problem, NoRoomError) or (isinstance(problem, OSError) and problem.errno in NO_ROOM)
