"""Improved variational online Newton, IVON (Shen et al. 2024): natural-gradient steps for the mean-field Gaussian.

The same posterior and the same objective as in :mod:`radio_bnn.inference.vi`, another way down: the scale is not a
parameter with a rate of its own but 1 / sqrt(lambda (h + delta)), with h the mean curvature per galaxy, lambda = N / T
and delta = T / (N s^2) for a prior N(0, s^2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from radio_bnn.inference import vi
from radio_bnn.inference.method import Batch, Method, Problem, State, Terms, adam, autocast, holding_rate, sampled
from radio_bnn.model.layers import Normal

MOMENTUM = 0.9


@dataclass
class Newton(State):
    """Beside ``flat``: ``curvature`` h and ``gradient``, its running mean, (d,) each, and ``count``, the steps made."""

    curvature: Tensor | None = None
    gradient: Tensor | None = None
    count: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed training needs to continue bit for bit."""
        own = {"curvature": self.curvature, "gradient": self.gradient, "count": self.count}
        return super().state_dict() | own

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        super().load_state_dict(content)
        self.curvature, self.gradient, self.count = (content[k] for k in ("curvature", "gradient", "count"))


def start(problem: Problem, *, device: str) -> Newton:
    """The network as "vi" initialises it; its scales give the first curvature."""
    begun = adam(problem, device=device)
    mean = begun.flat["mean"]
    state = Newton(problem, begun.model, holding_rate(mean, problem.config), begun.noise, begun.flat, begun.names)
    state.gradient = torch.zeros_like(mean)
    return state


def step(state: Newton, batch: Batch) -> Terms:
    """One step: with g and H estimates of gradient and curvature per galaxy, from one draw of the weights,

    h <- b h + (1 - b) H + (1 - b)^2 (h - H)^2 / 2 (h + delta), mean <- mean - rate (g + delta mean) / (h + delta).
    g is averaged over steps; b is the ``adam_beta2`` of the config. H = (d nll / d rho) / sigma^2, which keeps
    h + delta positive.
    """
    config, (mean, rho) = state.problem.config, (state.flat["mean"], state.flat["rho"])
    mean.grad.zero_()  # the parameters' gradients are views of these
    rho.grad.zero_()
    with autocast(config.precision, device=batch.labels.device.type):
        q = {vi.ALL: Normal(mean, rho.exp())}
        terms = vi.objective(state.problem, state.model, batch, generator=state.noise, q=q)
    terms.nll.backward()
    with torch.no_grad():
        advance(state, mean.grad / len(batch.labels), rho.grad / len(batch.labels), n_train=batch.n_train)
    return terms


def advance(state: Newton, gradient: Tensor, of_rho: Tensor, *, n_train: int) -> None:
    """The step itself, in place: gradients per galaxy with respect to means and rhos, (d,) each."""
    config, (mean, rho) = state.problem.config, (state.flat["mean"], state.flat["rho"])
    b, weight = config.adam_beta2, n_train / config.temperature
    delta = 1 / (weight * state.problem.prior.scale**2)
    variance = (2 * rho).exp()
    if state.curvature is None:
        state.curvature = 1 / (weight * variance) - delta
    h, found = state.curvature, of_rho / variance
    h = b * h + (1 - b) * found + (1 - b) ** 2 * (h - found).square() / (2 * (h + delta))
    state.count += 1
    state.gradient.mul_(MOMENTUM).add_(gradient, alpha=1 - MOMENTUM)
    unbiased = state.gradient / (1 - MOMENTUM**state.count)
    mean.sub_(state.optimizer.param_groups[0]["lr"] * (unbiased + delta * mean) / (h + delta))
    rho.copy_(-(weight * (h + delta)).log() / 2)
    state.curvature = h


METHOD = Method(vi.network, start=start, step=step, scope=sampled)
