"""Last-layer Laplace (Daxberger et al. 2021): a "map" network, and a Gaussian for the weights of its last layer alone.

The Gaussian has the mode's curvature: the precision H / T + 1 / s^2, with H the Hessian of the NLL of all training
galaxies in the last layer's weights, and N(0, s^2) their prior. Everything below the last layer stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from radio_bnn.config import Config
from radio_bnn.inference import point
from radio_bnn.inference.method import Method, State, adam
from radio_bnn.inference.predict import BATCH_SIZE
from radio_bnn.model.layers import Draw, given, posterior_mean, recorded
from radio_bnn.model.sparse import Windows

LAST = "fc3"


class OnFeatures(nn.Module):
    """``base``, a network of which the last layer alone differs between draws."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: Tensor | Windows) -> Tensor:
        """Logits, x (N, 1, H, W), or Windows, or what enters the last layer (N, F) -> (N, C)."""
        if isinstance(x, Tensor) and x.dim() == 2:
            return getattr(self.base, LAST)(x)
        return self.base(x)


class LastLayer(OnFeatures):
    """``root`` R (P, P): R R^T is the covariance of the P weights of the last layer of ``base``, 0 at first.

    The weights are counted class by class, each with its bias last.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__(base)
        weight = getattr(base, LAST).weight
        self.register_buffer("root", torch.zeros(2 * [weight.numel() + len(weight)], dtype=weight.dtype))


def network(config: Config, generator: torch.Generator) -> LastLayer:
    """The "map" network of the same seed, without any spread yet."""
    return LastLayer(point.network(config, generator))


@torch.no_grad()
def finish(state: State, x: Tensor | Windows, labels: Tensor) -> None:
    """Measure the curvature on all training galaxies and set the spread of the last layer; x (N, ...), labels (N,)."""
    config, model = state.problem.config, state.model
    shape = {"temperature": config.temperature, "scale": state.problem.prior.scale}
    diagonal = config.covariance == "diagonal"
    model.root.copy_(root(features(model.base, x), last_weights(model.base), diagonal=diagonal, **shape))


@torch.no_grad()
def features(base: nn.Module, x: Tensor | Windows) -> Tensor:
    """What enters the last layer, with a one for its bias, of x (N, ...); (N, F + 1) float64."""
    starts = range(0, len(x), BATCH_SIZE)
    phi = torch.cat([entering(base, x[start : start + BATCH_SIZE]).double() for start in starts])
    return torch.cat([phi, torch.ones_like(phi[:, :1])], dim=1)


def entering(base: nn.Module, x: Tensor | Windows) -> Tensor:
    """What enters the last layer of ``base``, (N, F) of x (N, ...)."""
    with recorded({LAST: getattr(base, LAST)}) as seen, posterior_mean(base):
        base(x)
    return seen[LAST][0]


def shared(model: OnFeatures, x: Tensor | Windows) -> Tensor:
    """What all draws of the last layer have in common: what enters it, (N, F) of x (N, ...)."""
    return entering(model.base, x)


def last_weights(base: nn.Module) -> Tensor:
    """The weights of the last layer, class by class, each with its bias last; (P,)."""
    layer = getattr(base, LAST)
    return torch.cat([layer.weight, layer.bias.unsqueeze(1)], dim=1).flatten()


def root(phi: Tensor, w: Tensor, *, temperature: float, scale: float, diagonal: bool = False) -> Tensor:
    """R (P, P) lower triangular with R R^T = (H / T + 1 / s^2)^-1; of the diagonal of that precision alone if asked."""
    precision = hessian(phi, w) / temperature
    precision += torch.eye(len(precision), dtype=precision.dtype, device=precision.device) / scale**2
    if diagonal:
        precision = precision.diagonal().diag()
    return torch.linalg.cholesky(torch.linalg.inv(precision))


def hessian(phi: Tensor, w: Tensor) -> Tensor:
    """sum_n (diag p_n - p_n p_n^T) x phi_n phi_n^T, float64: that of the NLL in the last layer, exact; (P, P).

    It does not depend on the labels. phi (N, F + 1) are the ``features``, w (P,) the weights, x the Kronecker product.
    """
    p = (phi @ w.to(phi.dtype).view(-1, phi.shape[1]).T).softmax(-1)
    spread = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    found = torch.einsum("ncd,ni,nj->cidj", spread, phi, phi)
    return found.reshape(2 * [len(w)])


@contextmanager
def scope(model: LastLayer, generator: torch.Generator, sample: int = 0) -> Iterator[Draw]:
    """A fresh draw of the last layer from ``generator``; every other weight is that of the mode."""
    noise = torch.randn(len(model.root), generator=generator, dtype=model.root.dtype, device=model.root.device)
    with with_last(model, last_weights(model.base).detach() + model.root @ noise) as draw:
        yield draw


@contextmanager
def with_last(model: nn.Module, weights: Tensor) -> Iterator[Draw]:
    """Put ``weights`` (P,) in force in the last layer of ``model.base``; every other weight is as it is."""
    draw = {name: value.detach() for name, value in model.named_parameters()}
    weight, bias = f"base.{LAST}.weight", f"base.{LAST}.bias"
    each = weights.view(len(draw[bias]), -1)
    with given(model, draw | {weight: each[:, :-1], bias: each[:, -1]}) as drawn:
        yield drawn


METHOD = Method(
    network, start=adam, step=partial(point.step, with_prior=True), scope=scope, finish=finish, shared=shared
)
