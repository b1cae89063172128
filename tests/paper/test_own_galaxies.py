"""Simulated cutouts as files, what the command says of them, and how the chapter counts it."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from radio_bnn.data import simulate
from radio_bnn.data.cutouts import preprocess
from radio_bnn.paper import own_galaxies
from radio_bnn.sky.sources import sources


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cutouts")
    return own_galaxies.write_cutouts(folder, 2, seed=3)


def test_cutouts_are_of_first_s_pixels_and_read_back_as_the_simulator_made_them(written):
    assert len(written) == 2 * len(own_galaxies.KINDS) + 1 and len(set(written)) == len(written)
    for path in written:
        header = fits.getheader(path)
        assert proj_plane_pixel_scales(WCS(header)) * 3600 == pytest.approx([1.8, 1.8], abs=1e-9)
    drawn = simulate.draw_cutout(200, seed=4)
    [second] = [path for path in written if path.name == "FRII_01.fits"]
    np.testing.assert_allclose(fits.getdata(second), drawn / 1e3, rtol=1e-6)
    found = sources(written)
    image = found[list(found.names).index("FRII_01")].image
    assert np.mean(image != preprocess(drawn)) < 1e-3  # millijansky are rounded


def test_the_half_that_is_missing_is_refused_and_nothing_else(written):
    found = {source.name: source for source in sources(written)}
    assert found["half_missing_00"].image is None and "missing_data" in found["half_missing_00"].flags
    assert all(source.image is not None for name, source in found.items() if not name.startswith(("half", "empty")))


def table(rows) -> QTable:
    names = ("name", "label", "predictive_entropy", "flags")
    return QTable([list(column) for column in zip(*rows, strict=True)], names=names)


FOUND = table(
    [
        ("FRI_00", "FRI", 0.2, ""),
        ("FRI_01", "FRII", 0.4, "blended"),
        ("FRII_00", "FRII", 0.1, "unlike_training blended"),
        ("hybrid_00", "ask", 0.6, ""),
        ("point_source_00", "FRI", 0.3, "unlike_training"),
        ("empty_field_00", "", np.nan, "no_signal"),
        ("half_missing_00", "", np.nan, "missing_data"),
    ]
)
FACTS = {
    "never_trained_on": {
        name: {"label_percent": {"ask": 40.0}, "unlike_training_percent": 1.0, "covered_percent": 80.0}
        for name in ("uncertain", "hybrid")
    },
    "held_out": {
        "scores": {
            view: {name: {"value": 1.0, "low": 0.5, "high": 2.0} for name in ("error_percent", "nll", "uce_percent")}
            for view in ("upright", "orbit")
        }
    },
}


def test_a_table_is_read_as_it_was_written(tmp_path):
    FOUND.write(tmp_path / "found.ecsv")
    again = own_galaxies.read(tmp_path / "found.ecsv")
    for name in FOUND.colnames:
        np.testing.assert_array_equal(np.asarray(again[name]), np.asarray(FOUND[name]))


def test_a_source_is_of_the_kind_that_its_name_says():
    assert list(own_galaxies.kinds(FOUND)) == [
        "FRI",
        "FRI",
        "FRII",
        "hybrid",
        "point source",
        "empty field",
        "half missing",
    ]


def test_labels_are_counted_by_kind_and_errors_among_the_sure():
    rows = own_galaxies.label_table(FOUND).splitlines()[2:]
    assert rows[0] == "| FRI | 2 | 1 | 1 | 0 | 0 | 0 | 0.30 | 0 |"
    assert rows[4] == "| empty field | 1 | 0 | 0 | 0 | 0 | 1 | – | 0 |"
    shown = QTable(FOUND)
    shown["p_frii"], shown["unlikeness_rank"], shown["message"] = 0.5, 0.25, [""] * 6 + ["half is missing"]
    rows = own_galaxies.row_table(shown).splitlines()[2:]
    assert rows[1] == "| `FRI_01` | FRII | 0.50 | 0.40 | 0.25 | blended | – |"
    assert rows[6] == "| `half_missing_00` | – | – | – | – | missing_data | half is missing |"
    assert own_galaxies.wrong(FOUND) == (1, 3)
    said = own_galaxies.spoken(FOUND, FACTS)
    assert (said["n_sources"], said["n_used"], said["n_sure"], said["n_wrong"]) == (7, 5, 3, 1)
    assert (said["n_strange"], said["n_named"], said["n_flagged"]) == (1, 1, 1)
    assert said["ask_hybrid"] == "40" and said["error_orbit"] == "1.0 [0.5, 2.0]"
