from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scenarios import catalogue, images, network

from radio_bnn.config import Config, run_id
from radio_bnn.data.galaxies import SPLIT_NAMES, Splits
from radio_bnn.inference.resolve import resolve
from radio_bnn.model.inputs import network_input, orbit
from radio_bnn.model.layers import one_draw
from radio_bnn.paper import experiments, on_orbit
from radio_bnn.paper.on_orbit import OneView, OnOrbit
from radio_bnn.runs import execute, records, sweep
from radio_bnn.runs.records import Posterior
from radio_bnn.seeds import generator

CONFIG = Config.preview(
    data="simulated",
    simulated_galaxies=60,
    fold=1,
    epochs=3,
    batch_size=8,
    estimator="shared",
    samples=6,
)


def turned(config: Config) -> Splits:
    """The toy galaxies, each a quarter turn further."""
    found = catalogue(config)
    sets = {name: replace(found[name], images=np.rot90(found[name].images, axes=(1, 2)).copy()) for name in SPLIT_NAMES}
    return replace(found, sets=sets)


def here(jobs, workers):
    """Every job done in this process, where the galaxies are toys."""
    return ((job, job.function(*job.arguments)) for job in jobs)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Toy galaxies, an empty book, an empty cache; one run and its record on the orbit are made by a queue."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("world")
        patch.setattr(execute, "load_data", catalogue)
        patch.setattr(sweep, "_on_processes", here)
        patch.setenv("RADIO_BNN_RESULTS", str(folder / "book"))
        patch.setenv("RADIO_BNN_CACHE", str(folder / "cache"))
        wanted = [(CONFIG, "run"), (CONFIG, "on_orbit")]
        assert sweep.run_queue(wanted, folder / "book", {"on_orbit": on_orbit.measure}, progress=False) == wanted
        yield folder


@pytest.fixture(scope="module")
def made(world) -> OnOrbit:
    return records.find(CONFIG, OnOrbit)


@pytest.fixture(scope="module")
def posterior(world) -> Posterior:
    return replace(records.find(CONFIG, Posterior), config=CONFIG)


def test_a_record_is_that_of_its_run_and_of_the_same_galaxies(world, made):
    assert sorted(p.stem for p in (world / "book" / "on_orbit").iterdir()) == [run_id(CONFIG)] * 2
    run, n = records.find(CONFIG), len(catalogue(CONFIG)["test"])
    assert made.logits.shape == (CONFIG.samples, n, 2)
    np.testing.assert_array_equal(made.labels, run.labels["test"])
    np.testing.assert_array_equal(made.galaxies, run.galaxies["test"])
    np.testing.assert_array_equal(made.logits[..., 0], made.arrays["difference_test"])
    assert not np.array_equal(made.arrays["difference_test"], run.arrays["difference_test"])


def test_it_is_the_mean_over_the_eight_views_under_one_draw(made, posterior):
    model, noise = execute.network(posterior), generator(CONFIG.seed, "predict")
    views = orbit(network_input(catalogue(CONFIG)["test"].images, dtype=torch.float32))
    with torch.inference_mode():
        for difference in made.arrays["difference_test"][:3]:
            with one_draw(model, noise):
                mean = torch.stack([model(view) for view in views]).mean(0).numpy()
            expected = mean[:, 0] - mean[:, 1]
            np.testing.assert_allclose(difference, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())


def test_turned_images_have_the_same_predictions(made, posterior, monkeypatch):
    again = on_orbit.measure(posterior)
    for name, values in made.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values)
    monkeypatch.setattr(execute, "load_data", turned)
    found, expected = (r.arrays["difference_test"].astype(float) for r in (on_orbit.measure(posterior), made))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())


def test_one_network_of_a_point_estimate_has_one_prediction(posterior):
    config = replace(CONFIG, method="ml")
    weights = resolve(config).method.network(config, generator(0, "init")).state_dict()
    arrays = {name: value.numpy().astype(np.float16) for name, value in weights.items()}
    record = on_orbit.measure(Posterior(config, posterior.content, arrays))
    record.check()
    assert len(record.logits) == 1


def test_in_one_view_a_run_predicts_what_it_stored(world, posterior):
    record, run = on_orbit.measure_one(posterior), records.find(CONFIG)
    record.check()
    assert record.kind == "one_view" and isinstance(record, OnOrbit)
    for name in ("labels_test", "galaxy_test"):
        np.testing.assert_array_equal(record.arrays[name], run.arrays[name])
    found, expected = (r.arrays["difference_test"].astype(float) for r in (record, run))
    # A posterior is stored in half precision.
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())


DAMAGE = {
    "no galaxies": (lambda content, arrays: arrays.pop("galaxy_test"), "it lacks galaxy_test"),
    "a galaxy twice": (lambda content, arrays: arrays["galaxy_test"].fill(1), "names a galaxy twice"),
    "other labels": (lambda content, arrays: arrays["labels_test"].fill(1), "labels of test count"),
    "fewer samples": (
        lambda content, arrays: arrays.update(difference_test=arrays["difference_test"][1:]),
        r"difference_test has shape \(5",
    ),
    "energies": (lambda content, arrays: arrays.update(energy_test=arrays["labels_test"]), "it holds energy_test"),
    "no provenance": (lambda content, arrays: content.pop("provenance"), "provenance"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_whole_is_refused(made, damage):
    content, arrays = deepcopy(made.content), {name: values.copy() for name, values in made.arrays.items()}
    change, said = DAMAGE[damage]
    change(content, arrays)
    with pytest.raises((ValueError, KeyError), match=said):
        OnOrbit(CONFIG, content, arrays).check()


def test_the_plan_wants_either_side_as_the_other_is_seen():
    wanted = {k.kind: [c for c, kind in experiments.queue("orbit") if kind == k.kind] for k in (OnOrbit, OneView)}
    assert wanted == {"on_orbit": experiments.orbit()["none"], "one_view": experiments.orbit()["D4 orbit"]}


def test_the_eight_views_agree_on_the_orbit_and_differ_one_by_one():
    model, pictures = network(), images(6)
    one, mean = (on_orbit.largest_change(model, pictures, k, samples=3) for k in ("categorical", "orbit_logits"))
    assert mean < 1e-9 < 1e-4 < one


def test_an_image_that_has_the_symmetry_looks_alike_in_all_views():
    round_one = np.zeros((1, 150, 150), np.uint8)
    round_one[:, 60:90, 60:90] = 200
    assert on_orbit.largest_change(network(), round_one, "categorical", samples=3) == 0
