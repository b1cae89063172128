"""Likelihoods p(y | x, w): how a draw of the weights sees an image, and the log-probability of its label."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radio_bnn.model.inputs import orbit
from radio_bnn.model.sparse import Windows


class Likelihood(NamedTuple):
    """``forward(model, x)``: logits (N, C) of one draw; ``log_prob(logits, labels)``: log p(y | x, w) (N,), nats.

    All forwards within one call must see the same weights: call it inside a scope.
    """

    forward: Callable[[nn.Module, Tensor | Windows], Tensor]
    log_prob: Callable[[Tensor, Tensor], Tensor]


def categorical(logits: Tensor, labels: Tensor) -> Tensor:
    """log p(y | x, w) = log softmax(logits)_y per image. logits (N, C), labels (N,) -> (N,), nats."""
    return -F.cross_entropy(logits, labels, reduction="none")


def label_free(logits: Tensor, labels: Tensor) -> Tensor:
    """mean_c log softmax(logits)_c per image, whatever its label: at most -ln C, where the network guesses.

    A control: what it costs a family of posteriors to guess. logits (N, C), labels (N,) -> (N,), nats.
    """
    return F.log_softmax(logits, -1).mean(-1)


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
}
"""Likelihoods by their name in Config."""
