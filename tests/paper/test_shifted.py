"""Inputs of other kinds: the same for every method, scored by what is known of them."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from scenarios import catalogue
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from synthetic import SAMPLES

from radio_bnn.config import Config, run_id
from radio_bnn.data import shifts
from radio_bnn.evaluation import crossval
from radio_bnn.inference.resolve import resolve
from radio_bnn.model.inputs import network_input
from radio_bnn.model.layers import posterior_mean
from radio_bnn.paper import experiments, figures, shifted
from radio_bnn.paper.shifted import SETS, Shifted
from radio_bnn.runs import execute, records, sweep
from radio_bnn.runs.records import Posterior
from radio_bnn.seeds import generator

CONFIG = Config.preview(data="simulated", simulated_galaxies=60, fold=1, epochs=3, batch_size=8, samples=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[records.Run, Shifted, Posterior]:
    """The record that a queue makes of a run on toy galaxies, with the run and its posterior."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("world")
        patch.setattr(execute, "load_data", catalogue)
        patch.setattr(sweep, "_on_processes", lambda jobs, workers: ((j, j.function(*j.arguments)) for j in jobs))
        patch.setenv("RADIO_BNN_RESULTS", str(folder / "book"))
        patch.setenv("RADIO_BNN_CACHE", str(folder / "cache"))
        wanted = [(CONFIG, "run"), (CONFIG, "shift")]
        assert sweep.run_queue(wanted, folder / "book", {"shift": shifted.measure}, progress=False) == wanted
        yield records.find(CONFIG), records.find(CONFIG, Shifted), records.find(CONFIG, Posterior)


def test_what_was_scored_before_is_predicted_as_before(made):
    run, record, _ = made
    for name, scored in {"test": "test", "uncertain galaxies": "uncertain", "hybrids": "hybrid"}.items():
        here = record.of(name)
        np.testing.assert_array_equal(record.arrays["galaxy"][here], run.galaxies[scored])
        np.testing.assert_allclose(
            record.arrays["difference"][:, here].astype(float),
            run.arrays[f"difference_{scored}"].astype(float),
            rtol=2e-3,
            atol=2e-3,
        )


def test_every_shift_stands_for_a_test_galaxy_and_changes_what_is_seen(made):
    _, record, _ = made
    galaxy, difference, test = record.arrays["galaxy"], record.arrays["difference"], record.of("test")
    for name in shifts.SHIFTS:
        here = record.of(name)
        np.testing.assert_array_equal(galaxy[here], galaxy[test])
        assert not np.array_equal(difference[:, here], difference[:, test])
    assert record.content["galaxies"] == len(catalogue(CONFIG)["train"])


def test_images_are_the_same_for_every_method_of_a_fold_and_other_ones_in_another():
    splits = catalogue(CONFIG)
    one, again, other = (shifted.images_of(splits, seed=k) for k in (1, 1, 2))
    assert tuple(one) == SETS and all(np.array_equal(one[name][0], again[name][0]) for name in SETS)
    differ = {name for name in SETS if not np.array_equal(one[name][0], other[name][0])}
    drawn = {"more noise", "empty fields (simulated)", "point sources (simulated)", shifted.SIMULATED}
    assert differ == drawn, "what is drawn depends on the seed, and nothing else does"


def test_the_distance_is_that_of_the_last_features_in_units_of_their_spread(made):
    _, record, posterior = made
    model, splits = execute.network(posterior), catalogue(CONFIG)

    def last(images):
        x = network_input(images, dtype=torch.float32)
        seen = []
        hook = model.fc3.register_forward_hook(lambda _, given, out: seen.append(given[0]))
        with torch.no_grad(), posterior_mean(model):
            model(x)
        hook.remove()
        return seen[0].double().numpy()

    train, labels, test = last(splits["train"].images), splits["train"].labels, last(splits["test"].images)
    means = np.stack([train[labels == c].mean(axis=0) for c in (0, 1)])
    within = LedoitWolf(assume_centered=True).fit(train - means[labels])
    expected = cdist(test, means, "mahalanobis", VI=within.precision_).min(axis=1) ** 2
    np.testing.assert_allclose(record.arrays["distance"][record.of("test")], expected, rtol=1e-3)


@pytest.mark.parametrize("method", ["map", "laplace", "ensemble"])
def test_every_kind_of_network_can_be_looked_at(method, made, monkeypatch):
    monkeypatch.setattr(execute, "load_data", catalogue)
    config = replace(CONFIG, selection="last", members=2, method=method)
    weights = resolve(config).method.network(config, generator(0, "init")).state_dict()
    arrays = {name: value.numpy().astype(np.float16) for name, value in weights.items()}
    record = shifted.measure(Posterior(config, made[2].content, arrays))
    record.check()
    alone = shifted.networks(execute.network(Posterior(config, made[2].content, arrays)))
    assert len(alone) == (2 if config.method == "ensemble" else 1)


# Read


def synthetic(config: Config, **apart: float) -> Shifted:
    """Test galaxies and other sets whose features lie ``apart`` by so much, all predicted alike; 100 images a set."""
    n, rng = 100 * len(SETS), np.random.default_rng(config.fold)
    which = np.repeat(np.arange(len(SETS), dtype=np.uint8), 100)
    lift = np.array([apart.get(name, 0.0) for name in SETS])[which]
    count = records.samples_of(config)
    difference = np.full((count, n), 2.0, np.float16)
    arrays = {
        "difference": difference,
        "energy": np.ones(n, np.float16),
        "distance": (rng.random(n) + lift).astype(np.float32),
        "set": which,
        "galaxy": (np.arange(n) % 100 + 100 * config.fold).astype(np.uint16),
    }
    return Shifted(config, {"galaxies": 500, "seconds": 0.5}, arrays)


def test_a_score_that_separates_is_told_from_one_that_knows_nothing():
    runs = [synthetic(experiments.run(k, samples=SAMPLES), **{"hybrids": 2.0}) for k in range(2)]
    found, rates = shifted.detect([*runs, None]), shifted.detect(runs, crossval.false_alarms)
    assert set(found) == set(SETS[1:]) and found["hybrids"]["distance of features"].folds == 2
    assert found["hybrids"]["distance of features"].interval == (1, 1, 1)
    assert rates["hybrids"]["distance of features"].interval == (0, 0, 0)
    for scores, rate in zip(found.values(), rates.values(), strict=True):
        for title in ("entropy", "mutual information", "energy"):
            assert scores[title].interval.value == 0.5 and rate[title].interval.value == 1
    noise = found["more noise"]["distance of features"].interval
    assert noise.low < 0.5 < noise.high
    said = shifted.spoken({"a": found, "b": shifted.detect([None])})
    assert said["best_score"] == "distance of features" and (said["easiest"], said["easiest_auroc"]) == (
        "hybrids",
        "1.00",
    )
    assert said["n_methods"] == "1"


def test_draws_that_predict_together_are_pooled():
    a, b = (synthetic(experiments.run(0, samples=SAMPLES), **{"hybrids": x}) for x in (0.0, 2.0))
    b.arrays["difference"][:] = -2
    both = shifted.together([a, b])
    assert both.arrays["difference"].shape == (2 * SAMPLES, 100 * len(SETS)) and both.content["seconds"] == 1.0
    np.testing.assert_allclose(both.arrays["distance"], (a.arrays["distance"] + b.arrays["distance"]) / 2)
    assert shifted.SCORES["mutual information"](both).min() > 0.3 > shifted.SCORES["mutual information"](a).max() == 0
    assert shifted.together([a, None]) is None and shifted.together([]) is None


def test_what_was_not_run_is_said_in_table_figure_and_words(store):
    found = {title: shifted.detect(runs) for title, runs in shifted.stored(3).items()}
    assert set(found) == {*experiments.shifted(), *experiments.NEWTON} and shifted.spoken(found)["n_methods"] == "none"
    assert shifted.table(found["dropout"]).count("not run") == 4 * len(SETS[1:])
    config = experiments.rivals()["dropout"][0][0]
    store[run_id(config), "shift"] = synthetic(config)
    found = {title: shifted.detect(runs) for title, runs in shifted.stored(3).items()}
    assert shifted.table(found["dropout"]).count("not run") == 0
    figure = figures.detection(found)
    silent = [ax for ax in figure.axes if any(text.get_text() == "not run" for text in ax.texts)]
    assert len(silent) == len(found) - 1
    plt.close(figure)


DAMAGE = {
    "no distances": (lambda content, arrays: arrays.pop("distance"), "it lacks distance"),
    "a set less": (lambda content, arrays: arrays["set"].fill(0), "it lacks images of uncertain galaxies"),
    "another set": (lambda content, arrays: arrays["set"].__setitem__(0, 99), "set holds 99"),
    "fewer samples": (
        lambda content, arrays: arrays.update(difference=arrays["difference"][1:]),
        "difference has shape",
    ),
    "below zero": (lambda content, arrays: arrays["distance"].fill(-1), "a squared distance is negative"),
    "no time": (lambda content, arrays: content.update(seconds=float("nan")), "seconds finite"),
    "no galaxies": (lambda content, arrays: content.pop("galaxies"), "galaxies"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_whole_is_refused(damage):
    whole = synthetic(experiments.run(0, samples=SAMPLES))
    whole.check()
    content, arrays = deepcopy(whole.content), {name: values.copy() for name, values in whole.arrays.items()}
    change, said = DAMAGE[damage]
    change(content, arrays)
    with pytest.raises((ValueError, KeyError), match=said):
        Shifted(whole.config, content, arrays).check()
