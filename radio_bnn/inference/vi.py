"""Mean-field variational inference, Bayes by Backprop (Blundell et al. 2015): q(w) = prod_i N(mean_i, scale_i^2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from radio_bnn.config import Config
from radio_bnn.inference.method import Batch, Method, Problem, State, Terms, adam, autocast, descend, sampled
from radio_bnn.inference.objective import KL, negative_elbo, pac2_variance, released_variance
from radio_bnn.model.layers import BayesConv2d, BayesLinear, Draw, Normal, draw_weights, local_draw, one_draw, posterior
from radio_bnn.model.lenet import LeNet, initialised

ALL = "all"


def network(config: Config, generator: torch.Generator) -> LeNet:
    """The network with a mean and a rho for every weight."""
    return initialised(LeNet(BayesConv2d, BayesLinear), config, generator)


def step(state: State, batch: Batch) -> Terms:
    """One step of Adam on the negative ELBO or PAC-Bayes bound of the minibatch."""
    with autocast(state.problem.config.precision, device=batch.labels.device.type):
        by_layer = getattr(state.problem.prior, "by_layer", False)
        q = None if by_layer else {ALL: Normal(state.flat["mean"], state.flat["rho"].exp())}
        terms = objective(state.problem, state.model, batch, generator=state.noise, q=q)
    return descend(state, terms)


def objective(
    problem: Problem, model: nn.Module, batch: Batch, *, generator: torch.Generator, q: dict[str, Normal] | None = None
) -> Terms:
    """What is minimised on one minibatch, l being the log-likelihood per image at a draw of the weights.

    elbo: sum -l + T share KL. pac2, pac2_t: sum -(l + l')/2 - sum V + T share KL with two independent draws; as
    released (audit A2) the likelihood is that of the first draw alone, the KL that of the second.
    ``q``: the posterior of ``model`` as the one vector ALL, which is quicker than one tensor after the other.
    """
    config = problem.config
    likelihoods, draws = _likelihoods(problem, model, batch, generator)
    fitted, variance = likelihoods, 0.0
    if config.objective != "elbo" and "detached_variance" in config.as_released:
        fitted, draws, variance = likelihoods[:1], draws[1:], released_variance(*likelihoods).sum()
    elif config.objective != "elbo":
        variance = pac2_variance(*likelihoods, tight=config.objective == "pac2_t").sum()
    nll = -torch.stack(fitted).mean(0).sum()
    kl = _complexity(problem, posterior(model) if q is None else q, draws, generator)
    loss = negative_elbo(nll, kl, temperature=config.temperature, share=batch.share(config))
    return Terms(loss - variance, nll, kl)


def _likelihoods(
    problem: Problem, model: nn.Module, batch: Batch, generator: torch.Generator
) -> tuple[list[Tensor], list[Draw]]:
    scope = local_draw if problem.config.estimator == "local" else one_draw
    likelihood = problem.likelihood
    likelihoods, draws = [], []
    for _ in range(1 if problem.config.objective == "elbo" else 2):
        with scope(model, generator) as draw:
            likelihoods.append(likelihood.log_prob(likelihood.forward(model, batch.x), batch.labels))
        draws.append(draw)
    return likelihoods, draws


def _complexity(problem: Problem, q: dict[str, Normal], draws: list[Draw], generator: torch.Generator) -> Tensor:
    name = problem.config.kl_estimator
    if name != "closed" and problem.config.estimator == "local":
        draws = [draw_weights(q, generator)]
    elif ALL in q:
        draws = [{ALL: torch.cat([w.flatten() for w in draw.values()])} if name != "closed" else draw for draw in draws]
    return torch.stack([KL[name](problem.prior, q, draw) for draw in draws]).mean()


METHOD = Method(network, start=adam, step=step, scope=sampled)
