"""What was named on the command line or handed to ``classify``, one source after another, read when it is due."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np

from radio_bnn.data.cutouts import FITS_SUFFIXES, Unusable, as_pixels, is_png, read_fits, read_png
from radio_bnn.data.galaxies import IMAGE_SIZE
from radio_bnn.data.mirabest import cache_folder
from radio_bnn.files import absolute
from radio_bnn.sky import catalogues
from radio_bnn.sky.catalogues import Catalogue, Mosaic
from radio_bnn.sky.first import TIMEOUT, First
from radio_bnn.sky.images import Sky, as_input, celestial_wcs, cutout

FLAGS = ("no_signal", "missing_data", "edge", "blended", "resampled", "coarse_beam")
LISTS = (".txt", ".lst", ".list")
SUFFIXES = (*FITS_SUFFIXES, ".png")
At = tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Source:
    """One source, as the network sees it.

    ``name`` is unique in the run; ``ra``, ``dec`` deg ICRS, nan if unknown; ``image`` (150, 150) uint8, as
    ``preprocess`` makes it, or None if it can't be used, and then ``message`` says why in one line. ``flags`` are some
    of FLAGS in their order: nothing above 3 sigma within 75 pixels; NaN among the central 150 x 150; a cutout that
    reaches beyond its image; more than a tenth of the light of other sources; pixels computed from others (another
    scale, orientation or a finer beam); a beam coarser than any of FIRST's.
    """

    name: str
    ra: float
    dec: float
    image: np.ndarray | None
    flags: tuple[str, ...]
    message: str


class _Road(Protocol):
    """Where sources come from. ``what`` they are called in a message, the image of the k-th, and the road to some."""

    def what(self, k: int) -> str: ...

    def read(self, k: int) -> tuple[Sky | np.ndarray, At]: ...

    def to(self, some: slice) -> _Road: ...


class Sources(Sequence):
    """A sequence of ``Source``, each read when it is indexed; a bad image gives one without ``image``, never an error.

    ``names`` are known without reading. A slice gives ``Sources`` of its own, which may be sent to a process that works
    in another folder.
    """

    def __init__(self, found: Catalogue, road: _Road, pixel_scale: float | None = None) -> None:
        self.names, self.ra, self.dec = tuple(found.name), found.ra, found.dec
        self._road, self._pixel_scale = road, pixel_scale

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, k: int) -> Source: ...

    @overload
    def __getitem__(self, k: slice) -> Sources: ...

    def __getitem__(self, k: int | slice) -> Source | Sources:
        if isinstance(k, slice):
            return Sources(Catalogue(self.names[k], self.ra[k], self.dec[k]), self._road.to(k), self._pixel_scale)
        return self._read(range(len(self))[k])  # IndexError beyond

    def _read(self, k: int) -> Source:
        ra, dec, flags = float(self.ra[k]), float(self.dec[k]), []
        try:
            raw, at = self._road.read(k)
            if isinstance(raw, Sky):
                raw, early, *centre = cutout(raw, at=at, pixel_scale=self._pixel_scale)
                ra, dec = at or centre
                flags += early
            image, late, message = as_input(raw)
            flags += late
        except Exception as error:  # one bad file never stops the others, whatever it makes a library say
            known = isinstance(error, ValueError | OSError)
            said = getattr(error, "strerror", None) or str(error)
            image, message = None, said if known else f"{type(error).__name__}: {error}"
            flags.append(getattr(error, "flag", ""))
        if message and (what := self._road.what(k)):
            message = f"{what}: {message}"
        return Source(self.names[k], ra, dec, image, tuple(f for f in FLAGS if f in flags), " ".join(message.split()))


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
    cache: str | Path | None = None,
    timeout: float = TIMEOUT,
) -> Sources:
    """The sources of files, arrays, a catalogue or positions; no pixels are read yet.

    ``inputs``: paths of FITS and PNG cutouts, of folders of them, globs, lists (.txt, a path a line); an array (H, W)
    or (N, H, W), or several (H, W), of which 150 x 150 pixels of 8 bits count as inputs of the network already; or a
    table. ``catalogue``: a table, or the path of one that astropy reads, its columns ``ra``, ``dec``, ``name`` found by
    the usual names; ``positions``: see ``catalogues.positions``. Both are cut out of ``image``, a FITS mosaic, or
    fetched from FIRST into the folder ``cache``. ``pixel_scale``: arcsec, of images that don't say it.
    Raises ``ValueError`` or ``OSError`` for a call that can't give any source.
    """
    if pixel_scale is not None and not 0 < pixel_scale < np.inf:
        raise ValueError(f"the pixel scale is {pixel_scale}, expected arcsec, more than 0")
    if sum(given is not None for given in (inputs, catalogue, positions)) != 1:
        raise ValueError("expected one of three: cutouts, a catalogue, or positions")
    if inputs is not None and not _is_table(inputs):
        if any(given is not None for given in (image, ra, dec, name)):
            raise ValueError("a mosaic and its columns go with a catalogue or positions, not with cutouts")
        return _of_arrays(inputs, pixel_scale) if _are_arrays(inputs) else _of_files(inputs, pixel_scale)
    table = inputs if catalogue is None else catalogue
    found = catalogues.positions(positions) if table is None else _catalogue(table, ra=ra, dec=dec, name=name)
    folder = cache_folder() / "first" if cache is None else absolute(Path(cache), of="the cache of FIRST")
    images = First(folder, timeout) if image is None else Mosaic(absolute(Path(image), of="the image"))
    return Sources(found, _Placed(found, images), pixel_scale)


@dataclass(frozen=True)
class _Files:
    """``paths`` as they were named in ``folder``."""

    paths: list[Path]
    folder: Path

    def what(self, k: int) -> str:
        return str(self.paths[k])

    def to(self, some: slice) -> _Files:
        return _Files(self.paths[some], self.folder)

    def read(self, k: int) -> tuple[Sky | np.ndarray, At]:
        path = self.folder / self.paths[k]
        if not path.is_file():  # said here without the folder
            raise Unusable("no such file; expected a FITS or PNG cutout")
        if is_png(path):
            return _input_or_sky(read_png(path)), None
        pixels, header = read_fits(path)
        return Sky(pixels, header, celestial_wcs(header)), None


@dataclass(frozen=True)
class _Arrays:
    arrays: Any

    def what(self, k: int) -> str:
        return ""

    def to(self, some: slice) -> _Arrays:
        return _Arrays(self.arrays[some])

    def read(self, k: int) -> tuple[Sky | np.ndarray, At]:
        return _input_or_sky(self.arrays[k]), None


@dataclass(frozen=True)
class _Placed:
    found: Catalogue
    images: Mosaic | First

    def what(self, k: int) -> str:
        return ""

    def to(self, some: slice) -> _Placed:
        found = self.found
        return _Placed(Catalogue(found.name[some], found.ra[some], found.dec[some]), self.images)

    def read(self, k: int) -> tuple[Sky | np.ndarray, At]:
        at = float(self.found.ra[k]), float(self.found.dec[k])
        if not np.isfinite(at).all():
            raise Unusable("its row has no valid position: expected degrees, or a sexagesimal text")
        return self.images.around(*at), at


def _input_or_sky(pixels: np.ndarray) -> Sky | np.ndarray:
    return pixels if _is_input(pixels) else Sky(as_pixels(pixels))


def _is_input(pixels: np.ndarray) -> bool:
    return pixels.dtype == np.uint8 and pixels.shape == (IMAGE_SIZE, IMAGE_SIZE)


def _is_table(given: Any) -> bool:
    return hasattr(given, "colnames")


def _catalogue(given: Any, **columns: str | None) -> Catalogue:
    if _is_table(given):
        return catalogues.catalogue(given, **columns)
    if not isinstance(given, str | Path):
        raise ValueError(f"the catalogue is {type(given).__name__}, expected an astropy table, or the path of one")
    path = Path(given).expanduser()
    return catalogues.catalogue(catalogues.read_table(path), **columns, where=str(path))


def _are_arrays(inputs: Any) -> bool:
    several = inputs if isinstance(inputs, list | tuple) else [inputs]
    return bool(several) and all(getattr(x, "ndim", 0) >= 2 for x in several)


def _of_arrays(inputs: Any, pixel_scale: float | None) -> Sources:
    arrays = inputs if isinstance(inputs, list | tuple) else np.asanyarray(inputs)
    if isinstance(arrays, np.ndarray):
        arrays = arrays[None] if arrays.ndim == 2 else arrays
        if arrays.ndim != 3 or not len(arrays):
            raise ValueError(f"the array has axes {arrays.shape}, expected (H, W) or (N, H, W)")
    if pixel_scale is None and not all(_is_input(np.asanyarray(x)) for x in arrays):
        raise ValueError("arrays don't say how wide their pixels are: give pixel_scale, in arcsec")
    names = [f"image_{k:0{len(str(len(arrays) - 1))}d}" for k in range(len(arrays))]
    return Sources(_nowhere(names), _Arrays(arrays), pixel_scale)


def _of_files(inputs: Any, pixel_scale: float | None) -> Sources:
    named = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    paths = [path for one in named for path in _expanded(one)]
    if not paths:
        raise ValueError("no cutout was given: expected FITS or PNG files, folders of them, or a list of them")
    if not any(path.exists() for path in paths):
        raise FileNotFoundError(f"{paths[0]}: no such file; expected a FITS or PNG cutout")
    return Sources(_nowhere(catalogues.unique([_stem(path) for path in paths])), _Files(paths, Path.cwd()), pixel_scale)


def _expanded(one: Any) -> list[Path]:
    """The cutouts of a path, a folder, a pattern or a list; a single path as it is, whatever is there."""
    if not isinstance(one, str | Path):
        raise ValueError(f"{one!r} is not a cutout: expected a path, or an array (H, W)")
    path = Path(one).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.name.lower().endswith(SUFFIXES) and p.is_file())
        if not found:
            raise ValueError(f"{path}: the folder has no cutouts in it ({', '.join(SUFFIXES)})")
        return found
    if path.suffix.lower() in LISTS and path.exists():
        return _listed(path)
    if not path.exists() and glob.has_magic(str(path)):
        found = sorted(map(Path, glob.glob(str(path), recursive=True)))
        if not found:
            raise ValueError(f"{path}: no file is called like this")
        return found
    return [path]


def _listed(path: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text, expected the path of a cutout a line") from error
    found = [path.parent / Path(line).expanduser() for line in lines if line and not line.startswith("#")]
    if not found:
        raise ValueError(f"{path}: the list is empty, expected the path of a cutout a line")
    return found


def _stem(path: Path) -> str:
    suffix = max((s for s in SUFFIXES if path.name.lower().endswith(s)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)] or path.name


def _nowhere(names: list[str]) -> Catalogue:
    unknown = np.full(len(names), np.nan)
    return Catalogue(names, unknown, unknown)
