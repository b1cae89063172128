from collections import Counter

import numpy as np
import pytest

from radio_bnn.data import mirabest
from radio_bnn.data.folds import N_FOLDS, assign, committed, overlaps
from radio_bnn.data.galaxies import CLASSES, Galaxies
from radio_bnn.data.simulate import draw_catalogue


def catalogue(seed: int = 0) -> Galaxies:
    """MiraBest's class counts at random places, without images; the first few overlap in pairs and a chain."""
    rng = np.random.default_rng(seed)
    counts = {100: 339, 102: 49, 104: 9, 110: 191, 112: 3, 200: 432, 201: 4, 210: 195, 300: 19, 310: 15}
    code = rng.permutation(np.repeat(list(counts), list(counts.values())))
    n = len(code)
    test = np.zeros(n, bool)
    for c, (_, size) in mirabest.COUNTS.items():
        test[np.flatnonzero(code == c)[:size]] = True
    sky = draw_catalogue(rng.random(n), rng)
    free = rng.permutation(np.flatnonzero(~test))[:9].reshape(3, 3)
    for first, *others in free:
        for step, i in enumerate(others, 1):
            sky["ra"][i], sky["dec"][i] = sky["ra"][first], sky["dec"][first] + 0.04 * step
    names = np.array([f"g{i}" for i in range(n)])
    return Galaxies(np.zeros((n, 1, 1), np.uint8), code, test, names, **sky, size=np.zeros(n))


WORLDS = {f"seed {seed}": catalogue(seed) for seed in range(3)}


@pytest.fixture(params=[*WORLDS, "MiraBest"])
def world(request):
    if request.param != "MiraBest":
        return WORLDS[request.param], assign(WORLDS[request.param])
    path = mirabest.locate() or pytest.skip("needs MiraBest")
    galaxies = mirabest.read(path)[0]
    return galaxies, committed(galaxies.name)


def test_every_confident_galaxy_is_tested_once_and_fold_0_is_the_published_test_batch(world):
    galaxies, folds = world
    judged = (galaxies.morphology < 3) & galaxies.confident
    assert ((folds.role == "test").sum(axis=1) == judged).all()
    np.testing.assert_array_equal(folds.role[:, 0] == "test", judged & galaxies.in_test_batch)
    for i in np.flatnonzero(judged):
        assert folds.role[i, folds.fold[i]] == "test"


def test_the_sizes_are_those_of_the_published_split(world):
    galaxies, folds = world
    for k in range(N_FOLDS):
        count = Counter(folds.role[:, k].tolist())
        assert count["test"] in (104, 105) and count["validation"] == 145
        assert count["train"] == 833 - 145 - count["test"]


def test_classes_are_as_even_as_whole_numbers_and_overlaps_allow(world):
    galaxies, folds = world
    grouped = len({i for pair in overlaps(galaxies) for i in pair})
    for role in ("test", "validation"):
        for code in (c for c in CLASSES if c < 300 and c // 10 % 10 == 0):
            counts = [(folds.role[galaxies.code == code, k] == role).sum() for k in range(1, N_FOLDS)]
            assert max(counts) - min(counts) <= 1 + grouped // 2
            if code in (100, 200) and role == "validation":
                assert max(counts) - min(counts) <= 1


def test_overlapping_galaxies_share_fold_and_role_and_no_network_sees_the_neighbour_of_what_it_judges(world):
    galaxies, folds = world
    judged = (galaxies.morphology < 3) & galaxies.confident
    pairs = overlaps(galaxies)
    assert len(pairs) >= 6
    for i, j in pairs:
        if judged[i] and judged[j]:
            assert (folds.role[i] == folds.role[j]).all()
        elif judged[i] != judged[j]:
            doubted, neighbour = (i, j) if judged[j] else (j, i)
            trained = folds.role[neighbour] == "train"
            np.testing.assert_array_equal(folds.role[doubted] == "left out", trained)
        assert folds.fold[i] == folds.fold[j]


def test_uncertain_and_hybrid_galaxies_are_never_trained_on(world):
    galaxies, folds = world
    doubted = (galaxies.morphology == 3) | ~galaxies.confident
    assert set(folds.role[doubted].ravel()) <= {"scored", "left out"}
    assert len(set(folds.fold[doubted])) == N_FOLDS


def test_overlaps_are_those_of_the_great_circle():
    from astropy import units
    from astropy.coordinates import SkyCoord, search_around_sky

    galaxies = WORLDS["seed 0"]
    place = SkyCoord(galaxies.ra * units.deg, galaxies.dec * units.deg)
    i, j, _, _ = search_around_sky(place, place, 4.5 * units.arcmin)
    assert overlaps(galaxies) == sorted((int(a), int(b)) for a, b in zip(i, j, strict=True) if a < b)


def test_the_committed_table_is_the_rule_applied_to_mirabest(mirabest_archive):
    galaxies = mirabest.read(mirabest_archive)[0]
    table, rule = committed(galaxies.name), assign(galaxies)
    np.testing.assert_array_equal(table.fold, rule.fold)
    np.testing.assert_array_equal(table.role, rule.role)
    pairs = [sorted(galaxies.name[[i, j]]) for i, j in overlaps(galaxies)]
    assert len(pairs) == 8
    confident = [pair for pair in pairs if all(name[1] == "0" for name in pair)]
    assert len(confident) == 4


def test_a_galaxy_that_the_table_does_not_hold_is_named():
    with pytest.raises(ValueError, match="sim_000001 is not in folds.csv"):
        committed(np.array(["sim_000001"]))
