"""One rule for progress bars: shown while somebody waits, off where TQDM_DISABLE is set (stored outputs, tests)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(iterable: Iterable | None = None, *, show: bool = True, **options: Any) -> tqdm:
    """A tqdm bar; ``show=False`` hides it, and passing nothing leaves the choice to the environment."""
    # tqdm lets an explicit disable=False win over TQDM_DISABLE.
    return tqdm(iterable, **options) if show else tqdm(iterable, disable=True, **options)
