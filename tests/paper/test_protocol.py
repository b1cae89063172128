"""The rates are chosen by the objective, and by nothing that was scored."""

import math

import numpy as np
import pytest
import torch
from scenarios import catalogue

from radio_bnn.config import ANNEALED_RATES, HISTORY, Config, run_id
from radio_bnn.inference.resolve import resolve
from radio_bnn.paper import experiments, protocol
from radio_bnn.runs import execute, records
from radio_bnn.runs.records import Posterior


def test_the_lowest_sum_of_logarithms_is_chosen_and_nothing_before_all_are_there():
    found = {"a": [100.0, 400.0], "b": [150.0, 250.0], "c": [90.0, 500.0]}
    assert protocol.chosen(found) == "b"
    assert protocol.chosen(found | {"d": None}) is None
    assert protocol.chosen({"a": [10.0, 10.0], "b": [1.0, 99.0]}) == "b"  # a factor counts the same at every T


def test_of_a_single_temperature_the_lowest_objective_is_chosen_also_a_negative_one():
    assert protocol.chosen({"a": [3.0], "b": [0.5], "c": [2.0]}) == "b"
    assert protocol.chosen({"a": [3.0], "b": [-0.5], "c": [-2.0]}) == "c"
    assert protocol.total([-7.5]) == -7.5 and protocol.total([2.0, 8.0]) == pytest.approx(math.log(16))


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """The book's own records, without those of whoever runs the tests."""
    monkeypatch.delenv("RADIO_BNN_RESULTS", raising=False)
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path))


@pytest.mark.parametrize("title", experiments.CHOSEN_FOR)
def test_the_rates_of_the_annealed_protocol_are_those_that_the_records_choose(title, committed):
    found = protocol.measured(title)
    if lacking := [name for name, values in found.items() if values is None]:
        pytest.skip(f"{len(lacking)} of {len(found)} candidates for {title} are not stored")
    changes, best = experiments.CHOSEN_FOR[title], protocol.chosen(found)
    config, stage = experiments.run(**changes), experiments.candidates(title)[best][0]
    key = config.method, "gaussian" if config.method == "dropout" else config.prior, config.prior_scale
    assert key in ANNEALED_RATES
    assert run_id(config.trained) == run_id(stage.trained), f"{title}: the records choose {best}"
    assert protocol.total(found[best]) == min(protocol.total(values) for values in found.values())


def test_what_was_chosen_is_chosen_on_what_is_committed(committed):
    """Rates that no record supports are in no protocol."""
    supported = set()
    for title, changes in experiments.CHOSEN_FOR.items():
        if protocol.chosen(protocol.measured(title)) is not None:
            config = experiments.run(**changes)
            prior = "gaussian" if config.method == "dropout" else config.prior
            supported.add((config.method, prior, config.prior_scale))
    assert set(ANNEALED_RATES) <= supported


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


def test_an_objective_is_of_the_run_that_was_asked_for_and_finite():
    config = experiments.candidates("laplace")["4e-3, 0.03"][0]
    content = {"measured": {"objective": -1.0, "nll": 2.0, "kl": 3.0}}
    protocol.Objective(config, content).check()
    for broken in ({"kl": math.nan}, {"nll": math.inf}):
        with pytest.raises(ValueError, match="not finite"):
            protocol.Objective(config, {"measured": content["measured"] | broken}).check()
    with pytest.raises(ValueError, match="it lacks kl"):
        protocol.Objective(config, {"measured": {"objective": 1.0, "nll": 2.0}}).check()


def test_a_candidate_that_diverges_is_not_chosen_and_the_table_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "committed_folder", lambda: tmp_path)
    monkeypatch.setattr(records, "cached_folder", lambda: tmp_path / "none")
    (bad, *_), *others = experiments.candidates("laplace").values()
    records.write(records.Diverged(bad.trained, {"reason": "in epoch 3"}), tmp_path)
    assert protocol.chosen(protocol.measured("laplace")) is None  # the others are not run
    for k, [config] in enumerate(others):
        records.write(protocol.Objective(config, {"measured": {"objective": 5.0 - k, "nll": 1.0, "kl": 1.0}}), tmp_path)
    assert protocol.measured("laplace")["8e-3, 0.1"] == [math.inf]
    assert protocol.chosen(protocol.measured("laplace")) == list(experiments.RATES)[-1]
    row = next(line for line in protocol.table("laplace").splitlines() if line.startswith("| 8e-3, 0.1"))
    assert row.count("diverges") == 2
    assert protocol.chosen({"a": [math.inf], "b": [math.inf]}) is None


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
