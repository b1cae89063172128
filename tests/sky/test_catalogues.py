"""Positions and names are found in tables as astronomers write them; a mosaic is read in parts."""

import gzip
import pickle

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import QTable, Table
from astropy.wcs import WCS

from radio_bnn.sky.catalogues import Mosaic, catalogue, designations, positions, read_table, unique

RA, DEC = [162.529167, 0.5, 359.999], [30.676944, -0.25, 89.0]
SEXAGESIMAL = SkyCoord(RA, DEC, unit="deg")


def hms(separator):
    kw = {"sep": separator, "precision": 6}
    return SEXAGESIMAL.ra.to_string("hour", **kw), SEXAGESIMAL.dec.to_string("deg", **kw)


TABLES = {
    "plain": Table({"ra": RA, "dec": DEC}),
    "capitals": Table({"RA_deg": RA, "DEC_deg": DEC}),
    "VizieR": Table({"_RAJ2000": RA * u.deg, "_DEJ2000": DEC * u.deg}),
    "VizieR, sexagesimal": Table(dict(zip(("RAJ2000", "DEJ2000"), hms(" "), strict=True))),
    "SExtractor": Table({"ALPHA_J2000": RA, "DELTA_J2000": DEC}),
    "colons": Table(dict(zip(("RA", "DEC"), hms(":"), strict=True))),
    "letters": Table(dict(zip(("RA", "Dec"), hms(("h", "m", "s"))[:1] + hms(("d", "m", "s"))[1:], strict=True))),
    "hours": QTable({"ra": np.array(RA) / 15 * u.hourangle, "dec": DEC * u.deg}),
    "hours, as h": Table({"ra": np.array(RA) / 15 * u.h, "dec": DEC * u.deg}),
    "radians": QTable({"ra": np.radians(RA) * u.rad, "dec": np.radians(DEC) * u.rad}),
    "texts of degrees": Table({"ra": list(map(str, RA)), "dec": list(map(str, DEC))}),
    "negative": Table({"ra": [RA[0], RA[1], RA[2] - 360], "dec": DEC}),
    "SkyCoord": QTable({"place": SEXAGESIMAL.galactic}),
    "bytes": Table({"ra": np.array(hms(" ")[0], "S"), "dec": np.array(hms(" ")[1], "S")}),
    "others beside": Table({"id": [3, 1, 2], "radius": [1, 1, 1], "decay": [0, 0, 0], "ra": RA, "dec": DEC}),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_positions_are_found_whatever_they_are_called_and_written_in(table):
    found = catalogue(table)
    np.testing.assert_allclose(found.ra, RA, atol=1e-7)
    np.testing.assert_allclose(found.dec, DEC, atol=1e-7)
    assert len(set(found.name)) == 3


def test_a_column_of_sexagesimal_degrees_says_so_by_its_unit():
    ra = SEXAGESIMAL.ra.to_string("deg", sep=":", precision=6)
    table = Table({"ra": ra, "dec": hms(":")[1]})
    table["ra"].unit = "deg"
    np.testing.assert_allclose(catalogue(table).ra, RA, atol=1e-7)


@pytest.mark.parametrize("name", ["a.ecsv", "a.csv", "a.fits", "a.vot", "a.txt", "a.dat"])
def test_any_table_that_astropy_reads(tmp_path, name):
    table = Table({"Source_Name": ["a", "b c", "d"], "RA": RA, "DEC": DEC})
    table.write(tmp_path / name, format={"vot": "votable", "txt": "ascii.basic", "dat": "ascii.basic"}.get(name[2:]))
    found = catalogue(read_table(tmp_path / name))
    assert found.name == ["a", "b c", "d"]
    np.testing.assert_allclose(found.ra, RA, atol=1e-6)


def test_columns_can_be_named():
    table = Table({"x": RA, "y": DEC, "ra": DEC, "dec": DEC, "name": ["a", "b", "c"], "other": ["p", "q", "r"]})
    found = catalogue(table, ra="x", dec="y", name="other")
    assert found.name == ["p", "q", "r"] and found.ra == pytest.approx(RA)


def test_rows_without_a_position_are_kept_as_such():
    table = Table({"ra": [10.0, np.nan, 400.0, 10.0], "dec": [1.0, 1.0, 1.0, -91.0]}, masked=True)
    table.add_row([20.0, 2.0])
    table["dec"].mask[4] = True
    found = catalogue(table)
    assert np.isfinite(found.ra).tolist() == [True, False, False, False, False]
    assert found.name == ["J004000.0+010000", "unplaced", "unplaced_2", "unplaced_3", "unplaced_4"]
    texts = catalogue(Table({"ra": ["10 50 07", "somewhere"], "dec": ["+30 40 37", "up"]}))
    assert texts.ra[0] == pytest.approx(162.5291667) and np.isnan([texts.ra[1], texts.dec[1]]).all()


WRONG = {
    "no positions": (Table({"x": RA, "y": DEC}), {}, "no columns with positions .* its columns are x, y"),
    "no such column": (TABLES["plain"], {"ra": "RAX"}, "no column 'RAX': its columns are ra, dec"),
    "no such names": (TABLES["plain"], {"name": "who"}, "no column 'who'"),
    "no rows": (TABLES["plain"][:0], {}, "has no rows"),
    "a unit of length": (Table({"ra": RA * u.m, "dec": DEC * u.deg}), {}, "column 'ra' is in m, expected an angle"),
    "truths": (Table({"ra": [True], "dec": [1.0]}), {}, "column 'ra' is of type bool, expected angles"),
    "equal names": (Table({"ra": RA, "dec": DEC, "id": [7, 8, 7]}), {}, "2 rows are called '7' .column 'id'."),
}


@pytest.mark.parametrize(("table", "columns", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_catalogue_is_refused(table, columns, message):
    with pytest.raises(ValueError, match=message):
        catalogue(table, **columns)


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 500, b"SIMPLE  = nonsense", b"{"])
@pytest.mark.parametrize("name", ["a.csv", "a.fits", "a.xml", "a.ecsv", "a.parquet", "a"])
def test_what_is_no_table_is_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name) as error:
        catalogue(read_table(tmp_path / name), where=str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_missing_table_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.csv"):
        read_table(tmp_path / "nowhere.csv")


PLACES = [
    "10 50 07 +30 40 37",
    "10:50:07 +30:40:37",
    "10h50m07s +30d40m37s",
    "162.5291667 30.6769444",
    "162.5291667,30.6769444",
]


@pytest.mark.parametrize("place", [*PLACES, (162.5291667, 30.6769444), SkyCoord(162.5291667, 30.6769444, unit="deg")])
def test_a_position_is_understood_however_it_is_written(place):
    found = positions(place)
    assert (found.ra[0], found.dec[0]) == pytest.approx((162.5291667, 30.6769444), abs=1e-6)
    assert found.name == ["J105007.0+304036"] or found.name == ["J105007.0+304037"]


def test_several_positions():
    found = positions([PLACES[0], (10.0, -5.5), PLACES[0]])
    assert found.name == ["J105007.0+304037", "J004000.0-053000", "J105007.0+304037_2"]
    assert len(positions(SEXAGESIMAL).name) == 3


@pytest.mark.parametrize(
    "place", ["", "M 87", "10 50 07", "10 50 07 +99 00 00", ["1 2", "x y"], [(1, 2, 3)], [None], []]
)
def test_what_is_no_position_is_refused(place):
    with pytest.raises(ValueError, match="position"):
        positions(place)


def test_designations_are_truncated_and_signed():
    assert designations(np.array([359.99999, 0.0]), np.array([-0.9999, 0.0])) == [
        "J235959.9-005959",
        "J000000.0+000000",
    ]


def test_second_names_do_not_collide():
    assert unique(["a", "a", "a_2", "a"]) == ["a", "a_3", "a_2", "a_4"]


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    pixels = np.random.default_rng(0).normal(size=(700, 800)).astype(np.float32)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---SIN", "DEC--SIN"], [150.0, 30.0], [400, 350]
    wcs.wcs.cdelt = [-0.0005, 0.0005]
    path = tmp_path_factory.mktemp("mosaic") / "m.fits"
    fits.PrimaryHDU(pixels[None, None], wcs.to_header()).writeto(path)
    return path, pixels, wcs


def test_a_part_of_a_mosaic_is_what_cutout2d_cuts(mosaic):
    path, pixels, wcs = mosaic
    found = pickle.loads(pickle.dumps(Mosaic(path))).around(150, 30)
    assert found.pixels.shape == (700, 800)
    part = Cutout2D(pixels, SkyCoord(150.01, 30.02, unit="deg"), 300, wcs=wcs)
    (bottom, top), (left, right) = part.bbox_original
    assert np.array_equal(found.pixels[bottom : top + 1, left : right + 1], part.data)


@pytest.mark.parametrize("compressed", [False, True])
def test_scaled_and_compressed_mosaics_are_read_in_parts(tmp_path, mosaic, compressed):
    _, pixels, wcs = mosaic
    whole = np.rint(1000 * pixels).astype(np.int32)
    hdu = fits.CompImageHDU(whole, wcs.to_header()) if compressed else fits.ImageHDU(whole, wcs.to_header())
    hdu.header["BZERO"], hdu.header["BSCALE"] = (0.0, 1.0) if compressed else (5.0, 0.001)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "m.fits")
    with fits.open(tmp_path / "m.fits") as hdus:
        truth = hdus[1].data[100:110, 20:40]
    np.testing.assert_allclose(Mosaic(tmp_path / "m.fits").around(0, 0).pixels[100:110, 20:40], truth, rtol=1e-6)


def test_a_mosaic_that_cannot_serve_is_refused(tmp_path, mosaic):
    path, pixels, wcs = mosaic
    cases = {
        "packed.fits": (gzip.compress(path.read_bytes()), "is gzipped .* unpack it first"),
        "text.fits": (b"text" * 1000, "not a FITS image"),
        "empty.fits": (b"", "text|FITS"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            Mosaic(tmp_path / name)
    fits.PrimaryHDU(pixels).writeto(tmp_path / "nowhere.fits")
    fits.PrimaryHDU(np.zeros((3, 50, 50)), wcs.to_header()).writeto(tmp_path / "cube.fits")
    fits.PrimaryHDU().writeto(tmp_path / "header.fits")
    for name, message in {"nowhere": "no celestial WCS", "cube": "axes .3, 50, 50.", "header": "no image"}.items():
        with pytest.raises(ValueError, match=message):
            Mosaic(tmp_path / f"{name}.fits")
    with pytest.raises(FileNotFoundError):
        Mosaic(tmp_path / "missing.fits")
