"""Stochastic-gradient Hamiltonian Monte Carlo where the posterior is known, and the bookkeeping of a chain."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scenarios import images, splits
from scipy.special import expit, log_expit
from torch import nn

from radio_bnn.config import Config
from radio_bnn.inference import sgmcmc
from radio_bnn.inference.likelihood import Likelihood, upright
from radio_bnn.inference.method import Batch
from radio_bnn.inference.predict import predict_as_trained
from radio_bnn.inference.resolve import resolve
from radio_bnn.inference.train import fit
from radio_bnn.model.layers import Linear
from radio_bnn.seeds import generator

N, SIDE, CHAINS = 40, 3, 400
RNG = np.random.default_rng(3)
X = RNG.normal(size=(N, SIDE)) * [1.0, 0.5, 2.0]
NOISY = X @ [0.3, -1.0, 0.2] + RNG.normal(size=N)
LABELS = (RNG.random(N) < expit(X @ [1.0, -2.0, 0.3])).astype(float)
SCALE = 0.7
TOY = Config.sampled(precision="float64", prior_scale=SCALE, members=1, cycles=1, batch_size=N, learning_rate=0.02)


class Lines(nn.Module):
    """w_k . x for each x (N, 3) and CHAINS vectors w_k: independent chains that take their steps together."""

    def __init__(self):
        super().__init__()
        self.line = Linear(SIDE, CHAINS)
        del self.line.bias
        self.line.register_buffer("bias", torch.zeros(CHAINS, dtype=torch.float64))
        self.double()

    def forward(self, x):
        return F.linear(x, self.line.weight)


def gaussian(outputs, y):
    """log N(y; w . x, 1) less its constant, of all chains."""
    return -((outputs - y[:, None]) ** 2).sum(dim=1) / 2


def logistic(outputs, y):
    return torch.where(y[:, None] > 0, F.logsigmoid(outputs), F.logsigmoid(-outputs)).sum(dim=1)


def walked(log_prob, y, temperature: float, *, steps: int = 1600, batch: int = N, **changes):
    """Positions (steps / 2, CHAINS, 3) of the sampling stage, and the state of the walker of all chains."""
    epochs = steps * batch // N
    config = replace(TOY, temperature=temperature, epochs=epochs, batch_size=batch, **changes)
    problem = resolve(config)
    method = problem.method._replace(network=lambda c, g: sgmcmc.Chain([Lines() for _ in range(c.members)], c.cycles))
    problem = replace(problem, likelihood=Likelihood(upright, log_prob), method=method)
    state = sgmcmc.start(problem, device="cpu")
    x, y = torch.as_tensor(X), torch.as_tensor(y)
    order, kept = torch.Generator().manual_seed(0), []
    for k in range(steps):
        rows = torch.randperm(N, generator=order)[:batch] if batch < N else slice(None)
        sgmcmc.step(state, Batch(x[rows], y[rows], N))
        if k >= steps // 2:
            kept.append(state.flat["mean"].detach().clone())
    return torch.stack(kept).view(len(kept), CHAINS, SIDE).numpy(), state


def deviations(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many standard errors the mean of correlated sequences (S, K, ...) is from ``truth``, by the K means."""
    means = values.mean(axis=0)
    return (means.mean(axis=0) - truth) / (means.std(axis=0, ddof=1) / np.sqrt(len(means)))


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_bayesian_linear_regression_has_its_exact_mean_and_covariance(temperature):
    precision = X.T @ X / temperature + np.eye(SIDE) / SCALE**2
    mean = np.linalg.solve(precision, X.T @ NOISY / temperature)
    draws, _ = walked(gaussian, NOISY, temperature)
    white = (draws - mean) @ np.linalg.cholesky(precision)
    assert np.abs(deviations(white, 0.0)).max() < 4
    products = white[..., :, None] * white[..., None, :]
    assert np.abs(deviations(products, np.eye(SIDE))).max() < 4
    assert np.abs(products.mean(axis=(0, 1)) - np.eye(SIDE)).max() < 0.03


def moments(temperature: float, points: int = 61) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the tempered posterior of logistic regression, by quadrature on a grid."""
    axis = np.linspace(-3.5, 3.5, points)
    w = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, SIDE)
    z = w @ X.T
    log_p = (LABELS * log_expit(z) + (1 - LABELS) * log_expit(-z)).sum(axis=1) / temperature
    log_p -= (w**2).sum(axis=1) / (2 * SCALE**2)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = p @ w
    return mean, (w - mean).T @ ((w - mean) * p[:, None])


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_logistic_regression_has_the_moments_of_quadrature(temperature):
    mean, covariance = moments(temperature)
    draws, _ = walked(logistic, LABELS, temperature)
    white = (draws - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    assert np.abs(deviations(white, 0.0)).max() < 4
    assert np.abs((white[..., :, None] * white[..., None, :]).mean(axis=(0, 1)) - np.eye(SIDE)).max() < 0.06


def test_the_thermometers_read_the_temperature_and_a_step_too_long_is_seen():
    _, state = walked(gaussian, NOISY, 0.5)
    assert state.model.kinetic[0].item() == pytest.approx(0.5 * 2 / (1 + TOY.momentum), rel=0.01)
    assert state.model.configurational[0].item() == pytest.approx(0.5, rel=0.02)
    _, rough = walked(gaussian, NOISY, 0.01, batch=4, learning_rate=0.3)  # minibatches heat what little noise should
    assert rough.model.kinetic[0].item() > 0.02


def test_a_prior_without_data_is_sampled_at_every_temperature():
    """p(D | w)^(1/T) p(w) with a flat likelihood is the prior: tempering touches the likelihood alone."""
    for temperature in (1.0, 0.1):
        draws, _ = walked(lambda z, _: 0 * z.sum(dim=1), NOISY, temperature, learning_rate=3.0)
        assert np.abs(deviations((draws / SCALE) ** 2, 1.0)).max() < 4


def test_draws_are_evenly_spaced_up_to_the_last_step_of_every_cycle():
    config = replace(TOY, epochs=20, cycles=2, members=6, batch_size=10)
    places = [sgmcmc.place(k, config, N) for k in range(20 * 4)]
    kept = [(k, p.cycle, d) for k, p in enumerate(places) if (d := p.keeps(3)) is not None]
    assert [(cycle, draw) for _, cycle, draw in kept] == [(c, d) for c in (0, 1) for d in (0, 1, 2)]
    assert [k for k, *_ in kept] == [26, 33, 39, 66, 73, 79]
    assert [p.samples for p in places[:40]] == [False] * 20 + [True] * 20
    factors = [p.factor for p in places[:40]]
    assert factors[0] == 1 and factors == sorted(factors, reverse=True) and factors[-1] == sgmcmc.SHORTEST
    assert [p.factor for p in places[40:]] == factors


def test_one_tensor_with_steeper_gradients_is_heavier_and_equal_ones_weigh_one():
    problem = resolve(replace(Config.sampled(data="simulated"), members=1, cycles=1))
    state = sgmcmc.start(problem, device="cpu")
    state.squares.fill_(4.0)
    assert torch.allclose(sgmcmc.masses(state, 2), torch.ones(()))
    state.squares[0] = 400.0
    heavy = sgmcmc.masses(state, 2)
    first = next(state.walker.parameters()).numel()
    assert float(heavy[0] / heavy[-1]) == pytest.approx(10, rel=1e-6)
    assert torch.unique(heavy[:first]).numel() == torch.unique(heavy[first:]).numel() == 1
    assert float(heavy.double().log().mean()) == pytest.approx(0, abs=1e-6)


SPLITS = splits()
SMALL = Config.sampled(data="simulated", epochs=4, members=4, batch_size=8, learning_rate=1e-3)


def test_the_record_of_a_chain_predicts_with_every_draw_once_and_they_differ():
    model = fit(SMALL, SPLITS, device="cpu", progress=False).model
    problem = resolve(SMALL)
    logits = predict_as_trained(problem, model, images(3), samples=50, generator=generator(0, "predict"))
    assert logits.shape == (4, 3, 2) and len(np.unique(logits[:, 0, 0])) == 4
    for k, member in enumerate(model.members):
        alone = resolve(replace(SMALL, method="map", init="he"))
        one = predict_as_trained(alone, member, images(3), samples=1, generator=generator(0, "predict"))
        np.testing.assert_allclose(logits[k], one[0], rtol=1e-5, atol=1e-5)


def test_a_chain_starts_at_a_draw_from_its_prior():
    state = sgmcmc.start(resolve(replace(SMALL, prior_scale=0.3)), device="cpu")
    position = state.flat["mean"].detach()
    assert float(position.std()) == pytest.approx(0.3, rel=0.01) and abs(float(position.mean())) < 0.003
    for member in state.model.members:
        assert all(torch.equal(a, b) for a, b in zip(member.parameters(), state.walker.parameters(), strict=True))


def test_an_interrupted_chain_ends_where_an_uninterrupted_one_does(tmp_path):
    whole = fit(SMALL, SPLITS, device="cpu", progress=False).model

    class Stop(Exception):
        pass

    calls, step = [], sgmcmc.step

    def failing(state, batch):
        calls.append(1)
        if len(calls) == 9:
            raise Stop
        return step(state, batch)

    with pytest.MonkeyPatch.context() as patch:
        method = resolve(SMALL).method._replace(step=failing)
        patch.setitem(__import__("radio_bnn.inference.resolve", fromlist=["METHODS"]).METHODS, "sgmcmc", method)
        with pytest.raises(Stop):
            fit(SMALL, SPLITS, device="cpu", checkpoint=tmp_path / "c.pt", checkpoint_every=1, progress=False)
    resumed = fit(SMALL, SPLITS, device="cpu", checkpoint=tmp_path / "c.pt", progress=False).model
    assert len(calls) == 9
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
