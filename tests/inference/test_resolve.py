"""What every inference method has in common, so that conventions cannot erode."""

import copy
import inspect

import numpy as np
import pytest
import torch
from scenarios import images, splits

from radio_bnn.config import UNUSED, Config, choices
from radio_bnn.inference.method import Batch, Terms
from radio_bnn.inference.predict import predict_as_trained
from radio_bnn.inference.resolve import METHODS, resolve
from radio_bnn.inference.train import fit
from radio_bnn.model.layers import given, one_draw
from radio_bnn.model.priors import PRIORS
from radio_bnn.seeds import generator

SPLITS = splits()


def config_of(name: str) -> Config:
    return Config.preview(data="simulated", method=name, epochs=2, batch_size=8, members=2, cycles=1)


def test_the_choices_of_config_are_the_registries():
    assert choices("method") == tuple(METHODS) == tuple(UNUSED)
    assert choices("prior") == tuple(PRIORS)


def positional(function) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_the_same_four_signatures(name):
    method = METHODS[name]
    assert positional(method.network) == ["config", "generator"]
    assert positional(method.start) == ["problem"] and "device" in inspect.signature(method.start).parameters
    assert positional(method.step) == ["state", "batch"]
    assert positional(method.scope) == ["model", "generator", "sample"]


@pytest.mark.parametrize("name", METHODS)
def test_a_step_changes_the_network_in_place_and_a_state_continues_bit_for_bit(name):
    problem = resolve(config_of(name))
    batch = Batch(torch.zeros(4, 1, 150, 150), torch.tensor([0, 1, 1, 1]), 8)
    first, second = (problem.method.start(problem, device="cpu") for _ in range(2))
    moving = getattr(first, "walker", first.model)  # a chain's network holds what it has drawn
    before = [p.detach().clone() for p in moving.parameters()]
    terms = problem.method.step(first, batch)
    assert isinstance(terms, Terms) and all(torch.isfinite(t) and t.shape == () for t in terms)
    assert not all(torch.equal(a, b) for a, b in zip(before, moving.parameters(), strict=True))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for state in (first, second):
        problem.method.step(state, batch)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", METHODS)
def test_a_scope_is_one_network_and_the_seed_decides_which(name):
    problem = resolve(config_of(name))
    model, x = fit(problem.config, SPLITS, device="cpu", progress=False).model, images(3)
    found = [
        predict_as_trained(problem, model, x[[0, 0, 1]], samples=3, generator=generator(seed, "predict"))
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0][:, 0], found[0][:, 1])
    draws = problem.config.distinct_samples
    assert len(found[0]) == min(3, draws or 3)
    assert np.array_equal(found[0], found[2]) == (draws is not None)


@pytest.mark.parametrize("name", ["vi", "map", "ml"])
def test_a_draw_put_in_force_again_predicts_the_same(name):
    config = config_of(name)
    model, x = METHODS[name].network(config, generator(0, "init")), torch.zeros(2, 1, 150, 150)
    with torch.no_grad():
        with one_draw(model, generator(0, "noise")) as draw:
            drawn = model(x)
        with given(model, draw):
            assert torch.equal(model(x), drawn)
        with pytest.raises(KeyError), given(model, {}):
            model(x)
