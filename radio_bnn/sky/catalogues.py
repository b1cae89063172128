"""Names and positions from any table that astropy reads, and the mosaic that shows them."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radio_bnn.sky.images import Sky, celestial_wcs

# Of a column only letters and digits count, in lower case. Where a table has several of these, the first pair is taken.
POSITIONS = (
    ("ra", "dec"),
    ("radeg", "decdeg"),
    ("radeg", "dedeg"),
    ("radegrees", "decdegrees"),
    ("raj2000", "dej2000"),
    ("raj2000", "decj2000"),
    ("alphaj2000", "deltaj2000"),
    ("raicrs", "deicrs"),
    ("raicrs", "decicrs"),
    ("rightascension", "declination"),
    ("sra", "sdec"),
    ("ramean", "decmean"),
    ("rahms", "decdms"),
)
NAMES = ("name", "sourcename", "iauname", "designation", "objname", "object", "source", "sourceid", "id", "objid")
GZIP = b"\x1f\x8b"


class Catalogue(NamedTuple):
    """``name`` a list of N unique texts; ``ra`` and ``dec`` (N,) deg ICRS, nan where a row has no valid one."""

    name: list[str]
    ra: np.ndarray
    dec: np.ndarray


def catalogue(
    table: Any, *, ra: str | None = None, dec: str | None = None, name: str | None = None, where: str = "the table"
) -> Catalogue:
    """Names and positions of a table's rows, from the columns named, or from those with the usual names.

    Positions are degrees ICRS, or as the column's unit says; texts with blanks or colons are sexagesimal, their right
    ascension in hours unless the unit is degrees. Without names rows are called by their position, J105007.0+304037.
    Raises ``ValueError`` for a table without rows or without positions, a column that isn't there, or equal names.
    """
    if not len(table):
        raise ValueError(f"{where} has no rows: expected one source a row")
    place = _sky_column(table) if ra is None and dec is None else None
    if place is None:
        columns = _named(table, ra, dec, where)
        right, declination = (_degrees(table[c], hours=i == 0, where=where) for i, c in enumerate(columns))
    else:
        right, declination = np.asarray(place.icrs.ra.deg), np.asarray(place.icrs.dec.deg)
    valid = (right >= -180) & (right <= 360) & (abs(declination) <= 90)  # False for nan
    right, declination = np.where(valid, right % 360, np.nan), np.where(valid, declination, np.nan)
    return Catalogue(_names(table, name, right, declination, where), right, declination)


def read_table(path: Path) -> Any:
    """A table in any format that astropy reads; raises ``OSError`` if there is no such file, else ``ValueError``."""
    from astropy.io.registry import IORegistryError
    from astropy.table import Table

    with path.open("rb"):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about units and headers
            try:
                return Table.read(path)
            except IORegistryError:  # no format by its name or its first bytes
                return Table.read(path, format="ascii")
    except Exception as error:  # a damaged or foreign file can raise anything
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not a table that astropy reads ({type(error).__name__}: {reason})") from error


def positions(places: Any) -> Catalogue:
    """Names and positions of "10 50 07 +30 40 37", "162.53 30.677" (degrees), pairs in degrees, or a ``SkyCoord``.

    One or several. Raises ``ValueError`` for a text that is no position.
    """
    from astropy.coordinates import SkyCoord

    if isinstance(places, str):
        places = [places]
    if isinstance(places, SkyCoord):
        found = [(p.ra.deg, p.dec.deg) for p in places.icrs.reshape(-1)]
    elif len(places) == 2 and all(isinstance(p, int | float) for p in places):
        found = [tuple(map(float, places))]
    else:
        found = [_position(p) for p in places]
    if not found:
        raise ValueError("no position was given: expected at least one, such as '10 50 07 +30 40 37'")
    ra, dec = np.array(found, dtype=float).T
    if not ((abs(dec) <= 90) & (ra >= -180) & (ra <= 360)).all():
        raise ValueError(f"positions are {found[:3]}: expected degrees, -180 to 360 and -90 to 90")
    return Catalogue(unique(designations(ra % 360, dec)), ra % 360, dec)


def designations(ra: np.ndarray, dec: np.ndarray) -> list[str]:
    """Positions (deg) as astronomers name them, J105007.0+304037, truncated, not rounded; "unplaced" for nan."""
    known = np.isfinite(ra) & np.isfinite(dec)
    # A thousandth of the last digit, for degrees that were made from such digits.
    tenths = np.floor(np.where(known, ra, 0.0) * 2400 + 1e-3).astype(int) % 864000
    arcsec = np.floor(abs(np.where(known, dec, 0.0)) * 3600 + 1e-3).astype(int)
    return [
        f"J{t // 36000:02d}{t // 600 % 60:02d}{t % 600 / 10:04.1f}{s}{a // 3600:02d}{a // 60 % 60:02d}{a % 60:02d}"
        if k
        else "unplaced"
        for t, a, s, k in zip(tenths.tolist(), arcsec.tolist(), np.where(dec < 0, "-", "+"), known, strict=True)
    ]


def unique(names: Sequence[str]) -> list[str]:
    """The names, in which the second of two equal ones is called name_2 and so on."""
    taken, seen, found = set(names), Counter(), []
    for name in names:
        seen[name] += 1
        new = name
        while seen[name] > 1 and (new := f"{name}_{seen[name]}") in taken:
            seen[name] += 1
        taken.add(new)
        found.append(new)
    return found


@dataclass(frozen=True)
class Mosaic:
    """The first image of a FITS file, of which only what is asked for is read; each read opens the file anew.

    Raises ``OSError`` for a file that can't be read, ``ValueError`` for one that is no image with a celestial WCS, or
    is gzipped. FITS checksums of a mosaic are not verified: they would need all of it.
    """

    path: Path

    def __post_init__(self) -> None:
        with self.path.open("rb") as file:
            if file.read(2) == GZIP:
                raise ValueError(f"{self.path} is gzipped and can't be read in parts: unpack it first (gunzip)")
        if self.sky.wcs is None:
            raise ValueError(f"{self.path}: nothing says where its pixels lie (it has no celestial WCS)")

    def around(self, ra: float, dec: float) -> Sky:
        """The image, whatever the position."""
        return self.sky

    @cached_property
    def sky(self) -> Sky:
        """The image, its pixels read when they are sliced."""
        try:
            with _quietly(), _opened(self.path) as hdus:
                for number, hdu in enumerate(hdus):
                    if hdu.is_image and hdu.size:
                        if len(hdu.shape) < 2 or any(n > 1 for n in hdu.shape[:-2]):
                            raise ValueError(f"its image has axes {hdu.shape}, expected two (rows, columns)")
                        return Sky(_Part(self.path, number, hdu.shape), hdu.header, celestial_wcs(hdu.header))
        except OSError as error:
            raise ValueError(f"{self.path}: not a FITS image ({' '.join(str(error).split())[:200]})") from error
        except Exception as error:  # a damaged file can raise anything
            raise ValueError(f"{self.path}: {' '.join(str(error).split())[:200]}") from error
        raise ValueError(f"{self.path}: the FITS file holds no image")


@dataclass(frozen=True)
class _Part:
    """What slices an image in a file."""

    path: Path
    number: int
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.axes[-2:]

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        with _quietly(), _opened(self.path) as hdus:
            found = hdus[self.number].section[(0,) * (len(self.axes) - 2) + tuple(part)]
        return np.array(found, dtype=np.float64)


def _opened(path: Path) -> Any:
    from astropy.io import fits

    return fits.open(path)  # memory-mapped; asked for by name, it refuses pixels that are scaled


def _quietly() -> Any:
    return warnings.catch_warnings(action="ignore")


def _plain(column: str) -> str:
    return re.sub("[^a-z0-9]", "", column.lower())


def _sky_column(table: Any) -> Any:
    from astropy.coordinates import SkyCoord

    return next((table[c] for c in table.colnames if isinstance(table[c], SkyCoord)), None)


def _named(table: Any, ra: str | None, dec: str | None, where: str) -> tuple[str, str]:
    known = ", ".join(table.colnames)
    for column in (ra, dec):
        if column is not None and column not in table.colnames:
            raise ValueError(f"{where} has no column {column!r}: its columns are {known}")
    plain = {_plain(c): c for c in reversed(table.colnames)}
    pairs = [(ra or plain.get(one), dec or plain.get(two)) for one, two in POSITIONS]
    found = next((pair for pair in pairs if None not in pair), None)
    if found is None:
        raise ValueError(
            f"{where} has no columns with positions that are known by name (ra and dec, RAJ2000 and DEJ2000, ...): "
            f"name them; its columns are {known}"
        )
    return found


def _degrees(column: Any, *, hours: bool, where: str) -> np.ndarray:
    """A column of angles in degrees, nan where masked or not an angle; without a unit numbers are degrees."""
    from astropy import units as u

    masked = np.ma.getmaskarray(column) if hasattr(column, "mask") else np.zeros(len(column), bool)
    unit = getattr(column, "unit", None)
    values = np.asarray(np.ma.getdata(getattr(column, "value", column)))
    if values.dtype.kind in "USO":
        in_degrees = not hours or str(unit) in ("deg", "degree", "degrees")
        values = np.array([np.nan if m else _angle(v, in_degrees) for v, m in zip(values, masked, strict=True)])
    elif values.dtype.kind in "iuf":
        values = values.astype(float)
        if unit is not None and str(unit) not in ("", "deg"):
            try:
                values = u.Quantity(values, u.hourangle if unit == u.hour else unit).to_value(u.deg)
            except Exception as error:  # a unit that is none, or not of an angle
                raise ValueError(f"{where}: column {column.name!r} is in {unit}, expected an angle") from error
    else:
        raise ValueError(f"{where}: column {column.info.name!r} is of type {values.dtype}, expected angles")
    return np.where(masked, np.nan, values)


def _angle(text: Any, in_degrees: bool) -> float:
    """Degrees of one angle as text; a plain number is degrees already."""
    from astropy.coordinates import Angle

    text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(Angle(text, unit="deg" if in_degrees else "hourangle").deg)
    except Exception:  # not an angle, in any of the ways that astropy says so
        return np.nan


def _position(place: Any) -> tuple[float, float]:
    from astropy.coordinates import SkyCoord

    if not isinstance(place, str):
        try:
            ra, dec = map(float, place)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place!r} is not a position: expected a pair in degrees") from error
        return ra, dec
    parts = place.replace(",", " ").split()
    try:
        if len(parts) == 2 and not any(c in place for c in ":hdm°"):
            return float(parts[0]), float(parts[1])
        found = SkyCoord(" ".join(parts), unit=("hourangle", "deg"))
        return float(found.ra.deg), float(found.dec.deg)
    except Exception as error:  # not a position, in any of the ways that astropy says so
        raise ValueError(
            f"{place!r} is not a position: expected '10 50 07 +30 40 37', '10h50m07s +30d40m37s' or degrees"
        ) from error


def _names(table: Any, column: str | None, ra: np.ndarray, dec: np.ndarray, where: str) -> list[str]:
    if column is not None and column not in table.colnames:
        raise ValueError(f"{where} has no column {column!r}: its columns are {', '.join(table.colnames)}")
    plain = {_plain(c): c for c in reversed(table.colnames)}
    column = column or next((plain[n] for n in NAMES if n in plain), None)
    if column is None:
        return unique(designations(ra, dec))
    values, masked = table[column], np.ma.getmaskarray(table[column])
    texts = [v.decode(errors="replace") if isinstance(v, bytes) else str(v).strip() for v in values]
    given = [None if m or not t else t for t, m in zip(texts, masked, strict=True)]
    name, count = Counter(n for n in given if n is not None).most_common(1)[0] if any(given) else ("", 0)
    if count > 1:
        raise ValueError(f"{where}: {count} rows are called {name!r} (column {column!r}): expected one name a row")
    return unique([n or d for n, d in zip(given, designations(ra, dec), strict=True)])
