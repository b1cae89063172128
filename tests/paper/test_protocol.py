"""The rates are chosen by the objective, and by nothing that was scored."""

import math

import numpy as np
import pytest
import torch
from scenarios import catalogue

from radio_bnn.config import HISTORY, Config
from radio_bnn.inference.resolve import resolve
from radio_bnn.paper import experiments, protocol
from radio_bnn.runs import execute, records
from radio_bnn.runs.records import Posterior


def test_the_lowest_sum_of_logarithms_is_chosen_and_nothing_before_all_are_there():
    found = {"a": [100.0, 400.0], "b": [150.0, 250.0], "c": [90.0, 500.0]}
    assert protocol.chosen(found) == "b"
    assert protocol.chosen(found | {"d": None}) is None
    assert protocol.chosen({"a": [10.0, 10.0], "b": [1.0, 99.0]}) == "b"  # a factor counts the same at every T


def test_the_ladder_is_one_training_and_every_candidate_has_the_same_stages():
    stages = experiments.upward(seed=1)
    assert [c.temperature for c in stages] == list(experiments.LADDER)
    assert all(after.previous == before for before, after in zip(stages, stages[1:], strict=False))
    for prior in experiments.PRIORS:
        groups = experiments.candidates(prior)
        assert {len(g) for g in groups.values()} == {len(experiments.LADDER) if prior == "gaussian" else 1}
        assert {(c.epochs, c.fold, c.prior) for g in groups.values() for c in g} == {(100, 0, prior)}


def test_a_network_that_guesses_has_the_objective_of_guessing(monkeypatch):
    """Weights of no width at 0 give logits of 0: N ln 2, and the closed KL divergence of that posterior."""
    config = Config.annealed(data="simulated", simulated_galaxies=100, temperature=0.5, epochs=1)
    monkeypatch.setattr(execute, "load_data", catalogue)
    model = resolve(config).method.network(config, torch.Generator())
    arrays = {name: np.zeros(p.shape, np.float16) - 8.0 * name.endswith("rho") for name, p in model.named_parameters()}
    arrays = {name: values.astype(np.float16) for name, values in arrays.items()}
    history = {name: [1.0] for name in HISTORY}
    measured = protocol.measure(Posterior(config, {"history": history}, arrays)).content["measured"]
    n, k, s = len(catalogue(config)["train"]), 232_444, math.exp(-8) / 0.1
    assert measured["nll"] == pytest.approx(n * math.log(2), rel=1e-3)
    assert measured["kl"] == pytest.approx(k * (-math.log(s) + s**2 / 2 - 0.5), rel=1e-6)
    assert measured["objective"] == pytest.approx(measured["nll"] + 0.5 * measured["kl"])


def test_the_table_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "committed_folder", lambda: tmp_path)
    monkeypatch.setattr(records, "cached_folder", lambda: tmp_path)
    text = protocol.table("laplace")
    assert text.count("not run") == 2 * len(experiments.RATES) and "**" not in text
    assert protocol.reached("laplace") == {}


def test_the_chosen_training_says_what_it_reached(monkeypatch, tmp_path):
    monkeypatch.setattr(protocol, "measured", lambda prior: {t: [9.0 - i] * 6 for i, t in enumerate(experiments.RATES)})
    assert protocol.reached("gaussian") == dict.fromkeys(experiments.LADDER, 6.0)
    assert f"**{list(experiments.RATES)[-1]}**" in protocol.table("gaussian")
