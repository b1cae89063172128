"""One training run as one frozen value: its fields, its named protocols, its identity."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from dataclasses import dataclass
from typing import Any

CHOICES: dict[str, tuple[str, ...]] = {
    "data": ("mirabest", "simulated"),
    "method": ("vi", "map", "dropout"),
    "prior": ("gaussian", "gaussian_mixture", "laplace", "laplace_mixture", "student_t"),
    "objective": ("elbo", "pac2", "pac2_t"),
    "kl": ("auto", "closed", "mc", "mc_detached"),
    "estimator": ("shared", "local"),
    "augmentation": ("none", "d4", "rotation", "orbit_logits", "orbit_probs"),
    "schedule": ("constant", "plateau", "warmup_cosine"),
    "init": ("uniform", "he"),
    "selection": ("single_sample_error", "nll", "last"),
    "precision": ("float32", "float64", "bf16"),
}
# What the released code does differently from the mathematics, beside kl="mc_detached" (audit A1).
AS_RELEASED = {
    "detached_variance": "A2: the PAC variance term carries no gradient",
    "stale_selection": "A3: the saved network is evaluated, the current one is saved",
    "summed_mixture": "A4: mixture densities are summed, then logged",
    "kl_per_batch": "the KL weight is T / number of batches, also in a last, smaller batch",
}
POSITIVE = (
    "temperature",
    "batch_size",
    "learning_rate",
    "rho_learning_rate",
    "init_fc_scale",
    "epochs",
    "samples",
    "validate_every",
)


@dataclass(frozen=True)
class Config:
    """One training run; the defaults are the published protocol (2024 code).

    ``temperature`` multiplies the KL (a tempered likelihood, not Wenzel's cold posterior).
    ``prior_scale`` overrides the published scale of a one-component prior.
    ``rho_learning_rate`` moves rho = log sigma; ``init_rho_low`` and ``init_rho_high`` bound its uniform start.
    ``init_fc_scale`` multiplies the initial means of the fully-connected weights; ``adam_beta2`` is the decay of
    Adam's second moment.
    ``simulated_galaxies`` is the size of the simulated catalogue and is ignored for MiraBest.
    ``augmentation`` "orbit_logits" and "orbit_probs" are likelihoods averaged over the dihedral group D4; all views of
    an image share one draw of the weights, so they need ``estimator`` "shared".
    ``as_released`` names slips of the released code to reproduce, see ``AS_RELEASED``.
    Raises ValueError or TypeError for a value that no run can use.
    """

    data: str = "mirabest"
    data_seed: int = 14
    simulated_galaxies: int = 1256
    seed: int = 122
    method: str = "vi"
    prior: str = "gaussian"
    prior_scale: float | None = None
    temperature: float = 0.01
    objective: str = "elbo"
    kl: str = "mc"
    estimator: str = "shared"
    augmentation: str = "none"
    epochs: int = 1500
    batch_size: int = 50
    learning_rate: float = 5e-5
    rho_learning_rate: float = 5e-5
    adam_beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: str = "constant"
    init: str = "uniform"
    init_fc_scale: float = 1.0
    init_rho_low: float = -5.0
    init_rho_high: float = -4.0
    selection: str = "single_sample_error"
    validate_every: int = 1
    samples: int = 200
    precision: str = "float32"
    as_released: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field.name, field.type, getattr(self, field.name)))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is not known: choose one of {', '.join(choices)}")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be positive")
        if self.prior_scale is not None and not self.prior_scale > 0:
            raise ValueError(f"prior_scale={self.prior_scale!r} must be positive, or None for the published scale")
        if not 0 <= self.adam_beta2 < 1:
            raise ValueError(f"adam_beta2={self.adam_beta2!r} must be at least 0 and below 1")
        if self.init_rho_low > self.init_rho_high:
            raise ValueError(f"init_rho_low={self.init_rho_low} must not exceed init_rho_high={self.init_rho_high}")
        if self.augmentation.startswith("orbit") and self.estimator != "shared":
            raise ValueError(
                f"augmentation={self.augmentation!r} needs estimator='shared', not {self.estimator!r}: the views of an "
                "image share one draw of the weights"
            )
        unknown = sorted(set(self.as_released) - set(AS_RELEASED))
        if unknown:
            raise ValueError(f"as_released={unknown} is not known: choose from {', '.join(AS_RELEASED)}")

    @classmethod
    def published(cls, **changes: Any) -> Config:
        """The 2023-24 code: Adam 5e-5, 1500 epochs, no schedule, Gaussian s = 0.1, T = 0.01."""
        return cls(**changes)

    @classmethod
    def published_2021(cls, **changes: Any) -> Config:
        """The 2021 code: 500 epochs, learning rate x 0.95 after 3 epochs without improvement."""
        return cls(**{"epochs": 500, "schedule": "plateau", **changes})

    @classmethod
    def preview(cls, **changes: Any) -> Config:
        """A recipe of minutes in which sigma can move: 100 epochs, exact KL, faster rho, cosine schedule."""
        recipe = {
            "kl": "auto",
            "estimator": "shared" if str(changes.get("augmentation")).startswith("orbit") else "local",
            "epochs": 100,
            "learning_rate": 1e-3,
            "rho_learning_rate": 1e-2,
            "schedule": "warmup_cosine",
            "init": "he",
            "init_rho_low": -4.5,
            "init_rho_high": -4.5,
            "selection": "last",
            "validate_every": 5,
        }
        return cls(**{**recipe, **changes})

    @classmethod
    def converged(cls, **changes: Any) -> Config:
        """The protocol of the chapters' runs: as ``preview``, with the objective brought much further down.

        rho moves three times faster, Adam forgets its second moment ten times faster, and the fully-connected means
        start near zero, where the prior wants the many that the data do not need. Chosen on validation galaxies; how
        far it has converged is a record of its own, see ``radio_bnn.convergence``.
        """
        recipe = {"rho_learning_rate": 3e-2, "adam_beta2": 0.99, "init_fc_scale": 0.3, "validate_every": 10}
        return cls.preview(**{**recipe, **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """The Config of a mapping as :func:`to_dict` writes it; unknown names are errors."""
        known = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                hint = difflib.get_close_matches(name, known, n=1)
                raise ValueError(f"unknown setting {name!r}" + (f": did you mean {hint[0]!r}?" if hint else ""))
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values, in their order."""
        return {**dataclasses.asdict(self), "as_released": list(self.as_released)}


def run_id(config: Config) -> str:
    """Twelve hexadecimal digits that identify a run.

    The hash covers the fields that differ from their defaults, so a field added later with a neutral default
    leaves the identity of older runs as it was.
    """
    default = Config()
    values = {
        k: v for k, v in config.to_dict().items() if v != getattr(default, k) and not (k == "as_released" and not v)
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _typed(name: str, annotation: str, value: Any) -> Any:
    if annotation.startswith("tuple"):
        if isinstance(value, str) or not all(isinstance(v, str) for v in value):
            raise TypeError(f"{name}={value!r} must be a list of names")
        return tuple(sorted(value))
    if value is None and annotation.endswith("| None"):
        return None
    wanted = {"int": int, "str": str}.get(annotation, float)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise TypeError(f"{name}={value!r} must be of type {wanted.__name__}")
    if wanted is float and value != value:
        raise ValueError(f"{name} is not a number")
    return value
