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


class LastLayer(nn.Module):
    """``base``, the network; ``root`` R (P, P): R R^T is the covariance of the P weights of its last layer, 0 at first.

    The weights are counted class by class, each with its bias last.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        weight = getattr(base, LAST).weight
        self.register_buffer("root", torch.zeros(2 * [weight.numel() + len(weight)], dtype=weight.dtype))

    def forward(self, x: Tensor | Windows) -> Tensor:
        """Logits, x (N, 1, H, W) or Windows -> (N, C)."""
        return self.base(x)


def network(config: Config, generator: torch.Generator) -> LastLayer:
    """The "map" network of the same seed, without any spread yet."""
    return LastLayer(point.network(config, generator))


@torch.no_grad()
def finish(state: State, x: Tensor | Windows, labels: Tensor) -> None:
    """Measure the curvature on all training galaxies and set the spread of the last layer; x (N, ...), labels (N,)."""
    config, model = state.problem.config, state.model
    precision = hessian(model.base, x) / config.temperature
    precision += torch.eye(len(precision), dtype=precision.dtype) / state.problem.prior.scale**2
    if config.covariance == "diagonal":
        precision = precision.diagonal().diag()
    model.root.copy_(torch.linalg.cholesky(torch.linalg.inv(precision)))


def hessian(base: nn.Module, x: Tensor | Windows) -> Tensor:
    """sum_n (diag p_n - p_n p_n^T) x phi_n phi_n^T, float64: that of the NLL in the last layer, exact; (P, P).

    It does not depend on the labels. phi are the layer's inputs with a one for the bias, x the Kronecker product.
    """
    total: Tensor | float = 0.0
    with recorded({LAST: getattr(base, LAST)}) as seen, posterior_mean(base):
        for start in range(0, len(x), BATCH_SIZE):
            p = base(x[start : start + BATCH_SIZE]).double().softmax(-1)
            phi = torch.cat(
                [seen[LAST][0].double(), torch.ones(len(p), 1, dtype=torch.float64, device=p.device)], dim=1
            )
            spread = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
            total = total + torch.einsum("ncd,ni,nj->cidj", spread, phi, phi)
    side = total.shape[0] * total.shape[1]
    return total.reshape(side, side)


@contextmanager
def scope(model: LastLayer, generator: torch.Generator, sample: int = 0) -> Iterator[Draw]:
    """A fresh draw of the last layer from ``generator``; every other weight is that of the mode."""
    draw = {name: value.detach() for name, value in model.named_parameters()}
    weight, bias = f"base.{LAST}.weight", f"base.{LAST}.bias"
    noise = torch.randn(len(model.root), generator=generator, dtype=model.root.dtype, device=model.root.device)
    moved = (model.root @ noise).reshape(len(draw[bias]), -1)
    draw |= {weight: draw[weight] + moved[:, :-1], bias: draw[bias] + moved[:, -1]}
    with given(model, draw):
        yield draw


METHOD = Method(network, start=adam, step=partial(point.step, with_prior=True), scope=scope, finish=finish)
