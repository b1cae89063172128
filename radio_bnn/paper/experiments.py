"""The one plan: every run that this book is made of, what each chapter reads of it, and in which order it is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from radio_bnn.config import Config, run_id

FIRST_SEED, FIRST_DATA_SEED = Config().seed, Config().data_seed
SEEDS = 3
# Of the chapters' runs; the chapter on cold posteriors shows on paired seeds what it changes.
PRECISION = "bf16"
WARM, COLD = 1.0, 0.01
TEMPERATURES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 1e-4)
FEW_TEMPERATURES = (1.0, 0.1, 0.01, 0.001)
# By name and not "all there are", so that a prior that is added elsewhere makes no chapter train.
PRIORS = ("gaussian", "gaussian_mixture", "laplace", "laplace_mixture", "student_t")
# By title: what differs from the chapters' protocol.
OBJECTIVES = {"ELBO": {}, "PAC²": {"objective": "pac2"}, "PAC²ₜ": {"objective": "pac2_t"}}
ORBIT = {"likelihood": "orbit_logits"}
AUGMENTATIONS = {
    "none": {},
    "random rotation": {"augmentation": "rotation"},
    "random D4": {"augmentation": "d4"},
    "D4 orbit": ORBIT,
}
BASELINES = {"variational": {}, "maximum likelihood": {"method": "ml"}, "dropout": {"method": "dropout"}}

Group = list[Config]
Terms = list[tuple[float, Group]]


class Wanted(NamedTuple):
    """A record that somebody reads: the run of ``config``, or what another ``kind`` measures on its posterior."""

    config: Config
    kind: str = "run"


# Groups of runs


def run(seed: int = FIRST_SEED, **changes: Any) -> Config:
    """The run that the chapters show: ``Config.converged`` in ``PRECISION``, its data seed moving with ``seed``.

    The first pair of seeds is the published one, 122 and 14.
    """
    data_seed = FIRST_DATA_SEED + seed - FIRST_SEED
    return Config.converged(**{"seed": seed, "data_seed": data_seed, "precision": PRECISION, **changes})


def repeats(seeds: int = SEEDS, **changes: Any) -> Group:
    """``run`` with the training seeds 122, 123, ...; ``seeds`` of them. Raises ValueError for fewer than 1."""
    if seeds < 1:
        raise ValueError(f"seeds={seeds} must be at least 1")
    return [run(FIRST_SEED + i, **changes) for i in range(seeds)]


def ladder(temperatures: Sequence[float] = FEW_TEMPERATURES, seeds: int = SEEDS, **changes: Any) -> dict[float, Group]:
    """``repeats`` at each temperature, coldest first: {T: runs}."""
    return {t: repeats(seeds, temperature=t, **changes) for t in sorted(temperatures)}


def priors(seeds: int = SEEDS, **changes: Any) -> dict[str, Group]:
    """``repeats`` with each of PRIORS: {prior: runs}."""
    return {name: repeats(seeds, prior=name, **changes) for name in PRIORS}


def previews() -> Group:
    """Each of PRIORS once by the preview protocol, as the chapter on priors compares them."""
    return [Config.preview(prior=name) for name in PRIORS]


def baselines(seeds: int = SEEDS) -> dict[str, Group]:
    """Variational inference and what it must be better than, maximum likelihood and dropout: {title: runs}."""
    return {title: repeats(seeds, **changes) for title, changes in BASELINES.items()}


def objectives(temperatures: Sequence[float] = TEMPERATURES, seeds: int = SEEDS) -> dict[str, dict[float, Group]]:
    """The ladder of each objective, {title: {T: runs}}: the ELBO at ``temperatures``, the others at fewer."""
    few = {title: ladder(FEW_TEMPERATURES, seeds, **changes) for title, changes in OBJECTIVES.items()}
    return few | {"ELBO": ladder(temperatures, seeds)}


def augmentations(seeds: int = SEEDS) -> dict[str, dict[float, Group]]:
    """The ladder of each augmentation, {title: {T: runs}}."""
    return {title: ladder(FEW_TEMPERATURES, seeds, **changes) for title, changes in AUGMENTATIONS.items()}


def in_float32(seeds: int = SEEDS) -> Group:
    """The twins in float32 of ``repeats``."""
    return repeats(seeds, precision="float32")


def pruned(seeds: int = SEEDS) -> Group:
    """The runs whose posteriors are pruned."""
    return repeats(seeds)


# Contrasts of groups: with their factors, paired by seed


def minus(a: Group, b: Group) -> Terms:
    """The terms of ``a`` minus ``b``."""
    return [(1.0, a), (-1.0, b)]


def warm_minus_cold(seeds: int = SEEDS, **changes: Any) -> Terms:
    """The terms of T = 1 minus T = 0.01, the size of the cold posterior effect."""
    warm, cold = (repeats(seeds, temperature=t, **changes) for t in (WARM, COLD))
    return minus(warm, cold)


def cold_minus_plain(seeds: int = SEEDS, **changes: Any) -> Terms:
    """The terms of what ``changes`` do at T = 0.01."""
    changed, plain = (repeats(seeds, temperature=COLD, **c) for c in (changes, {}))
    return minus(changed, plain)


def baseline_terms(seeds: int = SEEDS) -> dict[str, Terms]:
    """The terms of each of BASELINES minus the variational network: {title: terms}."""
    return {title: cold_minus_plain(seeds, **changes) for title, changes in BASELINES.items() if changes}


CONTRASTS: dict[str, Callable[[int], Terms]] = {
    "C2": lambda seeds: cold_minus_plain(seeds, prior="laplace_mixture"),
    "C6": lambda seeds: warm_minus_cold(seeds),
    "C7": lambda seeds: [
        *warm_minus_cold(seeds, **OBJECTIVES["PAC²"]),
        *((-factor, group) for factor, group in warm_minus_cold(seeds)),
    ],
    "C8a": lambda seeds: cold_minus_plain(seeds, **ORBIT),
    "C8b": lambda seeds: warm_minus_cold(seeds, **ORBIT),
}


def terms(claim: str, seeds: int = SEEDS) -> Terms:
    """The groups of runs that the contrast of ``claim`` is made of, each with its factor.

    Raises ValueError for a claim that is not a contrast of runs.
    """
    return _known("claim", claim, CONTRASTS)(seeds)


# How far the protocol has converged


def training_seeds() -> dict[str, Config]:
    """The chapters' protocol from each training seed on the same galaxies."""
    base = run()
    return {f"seed {base.seed + i}": replace(base, seed=base.seed + i) for i in range(SEEDS)}


def doubled() -> dict[str, Config]:
    """What a converged training would not notice, with the first seed."""
    base = run()
    wider = {name: getattr(base, name) + math.log(2) for name in ("init_rho_low", "init_rho_high")}
    return {"twice the epochs": replace(base, epochs=2 * base.epochs), "twice the initial σ": replace(base, **wider)}


def neighbours() -> dict[str, Config]:
    """The neighbours among which the protocol was chosen, the preview protocol, and the published one; first seed."""
    base = run()
    same = {"seed": base.seed, "data_seed": base.data_seed, "precision": PRECISION}
    return {
        "learning rate of the means 2e-3": replace(base, learning_rate=2e-3),
        "learning rate of ρ 1e-2": replace(base, rho_learning_rate=1e-2),
        "Adam's second decay 0.999": replace(base, adam_beta2=0.999),
        "fully-connected means from He": replace(base, init_fc_scale=1.0),
        "fully-connected means from He / 10": replace(base, init_fc_scale=0.1),
        "initial σ of 0.08": replace(base, init_rho_low=-2.5, init_rho_high=-2.5),
        "`Config.preview()`": Config.preview(**same),
        "`Config.published()`": Config.published(**same),
    }


def convergence() -> dict[str, Config]:
    """Every variant that the record of convergence compares, {title: run}."""
    return training_seeds() | doubled() | neighbours()


# How the next edition trains: chosen by the objective alone, on the training galaxies of fold 0

LADDER = (0.01, 0.03, 0.1, 0.2, 0.3, 1.0)
# Learning rates of the means and of rho, by title.
RATES = {
    "8e-3, 0.1": {"learning_rate": 8e-3, "rho_learning_rate": 0.1},
    "4e-3, 0.1": {"learning_rate": 4e-3, "rho_learning_rate": 0.1},
    "4e-3, 0.03": {"learning_rate": 4e-3, "rho_learning_rate": 0.03},
    "2e-3, 0.03": {"learning_rate": 2e-3, "rho_learning_rate": 0.03},
}
FEW_SAMPLES = 10  # of the candidates, which are not scored


def upward(temperatures: Sequence[float] = LADDER, **changes: Any) -> Group:
    """One training that starts cold and passes upward through ``temperatures``: its stages, ``Config.annealed``."""
    stages = [{"temperature": t, "path": tuple(temperatures[:k])} for k, t in enumerate(temperatures)]
    return [Config.annealed(**{"precision": PRECISION, **changes, **stage}) for stage in stages]


def candidates(prior: str) -> dict[str, Group]:
    """The trainings among which the rates for ``prior`` are chosen, {title: stages}.

    The whole ladder for the Gaussian prior, T = 0.01 for the others, which no claim heats.
    """
    temperatures = LADDER if prior == "gaussian" else LADDER[:1]
    return {
        title: upward(temperatures, fold=0, prior=prior, samples=FEW_SAMPLES, **rates) for title, rates in RATES.items()
    }


# What is read


CHAPTERS: dict[str, Callable[[], list[Wanted]]] = {
    "priors": lambda: _wanted([previews(), terms("C2")]),
    "calibration": lambda: _wanted([repeats(), priors(), baselines()]),
    "pruning": lambda: _wanted(pruned(), "pruning"),
    "cold_posterior": lambda: [
        *_wanted([objectives(), repeats(), in_float32(), terms("C6"), terms("C7")]),
        *_wanted(convergence(), "convergence"),
        *_wanted(candidates("gaussian"), "objective"),
    ],
    "augmentation": lambda: _wanted([augmentations(), terms("C8a"), terms("C8b")]),
}
"""The chapters that read records, with what they read by their default parameters."""

QUEUES: dict[str, Callable[[], list[Wanted]]] = {
    "book": lambda: _wanted(repeats()) + [item for chapter in CHAPTERS for item in wanted(chapter)],
    **CHAPTERS,
    "convergence": lambda: _wanted(convergence(), "convergence"),
    "protocol": lambda: _wanted({prior: candidates(prior) for prior in PRIORS}, "objective"),
}


def wanted(chapter: str) -> list[Wanted]:
    """What a chapter reads by its default parameters, each record once. Raises ValueError for an unknown name."""
    return _once(_known("chapter", chapter, CHAPTERS)())


def queue(name: str) -> list[Wanted]:
    """The records of a queue, each once and most wanted first. Raises ValueError for an unknown name.

    Of the first seed everything but what is many times slower than the rest, and of the other seeds what the claims
    need, the headline runs first; then what is slow; then the rest.
    """
    claimed = _ids([repeats(), *(terms(claim) for claim in CONTRASTS)])
    slow = _ids([augmentations()["D4 orbit"], neighbours()["`Config.published()`"]])

    def want(item: Wanted) -> tuple[bool, ...]:
        identity, later = run_id(item.config), item.config.seed != FIRST_SEED
        rest = identity not in claimed
        return later and rest, identity in slow, later, rest

    return sorted(_once(_known("queue", name, QUEUES)()), key=want)


def report(name: str, folder: Path) -> str:
    """What ``folder`` holds and lacks of a queue, and how long the missing runs train, as lines of text."""
    from radio_bnn.runs import records

    listed = queue(name)
    lacking = records.missing(listed, folder)
    untrained = records.untrained(lacking)
    seconds = records.expected_seconds(untrained)
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


def _ids(groups: Any) -> set[str]:
    return {run_id(config) for config in _configs(groups)}


def _configs(groups: Any) -> Iterator[Config]:
    """Every Config in nested lists, mappings and terms."""
    if isinstance(groups, Config):
        yield groups
    elif not isinstance(groups, float):
        for part in groups.values() if isinstance(groups, Mapping) else groups:
            yield from _configs(part)


def _once(items: Iterable[Wanted]) -> list[Wanted]:
    return list({(run_id(item.config), item.kind): item for item in items}.values())


def _known(what: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ValueError(f"{what}={name!r} is not known: choose one of {', '.join(known)}")
    return known[name]
