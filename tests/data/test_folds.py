"""The eight folds: who is judged by whom, MiraBest's committed table, and the sets that runs are made of."""

from collections import Counter
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from radio_bnn.data import COUNTS, folds, load, mirabest, validation_halves
from radio_bnn.data.folds import N_FOLDS, assign, committed, committed_names, divide, overlaps
from radio_bnn.data.galaxies import CLASSES, Galaxies
from radio_bnn.data.simulate import draw_catalogue, first_of_each, scaled_counts


def catalogue(seed: int = 0) -> Galaxies:
    """MiraBest's class counts at random places, without images; the first few overlap in pairs and a chain."""
    rng = np.random.default_rng(seed)
    code = rng.permutation(np.repeat(list(COUNTS), [sum(pair) for pair in COUNTS.values()]))
    n = len(code)
    test = first_of_each(code, {c: size for c, (_, size) in COUNTS.items()})
    sky = draw_catalogue(rng.random(n), rng)
    free = rng.permutation(np.flatnonzero(~test))[:9].reshape(3, 3)
    for first, *others in free:
        for step, i in enumerate(others, 1):
            sky["ra"][i], sky["dec"][i] = sky["ra"][first], sky["dec"][first] + 0.04 * step
    names = np.array([f"g{i}" for i in range(n)])
    return Galaxies(np.zeros((n, 1, 1), np.uint8), code, test, names, **sky, size=np.zeros(n))


WORLDS = {f"seed {seed}": catalogue(seed) for seed in range(3)}


@pytest.fixture(scope="module")
def real(mirabest_archive):
    """The galaxies of MiraBest."""
    return mirabest.read(mirabest_archive)[0]


@pytest.fixture(scope="module", params=[*WORLDS, "MiraBest"])
def world(request):
    if request.param != "MiraBest":
        return WORLDS[request.param], assign(WORLDS[request.param], overlaps(WORLDS[request.param]))
    galaxies = request.getfixturevalue("real")
    return galaxies, committed(galaxies.name)


def divided(galaxies, fold, source="simulated"):
    return divide(galaxies, source=source, sha256="0" * 64, data_seed=14, fold=fold)


def apart(galaxies, part):
    """The overlapping pairs of which one galaxy is in ``part`` and the other is not."""
    inside = np.isin(galaxies.name, part.name)
    return [(i, j) for i, j in overlaps(galaxies) if inside[i] != inside[j]]


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


def test_the_committed_table_is_the_rule_applied_to_mirabest(real):
    table, rule = committed(real.name), assign(real, overlaps(real))
    np.testing.assert_array_equal(table.fold, rule.fold)
    np.testing.assert_array_equal(table.role, rule.role)
    pairs = [sorted(real.name[[i, j]]) for i, j in overlaps(real)]
    assert len(pairs) == 8
    confident = [pair for pair in pairs if all(name[1] == "0" for name in pair)]
    assert len(confident) == 4


def test_the_command_makes_the_committed_table_byte_for_byte(mirabest_archive, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(folds, "TABLE", tmp_path / "folds.csv")
    assert folds.main() == 0
    assert capsys.readouterr().out == "folds.csv divides 1256 galaxies into 8 folds.\n"
    assert (tmp_path / "folds.csv").read_bytes() == (files("radio_bnn.data") / "folds.csv").read_bytes()


def test_the_table_is_the_one_that_the_code_knows_whatever_ends_its_lines(tmp_path, monkeypatch):
    table, changed = folds.TABLE.read_bytes(), tmp_path / "folds.csv"
    monkeypatch.setattr(folds, "TABLE", changed)
    try:
        folds._rows.cache_clear()
        changed.write_bytes(table.replace(b"\n", b"\r\n"))
        assert len(folds.committed_names()) == 1256
        folds._rows.cache_clear()
        changed.write_bytes(table.replace(b"train", b"test", 1))
        with pytest.raises(ValueError, match="folds.csv is not the table of the folds of this version"):
            folds.committed_names()
    finally:
        folds._rows.cache_clear()


@pytest.mark.parametrize("place", ["", "nowhere"])
def test_without_mirabest_the_command_writes_nothing_and_says_why_in_one_line(tmp_path, monkeypatch, capsys, place):
    monkeypatch.setattr(folds, "TABLE", tmp_path / "folds.csv")
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RADIO_BNN_OFFLINE", "1")
    monkeypatch.setenv("RADIO_BNN_DATA", place)
    assert folds.main() == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "RADIO_BNN_DATA" in said.err
    assert not (tmp_path / "folds.csv").exists()


def test_the_table_holds_as_many_of_each_class_as_mirabest_in_the_order_of_its_classes():
    code = [int(name[:3]) for name in committed_names()]
    assert code == np.repeat(list(COUNTS), [sum(pair) for pair in COUNTS.values()]).tolist()


def test_a_galaxy_that_the_table_does_not_hold_is_named():
    with pytest.raises(ValueError, match="sim_000001 is not in folds.csv.*published batches.*fold=None"):
        committed(np.array(["sim_000001"]))


# The sets


@pytest.mark.parametrize("fold", range(N_FOLDS))
def test_the_sets_of_mirabest_are_the_roles_of_the_table(real, fold):
    splits, role = divided(real, fold, "mirabest"), committed(real.name).role[:, fold]
    assert (splits.fold, splits.data_seed) == (fold, None)
    for name in ("train", "test"):
        assert splits[name].name.tolist() == real.name[role == name].tolist()
    assert set(splits["validation"].name) == set(real.name[role == "validation"])
    scored = real[role == "scored"]
    for name, hybrid in (("uncertain", False), ("hybrid", True)):
        assert splits[name].name.tolist() == scored.name[(scored.morphology == 3) == hybrid].tolist()
    assert np.bincount(splits["hybrid"].labels).tolist() == [19, 15]
    assert not splits["uncertain"].confident.any()


@pytest.mark.parametrize("fold", range(N_FOLDS))
def test_no_pair_is_apart_in_what_trains_selects_calibrates_or_tests(real, fold):
    splits = divided(real, fold, "mirabest")
    halves = [splits["validation"][half] for half in validation_halves(145)]
    fr = real[(real.morphology < 3) & real.confident]
    assert len(overlaps(fr)) == 4
    for part in (splits["train"], *halves, splits["test"]):
        assert apart(fr, part) == []
    trained, scored = (np.isin(real.name, splits[n].name) for n in ("train", "uncertain"))
    assert not [pair for pair in overlaps(real) if trained[list(pair)].any() and scored[list(pair)].any()]


@pytest.mark.parametrize("fold", range(N_FOLDS))
@pytest.mark.parametrize("source", ["mirabest", "simulated"])
def test_both_halves_of_validation_have_their_share_of_every_class_in_mixed_order(request, source, fold):
    galaxies = request.getfixturevalue("real") if source == "mirabest" else WORLDS["seed 1"]
    validation = divided(galaxies, fold, source)["validation"]
    selecting, calibrating = (validation[half] for half in validation_halves(len(validation)))
    assert (len(selecting), len(calibrating)) == (72, 73)
    for code in set(validation.code):
        assert abs((selecting.code == code).sum() - (calibrating.code == code).sum()) <= 1
    for half in (selecting, calibrating):
        assert (np.diff(half.labels) != 0).sum() > 20


def test_the_division_of_simulated_galaxies_is_that_of_their_classes_wherever_they_lie():
    here, there = WORLDS["seed 0"], replace(WORLDS["seed 0"], ra=np.zeros(1256), dec=np.zeros(1256))
    for fold in range(N_FOLDS):
        one, same = divided(here, fold), divided(there, fold)
        assert [part.name.tolist() for part in one.values()] == [part.name.tolist() for part in same.values()]
        assert len(one["uncertain"]) == 389 and len(one["hybrid"]) == 34
        assert len(one["train"]) + len(one["validation"]) + len(one["test"]) == 833
    tested = np.concatenate([divided(here, fold)["test"].name for fold in range(N_FOLDS)])
    assert len(tested) == len(set(tested)) == 833


def test_folds_differ_and_none_is_the_published_division():
    galaxies = WORLDS["seed 2"]
    orders = {tuple(divided(galaxies, fold)["validation"].name) for fold in (None, *range(N_FOLDS))}
    assert len(orders) == 1 + N_FOLDS
    published = divided(galaxies, None)
    assert (published.fold, published.data_seed) == (None, 14)
    assert divided(galaxies, 0)["test"].name.tolist() == published["test"].name.tolist()


def test_simulated_galaxies_are_loaded_by_fold_whatever_the_data_seed():
    counts = scaled_counts(40)
    one, same = (load("simulated", counts=counts, fold=3, data_seed=seed) for seed in (14, 15))
    assert (one.fold, one.source) == (3, "simulated")
    assert [part.name.tolist() for part in one.values()] == [part.name.tolist() for part in same.values()]
    assert one.banner().startswith("SIMULATED GALAXIES, not MiraBest: asked for by name; fold 3. To use MiraBest")


@pytest.mark.parametrize("train_on", ["labelled", "all"])
def test_a_galaxy_that_is_trained_on_is_scored_by_its_own_fold_alone(world, train_on):
    galaxies, folds = world
    real = galaxies not in WORLDS.values()
    folds = folds if real else assign(galaxies)
    scored = Counter()
    for fold in range(N_FOLDS):
        plain = divided(galaxies, fold, "mirabest" if real else "simulated")
        wide = divide(
            galaxies,
            source="mirabest" if real else "simulated",
            sha256="",
            data_seed=14,
            fold=fold,
            train_on=train_on,
        )
        for name in ("validation", "test"):
            assert np.array_equal(wide[name].name, plain[name].name)
        added = wide["train"][~np.isin(wide["train"].name, plain["train"].name)]
        assert set(plain["train"].name) <= set(wide["train"].name)
        assert not (added.confident & (added.morphology < 3)).any()
        assert set(added.morphology) == ({1, 2, 3} if train_on == "all" else {1, 2})
        assert not np.isin(added.name, galaxies.name[folds.fold == fold]).any()
        assert not np.isin(wide["train"].name, [n for part in ("uncertain", "hybrid") for n in wide[part].name]).any()
        held_out = [name for part in wide if part != "train" for name in wide[part].name]
        for i, j in overlaps(galaxies) if real else ():
            pair = galaxies.name[[i, j]]
            assert not (np.isin(pair, wide["train"].name).any() and np.isin(pair, held_out).any()), pair
        scored.update([*wide["uncertain"].name, *wide["hybrid"].name])
    unjudged = galaxies.name[(galaxies.morphology == 3) | ~galaxies.confident]
    assert set(scored.values()) == {1} and set(scored) == set(unjudged)


def test_mirabest_is_loaded_by_fold(mirabest_archive):
    splits = load("mirabest", fold=4)
    sizes = {name: len(part) for name, part in splits.items()}
    assert sizes == {"train": 584, "validation": 145, "test": 104, "uncertain": 385, "hybrid": 34}
    assert "1256 galaxies; fold 4; train 584, validation 145" in splits.banner()


@pytest.mark.parametrize("fold", [-1, 8, 2.0, True, "3"])
def test_what_is_no_fold_is_one_clear_error(fold):
    with pytest.raises(ValueError, match=f"fold={fold!r} is not a fold: choose an int from 0 to 7, or None"):
        load("simulated", fold=fold)
    with pytest.raises(ValueError, match="is not a fold"):
        divided(WORLDS["seed 0"], fold)


def test_the_table_says_of_every_galaxy_what_its_image_and_the_first_edition_do(mirabest_archive):
    found, galaxies = folds.catalogue(), load("mirabest", fold=0).galaxies
    order = np.argsort(galaxies.name)
    assert np.array_equal(found.name, galaxies.name[order]) and np.array_equal(found.code, galaxies.code[order])
    assert np.array_equal(found.redshift, galaxies.redshift[order]) and np.array_equal(found.size, galaxies.size[order])
    assert np.array_equal(found.lit_pixels, (galaxies.images[order] > 0).sum(axis=(1, 2)))
    validated = {name for seed in (14, 15, 16) for name in load("mirabest", data_seed=seed)["validation"].name}
    assert set(found.name[found.chosen_on]) == validated and len(validated) == 343


def test_separations_are_those_of_overlaps_and_the_great_circle(real):
    for i, j in overlaps(real):
        cosine = np.sin(np.radians(real.dec[i])) * np.sin(np.radians(real.dec[j])) + np.cos(
            np.radians(real.dec[i])
        ) * np.cos(np.radians(real.dec[j])) * np.cos(np.radians(real.ra[i] - real.ra[j]))
        assert folds.separation(real, i, j) == pytest.approx(60 * np.degrees(np.arccos(cosine)), rel=1e-3, abs=1e-3)
        assert folds.separation(real, i, j) <= folds.OVERLAP_ARCMIN
    assert folds.separation(real, 5, 5) == 0 and int(folds.catalogue().judged.sum()) == 833
