"""IVON where the best mean-field posterior is known, and its recursion by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenarios import images
from torch import nn

from radio_bnn.config import Config
from radio_bnn.inference import ivon
from radio_bnn.inference.likelihood import Likelihood, upright
from radio_bnn.inference.method import Batch
from radio_bnn.inference.resolve import resolve
from radio_bnn.model.inputs import network_input
from radio_bnn.model.layers import BayesLinear, posterior

N, SIDE, SCALE = 60, 3, 0.8
RNG = np.random.default_rng(1)
X = RNG.normal(size=(N, SIDE)) * [1.0, 0.5, 2.0]
Y = X @ [0.3, -1.0, 0.2] + RNG.normal(size=N)
TOY = Config.preview(method="ivon", precision="float64", prior_scale=SCALE, learning_rate=0.05, adam_beta2=0.99)


class Line(nn.Module):
    """w . x + b with a mean and a rho for each."""

    def __init__(self):
        super().__init__()
        self.line = BayesLinear(SIDE, 1)
        self.double()

    def forward(self, x):
        return self.line(x)


def gaussian(outputs, y):
    """log N(y; w . x + b, 1) less its constant."""
    return -((outputs[:, 0] - y) ** 2) / 2


def trained(temperature: float, *, steps: int = 6000, batch: int = N, estimator: str = "local"):
    config = replace(TOY, temperature=temperature, estimator=estimator, batch_size=batch)
    problem = resolve(config)
    method = problem.method._replace(network=lambda c, g: Line())
    problem = replace(problem, likelihood=Likelihood(upright, gaussian), method=method)
    state = method.start(problem, device="cpu")
    order, kept = torch.Generator().manual_seed(0), []
    for k in range(steps):
        rows = torch.randperm(N, generator=order)[:batch] if batch < N else slice(None)
        ivon.step(state, Batch(torch.as_tensor(X)[rows], torch.as_tensor(Y)[rows], N))
        if k >= steps // 2:
            q = posterior(state.model)
            kept.append([torch.cat([part.flatten() for part in parts]) for parts in zip(*q.values(), strict=True)])
    return [torch.stack(part).mean(0).detach().numpy() for part in zip(*kept, strict=True)]


@pytest.mark.parametrize(("temperature", "batch"), [(1.0, N), (0.1, N), (0.1, 20)])
def test_linear_regression_ends_at_the_exact_mean_field_posterior(temperature, batch):
    """Of a Gaussian target the best factorised Gaussian has its mean, and the inverse of its precision's diagonal."""
    design = np.column_stack([X, np.ones(N)])
    precision = design.T @ design / temperature + np.eye(SIDE + 1) / SCALE**2
    mean, scale = trained(temperature, batch=batch)
    np.testing.assert_allclose(mean, np.linalg.solve(precision, design.T @ Y / temperature), atol=0.03)
    np.testing.assert_allclose(scale, np.diag(precision) ** -0.5, rtol=0.06)


def test_without_data_it_returns_to_the_prior():
    problem = resolve(replace(TOY, temperature=0.5))
    problem = replace(problem, method=problem.method._replace(network=lambda c, g: Line()))
    state = problem.method.start(problem, device="cpu")
    nothing = torch.zeros_like(state.flat["mean"])
    with torch.no_grad():
        state.flat["mean"].fill_(0.3)
        for _ in range(3000):
            ivon.advance(state, nothing, nothing, n_train=N)
    assert state.flat["mean"].abs().max().item() < 1e-6
    assert state.flat["rho"].exp().tolist() == pytest.approx([SCALE] * 4, rel=1e-4)


def test_a_step_is_the_published_recursion_and_no_curvature_makes_a_scale_that_is_no_number():
    problem = resolve(replace(TOY, temperature=0.5))
    problem = replace(problem, method=problem.method._replace(network=lambda c, g: Line()))
    state = problem.method.start(problem, device="cpu")
    weight, delta, b = N / 0.5, 0.5 / (N * SCALE**2), TOY.adam_beta2
    mean, variance = state.flat["mean"].detach().clone(), (2 * state.flat["rho"]).exp().detach().clone()
    h = 1 / (weight * variance) - delta
    gradient, of_rho = torch.tensor([[1.0, -2.0, 0.5, 3.0], [-4.0, 1e3, 0.0, -1e5]], dtype=torch.float64)
    with torch.no_grad():
        ivon.advance(state, gradient, of_rho, n_train=N)
    found = of_rho / variance
    new = b * h + (1 - b) * found + (1 - b) ** 2 * (h - found) ** 2 / (2 * (h + delta))
    assert (new + delta > 0).all() and torch.isfinite(state.flat["rho"]).all()
    torch.testing.assert_close(state.flat["rho"].detach(), -(weight * (new + delta)).log() / 2)
    moved = mean - TOY.learning_rate * (gradient + delta * mean) / (new + delta)
    torch.testing.assert_close(state.flat["mean"].detach(), moved)


def test_the_network_and_its_start_are_those_of_the_same_posterior_by_gradient_descent():
    states = [
        resolve(replace(TOY, method=m)).method.start(resolve(replace(TOY, method=m)), device="cpu")
        for m in ("vi", "ivon")
    ]
    for (name, a), b in zip(states[0].model.named_parameters(), states[1].model.parameters(), strict=True):
        assert torch.equal(a, b), name
    x = network_input(images(6), dtype=torch.float64)
    before = states[1].flat["rho"].detach().clone()
    terms = ivon.step(states[1], Batch(x, torch.arange(6) % 2, 30))
    assert torch.isfinite(terms.loss) and not torch.equal(before, states[1].flat["rho"])
