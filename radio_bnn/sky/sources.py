"""Sources to classify, from files and arrays. A stand-in: the real reading of images takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radio_bnn.data.cutouts import preprocess, read_cutout
from radio_bnn.data.galaxies import IMAGE_SIZE

FLAGS = ("no_signal", "missing_data", "edge", "blended", "resampled", "coarse_beam")


@dataclass(frozen=True, eq=False)
class Source:
    """A source: its position in degrees (nan if unknown) and the network's input, or why there is none."""

    name: str
    ra: float
    dec: float
    image: np.ndarray | None
    flags: tuple[str, ...]
    message: str


class Sources:
    """Sources that are read when they are asked for."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = list(items)
        self.names = [x.name if isinstance(x, Path) else f"array_{i}" for i, x in enumerate(self.items)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Source:
        item, name = self.items[index], self.names[index]
        try:
            image = read_cutout(item) if isinstance(item, Path) else _as_input(item)
        except (ValueError, OSError) as error:
            flags = ("no_signal",) if "no signal" in str(error) else ()
            return Source(name, np.nan, np.nan, None, flags, str(error).replace(f"{item}: ", ""))
        return Source(name, np.nan, np.nan, image, (), "")


def _as_input(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    return array if array.shape == (IMAGE_SIZE, IMAGE_SIZE) and array.dtype == np.uint8 else preprocess(array)


def sources(
    inputs: Any = None,
    *,
    image: str | Path | None = None,
    catalogue: Any = None,
    positions: Any = None,
    pixel_scale: float | None = None,
    ra: str | None = None,
    dec: str | None = None,
    name: str | None = None,
) -> Sources:
    """Files and arrays as ``Sources``. Raises ValueError for anything else."""
    if image is not None or catalogue is not None or positions is not None:
        raise ValueError("mosaics, catalogues and positions are not read yet: give cutouts")
    if inputs is None:
        raise ValueError("there is nothing to classify: give cutouts")
    single = isinstance(inputs, (str, Path)) or (isinstance(inputs, np.ndarray) and inputs.ndim == 2)
    items = [inputs] if single else list(inputs)
    if not items:
        raise ValueError("there is nothing to classify: the list of cutouts is empty")
    return Sources([Path(x) if isinstance(x, (str, Path)) else x for x in items])
