"""Variational inference for radio-galaxy classification: a reproducible paper.

The public names are below; each is imported from its module when it is first used, so that ``import radio_bnn`` is
instant. Everything else has its place by folder: ``data``, ``model``, ``inference``, ``evaluation``, ``runs``, and
``paper``, which is the book's own machinery.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "config": ("Config", "run_id"),
    "seeds": ("generator",),
    "data": ("Galaxies", "Splits", "load"),
    "data.cutouts": ("preprocess", "read_cutout"),
    "data.simulate": ("simulate",),
    "model.layers": (
        "BayesConv2d",
        "BayesLinear",
        "given",
        "load_posterior",
        "one_draw",
        "posterior",
        "posterior_mean",
    ),
    "model.lenet": ("LeNet",),
    "model.priors": ("PRIORS", "make_prior"),
    "inference.likelihood": ("LIKELIHOODS",),
    "inference.objective": ("KL", "negative_elbo", "pac2_variance"),
    "inference.resolve": ("METHODS", "resolve"),
    "inference.train": ("fit",),
    "inference.predict": ("predict", "predict_as_trained"),
    "inference.prune": ("fisher_information", "prune", "signal_to_noise"),
    "evaluation.predictive": ("UNCERTAINTIES", "mutual_information", "predictive_entropy", "predictive_mean"),
    "evaluation.metrics": ("METRICS", "brier", "ece", "error", "nll", "uce"),
    "evaluation.resampling": ("Interval", "bootstrap", "calibrated_null", "contrast"),
    "evaluation.reliability": ("rejection_curve", "reliability"),
    "evaluation.conformal": ("conformal_sets",),
    "sky.stream": ("classify",),
    "runs.records": ("find",),
    "runs.execute": ("load_or_run",),
    "runs.sweep": ("run_queue",),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}
__all__ = [*sorted(_WHERE), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'radio_bnn' has no public name {name!r}: see radio_bnn.__all__")
    return getattr(importlib.import_module(f"radio_bnn.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
