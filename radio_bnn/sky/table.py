"""Rows of galaxies as a table with units and descriptions, and the files that it is written to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from radio_bnn.files import check_writable, replacing

if TYPE_CHECKING:
    from astropy.table import QTable

Row = dict[str, Any]


class Column(NamedTuple):
    """A column: ``kind`` of its values, ``description``, and ``unit`` or none."""

    kind: type
    description: str
    unit: str | None = None


COLUMNS = {
    "name": Column(str, "name of the source"),
    "ra": Column(float, "right ascension, ICRS", "deg"),
    "dec": Column(float, "declination, ICRS", "deg"),
    "p_fri": Column(float, "probability of FRI, mean of all draws of all networks"),
    "p_frii": Column(float, "probability of FRII, 1 - p_fri"),
    "label": Column(str, "FRI or FRII; ask if both, none if neither is plausible at the conformal level"),
    "predictive_entropy": Column(float, "total uncertainty, nats, at most ln 2"),
    "mutual_information": Column(float, "part of it on which the draws disagree, nats"),
    "expected_entropy": Column(float, "part of it on which the draws agree, nats"),
    "unlikeness": Column(float, "squared Mahalanobis distance of the last features from the training set"),
    "unlikeness_rank": Column(float, "share of the held-out galaxies that are nearer to the training set, 0 to 1"),
    "flags": Column(str, "what to know about image and galaxy, separated by spaces"),
    "message": Column(str, "why the source could not be classified"),
}
FORMATS = {
    ".ecsv": "ascii.ecsv",
    ".fits": "fits",
    ".csv": "ascii.csv",
    ".vot": "votable",
    ".xml": "votable",
    ".parquet": "parquet",
}
"""How astropy calls the formats of a table, by the ending of a file's name."""


def as_table(rows: Sequence[Row], about: Mapping[str, Any]) -> QTable:
    """Rows {column: value} as a table with units and descriptions; ``about`` becomes its meta.

    A row lacks what is not known: nan, or an empty text.
    """
    from astropy.table import Column as AstropyColumn
    from astropy.table import QTable

    columns = []
    for name, (kind, description, unit) in COLUMNS.items():
        empty = float("nan") if kind is float else ""
        values = [kind(empty if row.get(name) is None else row[name]) for row in rows]
        dtype = float if kind is float else f"U{max([1, *map(len, values)])}"
        columns.append(AstropyColumn(values, name=name, dtype=dtype, description=description, unit=unit))
    return QTable(columns, meta=dict(about))


def check_outputs(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Raise OSError if one of the files cannot be written, or is there already, before any work is done."""
    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: name a file in it")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists: overwrite it with --overwrite, or choose another name")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path.parent} is no folder: make it first, or choose another")
        check_writable(path.parent, of="choose another folder")


def check_format(path: Path) -> str:
    """How astropy calls the format that the name asks for. Raises ValueError for one that cannot be written."""
    if (ending := path.suffix.lower()) not in FORMATS:
        raise ValueError(f"{path}: a table ends in {', '.join(FORMATS)}, not in {ending or 'nothing'}")
    if FORMATS[ending] == "parquet" and find_spec("pyarrow") is None:
        raise ValueError(f"{path}: Parquet needs pyarrow, which is not installed: pip install 'radio-bnn[parquet]'")
    return FORMATS[ending]


def write(table: QTable, path: Path) -> None:
    """Write ``table`` in the format of the name of ``path``, atomically."""
    form = check_format(path)
    if form == "fits":
        table = _in_ascii(table)
    with replacing(path) as partial:
        table.write(partial, format=form, overwrite=True)


def _in_ascii(table: QTable) -> QTable:
    """FITS knows no other letters."""
    table = table.copy()
    for name in (name for name, column in COLUMNS.items() if column.kind is str):
        found = table[name]
        values = [str(value).encode("ascii", "replace").decode() for value in found]
        table[name] = type(found)(values, dtype=found.dtype, description=found.description)
    return table
