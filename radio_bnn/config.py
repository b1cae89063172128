"""One training run as one frozen value: its fields, its named protocols, its identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from radio_bnn.messages import meant, shown

N_FOLDS = 8  # of radio_bnn.data.folds
# What the released code does differently from the mathematics, beside kl="mc_detached" (audit A1).
AS_RELEASED = {
    "detached_variance": "A2: the PAC variance term is another and carries no gradient",
    "stale_selection": "A3: the saved network is evaluated, the current one is saved",
    "summed_mixture": "A4: mixture densities are summed, then logged",
    "kl_per_batch": "the KL weight is T / number of batches, also in a last, smaller batch",
}
# What a training remembers of every epoch at which it validates.
HISTORY = ("epoch", "train_nll", "kl_per_weight", "mean_rho", "validation_nll", "validation_error")
THERMOMETERS = ("kinetic", "configurational")  # of a chain, see radio_bnn.inference.sgmcmc


class Range(NamedTuple):
    """The numbers from ``low`` to ``high``, without ``high`` itself where it is ``open``."""

    low: float
    high: float
    open: bool = False

    def holds(self, value: float) -> bool:
        """Whether the number is one of them."""
        return self.low <= value < self.high if self.open else self.low <= value <= self.high

    def __str__(self) -> str:
        if self.open:
            return f"at least {self.low:g} and below {self.high:g}"
        return f"{'positive, ' if self.low > 0 else ''}from {self.low} to {self.high}"


# What a run can use: what computes, and what a record can hold. A rate that is too high ends the training in its words.
_RATE = Range(1e-30, 1e30)
_TEMPERATURE = Range(1e-12, 1e6)
_DECAY = Range(0, 1, open=True)
_SEED = Range(0, 2**32 - 1)
_RHO = Range(-80.0, 5.0)
RANGES: dict[str, Range] = {
    "data_seed": _SEED,
    "simulated_galaxies": Range(40, 2**16),  # every set has its classes; a record numbers galaxies in two bytes
    "seed": _SEED,
    "members": Range(1, 500),
    "cycles": Range(1, 500),
    "momentum": _DECAY,
    "prior_scale": Range(1e-6, 1e3),
    "temperature": _TEMPERATURE,
    "path": _TEMPERATURE,
    "labellers": Range(1, 1000),
    "epochs": Range(1, 10**6),
    "batch_size": Range(1, 2**16),
    "learning_rate": _RATE,
    "rho_learning_rate": _RATE,
    "adam_beta2": _DECAY,
    "weight_decay": Range(0.0, 1e3),
    "init_fc_scale": Range(1e-6, 1e3),
    "init_rho_low": _RHO,
    "init_rho_high": _RHO,
    "validate_every": Range(1, 10**6),
    "samples": Range(1, 10**4),
}
LONGEST_PATH = 100
MOST_PREDICTIONS = 2**27  # samples x simulated galaxies: two bytes each in a record
# Published scales of the priors that have one; mixtures have two, which no setting changes.
PRIOR_SCALE = {"gaussian": 0.1, "gaussian_fan_in": 1.0, "laplace": 1.0, "student_t": 0.1}
CLOSED_KL = ("gaussian", "gaussian_fan_in", "laplace")
# Likelihoods that look at all eight views of an image.
ORBITS = ("orbit_logits", "orbit_probs")
# Learning rates of the means and of rho in ``Config.annealed`` by method, prior and its scale, None for the published
# one, of "ivon" its rate and the decay of its curvature: those of lowest objective, see radio_bnn.paper.protocol; a
# test holds them to its records.
ANNEALED_RATES: dict[tuple[str, str, float | None], tuple[float, float]] = {
    ("vi", "gaussian", None): (8e-3, 0.1),
    ("vi", "gaussian_mixture", None): (8e-3, 0.1),
    ("vi", "laplace", None): (4e-3, 0.03),
    ("vi", "laplace_mixture", None): (4e-3, 0.1),
    ("vi", "student_t", None): (4e-3, 0.1),
    ("vi", "laplace", 0.1 / math.sqrt(2)): (8e-3, 0.1),
    ("vi", "gaussian", math.sqrt(1.5)): (4e-3, 0.03),
    ("vi", "gaussian", 0.03): (8e-3, 0.1),
    ("vi", "gaussian", 0.3): (8e-3, 0.1),
    ("vi", "gaussian_fan_in", 0.5): (8e-3, 0.1),
    ("vi", "gaussian_fan_in", None): (8e-3, 0.1),
    ("vi", "gaussian_fan_in", 2.0): (8e-3, 0.1),
    ("map", "gaussian", None): (8e-3, 0.1),
    ("dropout", "gaussian", None): (2e-3, 0.1),
    ("ivon", "gaussian", None): (0.01, 0.98),
}
TRAINED_AS = {"ensemble": "map", "laplace": "map", "hmc": "map"}  # methods whose networks train as those of another
# Settings that a method does not use, beside those that belong to another method alone.
OF_THE_POSTERIOR = {"kl", "estimator", "rho_learning_rate", "init_rho_low", "init_rho_high"}
OF_THE_PRIOR = {"prior", "prior_scale", "temperature"}
OF_A_CHAIN = {"cycles", "momentum"}
OF_ADAM = {"adam_beta2", "weight_decay", "schedule"}
UNUSED = {
    "vi": OF_A_CHAIN | {"members"},
    "map": OF_A_CHAIN | OF_THE_POSTERIOR | {"members", "samples"},
    "ml": OF_A_CHAIN | OF_THE_POSTERIOR | OF_THE_PRIOR | {"members", "samples"},
    "dropout": OF_A_CHAIN | (OF_THE_POSTERIOR - {"estimator"}) | OF_THE_PRIOR | {"members"},
    "ensemble": OF_A_CHAIN | OF_THE_POSTERIOR | {"samples"},
    "sgmcmc": OF_ADAM | OF_THE_POSTERIOR | {"samples"},
    "ivon": OF_A_CHAIN | {"members", "kl", "rho_learning_rate", "weight_decay"},
    "laplace": OF_A_CHAIN | OF_THE_POSTERIOR | {"members"},
    "hmc": OF_A_CHAIN | OF_THE_POSTERIOR | {"samples"},
}


@dataclass(frozen=True)
class Config:
    """One training run; the defaults are the published protocol (2024 code).

    ``method``: "vi" mean-field variational inference; "map" the maximum of p(D | w)^(1/T) p(w); "ml" the maximum of the
    likelihood alone; "dropout" the same with Monte Carlo dropout; "ensemble" ``members`` "map" networks; "sgmcmc" a
    chain of stochastic-gradient Hamiltonian Monte Carlo of ``cycles`` cycles, which keeps ``members`` draws, and whose
    momentum decays by the factor ``momentum`` per step; "ivon" natural-gradient steps to the posterior of "vi";
    "laplace" a "map" network with a Gaussian for its last layer, of full or diagonal ``covariance``; "hmc" the same
    with ``members`` draws of its last layer by Hamiltonian Monte Carlo.
    ``temperature`` multiplies the KL (a tempered likelihood, not Wenzel's cold posterior). ``path`` holds the
    temperatures that the training has come through, ``epochs`` epochs each: it starts from the network at the last.
    ``estimator`` "shared" draws once per minibatch; "local" draws the outputs of linear layers, and dropout's masks,
    for each image. ``prior_scale`` overrides the published scale of a one-component prior; "gaussian_fan_in" has
    it over the square root of a layer's fan-in. ``kl`` "auto" is the closed
    form where the prior has one, else "mc".
    ``likelihood`` "orbit_logits" and "orbit_probs" average over the dihedral group D4; all views of an image share one
    draw of the weights, so they need ``estimator`` "shared". "label_free" is the same for every label, a control;
    "curation" that of ``labellers`` who keep a galaxy only if all agree on its class, and reject the uncertain ones and
    the hybrids, which it needs to ``train_on``: "all"; "dirichlet" a noisy Dirichlet, with more noise on a label that
    was given without confidence. ``train_on`` "labelled" adds the uncertain galaxies with their labels.
    ``population`` of simulated galaxies: as many of each class as MiraBest has, or as they come, "voted" on by
    ``labellers``.
    ``augmentation`` shows the images in random views.
    ``schedule`` "ramp" is "warmup_cosine" with rho at rest at first, see ``train.learning_rate_factor``.
    ``rho_learning_rate`` moves rho = log sigma; ``init_rho_low`` and ``init_rho_high`` bound its uniform start.
    ``init`` is that of the means: "uniform" on (-0.1, 0.1), "he", or "prior", a draw from a Gaussian one.
    ``init_fc_scale`` multiplies the initial means of the fully-connected weights; ``adam_beta2`` is the decay of
    Adam's second moment.
    ``simulated_galaxies`` is the size of the simulated catalogue and is ignored for MiraBest. ``fold`` 0 to 7 divides
    the galaxies as :mod:`radio_bnn.data.folds` does, and ``data_seed`` is ignored; None is the division by that.
    ``as_released`` names slips of the released code to reproduce, see ``AS_RELEASED``.
    Raises ValueError or TypeError, in one line, for a value that no run can use; numbers have their ``RANGES``.
    """

    data: Literal["mirabest", "simulated"] = "mirabest"
    data_seed: int = 14
    fold: int | None = None
    simulated_galaxies: int = 1256
    seed: int = 122
    method: Literal["vi", "map", "ml", "dropout", "ensemble", "sgmcmc", "ivon", "laplace", "hmc"] = "vi"
    members: int = 4
    cycles: int = 4
    momentum: float = 0.9
    covariance: Literal["full", "diagonal"] = "full"
    prior: Literal["gaussian", "gaussian_fan_in", "gaussian_mixture", "laplace", "laplace_mixture", "student_t"] = (
        "gaussian"
    )
    prior_scale: float | None = None
    temperature: float = 0.01
    path: tuple[float, ...] = ()
    likelihood: Literal["categorical", "orbit_logits", "orbit_probs", "label_free", "curation", "dirichlet"] = (
        "categorical"
    )
    labellers: int = 5
    population: Literal["as mirabest", "voted"] = "as mirabest"
    train_on: Literal["confident", "labelled", "all"] = "confident"
    objective: Literal["elbo", "pac2", "pac2_t"] = "elbo"
    kl: Literal["auto", "closed", "mc", "mc_detached"] = "mc"
    estimator: Literal["shared", "local"] = "shared"
    augmentation: Literal["none", "d4", "rotation"] = "none"
    epochs: int = 1500
    batch_size: int = 50
    learning_rate: float = 5e-5
    rho_learning_rate: float = 5e-5
    adam_beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: Literal["constant", "plateau", "warmup_cosine", "ramp"] = "constant"
    init: Literal["uniform", "he", "prior"] = "uniform"
    init_fc_scale: float = 1.0
    init_rho_low: float = -5.0
    init_rho_high: float = -4.0
    selection: Literal["single_sample_error", "nll", "last"] = "single_sample_error"
    validate_every: int = 1
    samples: int = 200
    precision: Literal["float32", "float64", "bf16"] = "float32"
    as_released: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, kind in _types().items():
            object.__setattr__(self, name, _typed(name, kind, getattr(self, name)))
        check_fold(self.fold)
        if self.init_rho_low > self.init_rho_high:
            raise ValueError(f"init_rho_low={self.init_rho_low} must not exceed init_rho_high={self.init_rho_high}")
        unknown = sorted(set(self.as_released) - set(AS_RELEASED))
        if unknown:
            raise ValueError(
                f"as_released={shown(unknown)} is not known: choose from {', '.join(AS_RELEASED)}"
                + meant(unknown[0], AS_RELEASED)
            )
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Refuse what would run something other than it says."""
        if self.prior_scale is not None and self.prior not in PRIOR_SCALE:
            raise ValueError(
                f"prior_scale={self.prior_scale} cannot be used with {self.prior!r}, which has two scales: leave it out"
            )
        if self.kl == "closed" and self.prior not in CLOSED_KL:
            raise ValueError(f"kl='closed' does not exist for prior={self.prior!r}: use kl='mc' or kl='auto'")
        if self.likelihood in ORBITS and self.estimator == "local":
            raise ValueError(
                f"likelihood={self.likelihood!r} needs estimator='shared', not 'local': the views of an image share "
                "one draw of the weights"
            )
        self._check_likelihood()
        if self.path and "temperature" in UNUSED[self.method]:
            raise ValueError(f"path={shown(self.path)} needs a method with a temperature, not {self.method!r}")
        if self.selection == "nll" and "stale_selection" in self.as_released:
            raise ValueError("as_released='stale_selection' selects by the error: it is not known for selection='nll'")
        if self.objective == "pac2_t" and "detached_variance" in self.as_released:
            raise ValueError("as_released='detached_variance' is known for objective='pac2', not for 'pac2_t'")
        if self.init == "prior" and self.prior not in ("gaussian", "gaussian_fan_in"):
            raise ValueError(f"init='prior' draws from a Gaussian prior, not {self.prior!r}: use init='he'")
        if self.init == "prior" and "prior" in UNUSED[self.method]:
            raise ValueError(f"init='prior' needs a method with a prior, not {self.method!r}: use init='he'")
        if self.method == "sgmcmc":
            self._check_chain()
        if self.method in ("ivon", "laplace", "hmc") and self.prior != "gaussian":
            raise ValueError(
                f"method={self.method!r} needs prior='gaussian', not {self.prior!r}: it uses its curvature"
            )
        if self.method in ("laplace", "hmc") and (self.likelihood, self.selection) != ("categorical", "last"):
            raise ValueError(
                f"method={self.method!r} needs likelihood='categorical' and selection='last', not {self.likelihood!r} "
                f"and {self.selection!r}: its last layer is that of the one at the end of the other"
            )
        if self.objective != "elbo" and self.method != "vi":
            raise ValueError(f"objective={self.objective!r} needs method='vi', not {self.method!r}: it compares draws")

    def _check_likelihood(self) -> None:
        if (self.likelihood == "curation") != (self.train_on == "all"):
            raise ValueError(
                f"likelihood={self.likelihood!r} cannot be used with train_on={self.train_on!r}: rejected galaxies "
                "have no class, and only 'curation' reads them, which needs train_on='all'"
            )
        if self.data == "simulated" and self.samples * self.simulated_galaxies > MOST_PREDICTIONS:
            raise ValueError(
                f"samples={self.samples} of simulated_galaxies={self.simulated_galaxies} are more than a record holds: "
                f"choose at most {MOST_PREDICTIONS // self.simulated_galaxies} samples"
            )
        if self.population == "voted" and self.data != "simulated":
            raise ValueError(f"population='voted' is simulated: it cannot be used with data={self.data!r}")
        if self.train_on != "confident" and self.fold is None:
            raise ValueError(f"train_on={self.train_on!r} needs a fold, so that what is trained on is scored elsewhere")
        if self.likelihood == "curation" and self.labellers < 2:
            raise ValueError(f"labellers={self.labellers} must be 2 or more: one alone always agrees")
        if self.likelihood == "dirichlet" and self.objective != "elbo":
            raise ValueError(f"objective={self.objective!r} bounds probabilities: likelihood='dirichlet' is a density")

    def _check_chain(self) -> None:
        for name in ("epochs", "members"):
            if getattr(self, name) % self.cycles:
                raise ValueError(f"{name}={getattr(self, name)} must be a multiple of cycles={self.cycles}")
        if self.path:
            raise ValueError(
                f"path={shown(self.path)} cannot be used with method='sgmcmc': a chain has one temperature"
            )
        if self.selection != "last":
            raise ValueError(f"method='sgmcmc' keeps all its draws: use selection='last', not {self.selection!r}")

    @classmethod
    def published(cls, **changes: Any) -> Config:
        """The 2023-24 code: Adam 5e-5, 1500 epochs, no schedule, Gaussian s = 0.1, T = 0.01."""
        return cls(**changes)

    @classmethod
    def released(cls, **changes: Any) -> Config:
        """The 2023-24 code with everything that it does differently from the mathematics (audit A1 to A4)."""
        return cls(**{"kl": "mc_detached", "as_released": tuple(AS_RELEASED), **changes})

    @classmethod
    def published_2021(cls, **changes: Any) -> Config:
        """The 2021 code: 500 epochs, learning rate x 0.95 after 3 epochs without improvement."""
        return cls(**{"epochs": 500, "schedule": "plateau", **changes})

    @classmethod
    def preview(cls, **changes: Any) -> Config:
        """A recipe of minutes in which sigma can move: 100 epochs, exact KL, faster rho, cosine schedule."""
        recipe = {
            "kl": "auto",
            "estimator": "shared" if changes.get("likelihood") in ORBITS else "local",
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
        """The protocol of the first edition's runs: as ``preview``, with the objective brought further down.

        rho moves three times faster, Adam forgets its second moment ten times faster, and the fully-connected means
        start near zero, where the prior wants the many that the data do not need. Chosen on validation galaxies; how
        far it has converged is a record of its own.
        """
        recipe = {"rho_learning_rate": 3e-2, "adam_beta2": 0.99, "init_fc_scale": 0.3, "validate_every": 10}
        return cls.preview(**{**recipe, **changes})

    @classmethod
    def annealed(cls, **changes: Any) -> Config:
        """The protocol of the chapters' runs: as ``converged``, rho at rest at first, so that the means move faster.

        A training starts cold and passes upward through the temperatures: each is a stage of a ``path``. The rates are
        those of lowest objective for the method, prior and scale, whatever they score, ``ANNEALED_RATES``; a prior
        scale of your own takes the rates of its prior.
        """
        recipe = {"schedule": "ramp", "learning_rate": 8e-3, "rho_learning_rate": 0.1}
        base = cls.converged(**{**recipe, **changes})
        *key, scale = base.rated_as
        found = ANNEALED_RATES.get((*key, scale)) or ANNEALED_RATES.get((*key, None))
        if found is None:
            return base
        second = "adam_beta2" if base.method == "ivon" else "rho_learning_rate"
        rates = dict(zip(("learning_rate", second), found, strict=True))
        return dataclasses.replace(base, **{name: value for name, value in rates.items() if name not in changes})

    @classmethod
    def longer(cls, **changes: Any) -> Config:
        """As ``annealed`` with three times the epochs at every temperature."""
        return cls.annealed(**{"epochs": 3 * cls.annealed().epochs, **changes})

    @classmethod
    def noisy(cls, **changes: Any) -> Config:
        """As ``annealed`` with the gradient noise of the released code (audit A1), and no other of its slips."""
        return cls.annealed(**{"kl": "mc_detached", **changes})

    @classmethod
    def sampled(cls, **changes: Any) -> Config:
        """A chain of stochastic-gradient Hamiltonian Monte Carlo that starts at a draw from the prior.

        Rate and momentum are such that at T = 1 on fold 0 the configurational thermometer reads T and the kinetic one
        2 T / (1 + momentum), as in equilibrium, see radio_bnn.inference.sgmcmc.
        """
        recipe = {
            "method": "sgmcmc",
            "kl": "auto",
            "epochs": 200,
            "cycles": 2,
            "members": 24,
            "learning_rate": 0.02,
            "init": "prior",
            "selection": "last",
            "validate_every": 10,
        }
        return cls(**{**recipe, **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """The Config of a mapping as :func:`to_dict` writes it; unknown names are errors."""
        if not isinstance(values, Mapping):
            raise TypeError(f"a Config is made of a mapping of settings, not of {shown(values)}")
        for name in values:
            if name not in _types():
                raise ValueError(f"unknown setting {shown(name)}{meant(name, _types())}")
        return cls(**values)

    @property
    def kl_estimator(self) -> str:
        """``kl`` with "auto" spelled out: "closed", "mc" or "mc_detached"."""
        return self.kl if self.kl != "auto" else "closed" if self.prior in CLOSED_KL else "mc"

    @property
    def rated_as(self) -> tuple[str, str, float | None]:
        """The method, prior and scale whose rates it takes in ``ANNEALED_RATES``."""
        prior = "gaussian" if "prior" in UNUSED[self.method] else self.prior
        return TRAINED_AS.get(self.method, self.method), prior, self.prior_scale

    @property
    def trained(self) -> Config:
        """The training without what is only predicted from it: the number of stored samples at its default."""
        return dataclasses.replace(self, samples=Config.samples)

    @property
    def previous(self) -> Config | None:
        """The run from whose network this one starts, None without a ``path``."""
        return dataclasses.replace(self, temperature=self.path[-1], path=self.path[:-1]) if self.path else None

    @property
    def origin(self) -> Config:
        """The run at the beginning of the ``path``, without one the run itself."""
        return dataclasses.replace(self, temperature=self.path[0], path=()) if self.path else self

    @property
    def distinct_samples(self) -> int | None:
        """How many different posterior samples there are: one of a point estimate, one per member; None: endless."""
        if "samples" not in UNUSED[self.method]:
            return None
        return 1 if "members" in UNUSED[self.method] else self.members

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values, in their order."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}


def canonical(config: Config) -> Config:
    """The same training with every setting that cannot matter for it at its default, and "auto" spelled out.

    Equal trainings have equal canonical configs: a setting does not matter if its method, prior, objective or data do
    not use it.
    """
    default, unused = Config(), set(UNUSED[config.method])
    if config.data == "mirabest":
        unused.add("simulated_galaxies")
    if config.fold is not None:
        unused.add("data_seed")
    if config.likelihood != "curation" and config.population != "voted":
        unused.add("labellers")
    if config.method != "laplace":
        unused.add("covariance")
    if config.selection == "last" and config.schedule != "plateau":
        unused.add("validate_every")  # how densely the history is kept
    published = config.prior_scale == PRIOR_SCALE.get(config.prior)
    settled = {
        "kl": config.kl_estimator,
        "prior_scale": None if published else config.prior_scale,
        "as_released": tuple(slip for slip in config.as_released if _matters(slip, config)),
    }
    return dataclasses.replace(config, **settled | {name: getattr(default, name) for name in unused})


@cache
def run_id(config: Config) -> str:
    """Twelve hexadecimal digits that identify a run: equal trainings have equal ones.

    The hash covers the fields of the canonical config that differ from their defaults, so a field added later with a
    neutral default leaves the identity of older runs as it was.
    """
    default = Config().to_dict()
    values = {k: v for k, v in canonical(config).to_dict().items() if v != default[k]}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def check_fold(fold: int | None) -> None:
    """Raise ValueError unless ``fold`` is one of the N_FOLDS folds, or None, the division by ``data_seed``."""
    if fold is not None and (type(fold) is not int or fold not in range(N_FOLDS)):
        choice = f"choose an int from 0 to {N_FOLDS - 1}, or None to divide by data_seed"
        raise ValueError(f"fold={shown(fold)} is not a fold: {choice}")


def choices(name: str) -> tuple[str, ...]:
    """The values that the setting ``name`` of a Config may take; empty for a number."""
    return get_args(_types()[name]) if get_origin(_types()[name]) is Literal else ()


def _matters(slip: str, config: Config) -> bool:
    has_prior = "prior" not in UNUSED[config.method]
    return {
        "detached_variance": config.objective != "elbo",
        "stale_selection": config.selection != "last",
        "summed_mixture": has_prior and config.prior not in PRIOR_SCALE,
        "kl_per_batch": has_prior,
    }[slip]


@cache
def _types() -> dict[str, Any]:
    return get_type_hints(Config)


def _typed(name: str, kind: Any, value: Any) -> Any:
    """The value of the setting ``name`` in its type and range; a whole number may stand for a float."""
    if get_origin(kind) is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            hint = meant(value, get_args(kind))
            raise ValueError(f"{name}={shown(value)} is not known: choose one of {', '.join(get_args(kind))}{hint}")
        return value
    if get_origin(kind) is tuple:
        return _listed(name, get_args(kind)[0], value)
    if value is None and type(None) in get_args(kind):
        return None
    wanted = int if int in (kind, *get_args(kind)) else float
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        with suppress(OverflowError):
            value = float(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole and (wanted is int or not isinstance(value, float)):
        raise TypeError(f"{name}={shown(value)} must be of type {wanted.__name__}")
    if name in RANGES and not RANGES[name].holds(value):
        what = f"{name} is not a number: " if value != value else ""
        none = ", or None" if type(None) in get_args(kind) else ""
        raise ValueError(f"{what}{name}={shown(value)} must be {RANGES[name]}{none}")
    return value


def _listed(name: str, kind: type, value: Any) -> tuple:
    """A setting that holds names, each once in ascending order, or temperatures in the order given."""
    items = "names" if kind is str else "numbers"
    if not isinstance(value, (list, tuple)) or (kind is str and not all(isinstance(v, str) for v in value)):
        raise TypeError(f"{name}={shown(value)} must be a list of {items}")
    if kind is str:
        return tuple(sorted(set(value)))
    if len(value) > LONGEST_PATH:
        raise ValueError(f"{name}={shown(value)} must hold at most {LONGEST_PATH} {items}, not {len(value)}")
    return tuple(_typed(name, kind, v) for v in value)
