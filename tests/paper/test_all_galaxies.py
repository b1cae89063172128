"""The catalogue of all galaxies: who judges whom, how predictions are combined, and that it is what the records say."""

import dataclasses
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from scipy.special import expit
from synthetic import LEARNT, fill, path

from radio_bnn.config import run_id
from radio_bnn.data import mirabest
from radio_bnn.data.folds import catalogue
from radio_bnn.evaluation.conformal import conformal_sets
from radio_bnn.paper import all_galaxies, atlas, doubted, experiments
from radio_bnn.paper.contrasts import DOUBTED, TRUSTED
from radio_bnn.paper.evidence import calibrating
from radio_bnn.runs.records import committed_folder, read

BOOK = Path(__file__).resolve().parents[2] / "book"
DOUBTFUL = ("uncertain", "hybrid")


@pytest.fixture
def groups(store):
    path(store, {t: {**LEARNT, "evidence_for_truth": size} for t, size in ((0.01, 1.0), (0.1, 2.0))})
    fill(store, experiments.priors()["laplace"], **LEARNT)
    return atlas.trainings()


@pytest.fixture
def runs(groups):
    return groups["Gaussian, T = 0.1"]


def draws_of(runs, place, names):
    """By network P(FRII) in every draw for one galaxy, from the stored differences alone."""
    found = []
    for run in runs:
        for name in names:
            at = np.flatnonzero(run.galaxies[name] == place)
            found += [expit(-run.arrays[f"difference_{name}"][:, k].astype(float)) for k in at]
    return found


def without(run, scored, place):
    """A run that does not score a galaxy."""
    kept = run.galaxies[scored] != place
    cut = {f"{what}_{scored}": run.arrays[f"{what}_{scored}"][..., kept] for what in ("difference", "energy")}
    cut |= {f"{what}_{scored}": run.arrays[f"{what}_{scored}"][kept] for what in ("labels", "galaxy")}
    return dataclasses.replace(run, arrays=run.arrays | cut)


# Who judges whom


def test_a_confident_galaxy_is_judged_by_its_own_folds_network_and_the_others_by_all(runs):
    known, p, found = catalogue(), all_galaxies.p_frii(runs), all_galaxies.by_galaxy(runs)
    for place in np.flatnonzero(known.judged)[:40]:
        [own] = draws_of([runs[known.fold[place]]], place, [TRUSTED])
        assert p[place] == pytest.approx(own.mean()) and found["n_networks"][place] == 1
    for place in np.flatnonzero(~known.judged)[:40]:
        several = draws_of(runs, place, DOUBTFUL)
        assert len(several) == found["n_networks"][place] == 8
        assert p[place] == pytest.approx(np.mean([own.mean() for own in several]))


def test_a_network_that_may_not_judge_a_galaxy_has_no_say(runs):
    place = int(np.flatnonzero(catalogue().code == 110)[0])
    fewer = [without(run, DOUBTED, place) if k in (2, 5) else run for k, run in enumerate(runs)]
    others = draws_of([run for k, run in enumerate(runs) if k not in (2, 5)], place, [DOUBTED])
    assert all_galaxies.by_galaxy(fewer)["n_networks"][place] == 6
    assert all_galaxies.p_frii(fewer)[place] == pytest.approx(np.mean(others))
    with pytest.raises(ValueError, match="1 galaxies are held out by none of 8 runs"):
        all_galaxies.p_frii([without(run, DOUBTED, place) for run in runs])


def test_the_draws_of_all_networks_are_one_distribution(runs):
    known, found = catalogue(), all_galaxies.by_galaxy(runs)

    def entropy(p):
        return -p * np.log(p) - (1 - p) * np.log(1 - p)

    for place in np.flatnonzero(~known.judged)[::40]:
        several = draws_of(runs, place, DOUBTFUL)
        every = np.concatenate(several)
        assert found["predictive_entropy"][place] == pytest.approx(entropy(every.mean()))
        mutual = entropy(every.mean()) - entropy(every).mean()
        assert found["mutual_information"][place] == pytest.approx(mutual)
        assert mutual > np.mean([entropy(own.mean()) - entropy(own).mean() for own in several])
        below = [np.mean(every <= found[end][place]) for end in ("p_frii_low", "p_frii_high")]
        assert below == pytest.approx([0.025, 0.975], abs=1 / len(every))


# Conformal sets, contradictions, order


def test_the_set_of_a_confident_galaxy_is_that_of_the_chapter_and_others_are_voted(runs):
    words = all_galaxies.conformal_words(runs, alpha=0.1)
    places = np.concatenate([run.galaxies[TRUSTED] for run in runs])
    spelled = {(False, False): "none", (True, False): "FRI", (False, True): "FRII", (True, True): "ask"}
    chapter = [spelled[tuple(map(bool, members))] for members in doubted.sets(runs, TRUSTED, alpha=0.1)]
    assert words[places].tolist() == chapter
    votes = np.mean([conformal_sets(calibrating(run), run.logits_of(DOUBTED), alpha=0.1) for run in runs], axis=0)
    assert set(np.unique(votes)) - {0.0, 1.0}
    assert words[runs[0].galaxies[DOUBTED]].tolist() == [spelled[tuple(map(bool, v >= 0.5))] for v in votes]


def test_networks_that_are_divided_in_halves_ask(runs, monkeypatch):
    sides = iter([[True, False], [False, True]] * 4 * len(all_galaxies.SETS))
    monkeypatch.setattr(all_galaxies, "SETS", (DOUBTED,))
    monkeypatch.setattr(all_galaxies, "conformal_sets", lambda c, x, alpha: np.tile(next(sides), (x.shape[1], 1)))
    words = all_galaxies.conformal_words(runs, alpha=0.1)
    assert set(words[runs[0].galaxies[DOUBTED]]) == {"ask"}


def test_a_contradiction_is_the_other_class_and_a_hybrid_has_none():
    p = np.array([[0.9, 0.9, 0.9, 0.5], [0.2, 0.2, 0.2, 0.5]])
    assert all_galaxies.against(p, np.array([0, 1, 2, 0])).tolist() == [1, 1, -1, 0]


def test_candidates_come_first_as_they_are_given_and_the_others_by_right_ascension():
    ra = np.array([40.0, 10.0, 30.0, 20.0, 0.0])
    assert all_galaxies.order(np.array([2, 0]), ra).tolist() == [2, 0, 4, 1, 3]


# The catalogue


def test_the_catalogue_agrees_with_the_atlas(groups, runs):
    found, judged, known = all_galaxies.columns(groups), atlas.judged(groups), catalogue()
    place = np.searchsorted(known.name, found["mirabest_name"])
    assert np.array_equal(np.sort(place), np.arange(1256))
    by_place = {name: values[np.argsort(place)] for name, values in found.items()}
    assert np.array_equal(by_place["n_against"][judged.places], judged.wrong)
    assert np.array_equal(by_place["candidate"][judged.places], judged.group("always"))
    assert 0 < found["candidate"].sum() < 833 and not by_place["candidate"][~known.judged].any()
    ruler = atlas.p_label(atlas.ruled(atlas.HOLDS_THE_LABEL, runs))
    first = judged.places[atlas.listed(judged, ruler)]
    assert place[: len(first)].tolist() == first.tolist()
    assert np.array_equal(by_place["ruler_against"][judged.places], ruler < 0.5)
    assert (found["p_frii_min"] <= found["p_frii"]).all() and (found["p_frii"] <= found["p_frii_max"]).all()


def test_the_file_reads_back_with_units_descriptions_and_provenance(groups, tmp_path):
    from astropy import units
    from astropy.table import QTable

    made = all_galaxies.texts(groups)
    assert made == all_galaxies.texts(groups)
    (tmp_path / all_galaxies.FILE).write_text(made[all_galaxies.FILE])
    back, exact = QTable.read(tmp_path / all_galaxies.FILE), all_galaxies.columns(groups)
    assert back.colnames == list(all_galaxies.COLUMNS)
    assert all(back[name].info.description == about.description for name, about in all_galaxies.COLUMNS.items())
    assert (back["ra"].unit, back["dec"].unit, back["size"].unit) == (units.deg, units.deg, units.arcsec)
    for name, about in all_galaxies.COLUMNS.items():
        if about.decimals is None:
            assert np.array_equal(np.ma.filled(back[name], 0), np.ma.filled(exact[name], 0)), name
        else:
            values = np.asarray(getattr(back[name], "value", back[name]))
            assert np.abs(values - exact[name]).max() <= 0.5000001 * 10**-about.decimals, name
    hybrid = back["label"] == "hybrid"
    for masked, where in (("n_against", hybrid), ("subclass", hybrid), ("ruler_against", back["n_networks"] != 1)):
        assert np.array_equal(np.ma.getmaskarray(back[masked]), where), masked
    assert back.meta["trainings_that_learn"] == {t: [run_id(r.config) for r in of] for t, of in groups.items()}


def test_the_sentences_count_what_the_table_holds(groups):
    found = all_galaxies.table(groups)
    text = all_galaxies.words(found)
    assert f"**{found['candidate'].sum()} candidates" in text and "833 confident" in text
    assert "389 uncertain galaxies and the 34 hybrids" in text and "0 uncertain galaxies overlap" in text
    assert f"the Gaussian prior at T\u00a0=\u00a00.01, 0.1; and {atlas.TITLES['laplace']}." in text


def test_without_records_the_command_says_so_and_writes_nothing(store, tmp_path, capsys):
    assert all_galaxies.main(tmp_path) == 1
    assert "no training is stored on all folds" in capsys.readouterr().err and not list(tmp_path.iterdir())


# What is committed


@pytest.fixture(scope="module")
def committed():
    from astropy.table import Table

    return Table.read(BOOK / "_generated" / all_galaxies.FILE, format="ascii.ecsv")


def test_the_committed_files_are_what_the_records_say():
    for name, text in all_galaxies.texts(atlas.trainings()).items():
        found = (BOOK / "_generated" / name).read_text()
        assert found == text, f"run `python -m radio_bnn.paper.all_galaxies` and commit {name}"


def test_the_candidates_are_those_that_the_atlas_prints(committed):
    outputs = [o for cell in nbformat.read(BOOK / "atlas.ipynb", 4).cells for o in cell.get("outputs", [])]
    shown = [output.get("data", {}).get("text/markdown", "") for output in outputs]
    [listed] = [text for text in shown if text.startswith("| galaxy | label")]
    names = [line.split("|")[1].strip() for line in listed.splitlines()[2:]]
    assert committed["name"][committed["candidate"]].tolist() == names == committed["name"][: len(names)].tolist()
    [said] = [m for text in shown if (m := re.search(r"(\d+) of (\d+) galaxies are wrong under all (\d+)", text))]
    judged = committed[(committed["confidence"] == "confident") & (committed["label"] != "hybrid")]
    trainings = committed.meta["trainings_that_learn"]
    assert [int(n) for n in said.groups()] == [len(names), len(judged), len(trainings)]


def test_every_record_that_is_named_is_stored_and_was_made_from_the_data_that_are_named(committed):
    of, checksum = committed.meta["trainings_that_learn"]["Gaussian, T = 0.1"], committed.meta["data"]["checksum"]
    assert checksum == mirabest.F_BATCHES.checksum and len(of) == 8
    for name in of:
        run = read(committed_folder(), name)
        assert f"sha256:{run.content['provenance']['data_sha256']}" == checksum
    names = [name for runs in committed.meta["trainings_that_learn"].values() for name in runs]
    assert all((committed_folder() / f"{name}.json").is_file() for name in names) and len(set(names)) == len(names)
