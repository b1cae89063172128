"""Files that are replaced in one step, so that nobody ever reads half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
"""The folder that holds the package: the repository's in a checkout."""


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
