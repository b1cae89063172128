"""Priors over one weight: log-density, and the closed KL divergence where there is one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def gaussian_log_prob(w: Tensor, mean: Tensor | float, scale: Tensor | float) -> Tensor:
    """log N(w; mean, scale) = -log scale - log(2 pi) / 2 - ((w - mean) / scale)^2 / 2, elementwise."""
    log_scale = torch.log(scale) if isinstance(scale, Tensor) else math.log(scale)
    return -log_scale - LOG_2PI / 2 - ((w - mean) / scale).square() / 2


def laplace_log_prob(w: Tensor, scale: float) -> Tensor:
    """log L(w; 0, scale) = -log(2 scale) - |w| / scale, elementwise."""
    return -math.log(2 * scale) - w.abs() / scale


def gaussian_entropy(scale: Tensor) -> Tensor:
    """H[N(mean, scale)] = log scale + log(2 pi e) / 2 in nats, elementwise."""
    return torch.log(scale) + (LOG_2PI + 1) / 2


@dataclass(frozen=True)
class Gaussian:
    """p(w) = N(w; 0, scale). Published scale: 0.1."""

    scale: float = 0.1

    def log_prob(self, w: Tensor) -> Tensor:
        """log p(w) in nats, elementwise."""
        return gaussian_log_prob(w, 0.0, self.scale)

    def kl(self, mean: Tensor, scale: Tensor) -> Tensor:
        """KL[N(mean, s) || N(0, p)] = log(p / s) + (s^2 + mean^2) / 2p^2 - 1/2 in nats, elementwise."""
        ratio = (scale / self.scale).square()
        return (ratio + (mean / self.scale).square() - 1 - torch.log(ratio)) / 2


@dataclass(frozen=True)
class GaussianFanIn:
    """p(w) = N(w; 0, scale^2 / fan_in) for every tensor of weights, N(0, scale^2) for biases; not in the paper.

    The function that a layer draws keeps its size as the layer gets wider. It needs tensors (fan_out, ...) as the
    layers have them: fan_in is the number of weights of one output.
    """

    scale: float = 1.0
    by_layer: ClassVar[bool] = True

    def of(self, w: Tensor) -> Gaussian:
        """The prior of one tensor."""
        return Gaussian(self.scale / math.sqrt(w[0].numel()) if w.ndim > 1 else self.scale)

    def log_prob(self, w: Tensor) -> Tensor:
        """log p(w) in nats, elementwise."""
        return self.of(w).log_prob(w)

    def kl(self, mean: Tensor, scale: Tensor) -> Tensor:
        """KL[N(mean, s) || p] in nats, elementwise."""
        return self.of(mean).kl(mean, scale)


@dataclass(frozen=True)
class Laplace:
    """p(w) = L(w; 0, scale). Published scale: 1."""

    scale: float = 1.0

    def log_prob(self, w: Tensor) -> Tensor:
        """log p(w) in nats, elementwise."""
        return laplace_log_prob(w, self.scale)

    def kl(self, mean: Tensor, scale: Tensor) -> Tensor:
        """KL[N(mean, s) || L(0, b)] = E|w| / b + log 2b - H[N], elementwise, in nats.

        E|w| = s sqrt(2 / pi) exp(-mean^2 / 2s^2) + mean erf(mean / (s sqrt 2)).
        """
        z = mean / scale
        expected = scale * math.sqrt(2 / math.pi) * torch.exp(-z.square() / 2) + mean * torch.erf(z / math.sqrt(2))
        return expected / self.scale + math.log(2 * self.scale) - gaussian_entropy(scale)


@dataclass(frozen=True)
class _Mixture:
    """p(w) = weight f(w; wide) + (1 - weight) f(w; narrow), evaluated in log space."""

    weight: float = 0.75
    wide: float = 1.0
    narrow: float = 9e-4
    summed: bool = False

    def log_prob(self, w: Tensor) -> Tensor:
        """log p(w) in nats, elementwise; ``summed`` adds densities before the log, as released (audit A4)."""
        wide, narrow = self._components(w)
        if self.summed:
            return torch.log(self.weight * wide.exp() + (1 - self.weight) * narrow.exp())
        return torch.logaddexp(math.log(self.weight) + wide, math.log1p(-self.weight) + narrow)


@dataclass(frozen=True)
class GaussianMixture(_Mixture):
    """p(w) = 0.75 N(w; 0, 1) + 0.25 N(w; 0, 9e-4); the scales are standard deviations."""

    def _components(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return gaussian_log_prob(w, 0.0, self.wide), gaussian_log_prob(w, 0.0, self.narrow)


@dataclass(frozen=True)
class LaplaceMixture(_Mixture):
    """p(w) = 0.75 L(w; 0, 1) + 0.25 L(w; 0, 1e-3)."""

    narrow: float = 1e-3

    def _components(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return laplace_log_prob(w, self.wide), laplace_log_prob(w, self.narrow)


@dataclass(frozen=True)
class StudentT:
    """p(w) = Student's t with ``degrees`` of freedom and scale ``scale``: heavy tails, not in the paper."""

    scale: float = 0.1
    degrees: float = 3.0

    def log_prob(self, w: Tensor) -> Tensor:
        """log p(w) = log Gamma((n+1)/2) - log Gamma(n/2) - log(n pi s^2) / 2 - (n+1)/2 log(1 + w^2 / n s^2)."""
        n = self.degrees
        norm = math.lgamma((n + 1) / 2) - math.lgamma(n / 2) - math.log(n * math.pi * self.scale**2) / 2
        return norm - (n + 1) / 2 * torch.log1p((w / self.scale).square() / n)


PRIORS = {
    "gaussian": Gaussian,
    "gaussian_fan_in": GaussianFanIn,
    "gaussian_mixture": GaussianMixture,
    "laplace": Laplace,
    "laplace_mixture": LaplaceMixture,
    "student_t": StudentT,
}
TITLES = {
    "gaussian": "Gaussian",
    "gaussian_fan_in": "Gaussian by fan-in",
    "gaussian_mixture": "Gaussian mixture",
    "laplace": "Laplace",
    "laplace_mixture": "Laplace mixture",
    "student_t": "Student t",
}
Prior = Gaussian | GaussianFanIn | GaussianMixture | Laplace | LaplaceMixture | StudentT


def make_prior(name: str, *, scale: float | None = None, summed: bool = False) -> Prior:
    """The prior called ``name`` with its published values, or with another ``scale``.

    Raises ValueError for an unknown name, or a scale given to a mixture.
    """
    if name not in PRIORS:
        raise ValueError(f"prior={name!r} is not known: choose one of {', '.join(PRIORS)}")
    mixture = issubclass(PRIORS[name], _Mixture)
    if mixture and scale is not None:
        raise ValueError(f"prior_scale={scale} cannot be used with {name!r}, which has two scales: leave it out")
    if mixture:
        return PRIORS[name](summed=summed)
    return PRIORS[name]() if scale is None else PRIORS[name](scale=scale)


def log_densities(weights: np.ndarray) -> dict[str, np.ndarray]:
    """log p(w) of every prior of a single weight with its published values: weights (K,) -> {title: (K,)}, nats."""
    w = torch.as_tensor(weights, dtype=torch.float64)
    single = [name for name, prior in PRIORS.items() if not getattr(prior, "by_layer", False)]
    return {TITLES[name]: make_prior(name).log_prob(w).numpy() for name in single}
