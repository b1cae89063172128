"""The last layer by Hamiltonian Monte Carlo (Neal 2011): the posterior that last-layer Laplace approximates, itself.

A "map" network of the same seed is trained; then the weights of its last layer are sampled from their mode on, given
the features of all training galaxies, with exact gradients and a Metropolis step. All below stays as it is. The energy
is U(w) = -log p(D | w) / T + |w|^2 / (2 s^2), and the coordinates are those in which Laplace's Gaussian is a round one.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor, nn

from radio_bnn.config import Config
from radio_bnn.inference import laplace, point
from radio_bnn.inference.method import Method, State, adam
from radio_bnn.model.layers import Draw
from radio_bnn.model.sparse import Windows
from radio_bnn.seeds import generator

STEP = 0.3  # in standard deviations of Laplace's Gaussian
LONGEST = 10  # leapfrog steps; their number is drawn anew, so that no trajectory returns to where it began
WARM, BETWEEN = 100, 5  # trajectories before the first draw that is kept, and from each to the next


class SampledLastLayer(laplace.OnFeatures):
    """``draws`` (M, P) of the last layer's weights of ``base``, counted class by class, the bias last.

    ``accepted``: the share of the trajectories that the Metropolis step accepted.
    """

    def __init__(self, base: nn.Module, draws: int) -> None:
        super().__init__(base)
        self.register_buffer("draws", laplace.last_weights(base).detach().repeat(draws, 1))
        self.register_buffer("accepted", torch.zeros(()))


def network(config: Config, generator: torch.Generator) -> SampledLastLayer:
    """The "map" network of the same seed; every draw is its last layer."""
    return SampledLastLayer(point.network(config, generator), config.members)


class Energy:
    """U(w) in nats and its gradient, for the weights w (P,) of a last layer with inputs phi (N, F), labels (N,)."""

    def __init__(self, phi: Tensor, labels: Tensor, *, temperature: float, scale: float) -> None:
        self.phi, self.labels, self.temperature, self.scale = phi, labels.long(), temperature, scale

    def __call__(self, w: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.phi @ w.view(-1, self.phi.shape[1]).T
        excess = logits.softmax(-1) - F.one_hot(self.labels, logits.shape[1])
        nll = F.cross_entropy(logits, self.labels, reduction="sum")
        energy = nll / self.temperature + w.square().sum() / (2 * self.scale**2)
        return energy, (excess.T @ self.phi).flatten() / self.temperature + w / self.scale**2


@torch.no_grad()
def finish(state: State, x: Tensor | Windows, labels: Tensor) -> None:
    """Sample the last layer on all training galaxies; x (N, ...), labels (N,)."""
    config, model, s = state.problem.config, state.model, state.problem.prior.scale
    phi = laplace.features(model.base, x)
    energy = Energy(phi, labels.to(phi.device), temperature=config.temperature, scale=s)
    start = mode(energy, laplace.last_weights(model.base))
    root = laplace.root(phi, start, temperature=config.temperature, scale=s)
    kept, accepted = sample(energy, start, root, config.members, generator(config.seed, "chain"))
    model.draws.copy_(kept)
    model.accepted.fill_(accepted)


def mode(energy: Energy, start: Tensor) -> Tensor:
    """The w of lowest energy, (P,) float64, from ``start`` by L-BFGS: there is one, as the energy is convex."""

    def on_numbers(w: np.ndarray) -> tuple[float, np.ndarray]:
        u, gradient = energy(torch.as_tensor(w, device=start.device))
        return float(u), gradient.cpu().numpy()

    ends = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 1e-15}
    found = minimize(on_numbers, start.double().cpu().numpy(), jac=True, method="L-BFGS-B", options=ends)
    return torch.as_tensor(found.x, device=start.device)


def sample(energy: Energy, start: Tensor, root: Tensor, draws: int, noise: torch.Generator) -> tuple[Tensor, float]:
    """``draws`` of exp(-U) from ``start``, (draws, P), and the share of trajectories accepted.

    Leapfrog on z with w = start + R z, R (P, P) the ``root``, and momenta N(0, 1).
    """
    z, kept, accepted, trajectories = torch.zeros_like(start), [], 0, WARM + draws * BETWEEN

    def at(z: Tensor) -> tuple[Tensor, Tensor]:
        u, gradient = energy(start + root @ z)
        return u, root.T @ gradient

    u, gradient = at(z)
    for k in range(trajectories):
        momentum = torch.randn(len(z), generator=noise, dtype=z.dtype).to(z.device)
        moved = _leapfrog(at, z, momentum, gradient, int(torch.randint(1, LONGEST + 1, (), generator=noise)))
        gained = u + momentum.square().sum() / 2 - moved[1] - moved[3].square().sum() / 2
        if math.log(1 - torch.rand((), generator=noise, dtype=torch.float64)) < gained:
            (z, u, gradient, _), accepted = moved, accepted + 1
        if k >= WARM and (k - WARM) % BETWEEN == BETWEEN - 1:
            kept.append(start + root @ z)
    return torch.stack(kept), accepted / trajectories


def _leapfrog(at, z: Tensor, momentum: Tensor, gradient: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Position, energy, gradient and momentum after ``steps`` of length STEP."""
    momentum = momentum - STEP / 2 * gradient
    for k in range(steps):
        z = z + STEP * momentum
        u, gradient = at(z)
        momentum = momentum - (STEP if k < steps - 1 else STEP / 2) * gradient
    return z, u, gradient, momentum


def scope(model: SampledLastLayer, generator: torch.Generator, sample: int = 0) -> AbstractContextManager[Draw]:
    """Posterior sample number ``sample``, counted round and round; nothing is drawn."""
    return laplace.with_last(model, model.draws[sample % len(model.draws)])


METHOD = Method(
    network, start=adam, step=partial(point.step, with_prior=True), scope=scope, finish=finish, shared=laplace.shared
)
