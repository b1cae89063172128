"""The parts of a variational objective: complexity cost, negative ELBO, PAC-Bayes variance term. Pure functions."""

from __future__ import annotations

import torch
from torch import Tensor

from radio_bnn.model.layers import Draw, Normal
from radio_bnn.model.priors import Prior, gaussian_log_prob

LOG_2 = 0.6931471805599453


def kl_closed(prior: Prior, q: dict[str, Normal], draw: Draw) -> Tensor:
    """KL[q || p] summed over all weights, exact; for priors with a closed form. ``draw`` is not used."""
    return torch.stack([prior.kl(mean, scale).sum() for mean, scale in q.values()]).sum()


def kl_mc(prior: Prior, q: dict[str, Normal], draw: Draw) -> Tensor:
    """log q(w) - log p(w) at one draw, summed over all weights: an unbiased estimate of KL[q || p], in nats."""
    terms = [(gaussian_log_prob(draw[k], *q[k]) - prior.log_prob(draw[k])).sum() for k in q]
    return torch.stack(terms).sum()


def kl_mc_detached(prior: Prior, q: dict[str, Normal], draw: Draw) -> Tensor:
    """As ``kl_mc`` with the mean detached inside log q, as released (audit A1): same value, noisier gradient."""
    terms = [(gaussian_log_prob(draw[k], q[k].mean.detach(), q[k].scale) - prior.log_prob(draw[k])).sum() for k in q]
    return torch.stack(terms).sum()


KL = {"closed": kl_closed, "mc": kl_mc, "mc_detached": kl_mc_detached}


def negative_elbo(nll: Tensor, kl: Tensor, *, temperature: float, share: float) -> Tensor:
    """nll + temperature x share x KL, where ``share`` is the minibatch's share of the training set.

    With share = len(batch) / n_train the minibatches of an epoch sum to the full-data objective.
    """
    return nll + temperature * share * kl


def cold_posterior_scale(scale: float, temperature: float) -> float:
    """s sqrt(T): the Gaussian prior scale at which tempering the likelihood is tempering the whole posterior.

    Wenzel et al. (2020) raise the posterior to the power 1/T: E[-log p(D|w)] + E[-log p(w)] - T H[q], with entropy H.
    ``negative_elbo`` has T E[-log p(w)] instead. For N(0, s^2) the first at scale s is the second at s sqrt(T), but for
    a constant.
    """
    return scale * temperature**0.5


def pac2_variance(l1: Tensor, l2: Tensor, *, tight: bool) -> Tensor:
    """Second-order PAC-Bayes variance term per image from two independent draws (Masegosa 2020).

    V = c (a - b)^2 / 4 with a = exp(l1 - m), b = exp(l2 - m), m = 0; c = 1, or c = 2 H(alpha) if ``tight``, with
    alpha = log((exp l1 + exp l2) / 2) - m. l1, l2 (N,) log-likelihoods <= 0 -> (N,). Gradients flow through a and b
    only.
    """
    coefficient = 1.0
    if tight:
        alpha = torch.logaddexp(l1.detach(), l2.detach()) - LOG_2
        coefficient = 2 * second_order_jensen(alpha)
    return coefficient * (l1.exp() - l2.exp()).square() / 4


def released_variance(l1: Tensor, l2: Tensor) -> Tensor:
    """V = a^2 - a b per image, a = exp(l1 - m), b = exp(l2 - m), m = max(l1, l2): as released (audit A2), no gradient.

    l1, l2 (N,) log-likelihoods -> (N,), negative where l1 < l2.
    """
    l1, l2 = l1.detach(), l2.detach()
    largest = torch.maximum(l1, l2)
    a, b = (l1 - largest).exp(), (l2 - largest).exp()
    return a * (a - b)


def second_order_jensen(alpha: Tensor) -> Tensor:
    """H(alpha) = alpha / (1 - e^alpha)^2 + 1 / (e^alpha (1 - e^alpha)), stable; alpha <= 0, clamped at -8.

    H(0) = 1/2. Below |alpha| = 1e-2 the series 1/2 - 2 alpha / 3 + 5 alpha^2 / 12 - 29 alpha^3 / 180 is used.
    """
    a = alpha.double().clamp(-8.0, 0.0)
    small = a > -1e-2
    safe = torch.where(small, torch.full_like(a, -1.0), a)
    e = torch.expm1(safe)
    exact = safe / e.square() - 1 / (safe.exp() * e)
    series = 0.5 - 2 * a / 3 + 5 * a.square() / 12 - 29 * a**3 / 180
    return torch.where(small, series, exact).to(alpha.dtype)
