"""What the stored records say of each claim: the estimates and states that its rule reads, and what stands beside.

Groups of runs have one run for each fold, in the order of the folds, or None where it is not stored. A contrast stands
on the folds that all of its groups have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from radio_bnn.config import Config
from radio_bnn.data import validation_halves
from radio_bnn.data.folds import catalogue
from radio_bnn.evaluation import crossval, metrics
from radio_bnn.evaluation.conformal import conformal_sets, summarise_sets
from radio_bnn.evaluation.crossval import Estimate, Excess
from radio_bnn.evaluation.predictive import predictive_entropy
from radio_bnn.paper import experiments, pruning
from radio_bnn.paper.claims import (
    ADVANTAGE,
    GUESSES,
    LARGEST_RISE,
    METASTABLE,
    NEARLY_GUESSING,
    Evidence,
    learning,
    state,
)
from radio_bnn.paper.contrasts import (
    DOUBTED,
    TRUSTED,
    Comparison,
    Runs,
    Side,
    along,
    compare,
    lacking,
    shared,
    side,
    stored,
    test_share,
)
from radio_bnn.paper.on_orbit import OneView, OnOrbit
from radio_bnn.paper.pruning import FRACTIONS, STATISTICS, Pruning, compared, nll_rises
from radio_bnn.runs.records import Run

States = dict[float, list[str]]
PROMISED = 0.9


# States


def states(ladder: Mapping[float, Runs], controls: Mapping[float, Runs]) -> States:
    """The state of every stored fold at each T of ``ladder`` that a control has, see ``claims.state``.

    A fold without a control is held against the mean of the controls.
    """
    found: States = {}
    for t, runs in ladder.items():
        reference = [None if run is None else run.content["reached"]["objective"] for run in controls.get(t, [])]
        known = [value for value in reference if value is not None]
        if not known:
            continue
        held = [*reference, *[None] * len(runs)]
        found[t] = [
            _state(run, held[k] if held[k] is not None else float(np.mean(known))) for k, run in enumerate(runs) if run
        ]
    return {t: of_folds for t, of_folds in found.items() if of_folds}


def states_of(protocol: str, ladder: Mapping[float, Runs]) -> States:
    """``states`` with the controls of the Gaussian prior.

    A protocol with T = 0.01 and 1 alone has them by the training NLL alone, so that none is metastable: it ends far
    from the optimum of its objective, which says nothing of what guessing would cost.
    """
    if experiments.PROTOCOLS[protocol]().has_two_temperatures:
        found = {t: [_state(run, math.inf) for run in runs if run] for t, runs in ladder.items()}
        return {t: of_folds for t, of_folds in found.items() if of_folds}
    return states(ladder, along(experiments.controls()))


def _state(run: Run, control: float) -> str:
    reached = run.content["reached"]
    return state(reached["nll"], reached["objective"], control, guessing=guessing(run))


def guessing(run: Run) -> float:
    """What guessing pays for the training galaxies of a run, N ln 2, in nats."""
    return run.content["reached"]["galaxies"] * math.log(2)


def over_guessing(run: Run, quantity: str = "nll") -> float:
    """What a training has reached of a quantity in nats, over N ln 2."""
    return run.content["reached"][quantity] / guessing(run)


def unsettled(title: str, found: States, at: Sequence[float]) -> list[str]:
    """The temperatures ``at`` which a fold is metastable, in words."""
    return [
        f"{title} at T = {t:g} in {found[t].count(METASTABLE)} of {len(found[t])} folds"
        for t in at
        if METASTABLE in found.get(t, [])
    ]


def stored_nll(run: Run) -> float:
    """The NLL on the validation galaxies as the record has it."""
    return run.metric("nll", "validation").value


def measured_nll(run: Run) -> float:
    """The same from the logits, of a run that was made of others and has no metrics of its own."""
    return metrics.nll(run.logits_of("validation"), run.labels["validation"])


def at_best(
    ladder: Mapping[float, Runs], temperatures: Sequence[float], by: Callable[[Run], float] = stored_nll
) -> list[Run | None]:
    """For each fold its run at T*: of ``temperatures`` that of lowest NLL on the fold's validation galaxies."""
    folds = zip(*(ladder[t] for t in temperatures), strict=True)
    return [None if None in runs else min(runs, key=by) for runs in folds]


def _guessing(comparison: Comparison, *names: str) -> bool:
    values = [comparison.estimate("nll", **{name: 1.0}).value for name in names]
    return all(abs(value - math.log(2)) < NEARLY_GUESSING for value in values)


def _equal(a: Side, b: Side) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.logits, b.logits, strict=True))


# Directions


def lowest(ways: Mapping[str, Mapping[float, Runs]]) -> dict[float, str]:
    """The direction of lowest mean J at each T, on the folds that all directions have, {T: direction}."""
    found = {}
    for t in next(iter(ways.values())):
        groups = shared(*(ways[title][t] for title in ways))
        if groups[0]:
            means = {title: _mean(runs) for title, runs in zip(ways, groups, strict=True)}
            found[t] = min(means, key=means.get)
    return found


def _mean(runs: Sequence[Run]) -> float:
    return float(np.mean([run.content["reached"]["objective"] for run in runs]))


def path_dependent(ways: Mapping[str, Mapping[float, Runs]]) -> list[float]:
    """The temperatures at which another direction than upward has a mean J that is more than 2 % lower."""
    found = []
    for t in ways[experiments.UPWARD]:
        for title in ways:
            mine, other = shared(ways[experiments.UPWARD][t], ways[title][t])
            if mine and _mean(other) < (1 - ADVANTAGE) * _mean(mine):
                found.append(t)
                break
    return sorted(found)


# Every claim


def evidence(claim: str, protocol: str = experiments.CHAPTERS_OWN) -> Evidence:
    """What the stored records say of a claim, those of one of ``experiments.PROTOCOLS``; empty if it has none for it.

    What stands beside comes from the chapters' protocol alone. Raises KeyError for a claim that nothing is read for.
    """
    return READ[claim](protocol)


def cold_runs(protocol: str = experiments.CHAPTERS_OWN, prior: str = "gaussian", kind: type = Run) -> list[Any]:
    """The stored records of a protocol at T = 0.01, in the order of the folds; None where one is not stored."""
    return stored(experiments.PROTOCOLS[protocol]().cold.get(prior, []), kind)


def _c1(protocol: str) -> Evidence:
    every = cold_runs(protocol)
    [runs], [point] = shared(every), shared(stored(experiments.baselines()["maximum a posteriori"]))
    if not runs:
        return Evidence(lacking=lacking(every))
    found = {
        "AUROC": doubt(runs, "predictive_variance"),
        "coefficient": adjusted(runs, "predictive_variance"),
    }
    beside = {
        f"AUROC of the {name.replace('_', ' ')}": _shown(doubt(runs, name), ".2f")
        for name in ("predictive_entropy", "mutual_information")
    }
    if point and protocol == experiments.CHAPTERS_OWN:
        beside["AUROC of the entropy of one deterministic network"] = _shown(doubt(point, "predictive_entropy"), ".2f")
    return _at_cold(protocol, found, len(runs), lacking(every), beside=beside | trust(runs))


def doubt(runs: Sequence[Run], uncertainty: str, *, doubted: str = DOUBTED) -> Estimate:
    """The AUROC of an uncertainty for a doubted set against confident test galaxies, the mean of the networks."""
    trusted, other = side(runs, TRUSTED), side(runs, doubted)
    return crossval.auroc(uncertainty, trusted.logits, other.logits, other.places, test_share=test_share(runs))


def adjusted(runs: Sequence[Run], uncertainty: str) -> Estimate:
    """The log odds that a galaxy is uncertain, per standard deviation of an uncertainty, other things being equal."""
    trusted, doubted = side(runs, TRUSTED), side(runs, DOUBTED)
    covariates = _covariates()
    return crossval.coefficient(
        uncertainty,
        trusted.logits,
        doubted.logits,
        doubted.places,
        [covariates[p] for p in trusted.places],
        [covariates[p] for p in doubted.places],
        test_share=test_share(runs),
    )


def _covariates() -> np.ndarray:
    """log size, log lit pixels, redshift and class of every galaxy of MiraBest, (1256, 4)."""
    table = catalogue()
    return np.stack([np.log(table.size), np.log(table.lit_pixels), table.redshift, table.code // 100], axis=1)


def trust(runs: Sequence[Run]) -> dict[str, str]:
    """What trust in the predictions for uncertain galaxies deserves: error, NLL and coverage, the mean of the networks.

    Coverage is that of conformal sets that promise 90 %, calibrated on the confident galaxies that validate.
    """
    names = {"error_percent": ("error", ".0f", "%"), "nll": ("NLL", ".2f", "nats")}
    found = {
        title: ([r.metric(n, DOUBTED).value for r in runs], spec, unit) for n, (title, spec, unit) in names.items()
    }
    found["coverage, of 90 % promised,"] = ([_coverage(run) for run in runs], ".0f", "%")
    return {
        f"{title} on the uncertain galaxies": f"{np.mean(values):{spec}} {unit}, {min(values):{spec}} to "
        f"{max(values):{spec}} by network"
        for title, (values, spec, unit) in found.items()
    }


def calibrating(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of the half of the validation galaxies that calibrates."""
    labels = run.labels["validation"]
    _, kept = validation_halves(len(labels))
    return run.logits_of("validation")[:, kept], labels[kept]


def _coverage(run: Run) -> float:
    """The share of the uncertain galaxies whose class their conformal set holds, percent."""
    sets = conformal_sets(calibrating(run), run.logits_of(DOUBTED), alpha=1 - PROMISED)
    return summarise_sets(sets, run.labels[DOUBTED])[0]


def _c2(protocol: str) -> Evidence:
    groups = {name: cold_runs(protocol, name) for name in ("gaussian", experiments.SPARSE)}
    if not groups[experiments.SPARSE]:
        return Evidence()
    missing, found = lacking(*groups.values()), compare(sparse=groups[experiments.SPARSE], gaussian=groups["gaussian"])
    if found is None:
        return Evidence(lacking=missing)
    excess = Excess(metrics.METRICS["classwise_uce_percent"])
    estimates = {
        "excess": found.estimate(excess, sparse=1.0, gaussian=-1.0),
        "NLL": found.estimate("nll", sparse=1.0, gaussian=-1.0),
    }
    sparse = experiments.SPARSE
    control = {experiments.COLD: stored(experiments.headline(experiments.FEW, prior=sparse, **experiments.LABEL_FREE))}
    own = states({experiments.COLD: groups[sparse]}, control)
    beside = {f"NLL {title}": said for title, said in unseen(found, sparse=1.0, gaussian=-1.0).items()}
    if GUESSES in (reached := own.get(experiments.COLD, [])):
        beside["the Laplace mixture guesses"] = f"in {reached.count(GUESSES)} of {len(reached)} folds"
    for title, runs in along(experiments.matched()).items() if protocol == experiments.CHAPTERS_OWN else ():
        other = "gaussian" if title.startswith("Laplace") else sparse
        pair = compare(a=runs, b=groups[other])
        if pair:
            sign = 1.0 if other == "gaussian" else -1.0  # always the sparser shape minus the Gaussian
            numbers = {"excess": pair.estimate(excess, a=sign, b=-sign), "NLL": pair.estimate("nll", a=sign, b=-sign)}
            beside[f"{title}, sparse minus Gaussian"] = (
                f"{_shown(numbers['excess'], '+.1f')} points, {_shown(numbers['NLL'], '+.3f')} nats"
            )
    metastable = unsettled("Laplace mixture", own, [experiments.COLD])
    return _at_cold(protocol, estimates, found.folds, missing, metastable=metastable, beside=beside)


def pruned(protocol: str = experiments.CHAPTERS_OWN) -> list[Pruning]:
    """The pruning records of a protocol's networks at T = 0.01, those that are stored."""
    return [record for record in cold_runs(protocol, kind=Pruning) if record is not None]


def _c3(protocol: str) -> Evidence:
    records = pruned(protocol)
    if not records:
        return Evidence(lacking=len(cold_runs(protocol)))
    found = compared(records, ("pruned", "snr", 0.3), ("random", "random", 0.3), ("whole", "snr", 0.0))
    beside = {
        "error": f"{found.interval('error_percent', pruned=1.0, whole=-1.0):+.1f} points",
        "NLL, random pruning": f"{_shown(found.estimate('nll', random=1.0, whole=-1.0), '+.3f')} nats",
    }
    beside |= {f"NLL {title}": said for title, said in unseen(found, pruned=1.0, whole=-1.0).items()}
    estimate = found.estimate("nll", pruned=1.0, whole=-1.0)
    return _of_pruning(
        protocol,
        {"NLL": estimate},
        records,
        [] if not _guessing(found, "pruned", "whole") else ["both sides guess"],
        beside,
    )


def _fisher(protocol: str) -> str:
    """The ranking that a protocol calls Fisher information: as released it is Adam's second moment."""
    return "released_fisher" if protocol == experiments.RELEASED else "fisher"


def _c4(protocol: str) -> Evidence:
    records = pruned(protocol)
    if not records:
        return Evidence(lacking=len(cold_runs(protocol)))

    def further(ranking: str) -> Estimate:
        rises = [nll_rises(records, name) for name in ("snr", ranking)]
        return crossval.share_contrast(*rises, FRACTIONS, margin=LARGEST_RISE, test_share=pruning.test_share(records))

    fisher = _fisher(protocol)
    same = all(np.array_equal(r.logits["snr"], r.logits[fisher]) for r in records)
    beside = {}
    if all("released_fisher" in r.rankings for r in records):
        beside["Adam's second moment in place of the Fisher information, as released"] = _shown(
            further("released_fisher"), "+.2f"
        )
    return _of_pruning(protocol, {"kept": further(fisher)}, records, ["equal logits"] if same else [], beside)


def _c5(protocol: str) -> Evidence:
    records = pruned(protocol)
    if not records:
        return Evidence(lacking=len(cold_runs(protocol)))
    estimates, statistic = {}, Excess(STATISTICS["uce_fri_minus_frii_percent"])
    equal = []
    for name, ranking in {"snr": "snr", "fisher": _fisher(protocol)}.items():
        for percent in (30, 60, 90):
            found = compared(records, ("pruned", ranking, percent / 100), ("whole", "snr", 0.0))
            estimates[f"{name}, {percent} %"] = found.estimate(statistic, pruned=1.0, whole=-1.0)
            equal.append(_equal(found.sides["pruned"], found.sides["whole"]))
    return _of_pruning(protocol, estimates, records, ["equal logits"] if all(equal) else [], {})


def _c10(protocol: str) -> Evidence:
    records = pruned(protocol)
    if not records:
        return Evidence(lacking=len(cold_runs(protocol)))
    found = compared(records, ("pruned", "snr", 0.3), ("whole", "snr", 0.0))
    equal = ["equal logits"] if _equal(found.sides["pruned"], found.sides["whole"]) else []
    return _of_pruning(protocol, {"entropy": relative_change(found)}, records, equal, {})


def relative_change(found: Comparison) -> Estimate:
    """100 (mean H of "pruned" over that of "whole" - 1), in percent, both pooled."""
    pruned_side, whole = found.sides["pruned"], found.sides["whole"]
    half = len(whole.logits[0])
    both = Side(
        [np.concatenate(p) for p in zip(pruned_side.logits, whole.logits, strict=True)], whole.labels, whole.places
    )

    def columns(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return predictive_entropy(logits[:-half]), predictive_entropy(logits[-half:])

    ratio = metrics.Metric(columns, lambda a, b: 100 * (a.mean(-1) / b.mean(-1) - 1), needs_labels=False)
    return Comparison({"both": both}, found.share).estimate(ratio, both=1.0)


def _of_pruning(
    protocol: str,
    estimates: dict[str, Estimate],
    records: Sequence[Pruning],
    vacuous: list[str],
    beside: dict[str, str],
) -> Evidence:
    missing = len(cold_runs(protocol)) - len(records)
    return _at_cold(protocol, estimates, len(records), missing, vacuous=vacuous, beside=beside)


def _at_cold(
    protocol: str,
    estimates: dict[str, Estimate],
    folds: int,
    missing: int,
    *,
    metastable: Sequence[str] = (),
    vacuous: Sequence[str] = (),
    beside: Mapping[str, str] | None = None,
) -> Evidence:
    """The evidence of a claim that rests on T = 0.01 of the Gaussian prior."""
    cold = experiments.COLD
    found = states_of(protocol, {cold: cold_runs(protocol)})
    rests = [*unsettled("Gaussian", found, [cold]), *metastable]
    return Evidence(estimates, folds, missing, {"ELBO": found}, rests, vacuous, dict(beside or {}))


def _c6(protocol: str) -> Evidence:
    plan = experiments.PROTOCOLS[protocol]()
    ladder = along(plan.ladder)
    found, missing = states_of(protocol, ladder), lacking(*ladder.values())
    if plan.has_two_temperatures:
        return _at_two_temperatures(ladder, found, missing)
    read = cold_effect(ladder, found)
    if read is None or experiments.WARM not in found:
        return Evidence(lacking=missing, states={"ELBO": found})
    estimates, folds, beside, vacuous = read
    if protocol == experiments.CHAPTERS_OWN:
        beside |= _other_ways()
    metastable = unsettled("Gaussian", found, [experiments.WARM])
    return Evidence(estimates, folds, missing, {"ELBO": found}, metastable, vacuous, beside)


def _at_two_temperatures(ladder: Mapping[float, Runs], found: States, missing: int) -> Evidence:
    """What ``claims.AT_TWO_TEMPERATURES`` reads."""
    pairs = compare(hot=ladder[experiments.WARM], cold=ladder[experiments.COLD])
    if pairs is None:
        return Evidence(lacking=missing, states={"ELBO": found})
    vacuous = ["both sides guess"] if _guessing(pairs, "hot", "cold") else []
    estimates = {"a": pairs.estimate("nll", hot=1.0, cold=-1.0)}
    return Evidence(estimates, pairs.folds, missing, {"ELBO": found}, (), vacuous)


def _other_ways() -> dict[str, str]:
    """Which temperatures depend on the path, and both contrasts with the networks of lowest J there, on a few folds."""
    ways = {title: along(ladder) for title, ladder in experiments.directions().items()}
    if not (marked := path_dependent(ways)):
        return {}
    best = {t: ways[title][t] for t, title in lowest(ways).items()}
    said = {"path-dependent": ", ".join(f"T = {t:g}" for t in marked)}
    read = cold_effect(best, states(best, along(experiments.controls()))) if experiments.WARM in best else None
    if read is not None:
        numbers = "; ".join(f"{name}: {_shown(estimate, '+.3f')} nats" for name, estimate in read[0].items())
        said[f"the networks of lowest J, {read[1]} folds"] = numbers
    return said


def cold_effect(
    ladder: Mapping[float, Runs], found: States
) -> tuple[dict[str, Estimate], int, dict[str, str], list[str]] | None:
    """Both contrasts of C6, their folds, what stands beside, and whether they compare nothing; None if not run."""
    temperatures = learning(found)
    if not temperatures:
        return None
    best = at_best(ladder, temperatures)
    groups = {"hot": ladder[experiments.WARM], "last": ladder[max(temperatures)], "best": best}
    pairs = compare(**groups)
    if pairs is None:
        return None
    estimates = {"a": pairs.estimate("nll", hot=1.0, best=-1.0), "b": pairs.estimate("nll", last=1.0, best=-1.0)}
    chosen = [run.config.temperature for run in best if run is not None]
    beside = {
        "T* by fold": ", ".join(f"{t:g}" for t in chosen),
        "the largest T at which every fold learns": f"{max(temperatures):g}",
    }
    for name, hot in {"a": "hot", "b": "last"}.items():
        beside |= {f"{name}, {title}": said for title, said in unseen(pairs, **{hot: 1.0, "best": -1.0}).items()}
    return estimates, pairs.folds, beside, ["both sides guess"] if _guessing(pairs, *groups) else []


def unseen(found: Comparison, **factors: float) -> dict[str, str]:
    """A contrast of NLLs on the galaxies that nothing was chosen or judged on before, in words."""
    kept = {title: replace(found, keep=keep) for title, keep in UNSEEN.items()}
    return {title: f"{_shown(part.estimate('nll', **factors), '+.3f')} nats" for title, part in kept.items()}


def _not_chosen_on(places: np.ndarray) -> np.ndarray:
    return ~catalogue().chosen_on[places]


def _not_fold_0(places: np.ndarray) -> np.ndarray:
    return catalogue().fold[places] != 0


UNSEEN = {
    "without the galaxies that the first edition was chosen on": _not_chosen_on,
    "without fold 0, which judged the first edition": _not_fold_0,
}
"""Galaxies that nothing was chosen or judged on before."""


def _c7(protocol: str) -> Evidence:
    if protocol != experiments.CHAPTERS_OWN:
        return Evidence()
    ladders = {title: along(groups) for title, groups in experiments.objectives().items()}
    controls = along(experiments.controls())
    found = {title: states(ladder, controls) for title, ladder in ladders.items()}
    elbo, other = ladders["ELBO"], ladders["PAC²"]
    temperatures = learning(found["ELBO"])
    missing = lacking(*(other[t] for t in temperatures or other))
    pairs = {t: compare(other=other[t], elbo=elbo[t]) for t in temperatures}
    if not pairs or None in pairs.values():
        return Evidence(lacking=missing, states=found)
    estimates = {f"T = {t:g}": pair.estimate("nll", other=1.0, elbo=-1.0) for t, pair in pairs.items()}
    metastable = unsettled("PAC²", found["PAC²"], temperatures)
    vacuous = ["both sides guess"] if all(_guessing(pair, "other", "elbo") for pair in pairs.values()) else []
    folds = min(pair.folds for pair in pairs.values())
    return Evidence(estimates, folds, missing, found, metastable, vacuous)


def _c8a(protocol: str) -> Evidence:
    if protocol != experiments.CHAPTERS_OWN:
        return Evidence()
    groups = experiments.orbit()
    trained, plain = stored(groups["D4 orbit"]), stored(groups["none"], OnOrbit)
    missing = lacking(trained, plain)
    runs, records = shared(trained, plain)
    if not runs:
        return Evidence(lacking=missing)
    found = Comparison({"orbit": side(runs), "none": _seen(records)}, test_share(runs))
    vacuous = ["both sides guess"] if _guessing(found, "orbit", "none") else []
    estimates = {"NLL": found.estimate("nll", orbit=1.0, none=-1.0)}
    return Evidence(estimates, found.folds, missing, {}, (), vacuous, _in_one_view(groups))


def _in_one_view(groups: Mapping[str, Sequence[Config]]) -> dict[str, str]:
    """The same two trainings, both predicted in one view: what the likelihood does to the network alone."""
    records, runs = shared(stored(groups["D4 orbit"], OneView), stored(groups["none"]))
    if not runs:
        return {}
    found = Comparison({"orbit": _seen(records), "none": side(runs)}, test_share(runs))
    difference = found.estimate("nll", orbit=1.0, none=-1.0).interval()
    return {"both predicted in one view, NLL": f"{difference:+.3f} nats, {found.folds} folds"}


def _seen(records: Sequence[OnOrbit]) -> Side:
    return Side([r.logits for r in records], [r.labels for r in records], [r.galaxies for r in records])


def _c8b(protocol: str) -> Evidence:
    if protocol != experiments.CHAPTERS_OWN:
        return Evidence()
    ladders, controls = {t: along(g) for t, g in experiments.augmentations().items()}, along(experiments.controls())
    titles = {"D4": "random D4", "rotation": "random rotation"}
    found = {title: states(ladders[title], controls) for title in titles.values()}
    missing = lacking(*(runs for title in titles.values() for runs in ladders[title].values()))
    read = {part: cold_effect(ladders[title], found[title]) for part, title in titles.items()}
    if None in read.values():
        return Evidence(lacking=missing, states=found)
    estimates = {part: numbers["b"] for part, (numbers, *_) in read.items()}
    vacuous = [f"{part}: {said}" for part, (*_, words) in read.items() for said in words]
    beside = {f"{part}, {name}": said for part, (_, _, texts, _) in read.items() for name, said in texts.items()}
    return Evidence(estimates, min(folds for _, folds, _, _ in read.values()), missing, found, (), vacuous, beside)


def _c9(protocol: str) -> Evidence:
    if protocol != experiments.CHAPTERS_OWN:
        return Evidence()
    estimates, folds, missing = {}, [], 0
    for s, groups in experiments.curated().items():
        ladder = {t: [run and agreed(run, s) for run in runs] for t, runs in along(groups).items()}
        plain, upto = stored(experiments.uncurated(s)), [t for t in ladder if t <= experiments.WARM]
        missing += lacking(plain, *(ladder[t] for t in upto))
        best = at_best(ladder, upto, by=measured_nll)
        pairs = compare(one=ladder[experiments.WARM], best=best, plain=plain)
        if pairs is None:
            continue
        folds.append(pairs.folds)
        estimates[f"S = {s}, cooling"] = pairs.estimate("nll", one=1.0, best=-1.0)
        estimates[f"S = {s}, curation"] = pairs.estimate("nll", one=1.0, plain=-1.0)
    if len(folds) < len(experiments.LABELLERS):
        return Evidence(lacking=missing)
    return Evidence(estimates, min(folds), missing)


def agreed(run: Run, labellers: int) -> Run:
    """The run as it predicts what S labellers agree on: each draw's p_y^S / sum_c p_c^S, its logits times S."""
    scored = {name: values for name, values in run.arrays.items() if name.startswith("difference_")}
    return replace(run, arrays=run.arrays | {n: labellers * x.astype(np.float32) for n, x in scored.items()})


def _shown(estimate: Estimate, spec: str) -> str:
    return f"{estimate.interval(0.95):{spec}}"


READ: dict[str, Callable[[str], Evidence]] = {
    "C1": _c1,
    "C2": _c2,
    "C3": _c3,
    "C4": _c4,
    "C5": _c5,
    "C6": _c6,
    "C7": _c7,
    "C8a": _c8a,
    "C8b": _c8b,
    "C9": _c9,
    "C10": _c10,
}
"""What is read for every claim."""
