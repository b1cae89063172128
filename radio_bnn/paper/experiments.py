"""The one plan: every run that this book is made of, what each chapter reads of it, and in which order it is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from radio_bnn.config import ANNEALED_RATES, N_FOLDS, Config, run_id
from radio_bnn.messages import meant, shown

FIRST_SEED = Config().seed
PRECISION = "bf16"
FOLDS, HALF, FEW = range(N_FOLDS), range(4), range(3)
COLD, WARM = 0.01, 1.0
BEST = 0.1  # the T of lowest mean NLL on validation galaxies among those that learn in every fold; a test holds it
# A training starts at the coldest and passes upward; the colder ones branch off where it starts.
LADDER = (0.01, 0.03, 0.1, 0.2, 0.3, 1.0)
COLDER = (0.003, 0.001)
TEMPERATURES = tuple(sorted((*LADDER, *COLDER)))
UP_TO_LEARNING = tuple(t for t in TEMPERATURES if t <= 0.2)
MANY_SAMPLES, SAMPLES = 200, 50
# By name and not "all there are", so that a prior that is added elsewhere makes no chapter train.
PRIORS = ("gaussian", "gaussian_mixture", "laplace", "laplace_mixture", "student_t")
SPARSE = "laplace_mixture"
# The standard deviation of the Gaussian prior is 0.1, that of the Laplace mixture that of its wide component, nearly.
MATCHED = {
    "Laplace as wide as the Gaussian": {"prior": "laplace", "prior_scale": 0.1 / math.sqrt(2)},
    "Gaussian as wide as the Laplace mixture": {"prior": "gaussian", "prior_scale": math.sqrt(1.5)},
}
# Priors of other scales, fixed or falling with a layer's fan-in.
SCALES = {
    "Gaussian, s = 0.03": {"prior_scale": 0.03},
    "Gaussian, s = 0.3": {"prior_scale": 0.3},
    "Gaussian by fan-in, c = 0.5": {"prior": "gaussian_fan_in", "prior_scale": 0.5},
    "Gaussian by fan-in, c = 1": {"prior": "gaussian_fan_in"},
    "Gaussian by fan-in, c = 2": {"prior": "gaussian_fan_in", "prior_scale": 2.0},
}
NEWTON = {"natural gradient": {"method": "ivon"}}
# By title: what differs from the chapters' protocol.
OBJECTIVES = {"ELBO": {}, "PAC²": {"objective": "pac2"}, "PAC²ₜ": {"objective": "pac2_t"}}
VIEWS = {"random D4": {"augmentation": "d4"}, "random rotation": {"augmentation": "rotation"}}
ORBIT = {"likelihood": "orbit_logits", "estimator": "shared"}
SHARED = {"estimator": "shared"}
BASELINES = {"maximum a posteriori": {"method": "map"}, "dropout": {"method": "dropout"}}
LABEL_FREE = {"likelihood": "label_free"}
CHAINS = range(4)
SAMPLED_AT = (0.01, 0.1, 1.0)  # temperatures of the chains
LAST_LAYERS = {
    "last layer, Laplace": {"method": "laplace"},
    "last layer, HMC": {"method": "hmc", "members": MANY_SAMPLES},
}
VARIATIONAL = f"variational, T = {BEST:g}"  # what all other methods are held against
FOUR = f"four {VARIATIONAL}"  # which predict together
LABELLERS = (2, 5, 10)
# Simulated galaxies by title: one vote each, and ten votes of which one is the label, with and without the consensus.
WORLDS = {
    "one labeller": {"labellers": 1},
    "ten, uncurated": {"labellers": 10, "train_on": "labelled"},
    "ten, curated": {"labellers": 10},
    "ten, curation likelihood": {"labellers": 10, "likelihood": "curation", "train_on": "all"},
}
# Galaxies of which the labellers were not sure, with their labels: plain, or with a likelihood that doubts them more.
UNSURE = {
    "all labels": {"train_on": "labelled"},
    "all labels, noisy Dirichlet": {"train_on": "labelled", "likelihood": "dirichlet"},
}
# T over the number of labellers: S log p_y at T is log p_y at T / S.
SHARED_OUT = (0.01, 0.03, 0.1, 0.2, 0.5, 1.0)

Group = list[Config]


class Wanted(NamedTuple):
    """A record that somebody reads: the run of ``config``, or what another ``kind`` measures on its posterior."""

    config: Config
    kind: str = "run"


# Groups of runs, one per fold


def run(fold: int = 0, **changes: Any) -> Config:
    """The run that the chapters show: ``Config.annealed`` on a fold, T = 0.01, with a training seed of its own."""
    base = {"fold": fold, "seed": FIRST_SEED + fold, "precision": PRECISION, "samples": SAMPLES}
    return Config.annealed(**base | changes)


def headline(folds: Iterable[int] = FOLDS, **changes: Any) -> Group:
    """``run`` on each fold at T = 0.01, with many samples stored."""
    return [run(fold, samples=MANY_SAMPLES, **changes) for fold in folds]


def upward(fold: int = 0, temperatures: Sequence[float] = TEMPERATURES, **changes: Any) -> dict[float, Config]:
    """The stages of one training that starts at T = 0.01 and passes upward, and of its colder branch: {T: run}."""
    paths = {t: LADDER[:k] for k, t in enumerate(LADDER)} | {t: (COLD, *COLDER[:k]) for k, t in enumerate(COLDER)}
    return {t: _stage(fold, t, paths[t], **changes) for t in sorted(temperatures)}


def downward(fold: int = 0, **changes: Any) -> dict[float, Config]:
    """The stages of one training that starts at T = 1 and passes downward through all temperatures: {T: run}."""
    falling = sorted(TEMPERATURES, reverse=True)
    return {t: _stage(fold, t, tuple(falling[:k]), **changes) for k, t in enumerate(falling)}


def from_scratch(fold: int = 0, **changes: Any) -> dict[float, Config]:
    """One training for each temperature, each from the start: {T: run}."""
    return {t: _stage(fold, t, (), **changes) for t in TEMPERATURES}


UPWARD, OF_CHAINS = "upward", "chains"  # the first is the chapters' own
DIRECTIONS = {UPWARD: upward, "from scratch": from_scratch, "downward": downward}


def paths(folds: Iterable[int] = FOLDS, **changes: Any) -> dict[float, Group]:
    """``upward`` on each of the folds, {T: runs}; ``temperatures`` may choose some."""
    by_fold = [upward(fold, **changes) for fold in folds]
    return {t: [stages[t] for stages in by_fold] for t in by_fold[0]}


def directions(folds: Iterable[int] = FEW) -> dict[str, dict[float, Group]]:
    """The Gaussian prior in each direction, {direction: {T: runs}}."""
    stages = {title: [way(fold) for fold in folds] for title, way in DIRECTIONS.items()}
    return {title: {t: [each[t] for each in found] for t in TEMPERATURES} for title, found in stages.items()}


def controls(folds: Iterable[int] = FEW) -> dict[float, Group]:
    """The label-free control on the upward path, {T: runs}."""
    return paths(folds, **LABEL_FREE)


def noisy(folds: Iterable[int] = FEW) -> dict[float, Group]:
    """The upward path with the gradient noise of the released code (A1), everything else as in the chapters."""
    return paths(folds, temperatures=LADDER, kl=Config.noisy().kl)


def priors(folds: Iterable[int] = FOLDS) -> dict[str, Group]:
    """``headline`` with each of PRIORS: {prior: runs}."""
    folds = list(folds)
    return {name: headline(folds, prior=name) for name in PRIORS}


def matched(folds: Iterable[int] = FOLDS) -> dict[str, Group]:
    """The priors that are as wide as their counterpart, {title: runs}."""
    return {title: [run(fold, **changes) for fold in folds] for title, changes in MATCHED.items()}


def baselines(folds: Iterable[int] = FOLDS) -> dict[str, Group]:
    """What variational inference must be better than, {title: runs}."""
    return {title: [run(fold, **changes) for fold in folds] for title, changes in BASELINES.items()}


def objectives(folds: Iterable[int] = FOLDS) -> dict[str, dict[float, Group]]:
    """The upward path under each objective, {title: {T: runs}}; the tighter bound on few folds.

    The bounds go as far as the ELBO learns, and to the next T above.
    """
    every, few = list(folds), [fold for fold in folds if fold in FEW]
    on = {title: few if changes.get("objective") == "pac2_t" else every for title, changes in OBJECTIVES.items()}
    to = {title: UP_TO_LEARNING if changes else TEMPERATURES for title, changes in OBJECTIVES.items()}
    return {
        title: paths(on[title], temperatures=to[title], **changes) for title, changes in OBJECTIVES.items() if on[title]
    }


def pac2(folds: Iterable[int] = FEW) -> dict[float, Group]:
    """The upward path under PAC² all the way to T = 1, for what it loses there, {T: runs}."""
    return paths(folds, **OBJECTIVES["PAC²"])


def augmentations(folds: Iterable[int] = HALF) -> dict[str, dict[float, Group]]:
    """The upward path without and with random views, {title: {T: runs}}."""
    folds = list(folds)
    return {title: paths(folds, **changes) for title, changes in ({"none": {}} | VIEWS).items()}


def orbit(folds: Iterable[int] = FOLDS) -> dict[str, Group]:
    """The orbit likelihood and its baseline, no augmentation, both with the shared estimator, {title: runs}."""
    folds = list(folds)
    return {title: [run(f, **changes) for f in folds] for title, changes in {"D4 orbit": ORBIT, "none": SHARED}.items()}


def chains(folds: Iterable[int] = FEW) -> dict[float, list[Group]]:
    """Four chains of ``Config.sampled`` on each fold, the same starts at each T: {T: [chains of a fold]}."""
    return {
        t: [
            [
                Config.sampled(fold=fold, seed=FIRST_SEED + fold + 1000 * k, temperature=t, precision=PRECISION)
                for k in CHAINS
            ]
            for fold in folds
        ]
        for t in SAMPLED_AT
    }


def last_layers(folds: Iterable[int] = FEW) -> dict[str, dict[float, Group]]:
    """The last layer's posterior alone, approximated and sampled, on the same features: {title: {T: runs}}."""
    folds = list(folds)
    return {
        title: {t: [run(f, temperature=t, **{"samples": MANY_SAMPLES} | changes) for f in folds] for t in SAMPLED_AT}
        for title, changes in LAST_LAYERS.items()
    }


def curated(folds: Iterable[int] = FEW) -> dict[int, dict[float, Group]]:
    """Upward paths under the curation likelihood of S labellers, which reach T = 1: {S: {T: runs}}."""
    return {s: _curated(s, list(folds)) for s in LABELLERS}


def _curated(labellers: int, folds: Sequence[int]) -> dict[float, Group]:
    ladder = tuple(round(labellers * share, 6) for share in SHARED_OUT)
    changes = {"likelihood": "curation", "train_on": "all", "labellers": labellers}
    return {t: [_stage(fold, t, ladder[:k], **changes) for fold in folds] for k, t in enumerate(ladder)}


def uncurated(labellers: int, folds: Iterable[int] = FEW) -> Group:
    """What T = 1 with S labellers is without the rejected galaxies: the plain likelihood at T = 1 / S."""
    t = 1 / labellers
    return [_stage(fold, t, tuple(x for x in LADDER if x < t)) for fold in folds]


def controlled(folds: Iterable[int] = FEW) -> dict[str, dict[float, Group]]:
    """Upward paths on simulated galaxies whose labellers are known, {world: {T: runs}}."""
    folds, base = list(folds), {"data": "simulated", "population": "voted"}
    return {title: paths(folds, temperatures=LADDER, **base | changes) for title, changes in WORLDS.items()}


def unsure(folds: Iterable[int] = FEW) -> dict[str, dict[float, Group]]:
    """Upward paths on confident and uncertain galaxies with their labels, under each of UNSURE, {title: {T: runs}}."""
    folds = list(folds)
    return {title: paths(folds, temperatures=LADDER, **changes) for title, changes in UNSURE.items()}


def rated(titles: Iterable[str]) -> list[str]:
    """Those of ``titles`` of CHOSEN_FOR whose rates are chosen: nothing is trained with rates that were not."""
    chosen = []
    for title in titles:
        config = run(**CHOSEN_FOR[title])
        if (config.method, config.prior, config.prior_scale) in ANNEALED_RATES:
            chosen.append(title)
    return chosen


def scales(folds: Iterable[int] = FEW) -> dict[str, dict[float, Group]]:
    """The upward path under priors of other scales, those that are ``rated``, {title: {T: runs}}."""
    folds = list(folds)
    return {title: paths(folds, temperatures=LADDER, **SCALES[title]) for title in rated(SCALES)}


def newton(folds: Iterable[int] = FEW) -> dict[str, dict[float, Group]]:
    """The upward path by natural gradients, if it is ``rated``, {title: {T: runs}}."""
    folds = list(folds)
    return {title: paths(folds, temperatures=LADDER, **NEWTON[title]) for title in rated(NEWTON)}


def rivals(folds: Iterable[int] = FEW) -> dict[str, list[Group]]:
    """Every method by title: of each fold the runs that predict together, alone or four that differ by their seed.

    Each at the temperature at which the chapters have it: BEST for the variational ones, T = 0.01 for networks with one
    value for every weight, and with the same prior for those whose last layer is spread out.
    """
    folds = list(folds)
    alone = paths(folds)[BEST]
    four = [[upward(f, [BEST], seed=FIRST_SEED + f + 1000 * k)[BEST] for k in CHAINS] for f in folds]
    of_points = {
        **baselines(folds),
        "deep ensemble": [run(f, method="ensemble") for f in folds],
        "last layer, Laplace": last_layers(folds)["last layer, Laplace"][COLD],
        "last layer, diagonal Laplace": [
            run(f, method="laplace", covariance="diagonal", samples=MANY_SAMPLES) for f in folds
        ],
    }
    by_newton = {title: ladder[BEST] for title, ladder in newton(folds).items()}
    single = {VARIATIONAL: alone, **of_points, **by_newton}
    found = {title: [[config] for config in group] for title, group in single.items()}
    found[FOUR] = four
    return found | {f"chains, T = {t:g}": chains(folds)[t] for t in (BEST, WARM)}


def shifted(folds: Iterable[int] = FEW) -> dict[str, list[Group]]:
    """``rivals`` that are looked at under shift: chains at one temperature alone."""
    return {title: groups for title, groups in rivals(folds).items() if title != f"chains, T = {WARM:g}"}


def longer(folds: Iterable[int] = FEW) -> Group:
    """A start at T = 0.01 that is three times as long."""
    return PROTOCOLS["three times longer"](folds).ladder[COLD]


def in_float32(folds: Iterable[int] = FEW) -> Group:
    """The twins in float32 of the first of ``headline``."""
    return headline(folds, precision="float32")


def _stage(fold: int, temperature: float, path: tuple[float, ...], **changes: Any) -> Config:
    """A stage of the Gaussian ELBO's start has the many samples of ``headline``, so that both are one run."""
    changes = {"temperature": temperature, "path": path, **changes}
    plain = set(changes) == {"temperature", "path"} and (temperature, path) == (COLD, ())
    return run(fold, **{"samples": MANY_SAMPLES if plain else SAMPLES, **changes})


# One claim under many protocols


class Protocol(NamedTuple):
    """What is run of one way of training: at T = 0.01 by prior, and with the Gaussian prior by temperature."""

    cold: dict[str, Group]
    ladder: dict[float, Group]

    @property
    def has_two_temperatures(self) -> bool:
        """Whether it has T = 0.01 and 1 alone."""
        return set(self.ladder) == {COLD, WARM}


def each_from_the_start(
    recipe: Callable[..., Config], folds: Iterable[int], *, temperatures: Sequence[float], priors: Sequence[str]
) -> Protocol:
    """A training of its own at every temperature, by a ``recipe`` such as ``Config.published``."""

    def group(**changes: Any) -> Group:
        base = {"precision": PRECISION, "samples": SAMPLES}
        return [recipe(fold=f, seed=FIRST_SEED + f, **base | changes) for f in folds]

    folds = list(folds)
    cold = {name: group(prior=name, samples=MANY_SAMPLES) for name in priors}
    warmer = {t: group(temperature=t) for t in temperatures if t != COLD}
    return Protocol(cold, dict(sorted({COLD: cold["gaussian"], **warmer}.items())))


def the_chapters(folds: Iterable[int] = FOLDS) -> Protocol:
    """The runs that the chapters show."""
    return Protocol(priors(folds), paths(folds))


def three_times_longer(folds: Iterable[int] = FEW) -> Protocol:
    """The upward path with three times the epochs at every temperature, and the Laplace mixture at its start."""
    changes = {"epochs": Config.longer().epochs}
    ladder = paths(folds, **changes)
    return Protocol({"gaussian": ladder[COLD], SPARSE: [run(f, prior=SPARSE, **changes) for f in folds]}, ladder)


RELEASED, CHAPTERS_OWN = "as released", "the chapters'"
ON_FEW = f"{CHAPTERS_OWN}, three folds"  # of the eight, for comparison with those that have no more
PROTOCOLS: dict[str, Callable[..., Protocol]] = {
    RELEASED: lambda folds=FEW: each_from_the_start(
        Config.released, folds, temperatures=(COLD, WARM), priors=("gaussian", SPARSE)
    ),
    "published": lambda folds=FEW: each_from_the_start(
        Config.published, folds, temperatures=(COLD, WARM), priors=("gaussian",)
    ),
    "first edition": lambda folds=FEW: each_from_the_start(
        Config.converged, folds, temperatures=TEMPERATURES, priors=("gaussian", SPARSE)
    ),
    CHAPTERS_OWN: the_chapters,
    ON_FEW: lambda folds=FEW: the_chapters(folds),
    "three times longer": three_times_longer,
}
"""Ways of training under which every claim is judged, by title: from the released code to the longest training."""


def rows(folds: Iterable[int] | None = None) -> dict[str, dict[str, Any]]:
    """The candidate causes of a cold posterior, {group: {title: {T: runs}}}, on ``folds`` or on all that are planned.

    The runs of chains are a list for each fold. An empty ladder: its rates are not chosen.
    """
    on = {} if folds is None else {"folds": list(folds)}
    others = {t: make for t, make in PROTOCOLS.items() if t not in (CHAPTERS_OWN, ON_FEW)}
    ways = directions(**on) | {UPWARD: paths(**on), "upward, with A1's noise": noisy(**on)}
    ways |= {title: make(**on).ladder for title, make in others.items()}
    return {
        "how one trains": ways | dict.fromkeys(NEWTON, {}) | newton(**on),
        "prior": dict.fromkeys(SCALES, {}) | scales(**on),
        "family": {OF_CHAINS: chains(**on)} | last_layers(**on),
        "objective": {"PAC²": pac2(**on)},
        "augmentation": {title: ladder for title, ladder in augmentations(**on).items() if title in VIEWS},
        "likelihood": {f"{s} labellers": ladder for s, ladder in curated(**on).items()} | unsure(**on),
    }


# How one trains: chosen by the objective alone, on the training galaxies of fold 0

# Learning rates of the means and of rho, by title.
RATES = {
    "8e-3, 0.1": {"learning_rate": 8e-3, "rho_learning_rate": 0.1},
    "4e-3, 0.1": {"learning_rate": 4e-3, "rho_learning_rate": 0.1},
    "4e-3, 0.03": {"learning_rate": 4e-3, "rho_learning_rate": 0.03},
    "2e-3, 0.03": {"learning_rate": 2e-3, "rho_learning_rate": 0.03},
}
# Learning rate and decay of the curvature, by title. The two lower rates were added when three of the four others had
# diverged and the fourth had ended far above what guessing costs; nothing had been scored.
NEWTON_RATES = {
    f"{rate:g}, {decay:g}": {"learning_rate": rate, "adam_beta2": decay}
    for rate in (0.01, 0.03, 0.1, 0.3)
    for decay in (0.95, 0.98)
}
POINT_RATES = {f"{rate:g}": {"learning_rate": rate} for rate in (8e-3, 4e-3, 2e-3, 1e-3)}
CHOSEN_FOR = {
    **{name: {"prior": name} for name in PRIORS},
    **MATCHED,
    **BASELINES,
    **SCALES,
    **NEWTON,
}
"""The trainings whose rates are chosen, by title."""
FEW_SAMPLES = 10  # of the candidates, which are not scored


def candidates(title: str) -> dict[str, Group]:
    """The trainings among which the rates for ``title`` of CHOSEN_FOR are chosen, {rates: stages}.

    The whole ladder for the Gaussian prior, T = 0.01 for the others, which no claim heats.
    """
    changes = _known("title", title, CHOSEN_FOR)
    temperatures = LADDER if title == "gaussian" else (COLD,)
    base = {"seed": FIRST_SEED, "samples": FEW_SAMPLES, **changes}
    rates = NEWTON_RATES if title in NEWTON else POINT_RATES if "method" in changes else RATES
    return {name: list(upward(0, temperatures, **base, **rate).values()) for name, rate in rates.items()}


# What is read


def _pruning(folds: Iterable[int] = FOLDS) -> list[Wanted]:
    return _wanted(headline(folds), "pruning")


def _judged(*titles: str) -> list[Wanted]:
    """What the claims need of some of PROTOCOLS: their runs, and pruning records at T = 0.01."""
    found = [PROTOCOLS[title]() for title in titles]
    return _wanted(found) + _wanted([protocol.cold["gaussian"] for protocol in found], "pruning")


QUEUES: dict[str, Callable[[], list[Wanted]]] = {
    "path": lambda: _wanted([headline(), paths()]) + _wanted([headline(), paths()[BEST]], "posterior"),
    "controls": lambda: _wanted([controls(), headline(FEW, prior=SPARSE, **LABEL_FREE)]),
    "priors": lambda: _wanted([headline(prior=SPARSE), priors()]),
    "baselines": lambda: _wanted(baselines()),
    "pruning": _pruning,
    "matched": lambda: _wanted(matched()),
    "released": lambda: _judged(RELEASED, "published"),
    "multiverse": lambda: _judged("first edition", "three times longer"),
    "sampling": lambda: _wanted(dict(reversed(chains().items()))),
    "labellers": lambda: _wanted([uncurated(s) for s in LABELLERS]) + _wanted([curated(), unsure()]),
    "protocol": lambda: _wanted({title: candidates(title) for title in CHOSEN_FOR}, "objective"),
    "scales": lambda: _wanted([scales(), newton()]),
    "last layer": lambda: _wanted(last_layers()),
    "rivals": lambda: _wanted(rivals()),
    "controlled": lambda: _wanted(controlled()),
    "shift": lambda: _wanted(shifted(), "shift"),
    "directions": lambda: _wanted([directions(), longer(), noisy()]),
    "orbit": lambda: _wanted(orbit()) + _wanted(orbit()["none"], "on_orbit") + _wanted(orbit()["D4 orbit"], "one_view"),
    "objectives": lambda: _wanted([objectives(), pac2()]),
    "augmentations": lambda: _wanted(augmentations()),
    "precision": lambda: _wanted(in_float32()),
}
"""Queues by name, most wanted first; ``book`` is all of them, one after the other."""

CHAPTERS: dict[str, tuple[str, ...]] = {
    "priors": ("priors", "matched", "baselines"),
    "calibration": ("path", "baselines"),
    "pruning": ("pruning",),
    "cold_posterior": (
        "path",
        "controls",
        "released",
        "multiverse",
        "sampling",
        "labellers",
        "protocol",
        "scales",
        "last layer",
        "directions",
        "objectives",
        "augmentations",
        "precision",
    ),
    "curation": ("path", "labellers", "controlled"),
    "inference": ("path", "baselines", "sampling", "rivals", "shift"),
    "augmentation": ("path", "orbit", "augmentations"),
    "atlas": ("path", "priors", "matched", "baselines"),
    "audit": ("path",),
    "multiverse": ("path", "controls", "priors", "pruning", "released", "multiverse", "directions"),
}
"""The chapters that read records, with the queues that make what they read by their default parameters."""


def wanted(chapter: str) -> list[Wanted]:
    """What a chapter reads by its default parameters, each record once. Raises ValueError for an unknown name."""
    return _once(item for name in _known("chapter", chapter, CHAPTERS) for item in QUEUES[name]())


def queue(name: str) -> list[Wanted]:
    """The records of a queue, of a chapter, of one of ``rows``, or of the whole ``book``, each once, most wanted first.

    A name that both have is the chapter's, which holds the queue's. Raises ValueError for an unknown name.
    """
    plan = {"book": lambda: [item for make in QUEUES.values() for item in make()], "causes": lambda: _wanted(rows(FEW))}
    plan |= QUEUES | {chapter: lambda chapter=chapter: wanted(chapter) for chapter in CHAPTERS}
    if name not in plan:
        ladders = [pair for those in rows(FEW).values() for pair in those.items()]
        plan |= {title: lambda ladder=ladder: _wanted(ladder) for title, ladder in ladders}
    return _once(_known("queue", name, plan)())


def report(name: str, folder: Path) -> str:
    """What ``folder`` holds and lacks of a queue, and how long the missing runs train, as lines of text."""
    from radio_bnn.runs import outstanding

    listed = queue(name)
    lacking = outstanding.missing(listed, folder)
    untrained = outstanding.untrained(lacking)
    seconds = outstanding.expected_seconds(untrained)
    hours = "unknown" if seconds is None else f"about {seconds / 3600:.1f} h on one core"
    lines = [f"  {run_id(c)}  {kind}  {_difference(c)}" for c, kind in lacking]
    kinds = {kind: sum(w.kind == kind for w in listed) for kind in dict.fromkeys(w.kind for w in listed)}
    counts = [f"{n} {kind}, {sum(k == kind for _, k in lacking)} missing" for kind, n in kinds.items()]
    return "\n".join([*lines, f"{name}: {'; '.join(counts)}", f"to train: {len(untrained)} runs, {hours}"])


def _difference(config: Config) -> str:
    base, values = run().to_dict(), config.to_dict()
    return " ".join(f"{name}={value}" for name, value in values.items() if value != base[name]) or "the chapters' run"


def _wanted(groups: Any, kind: str = "run") -> list[Wanted]:
    return [Wanted(config, kind) for config in _configs(groups)]


def _configs(groups: Any) -> Iterator[Config]:
    """Every Config in nested lists and mappings."""
    if isinstance(groups, Config):
        yield groups
    else:
        for part in groups.values() if isinstance(groups, Mapping) else groups:
            yield from _configs(part)


def _once(items: Iterable[Wanted]) -> list[Wanted]:
    return list({(run_id(item.config), item.kind): item for item in items}.values())


def _known(what: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        hint = meant(name, known)
        raise ValueError(f"{what}={shown(name)} is not known: choose one of {', '.join(known)}{hint}")
    return known[name]
