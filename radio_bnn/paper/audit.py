"""What an objective asks of a network: its gradients, with two slips of the released code, and its cost in nats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from radio_bnn.config import Config
from radio_bnn.inference.likelihood import categorical
from radio_bnn.inference.method import Batch
from radio_bnn.inference.objective import KL, negative_elbo
from radio_bnn.inference.resolve import resolve
from radio_bnn.inference.vi import objective
from radio_bnn.model.layers import one_draw, posterior
from radio_bnn.model.priors import Prior
from radio_bnn.model.sparse import Windows

LAYER = "fc1.weight"


def variance_gradient(
    model: nn.Module, x: Tensor | Windows, labels: Tensor, config: Config, *, detached: bool, generator: torch.Generator
) -> float:
    """Norm of what the PAC-Bayes variance term adds to the gradient of a minibatch, relative to the rest, 0..inf.

    |grad(loss) - grad(nll + T KL)| / |grad(nll + T KL)| over all parameters, the minibatch being the whole training set
    of ``config`` (objective pac2 or pac2_t). ``detached``: as released (audit A2), exactly 0.
    """
    if config.objective == "elbo":
        raise ValueError("objective='elbo' has no variance term: choose pac2 or pac2_t")
    config, parameters = replace(config, as_released=("detached_variance",) if detached else ()), [*model.parameters()]
    terms = objective(resolve(config), model, Batch(x, labels, len(labels)), generator=generator)
    rest = negative_elbo(terms.nll, terms.kl, temperature=config.temperature, share=1.0)
    whole, rest = (_gradient(loss, parameters) for loss in (terms.loss, rest))
    return float((whole - rest).norm() / rest.norm())


def gradient_to_noise(
    model: nn.Module,
    x: Tensor | Windows,
    labels: Tensor,
    prior: Prior,
    *,
    temperatures: Sequence[float],
    share: float,
    draws: int,
    generator: torch.Generator,
    layer: str = LAYER,
) -> dict[str, dict[float, float]]:
    """Signal-to-noise of one step's gradient in the means of ``layer`` by KL estimator and temperature, 0..inf.

    |E g| / sqrt(E |g - E g|^2) with g the gradient of nll + T share KL at one draw of the weights; the minibatch stays
    the same, so the noise is that of the draws alone. |E g|^2 is estimated without bias, 0 where noise hides it.
    Returns {estimator: {T: ratio}}; "mc_detached" is as released (audit A1).
    """
    if draws < 2:
        raise ValueError(f"draws={draws} must be at least 2")
    q = {layer: posterior(model)[layer]}
    estimators = {name: kl for name, kl in KL.items() if name != "closed" or hasattr(prior, "kl")}
    likelihood, complexity = [], {name: [] for name in estimators}
    for _ in range(draws):
        with one_draw(model, generator) as draw:
            likelihood.append(_gradient(-categorical(model(x), labels).sum(), [q[layer].mean]))
        for name, kl in estimators.items():
            complexity[name].append(_gradient(kl(prior, q, draw), [q[layer].mean]))
    total, cost = torch.stack(likelihood), {name: torch.stack(rows) for name, rows in complexity.items()}
    return {name: {t: _ratio(total + t * share * rows) for t in temperatures} for name, rows in cost.items()}


def budget(n_train: int, *, classes: int = 2) -> float:
    """NLL of guessing, N ln C in nats: nll + T KL of a useful posterior is below it."""
    return n_train * math.log(classes)


def cost(history: Mapping[str, Sequence[float]], *, temperature: float, n_train: int, weights: int) -> dict[str, float]:
    """The objective of the last epoch of a ``Fit.history`` in nats, term by term, beside its budget."""
    nll, kl = n_train * history["train_nll"][-1], weights * history["kl_per_weight"][-1]
    whole = {"misfit: NLL of the training set": nll, "KL divergence": kl, "T × KL divergence": temperature * kl}
    return whole | {"misfit + T × KL": nll + temperature * kl, "budget: NLL of guessing": budget(n_train)}


def _gradient(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)])


def _ratio(gradients: Tensor) -> float:
    noise = gradients.var(0).sum()
    signal = gradients.mean(0).square().sum() - noise / len(gradients)
    return float((signal.clamp(min=0) / noise).sqrt())
