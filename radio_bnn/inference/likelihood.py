"""Likelihoods p(y | x, w): how a draw of the weights sees an image, and the log-probability of its label."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radio_bnn.data.galaxies import Galaxies
from radio_bnn.model.inputs import orbit
from radio_bnn.model.priors import gaussian_log_prob
from radio_bnn.model.sparse import Windows


class Likelihood(NamedTuple):
    """``forward(model, x)``: logits (N, C) of one draw; ``log_prob(logits, labels)``: log p(y | x, w) (N,), nats.

    All forwards within one call must see the same weights: call it inside a scope. ``of_class``, of a likelihood that
    is not that of a class alone: log p(class | x, w), 0 where no class was given; what shows whether a network learns.
    """

    forward: Callable[[nn.Module, Tensor | Windows], Tensor]
    log_prob: Callable[[Tensor, Tensor], Tensor]
    of_class: Callable[[Tensor, Tensor], Tensor] | None = None


def categorical(logits: Tensor, labels: Tensor) -> Tensor:
    """log p(y | x, w) = log softmax(logits)_y per image. logits (N, C), labels (N,) -> (N,), nats."""
    return -F.cross_entropy(logits, labels, reduction="none")


def label_free(logits: Tensor, labels: Tensor) -> Tensor:
    """mean_c log softmax(logits)_c per image, whatever its label: at most -ln C, where the network guesses.

    A control: what it costs a family of posteriors to guess. logits (N, C), labels (N,) -> (N,), nats.
    """
    return F.log_softmax(logits, -1).mean(-1)


REJECTED = 2  # what the labellers gave a galaxy that they did not agree on
UNSURE = 2  # added to a label that was given without confidence
ALPHA_SURE, ALPHA_UNSURE = 0.01, 0.3


def curation(logits: Tensor, labels: Tensor, *, labellers: int) -> Tensor:
    """log-probability of what S labellers make of an image, each drawing a class from softmax(logits) (Aitchison 2021).

    S log p_y where all agree on y; for REJECTED, where they don't, log(1 - (1 - p)^S - p^S), with p the smaller of the
    two probabilities; S >= 2. logits (N, 2), labels (N,) -> (N,), nats.
    """
    log_p = F.log_softmax(logits, -1)
    smaller = log_p.min(-1).values
    torn = torch.log(-torch.expm1(labellers * torch.log1p(-smaller.exp())) - (labellers * smaller).exp())
    one = log_p.gather(-1, labels.clamp(max=REJECTED - 1).unsqueeze(-1))[..., 0]
    return torch.where(labels == REJECTED, torn, labellers * one)


def curated_class(logits: Tensor, labels: Tensor) -> Tensor:
    """log p_y of one labeller, 0 for REJECTED. logits (N, C), labels (N,) -> (N,), nats."""
    return torch.where(labels == REJECTED, 0.0, categorical(logits, labels.clamp(max=REJECTED - 1)))


def dirichlet(logits: Tensor, labels: Tensor) -> Tensor:
    """Noisy Dirichlet (Milios et al. 2018; Kapoor et al. 2022): sum_c log N(f_c; log a_c - s_c^2 / 2, s_c^2).

    a = one-hot label + ALPHA_SURE, or ALPHA_UNSURE for a label that has UNSURE added; s_c^2 = log(1 / a_c + 1). Logits
    (N, C), labels (N,) -> (N,), log-density, which may be positive.
    """
    alpha = F.one_hot(labels % UNSURE, logits.shape[-1]).to(logits.dtype)
    unsure = (labels >= UNSURE).to(logits.dtype).unsqueeze(-1)
    alpha = alpha + ALPHA_SURE + (ALPHA_UNSURE - ALPHA_SURE) * unsure
    variance = torch.log1p(1 / alpha)
    return gaussian_log_prob(logits, alpha.log() - variance / 2, variance.sqrt()).sum(-1)


def class_of(logits: Tensor, labels: Tensor) -> Tensor:
    """log p_y, whether or not the label was given with confidence. logits (N, C), labels (N,) -> (N,), nats."""
    return categorical(logits, labels % UNSURE)


def targets(likelihood: str, galaxies: Galaxies) -> np.ndarray:
    """The labels (N,) as a likelihood reads them: the class, REJECTED, or with UNSURE added."""
    if likelihood == "curation":
        return np.where(galaxies.confident & (galaxies.morphology < 3), galaxies.labels, REJECTED)
    if likelihood == "dirichlet":
        return galaxies.labels + UNSURE * ~galaxies.confident
    return galaxies.labels


def upright(model: nn.Module, x: Tensor | Windows) -> Tensor:
    """f(x): the image as it is. x (N, 1, H, W) or Windows -> (N, C)."""
    return model(x)


def mean_logits(views: Tensor) -> Tensor:
    """mean_k f(g_k x). views (K, N, C) -> (N, C)."""
    return views.mean(0)


def log_mean_probs(views: Tensor) -> Tensor:
    """log mean_k softmax(f(g_k x)): log probabilities, which are also valid logits. views (K, N, C) -> (N, C)."""
    return F.log_softmax(views, -1).logsumexp(0) - math.log(len(views))


def on_orbit(model: nn.Module, x: Tensor | Windows, *, average: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits averaged over the orbit of D4, so equal for all eight views of an image. Costs eight forwards.

    log softmax(logits)_y is then the likelihood of Nabarro et al. (2022) on a finite orbit. x (N, 1, H, W) or Windows,
    square -> (N, C).
    """
    return average(torch.stack([model(view) for view in orbit(x)]))


LIKELIHOODS = {
    "categorical": Likelihood(upright, categorical),
    "orbit_logits": Likelihood(partial(on_orbit, average=mean_logits), categorical),
    "orbit_probs": Likelihood(partial(on_orbit, average=log_mean_probs), categorical),
    "label_free": Likelihood(upright, label_free),
    "curation": Likelihood(upright, curation, curated_class),
    "dirichlet": Likelihood(upright, dirichlet, class_of),
}
"""Likelihoods by their name in Config."""
