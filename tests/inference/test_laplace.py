"""Last-layer Laplace: the curvature by autograd, the spread by its draws, and what a cold posterior leaves of it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scenarios import images, splits

from radio_bnn.config import Config
from radio_bnn.inference import laplace
from radio_bnn.inference.predict import predict, predict_as_trained
from radio_bnn.inference.resolve import resolve
from radio_bnn.inference.train import fit
from radio_bnn.model.inputs import network_input
from radio_bnn.model.layers import recorded
from radio_bnn.seeds import generator

SPLITS = splits()
CONFIG = Config.preview(data="simulated", method="laplace", epochs=2, batch_size=8, temperature=0.5)
N, CLASSES, FEATURES = 7, 2, 84


@pytest.fixture(scope="module")
def trained():
    return fit(CONFIG, SPLITS, device="cpu", progress=False).model


def test_the_curvature_is_the_second_derivative_of_the_nll():
    config = replace(CONFIG, precision="float64")
    base = resolve(config).method.network(config, generator(0, "init")).base
    x, y = network_input(images(N), dtype=torch.float64), torch.arange(N) % 2
    with recorded({"fc3": base.fc3}) as seen, torch.no_grad():
        base(x)
    phi = torch.cat([seen["fc3"][0], torch.ones(N, 1, dtype=torch.float64)], dim=1)
    start = torch.cat([base.fc3.weight, base.fc3.bias.unsqueeze(1)], dim=1).detach()

    def nll(w):
        return F.cross_entropy(phi @ w.reshape(CLASSES, FEATURES + 1).T, y, reduction="sum")

    expected = torch.autograd.functional.hessian(nll, start.flatten())
    torch.testing.assert_close(laplace.features(base, x), phi)
    torch.testing.assert_close(laplace.hessian(phi, start.flatten()), expected, rtol=1e-9, atol=1e-12)


def test_the_network_is_the_map_network_of_the_same_seed_with_a_spread(trained):
    alone = fit(replace(CONFIG, method="map"), SPLITS, device="cpu", progress=False).model
    for (name, a), b in zip(alone.named_parameters(), trained.base.parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_draws_have_the_inverse_curvature_as_their_covariance_and_the_mode_as_their_mean(covariance):
    config = replace(CONFIG, covariance=covariance)
    model = fit(config, SPLITS, device="cpu", progress=False).model
    train = SPLITS["train"]
    phi = laplace.features(model.base, network_input(train.images))
    precision = laplace.hessian(phi, laplace.last_weights(model.base).detach()) / config.temperature
    precision += torch.eye(len(precision), dtype=torch.float64) / 0.1**2
    if covariance == "diagonal":
        precision = torch.diag(precision.diagonal())
    expected = torch.linalg.inv(precision)
    assert torch.allclose((model.root @ model.root.T).double(), expected, rtol=1e-3, atol=1e-7)
    noise, drawn = generator(0, "predict"), []
    for k in range(4000):
        with laplace.scope(model, noise, k) as draw:
            both = torch.cat([draw["base.fc3.weight"], draw["base.fc3.bias"].unsqueeze(1)], dim=1)
            drawn.append(both.flatten().detach())
    drawn = torch.stack(drawn).double()
    mode = torch.cat([model.base.fc3.weight, model.base.fc3.bias.unsqueeze(1)], dim=1).flatten().detach()
    error = (drawn.mean(0) - mode) / (expected.diagonal().sqrt() / len(drawn) ** 0.5)
    assert error.abs().max().item() < 5
    assert drawn.var(0).numpy() == pytest.approx(expected.diagonal().numpy(), rel=0.15)


def test_a_colder_posterior_is_nowhere_wider_and_none_is_wider_than_the_prior():
    train, spread = SPLITS["train"], {}
    x, y = network_input(train.images), torch.as_tensor(train.labels)
    for t in (0.01, 0.5, 1e6):
        problem = resolve(replace(CONFIG, temperature=t))
        state = problem.method.start(problem, device="cpu")
        problem.method.finish(state, x, y)
        spread[t] = (state.model.root @ state.model.root.T).double()
    for cold, warm in pairwise(spread.values()):
        assert torch.linalg.eigvalsh(warm - cold).min().item() > -1e-8
        assert warm.trace().item() > cold.trace().item()
    assert torch.linalg.eigvalsh(spread[1e6]).max().item() == pytest.approx(0.1**2, rel=1e-4)


def test_a_prediction_draws_the_last_layer_alone():
    model = fit(CONFIG, SPLITS, device="cpu", progress=False).model
    one, other = (
        predict_as_trained(resolve(CONFIG), model, images(5), samples=3, generator=generator(seed, "predict"))
        for seed in (0, 0)
    )
    np.testing.assert_array_equal(one, other)
    assert len(np.unique(one[:, 0, 0])) == 3


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("changes", [{"method": "laplace"}, {"method": "hmc", "members": 3}], ids=str)
def test_all_below_the_last_layer_is_computed_once_and_gives_what_each_whole_draw_would(changes, precision):
    problem = resolve(replace(CONFIG, **changes))
    model = fit(problem.config, SPLITS, device="cpu", progress=False).model
    options = {"samples": 3, "scope": problem.method.scope, "batch_size": 4, "precision": precision}
    found, calls = [], []
    model.base.fc1.register_forward_hook(lambda *_: calls.append(1))
    for shared in (None, problem.method.shared):
        calls.clear()
        noise = generator(0, "predict")
        found.append((predict(model, images(10), shared=shared, generator=noise, **options), len(calls)))
    (whole, of_whole), (once, of_once) = found
    assert (of_whole, of_once) == (3 * 3, 3)
    np.testing.assert_array_equal(once, whole)
    assert len(np.unique(whole[:, 0, 0])) == 3
