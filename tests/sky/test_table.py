"""Every format gives back what was written, with units where it can hold them."""

from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.table import Column, QTable, meta

from radio_bnn.sky.table import COLUMNS, FORMATS, as_table, check_format, check_outputs, write

ROWS = [
    {name: (f"{name} 1" if kind is str else 1 / 3) for name, (kind, *_) in COLUMNS.items()},
    {"name": "β, “quoted”\tand; more", "ra": 10.0, "flags": "edge", "message": "it's no image"},
]
ABOUT = {"version": "radio_bnn", "alpha": 0.1}


def read(path) -> QTable:
    """A table of any format; of Parquet as astropy reads it, which does so with pandas alone."""
    if path.suffix != ".parquet":
        return QTable.read(path, format=FORMATS[path.suffix])
    from pyarrow import parquet

    found = parquet.read_table(path)
    header = meta.get_header_from_yaml(found.schema.metadata[b"table_meta_yaml"].decode().splitlines())
    columns = [Column(found[x["name"]].to_pylist(), **{k: x.get(k) for k in KEPT}) for x in header["datatype"]]
    return QTable(columns, meta={k: v for k, v in header["meta"].items() if k != "__serialized_columns__"})


KEPT = ("name", "unit", "description")


@pytest.mark.parametrize("ending", FORMATS)
def test_a_written_table_is_read_back(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    write(as_table(ROWS, ABOUT), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    found = read(path)
    assert found.colnames == list(COLUMNS)
    for name, (kind, description, unit) in COLUMNS.items():
        values = found[name] if ending == ".csv" or unit is None else found[name].to_value(unit)
        if kind is float:
            np.testing.assert_array_equal(np.ma.filled(values, np.nan), [row.get(name, np.nan) for row in ROWS])
        else:
            wanted = [row.get(name, "") for row in ROWS]
            wanted = [x.encode("ascii", "replace").decode() for x in wanted] if ending == ".fits" else wanted
            assert [str(x) for x in np.ma.filled(values, "")] == wanted
        if ending in (".ecsv", ".vot", ".xml", ".parquet"):
            assert " ".join(found[name].info.description.split()) == description
            assert (found[name].unit or None) == (unit and units.Unit(unit))
    if ending in (".ecsv", ".parquet"):
        assert found.meta == ABOUT


def test_units_and_meta():
    table = as_table(ROWS, ABOUT)
    assert isinstance(table, QTable) and table["ra"].unit == units.deg and table.meta == ABOUT
    assert len(as_table([], ABOUT)) == 0


def test_an_ending_that_is_no_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.ecsv, .*, not in \.txt"):
        check_format(tmp_path / "table.txt")
    with pytest.raises(ValueError, match="not in nothing"):
        check_format(tmp_path / "table")


def test_parquet_without_pyarrow_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("radio_bnn.sky.table.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs pyarrow, which is not installed: pip install .radio-bnn.parquet."):
        check_format(tmp_path / "table.parquet")


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path):
    there = tmp_path / "there.ecsv"
    there.write_text("precious")
    for path, error, says in [
        (there, FileExistsError, "there.ecsv exists: overwrite it with --overwrite"),
        (tmp_path, IsADirectoryError, "is a folder: name a file in it"),
        (tmp_path / "no" / "x.ecsv", FileNotFoundError, "no is no folder: make it first"),
    ]:
        with pytest.raises(error, match=says):
            check_outputs([path], overwrite=False)
    check_outputs([there], overwrite=True)
    with pytest.raises(OSError, match=r"/proc/self cannot be written \(.*\): choose another folder"):
        check_outputs([Path("/proc/self/x.ecsv")], overwrite=False)
    assert there.read_text() == "precious" and list(tmp_path.iterdir()) == [there]


def test_a_disk_that_is_full_leaves_an_earlier_table_as_it_was(tmp_path):
    resource = pytest.importorskip("resource")
    path, before = tmp_path / "table.csv", resource.getrlimit(resource.RLIMIT_FSIZE)
    path.write_text("precious")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(as_table(ROWS * 50, ABOUT), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "precious" and [p.name for p in tmp_path.iterdir()] == ["table.csv"]
