"""One value for every weight: maximum a posteriori, maximum likelihood, and the latter with Monte Carlo dropout."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from radio_bnn.config import Config
from radio_bnn.inference.method import Batch, Method, Problem, State, Terms, adam, autocast, descend, sampled
from radio_bnn.model.layers import Conv2d, Linear, local_draw, one_draw
from radio_bnn.model.lenet import LeNet, initialised
from radio_bnn.model.priors import Prior


def network(config: Config, generator: torch.Generator, *, dropout: float = 0.0) -> LeNet:
    """The network with one value for every weight; ``dropout`` 0..1 before the last two linear layers."""
    return initialised(LeNet(Conv2d, Linear, dropout=dropout), config, generator)


def step(state: State, batch: Batch, *, with_prior: bool) -> Terms:
    """One step of Adam on ``objective``."""
    with autocast(state.problem.config.precision, device=batch.labels.device.type):
        terms = objective(state.problem, state.model, batch, generator=state.noise, with_prior=with_prior)
    return descend(state, terms)


def objective(
    problem: Problem, model: nn.Module, batch: Batch, *, generator: torch.Generator, with_prior: bool
) -> Terms:
    """sum -l - T share log p(w), of the epoch -log p(D | w) - T log p(w): at T = 1 the negative log posterior.

    Without the prior sum -l: maximum likelihood. Dropout has one mask for the minibatch, or one for each image with
    ``estimator`` "local".
    """
    config, likelihood = problem.config, problem.likelihood
    with (local_draw if config.estimator == "local" else one_draw)(model, generator):
        nll = -likelihood.log_prob(likelihood.forward(model, batch.x), batch.labels).sum()
    loss = nll
    if with_prior:
        loss = nll - config.temperature * batch.share(config) * log_prior(problem.prior, model)
    return Terms(loss, nll, torch.zeros_like(nll))


def log_prior(prior: Prior, model: nn.Module) -> Tensor:
    """log p(w) summed over all weights and biases, in nats."""
    return torch.stack([prior.log_prob(w).sum() for w in model.parameters()]).sum()


MAP = Method(network, start=adam, step=partial(step, with_prior=True), scope=sampled)
ML = Method(network, start=adam, step=partial(step, with_prior=False), scope=sampled)
DROPOUT = Method(partial(network, dropout=0.5), start=adam, step=partial(step, with_prior=False), scope=sampled)
