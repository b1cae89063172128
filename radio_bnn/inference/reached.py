"""What a training has reached: its objective, evaluated afresh on all training galaxies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from radio_bnn.config import UNUSED
from radio_bnn.inference.ensemble import Ensemble
from radio_bnn.inference.method import Problem, Terms
from radio_bnn.inference.objective import KL, negative_elbo
from radio_bnn.inference.point import log_prior
from radio_bnn.inference.predict import predict_as_trained
from radio_bnn.model.layers import Normal, draw_weights, posterior

DRAWS = 20


def whole_objective(
    problem: Problem,
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    draws: int = DRAWS,
    generator: torch.Generator,
) -> Terms:
    """The negative ELBO of all training galaxies, E[sum -l] + T KL[q || p], in float64; nats.

    The mean over ``draws`` of the weights on the images as they are, whatever was optimised and in whatever views; the
    KL divergence is exact where it has a closed form, else the mean over as many draws. A point estimate has -log p(w)
    in place of the KL, and 0 without a prior. images (N, H, W) uint8, labels (N,). ``nll`` is that of the class, see
    ``Likelihood.of_class``; a network that guesses has N ln C.
    """
    logits = predict_as_trained(problem, model, images, samples=draws, generator=generator)
    y, (_, log_prob, of_class) = torch.as_tensor(labels), problem.likelihood

    def mean_nll(log_prob: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return -torch.stack([log_prob(x, y).sum() for x in torch.as_tensor(logits).double()]).mean()

    nll = mean_nll(log_prob)
    kl = complexity(problem, model, draws=draws, generator=generator)
    objective = negative_elbo(nll, kl, temperature=problem.config.temperature, share=1.0)
    return Terms(objective, nll if of_class is None else mean_nll(of_class), kl)


@torch.no_grad()
def complexity(problem: Problem, model: nn.Module, *, draws: int, generator: torch.Generator) -> Tensor:
    """KL[q || p] in nats, float64; -log p(w) of a point estimate with a prior, 0 of one without.

    Of an ensemble it is the mean over its members, as the NLL is; of a network whose last layer alone is spread out it
    is that of the mode.
    """
    q = {name: Normal(*(part.double() for part in weights)) for name, weights in posterior(model).items()}
    if not q and "prior" in UNUSED[problem.config.method]:
        return torch.zeros((), dtype=torch.float64)
    if not q:
        networks = len(model.members) if isinstance(model, Ensemble) else 1
        return -log_prior(problem.prior, model).double() / networks
    if hasattr(problem.prior, "kl"):
        return KL["closed"](problem.prior, q, {})
    return torch.stack([KL["mc"](problem.prior, q, draw_weights(q, generator)) for _ in range(draws)]).mean()
