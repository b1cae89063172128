"""One rule for progress bars: shown while somebody waits, off where TQDM_DISABLE is set (stored outputs, tests)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(iterable: Iterable | None = None, *, show: bool = True, **options: Any) -> tqdm:
    """A tqdm bar; ``show=False`` hides it, and passing nothing leaves the choice to the environment."""
    # tqdm lets an explicit disable=False win over TQDM_DISABLE.
    return tqdm(iterable, **options) if show else tqdm(iterable, disable=True, **options)


def say(line: str) -> None:
    """A line on stderr, above any bar; where bars are off because outputs are stored, nothing."""
    if os.environ.get("TQDM_DISABLE", "0") in ("", "0"):
        tqdm.write(line, file=sys.stderr)
