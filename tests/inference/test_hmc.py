"""The last layer by Hamiltonian Monte Carlo where its posterior is known, and beside Laplace's approximation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenarios import splits
from scipy.special import expit, log_softmax

from radio_bnn.config import Config
from radio_bnn.inference import hmc, laplace
from radio_bnn.inference.train import fit

SPLITS = splits()
CONFIG = Config.preview(data="simulated", method="hmc", members=6, epochs=2, batch_size=8, temperature=0.5)
RNG = np.random.default_rng(5)
LABELS = np.array([0] * 9 + [1] * 3)
SCALE, DRAWS, BLOCKS = 1.5, 900, 30
MOMENTS = {
    "mean": lambda w: w,
    "square": lambda w: w**2,
    "product": lambda w: w[:, :1] * w[:, 1:],
    "cube": lambda w: w**3,
    "probability": lambda w: expit(w[:, :1] - w[:, 1:]),
}


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_draws_have_the_moments_of_quadrature(temperature):
    """The two biases of a layer that sees nothing else: far from Gaussian, and only the prior holds their sum."""
    axis = np.linspace(-8, 8, 641)
    w = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p = log_softmax(w, axis=1)[:, LABELS].sum(axis=1) / temperature - (w**2).sum(axis=1) / (2 * SCALE**2)
    p = np.exp(log_p - log_p.max())
    energy = hmc.Energy(
        torch.ones(12, 1, dtype=torch.float64), torch.as_tensor(LABELS), temperature=temperature, scale=SCALE
    )
    noise, start = torch.Generator().manual_seed(0), torch.zeros(2, dtype=torch.float64)
    found, accepted = hmc.sample(energy, start, 0.7 * torch.eye(2, dtype=torch.float64), DRAWS, noise)
    assert 0.5 < accepted <= 1
    for name, moment in MOMENTS.items():
        blocks = moment(found.numpy()).reshape(BLOCKS, DRAWS // BLOCKS, -1).mean(axis=1)
        error = (blocks.mean(axis=0) - p @ moment(w) / p.sum()) / (blocks.std(axis=0, ddof=1) / np.sqrt(BLOCKS))
        assert np.abs(error).max() < 4, name


def test_the_gradient_is_that_of_the_energy():
    phi, labels = torch.as_tensor(RNG.normal(size=(7, 4))), torch.as_tensor(RNG.integers(0, 2, 7))
    energy, w = hmc.Energy(phi, labels, temperature=0.3, scale=0.2), torch.as_tensor(RNG.normal(size=8))
    expected = torch.autograd.functional.jacobian(lambda w: energy(w)[0], w)
    torch.testing.assert_close(energy(w)[1], expected, rtol=1e-10, atol=1e-12)


def test_a_flat_likelihood_leaves_the_prior_and_laplace_is_exact_there():
    """Inputs of zero: the posterior is N(0, s^2), every trajectory is nearly exact, and 1 / s^2 is the precision."""
    energy = hmc.Energy(torch.zeros(5, 3, dtype=torch.float64), torch.zeros(5), temperature=1.0, scale=0.2)
    noise, start = torch.Generator().manual_seed(1), torch.full((6,), 0.5, dtype=torch.float64)
    found, accepted = hmc.sample(energy, start, 0.2 * torch.eye(6, dtype=torch.float64), DRAWS, noise)
    assert accepted > 0.95
    z = (found / 0.2).numpy()
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(DRAWS) and z.var(axis=0) == pytest.approx(np.ones(6), rel=0.2)


def test_draws_of_a_trained_network_differ_in_the_last_layer_alone_and_repeat():
    model, again = (fit(CONFIG, SPLITS, device="cpu", progress=False).model for _ in range(2))
    assert torch.equal(model.draws, again.draws) and len(torch.unique(model.draws, dim=0)) == CONFIG.members
    assert 0.5 < float(model.accepted) <= 1
    alone = fit(replace(CONFIG, method="map"), SPLITS, device="cpu", progress=False).model
    for (name, a), b in zip(alone.named_parameters(), model.base.parameters(), strict=True):
        assert torch.equal(a, b), name
    with hmc.scope(model, torch.Generator(), 2) as draw:
        weights = torch.cat([draw["base.fc3.weight"], draw["base.fc3.bias"].unsqueeze(1)], dim=1).flatten()
    assert torch.equal(weights, model.draws[2])


def test_where_data_are_many_it_agrees_with_laplace():
    """A posterior that is nearly Gaussian: means and covariance as the mode and its inverse curvature."""
    n, scale = 1000, 0.1
    phi = torch.cat([torch.as_tensor(RNG.normal(size=(n, 2))), torch.ones(n, 1, dtype=torch.float64)], dim=1)
    energy = hmc.Energy(phi, torch.as_tensor(RNG.integers(0, 2, n)), temperature=1.0, scale=scale)
    mode = hmc.mode(energy, torch.zeros(6))
    assert energy(mode)[1].abs().max() < 1e-3 * n**0.5
    root = laplace.root(phi, mode, temperature=1.0, scale=scale)
    found, _ = hmc.sample(energy, mode, root, DRAWS, torch.Generator().manual_seed(2))
    z = torch.linalg.solve_triangular(root, (found - mode).T, upper=False).numpy()
    assert np.abs(z.mean(axis=1)).max() < 5 / np.sqrt(DRAWS)
    np.testing.assert_allclose(np.cov(z), np.eye(6), atol=0.2)
