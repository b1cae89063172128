"""A training may start where another ended, at another temperature."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenarios import catalogue

from radio_bnn.config import Config, run_id
from radio_bnn.inference.train import fit, learning_rate_factor
from radio_bnn.runs import execute, records, sweep
from radio_bnn.runs.records import Posterior, packed

COLD = Config.preview(data="simulated", simulated_galaxies=100, epochs=1, batch_size=8, samples=5, schedule="ramp")
WARM = replace(COLD, temperature=0.1, path=(0.01, 0.03))


def test_a_path_is_a_chain_of_runs():
    assert WARM.previous == replace(COLD, temperature=0.03, path=(0.01,))
    assert WARM.previous.previous == WARM.origin == COLD and COLD.previous is None
    assert len({run_id(c) for c in (WARM, WARM.previous, COLD, replace(WARM, path=()))}) == 4
    assert Config.from_dict(WARM.to_dict()) == WARM


def test_a_run_on_a_path_starts_from_the_posterior_of_the_one_before(world):
    run = execute.load_or_run(WARM, device="cpu", progress=False)
    before = records.find(WARM.previous, Posterior)
    assert records.find(WARM.previous.previous, Posterior) is not None
    start = execute.network(before).state_dict()
    again = fit(WARM, catalogue(WARM), device="cpu", start_from=start, progress=False)
    kept = run.arrays["difference_test"]
    np.testing.assert_array_equal(packed(execute.predict_sets(again, catalogue(WARM))["test"])[0], kept)
    other = {name: torch.zeros_like(value) - 3 for name, value in start.items()}
    elsewhere = fit(WARM, catalogue(WARM), device="cpu", start_from=other, progress=False)
    assert not np.array_equal(packed(execute.predict_sets(elsewhere, catalogue(WARM))["test"])[0], kept)


def test_a_start_with_other_samples_is_not_trained_again(world, monkeypatch):
    many = replace(WARM.previous, samples=9)
    execute.load_or_run(many, keep_posterior=True, device="cpu", progress=False)
    trained, original = [], execute.fit
    monkeypatch.setattr(execute, "fit", lambda config, *a, **k: trained.append(config) or original(config, *a, **k))
    execute.load_or_run(WARM, device="cpu", progress=False)
    assert trained == [WARM]
    second = replace(COLD, temperature=0.03, path=(0.01,))
    jobs = sweep._trainings([(second, "run"), (replace(COLD, samples=9), "run")], {})
    assert [(len(job.arguments[0]), job.arguments[0][0][1]) for job in jobs] == [(2, True)]


def test_a_sweep_walks_a_path_in_one_job_and_trains_nothing_twice(world, monkeypatch):
    monkeypatch.setattr(sweep, "_find_data", lambda sources, scheduler: None)
    path = [WARM, COLD, replace(COLD, temperature=0.003, path=(0.01,)), WARM.previous]
    jobs = sweep._trainings([(config, "run") for config in path], {})
    assert len(jobs) == 1 and jobs[0].name.startswith(run_id(COLD))
    trained, original = [], execute.fit
    monkeypatch.setattr(execute, "fit", lambda config, *a, **k: trained.append(config) or original(config, *a, **k))
    made = sweep.train(*jobs[0].arguments)
    assert sorted(map(run_id, trained)) == sorted(map(run_id, path))
    assert {r.identity for r in made if r.kind == "run"} == {run_id(c) for c in path}


def test_a_start_that_does_not_fit_the_path_is_refused():
    with pytest.raises(ValueError, match=r"path=\(0.01, 0.03\): start_from must hold"):
        fit(WARM, catalogue(WARM), device="cpu", progress=False)
    with pytest.raises(ValueError, match="path=0.0 must be positive"):
        Config(path=(0.0,))
    with pytest.raises(TypeError, match="path=0.1 must be a list of numbers"):
        Config(path=0.1)
    with pytest.raises(ValueError, match="needs a method with a temperature, not 'ml'"):
        Config(method="ml", path=(0.1,))


def test_on_the_ramp_rho_rests_and_then_follows_the_means():
    means = [learning_rate_factor("ramp", i, 100) for i in range(100)]
    rho = [learning_rate_factor("ramp", i, 100, rho=True) for i in range(100)]
    assert means == [learning_rate_factor("warmup_cosine", i, 100) for i in range(100)]
    assert rho[:6] == [0.0] * 6 and rho[30:] == means[30:]
    ratio = np.array(rho[5:31]) / np.array(means[5:31])
    np.testing.assert_allclose(np.diff(ratio), 0.04, rtol=1e-9)
