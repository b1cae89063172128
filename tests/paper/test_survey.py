"""Sizes in kiloparsecs and medians with intervals."""

import numpy as np
import pytest
from scipy.integrate import quad

from radio_bnn.data.folds import catalogue
from radio_bnn.paper import survey

HUBBLE, MATTER, LIGHT = 67.66, 0.30966, 299792.458  # Planck 2018, table 2, TT,TE,EE+lowE+lensing+BAO; km/s


@pytest.mark.parametrize("z", [0.05, 0.1, 0.4])
def test_an_angle_is_a_length_by_the_integral_over_the_expansion(z):
    """Flat, without radiation and neutrinos, which matter by less than a thousandth here."""
    comoving, _ = quad(lambda x: 1 / np.sqrt(MATTER * (1 + x) ** 3 + 1 - MATTER), 0, z)
    kpc = 1000 * LIGHT / HUBBLE * comoving / (1 + z) * np.deg2rad(30 / 3600)
    assert survey.physical_size(np.array([30.0]), np.array([z]))[0] == pytest.approx(kpc, rel=1e-3)


def test_the_interval_of_a_median_covers_it_as_often_as_it_says():
    rng, held = np.random.default_rng(1), 0
    for seed in range(200):
        values = rng.normal(size=101)
        found = survey.with_interval(survey.medians(values, np.ones(101, bool), seed=seed))
        held += found.low <= 0 <= found.high
    assert held >= 180


def test_the_table_has_the_ratio_of_what_stands_beside_it():
    table = catalogue()
    angles = {name: np.median(table.size[survey.of_class(table, name)]) for name in survey.CLASSES}
    assert survey.ratio(table, table.size).value == angles["FRI"] / angles["FRII"]
    assert sum(survey.of_class(table, name).sum() for name in survey.CLASSES) == 833
    assert len(survey.size_table(table).splitlines()) == 2 + len(survey.quantities(table))
