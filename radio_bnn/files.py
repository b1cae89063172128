"""Files that are replaced in one step, so that nobody ever reads half of one."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
"""The folder that holds the package: the repository's in a checkout, else see ``is_checkout``."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write into; it takes the place of ``path`` when the scope ends without an error.

    The folder is made if it is missing. After an error ``path`` is as it was and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
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
    """Remove what killed processes left half written in ``folder`` and below, untouched for ``older_than`` seconds."""
    for partial in folder.glob("**/*.partial"):
        with suppress(FileNotFoundError):  # whoever writes it, or another sweep, was quicker
            if time.time() - partial.stat().st_mtime > older_than:
                partial.unlink()
