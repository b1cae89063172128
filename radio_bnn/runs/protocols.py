"""The protocols of this book by name, and digests of their recipes: of all that may not vary within one."""

from __future__ import annotations

from typing import Any

from radio_bnn.config import ANNEALED_RATES, Config
from radio_bnn.runs.sealed import sha256_of

PROTOCOLS = (
    "published",
    "released",
    "published_2021",
    "preview",
    "converged",
    "annealed",
    "longer",
    "noisy",
    "sampled",
)
# What may vary within a protocol; every other field belongs to its recipe.
VARIED = set(
    [
        "data",
        "data_seed",
        "fold",
        "simulated_galaxies",
        "seed",
        "method",
        "prior",
        "prior_scale",
        "temperature",
        "members",
        "covariance",
        "likelihood",
        "labellers",
        "train_on",
        "population",
        "objective",
        "augmentation",
        "samples",
        "precision",
        "as_released",
    ]
)
# Settings that came after the first records: at their default they leave the digest of a recipe as it was.
LATER = ("cycles", "momentum", "covariance", "labellers", "train_on", "population")
# What may vary within one protocol alone.
VARIED_IN = {name: {"path", "estimator"} for name in ("annealed", "longer", "noisy")}
BY_PRIOR = ("annealed", "longer")  # protocols with learning rates of their own for each method and prior


def protocol(config: Config) -> dict[str, str]:
    """The protocol that ``config`` follows: its name, or "custom", and the digest of its recipe, of all it may set."""
    for name in PROTOCOLS:
        recipe = _recipe(config, name)
        if recipe == _recipe(_reference(name, config), name):
            return {"name": name, "digest": _digest(recipe)}
    return {"name": "custom", "digest": _digest(_recipe(config, "custom"))}


def digests() -> dict[str, str]:
    """Sixteen hexadecimal digits of the recipe of every protocol, of those BY_PRIOR for each method and prior.

    {"published": digest, ..., "annealed vi laplace": digest, ...}
    """
    found = {name: _digest(_recipe(getattr(Config, name)(), name)) for name in PROTOCOLS if name not in BY_PRIOR}
    for name in BY_PRIOR:
        for method, prior, scale in ANNEALED_RATES:
            config = getattr(Config, name)(method=method, prior=prior, prior_scale=scale)
            found[title(name, method, prior, scale)] = _digest(_recipe(config, name))
    return found


def title(name: str, method: str, prior: str, scale: float | None) -> str:
    """What a protocol BY_PRIOR is called for one of ANNEALED_RATES: "annealed vi laplace 0.07071"."""
    return f"{name} {method} {prior}" + ("" if scale is None else f" {scale:.4g}")


def _reference(name: str, config: Config) -> Config:
    same = ("method", "prior", "prior_scale") if name in BY_PRIOR else ()
    likelihood = ("likelihood", "train_on", "fold")
    return getattr(Config, name)(**{field: getattr(config, field) for field in (*likelihood, *same)})


def _recipe(config: Config, name: str) -> dict[str, Any]:
    free, default = VARIED | VARIED_IN.get(name, set()), Config()
    new = {name for name in LATER if getattr(config, name) == getattr(default, name)}
    return {k: v for k, v in config.to_dict().items() if k not in free | new}


def _digest(value: Any) -> str:
    return sha256_of(value)[:16]
