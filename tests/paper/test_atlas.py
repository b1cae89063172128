"""Who is always wrong, by hand and by construction; rulers that are fitted without the galaxies that they judge."""

import numpy as np
import pytest
from synthetic import LEARNT, STUCK, fill, path

from radio_bnn.data.folds import catalogue
from radio_bnn.paper import atlas, contrasts, experiments
from radio_bnn.paper.atlas import Judged
from radio_bnn.paper.prose import FINDING


@pytest.fixture
def found():
    """Four galaxies under three trainings: never wrong, once, twice, always."""
    p = np.array([[0.9, 0.8, 0.2, 0.1], [0.9, 0.7, 0.3, 0.0], [0.6, 0.4, 0.9, 0.2]])
    return Judged(np.flatnonzero(catalogue().judged)[:4], np.array([0, 1, 0, 1]), p)


def test_galaxies_are_counted_by_how_many_trainings_err(found):
    assert found.wrong.tolist() == [0, 1, 2, 3] and atlas.counts(found).tolist() == [1, 1, 1, 1]
    groups = [found.group(name) for name in atlas.GROUPS]
    assert np.array_equal(np.sum(groups, axis=0), np.ones(4)) and found.group("always").tolist() == [0, 0, 0, 1]
    assert found.p_frii == pytest.approx([0.2, 1.9 / 3, 1.6 / 3, 0.1])


def test_independent_errors_are_what_drawing_them_gives(found):
    errors = (found.p < 0.5).mean(axis=1)
    drawn = (np.random.default_rng(0).random((100_000, len(errors))) < errors).sum(axis=1)
    expected = 4 * np.bincount(drawn, minlength=4) / len(drawn)
    assert atlas.if_independent(found) == pytest.approx(expected, abs=0.02)
    assert atlas.if_independent(found).sum() == pytest.approx(4)


def test_trainings_that_guess_or_lack_a_fold_are_left_out(store):
    path(store, {t: dict(LEARNT) for t in (0.01, 0.1)} | {1.0: dict(STUCK)})
    path(store, {0.3: dict(LEARNT)}, folds=range(7))
    fill(store, experiments.priors()["laplace"], **LEARNT)
    assert list(atlas.trainings()) == ["Gaussian, T = 0.01", "Gaussian, T = 0.1", "Laplace"]
    assert atlas.warmest(atlas.trainings()) == 0.1
    assert atlas.at(atlas.trainings(), 0.1)[0] == "Gaussian, T = 0.1"
    with pytest.raises(ValueError, match=r"temperature=0.3: no such training learns on all folds; choose 0.01, 0.1"):
        atlas.at(atlas.trainings(), 0.3)


def test_every_confident_galaxy_is_judged_once_by_each_training_and_in_the_order_of_the_catalogue(store):
    path(store, {t: dict(LEARNT) for t in (0.01, 0.1)})
    groups = atlas.trainings()
    judged, table = atlas.judged(groups), catalogue()
    assert np.array_equal(judged.places, np.flatnonzero(table.judged))
    assert np.array_equal(judged.labels, table.code[judged.places] // 100 - 1)
    assert [len(row) for row in judged.p] == [833, 833]
    with pytest.raises(ValueError, match="no training is stored"):
        atlas.judged({})
    short = {"all": groups["Gaussian, T = 0.1"], "few": groups["Gaussian, T = 0.01"][:3]}
    with pytest.raises(ValueError, match="few judges other galaxies than all"):
        atlas.judged(short)


def test_a_ruler_never_sees_the_galaxies_that_it_judges(store, monkeypatch):
    path(store, {0.1: dict(LEARNT)})
    runs, table = contrasts.stored(experiments.paths()[0.1]), catalogue()
    straight = atlas.ruled(atlas.RATIO, runs)
    tested = table.fold == 3
    turned = table._replace(code=np.where(tested & table.judged, 300 - table.code // 100 * 100, table.code))
    monkeypatch.setattr(atlas, "catalogue", lambda: turned)
    after = atlas.ruled(atlas.RATIO, runs)
    assert np.array_equal(straight.logits[3], after.logits[3])
    assert not np.array_equal(straight.logits[2], after.logits[2])


def test_a_ruler_that_holds_the_label_is_right_and_one_that_holds_nothing_has_the_odds(store, monkeypatch):
    path(store, {0.1: dict(LEARNT)})
    runs, table = contrasts.stored(experiments.paths()[0.1]), catalogue()
    y = table.code // 100 - 1.0
    noisy = y + np.random.default_rng(0).normal(0, 0.25, len(y))
    monkeypatch.setattr(atlas, "RULERS", {"label": lambda _: [noisy], "nothing": lambda t: [np.zeros(len(t.code))]})
    held = atlas.beside(runs, "networks")
    assert held.interval("error_percent", label=1.0).value < 5
    share = (table.code[table.judged] // 100 == 1).mean()
    assert held.interval("error_percent", nothing=1.0).value == pytest.approx(100 * share)
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert held.interval("nll", nothing=1.0).value == pytest.approx(entropy, abs=2e-3)
    assert len(atlas.ruler_table(held).splitlines()) == 2 + 3


def test_the_finding_says_which_is_better(store, monkeypatch):
    path(store, {0.1: dict(LEARNT)})
    runs, table = contrasts.stored(experiments.paths()[0.1]), catalogue()
    judged, y = atlas.judged(atlas.trainings()), table.code // 100 - 1.0
    sides = {"as well as": 0.4, "better than": 0.1, "less well than": 9.0}
    for words, spread in sides.items():
        noisy = y + np.random.default_rng(0).normal(0, spread, len(y))
        monkeypatch.setattr(atlas, "RULERS", {atlas.ON_THE_IMAGE: lambda _, x=noisy: [x]})
        data = atlas.finding(atlas.beside(runs, "networks"), judged)._repr_mimebundle_()
        assert f"classify {words} the network**" in data[FINDING] and data[FINDING] == data["text/markdown"]
        assert f"of 833 galaxies are wrong under all {len(judged.p)} trainings" in data[FINDING]


def test_the_training_that_errs_least_is_named(store):
    path(store, {0.01: {**LEARNT, "evidence_for_truth": 1.0}, 0.1: {**LEARNT, "evidence_for_truth": 3.0}})
    title, held = atlas.lowest_error(atlas.trainings())
    assert title == "Gaussian, T = 0.1" and next(iter(held.sides)) == title


def test_the_size_of_the_catalogue_is_measured_between_the_peaks_of_an_frii_alone():
    assert 0.95 < atlas.in_size(1) < 1.1 and atlas.in_size(0) < 0.3
    assert atlas.ranks(atlas.HOLDS_THE_LABEL).low > atlas.ranks(atlas.RATIO).high > 0.8


def test_the_list_begins_where_a_ruler_agrees_with_the_networks_and_then_with_the_surest_error():
    p = np.array([[0.3, 0.1, 0.2, 0.9, 0.05]])
    judged = Judged(np.flatnonzero(catalogue().judged)[:5], np.zeros(5, int), p)
    order = atlas.listed(judged, np.array([0.2, 0.9, 0.4, 0.1, 0.8]))
    assert order.tolist() == [2, 0, 4, 1]
    table = atlas.list_table(judged, {"ruler": np.array([0.2, 0.9, 0.4, 0.1, 0.8])}, order)
    assert [line.split("|")[-2].strip() for line in table.splitlines()[2:]] == ["other", "other", "agrees", "agrees"]
    assert len(atlas.captions(judged, order)) == 4


def test_a_class_without_a_galaxy_in_a_group_has_a_row_without_numbers(found):
    rows = [line.split("|")[1:-1] for line in atlas.often_table(found).splitlines()[2:]]
    assert len(rows) == 6 and all(len(row) == 7 for row in rows)
    assert rows[1][3].strip() == "–"
    assert len(atlas.other_table(found, {"ruler": np.array([0.9, 0.1, 0.2, 0.3])}).splitlines()) == 8
