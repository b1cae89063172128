"""From a Config to what it asks for: the registry of inference methods, and the one place that reads the names."""

from __future__ import annotations

from functools import partial

from radio_bnn.config import Config
from radio_bnn.inference import ensemble, hmc, ivon, laplace, point, sgmcmc, vi
from radio_bnn.inference.likelihood import LIKELIHOODS
from radio_bnn.inference.method import Method, Problem
from radio_bnn.model.priors import make_prior

METHODS: dict[str, Method] = {
    "vi": vi.METHOD,
    "map": point.MAP,
    "ml": point.ML,
    "dropout": point.DROPOUT,
    "ensemble": ensemble.METHOD,
    "sgmcmc": sgmcmc.METHOD,
    "ivon": ivon.METHOD,
    "laplace": laplace.METHOD,
    "hmc": hmc.METHOD,
}
"""Inference methods by their name in Config."""


def resolve(config: Config) -> Problem:
    """The prior, the likelihood and the method that ``config`` names."""
    prior = make_prior(config.prior, scale=config.prior_scale, summed="summed_mixture" in config.as_released)
    likelihood = LIKELIHOODS[config.likelihood]
    if config.likelihood == "curation":
        likelihood = likelihood._replace(log_prob=partial(likelihood.log_prob, labellers=config.labellers))
    return Problem(config, prior, likelihood, METHODS[config.method])
