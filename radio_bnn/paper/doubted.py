"""The galaxies that astronomers doubt: what tells them from the others, and what a network's word is worth there.

Every network scores all of them. A mean of networks counts each galaxy once for each network, and its interval draws
the galaxies once for all; where a galaxy is to be judged once, its own fold's network judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from radio_bnn.data.folds import catalogue
from radio_bnn.evaluation import crossval
from radio_bnn.evaluation.conformal import conformal_sets, coverage_range
from radio_bnn.evaluation.crossval import Estimate
from radio_bnn.evaluation.metrics import Metric
from radio_bnn.evaluation.predictive import UNCERTAINTIES, predictive_mean
from radio_bnn.evaluation.reliability import Reliability, reliability
from radio_bnn.evaluation.resampling import Interval, exact_interval
from radio_bnn.paper import tables
from radio_bnn.paper.contrasts import DOUBTED, TRUSTED, Runs, compare, shared, side, test_share
from radio_bnn.paper.evidence import adjusted, calibrating
from radio_bnn.paper.readings import Found
from radio_bnn.runs.records import Run

HYBRID = "hybrid"
SURE = 0.9
Score = Callable[[Run, str], np.ndarray]

# What tells the doubted galaxies from the others

# Title: the doubted set, and the class that both sides are restricted to.
AGAINST = {"uncertain": (DOUBTED, None), "FRI": (DOUBTED, 0), "FRII": (DOUBTED, 1), HYBRID: (HYBRID, None)}


class Ranker(NamedTuple):
    """Something that ranks galaxies, the most doubtful last: runs, their score, and the uncertainty that it is."""

    runs: Runs
    score: Score
    uncertainty: str | None


def by_uncertainty(runs: Runs, name: str) -> Ranker:
    """Ranks by one of ``UNCERTAINTIES`` of a network."""
    return Ranker(runs, lambda run, scored: UNCERTAINTIES[name].of(run.logits_of(scored)), name)


def by_lit_pixels(runs: Runs) -> Ranker:
    """Ranks by the image alone: galaxies of few pixels above 0 last."""
    return Ranker(runs, lambda run, scored: -catalogue().lit_pixels[run.galaxies[scored]], None)


def rankers(posterior: Runs, rivals: Mapping[str, Runs]) -> dict[str, Ranker]:
    """Every uncertainty of the posterior, the variance first; the entropy of ``rivals`` by title; and lit pixels."""
    names = ["predictive_variance", *(name for name in UNCERTAINTIES if name != "predictive_variance")]
    found = {name.replace("_", " "): by_uncertainty(posterior, name) for name in names}
    found |= {f"entropy, {title}": by_uncertainty(runs, "predictive_entropy") for title, runs in rivals.items()}
    return found | {"few lit pixels, no network": by_lit_pixels(posterior)}


def rankings(ranker: Ranker, folds: Sequence[int] | None = None) -> dict[str, Estimate] | None:
    """The AUROC of each of AGAINST against the confident galaxies, the mean of the networks; None if none is stored.

    ``folds`` restricts to the places of these in the group.
    """
    chosen = [run for k, run in enumerate(ranker.runs) if folds is None or k in folds]
    [runs] = shared(chosen)
    if not runs:
        return None
    scores = {name: [ranker.score(run, name) for run in runs] for name in (TRUSTED, DOUBTED, HYBRID)}
    return {title: _ranking(runs, scores, *against) for title, against in AGAINST.items()}


def _ranking(runs: Sequence[Run], scores: Mapping[str, list[np.ndarray]], doubted: str, label: int | None) -> Estimate:
    def kept(run: Run, scored: str) -> np.ndarray:
        labels = run.labels[scored]
        return np.ones(len(labels), bool) if label is None else labels == label

    low, high = (
        [x[kept(run, scored)] for run, x in zip(runs, scores[scored], strict=True)] for scored in (TRUSTED, doubted)
    )
    ids = [run.galaxies[doubted][kept(run, doubted)] for run in runs]
    return crossval.ranking(low, high, ids, test_share=test_share(runs))


def stored_folds(runs: Runs) -> list[int]:
    """The places in a group whose run is stored."""
    return [k for k, run in enumerate(runs) if run is not None]


def all_rankings(found: Mapping[str, Ranker]) -> dict[str, dict[str, Estimate] | None]:
    """``rankings`` of each ranker, by title."""
    return {title: rankings(ranker) for title, ranker in found.items()}


def shown(found: Mapping[str, Mapping[str, Estimate] | None], against: Sequence[str]) -> dict[str, dict[str, Found]]:
    """The AUROCs against some of AGAINST with their intervals, {ranker: {against: found}}; empty where not run."""
    return {
        title: {a: Found(of[a].interval(), of[a].folds) for a in against} if of else {} for title, of in found.items()
    }


def ranking_table(found: Mapping[str, Ranker], aurocs: Mapping[str, Mapping[str, Estimate] | None]) -> str:
    """AUROC, the same minus that of the first row, within each class, and the adjusted log odds, as Markdown."""
    rows = []
    for title, ranker in found.items():
        if (of := aurocs[title]) is None:
            rows.append([title, *["not run"] * 5, "0"])
            continue
        each = [tables.foldable(of[name].interval(), ".2f") for name in ("uncertain", "FRI", "FRII")]
        [runs], name = shared(ranker.runs), ranker.uncertainty
        odds = "–" if name is None else tables.foldable(adjusted(runs, name).interval(), "+.2f")
        folds = str(of["uncertain"].folds)
        rows.append([title, each[0], _minus_first(title, found, aurocs), *each[1:], odds, folds])
    columns = ["AUROC", "minus the variance's", "FRI alone", "FRII alone", "adjusted log odds", "folds"]
    return tables.markdown(["ranked by", *columns], rows)


def _minus_first(title: str, found: Mapping[str, Ranker], aurocs: Mapping[str, Mapping[str, Estimate] | None]) -> str:
    """The paired difference to the first ranker, on the folds that both have."""
    first = next(iter(found))
    if title == first:
        return "–"
    folds = [stored_folds(found[name].runs) for name in (title, first)]
    both = sorted(set(folds[0]) & set(folds[1]))
    if not both:
        return "not run"
    of = [
        aurocs[name] if mine == both else rankings(found[name], both)
        for name, mine in zip((title, first), folds, strict=True)
    ]
    return tables.foldable(crossval.difference(*(each["uncertain"] for each in of)).interval(), "+.2f")


# What a network's word is worth there


def _error(p: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 100.0 * (p.argmax(axis=1) != labels), np.ones(len(p))


def _confidence(p: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 100.0 * p.max(axis=1), np.ones(len(p))


def _is_sure(p: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 100.0 * (p.max(axis=1) > SURE), np.ones(len(p))


def _error_where_sure(p: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 100.0 * (p.argmax(axis=1) != labels), 1.0 * (p.max(axis=1) > SURE)


def _nll(p: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -np.log(p[np.arange(len(p)), labels]), np.ones(len(p))


WORTH = {
    "error [%]": (_error, ".1f"),
    "mean confidence [%]": (_confidence, ".1f"),
    "NLL [nats]": (_nll, ".2f"),
    "galaxies with a confidence above 90 % [%]": (_is_sure, ".0f"),
    "error among those [%]": (_error_where_sure, ".0f"),
}
"""By title: from the averaged predictive (N, 2) and labels (N,) a number for each galaxy and whether it counts."""


def worth(runs: Sequence[Run], title: str, scored: str = DOUBTED) -> Estimate | None:
    """One of WORTH for a set of galaxies; None where a network has no galaxy that counts.

    Of the confident galaxies those of all folds together, of the others the mean of the networks.
    """
    of, found = WORTH[title][0], side(runs, scored)
    pairs = [of(predictive_mean(x), y) for x, y in zip(found.logits, found.labels, strict=True)]
    if not all(counted.any() for _, counted in pairs):
        return None
    if scored == TRUSTED:
        metric = Metric(partial(_columns, of=of), _share)
        return compare(runs=runs).estimate(metric, runs=1.0)
    values, counted = zip(*pairs, strict=True)
    return crossval.averaged(values, counted, found.places, test_share=test_share(runs))


def _columns(logits: np.ndarray, labels: np.ndarray, *, of: Callable) -> tuple[np.ndarray, np.ndarray]:
    return of(predictive_mean(logits), labels)


def _share(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    total = counted.sum(axis=-1)
    return np.where(total > 0, (values * counted).sum(axis=-1) / np.maximum(total, 1), np.nan)


def worth_table(runs: Sequence[Run]) -> str:
    """WORTH for the confident and the uncertain galaxies, as Markdown."""
    rows = []
    for title, (_, spec) in WORTH.items():
        found = [worth(runs, title, scored) for scored in (TRUSTED, DOUBTED)]
        rows.append([title, *("–" if e is None else tables.unbroken(e.interval(), spec) for e in found)])
    return tables.markdown(["", "confident galaxies", "uncertain galaxies"], rows)


def spoken(runs: Sequence[Run], *, alpha: float) -> dict[str, str]:
    """Error, confidence, NLL and coverage of the uncertain galaxies with their intervals, in words by name."""
    titles = {"error": "error [%]", "confidence": "mean confidence [%]", "nll": "NLL [nats]"}
    said = {name: f"{worth(runs, t).interval():{'.2f' if name == 'nll' else '.0f'}}" for name, t in titles.items()}
    return said | {"covered": f"{coverage(runs, alpha=alpha):.0f}"}


# Each galaxy judged once


def once(run: Run, scored: str) -> np.ndarray:
    """Which galaxies of a set the network judges, (N,), if each is judged by that of its own fold alone."""
    if scored == TRUSTED:
        return np.ones(len(run.labels[scored]), bool)
    return catalogue().fold[run.galaxies[scored]] == run.config.fold


def judged_once(runs: Sequence[Run], scored: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits (S, N, 2) and labels (N,) of the galaxies of all folds, each judged once."""
    kept = [once(run, scored) for run in runs]
    logits = [run.logits_of(scored)[:, k] for run, k in zip(runs, kept, strict=True)]
    labels = [run.labels[scored][k] for run, k in zip(runs, kept, strict=True)]
    return np.concatenate(logits, axis=1), np.concatenate(labels)


def diagrams(runs: Sequence[Run], *, bins: int = 5) -> dict[str, Reliability]:
    """Reliability of the confident and of the uncertain galaxies in bins of equal numbers, by title."""
    titles = {TRUSTED: "confident galaxies", DOUBTED: "uncertain galaxies"}
    return {t: reliability(*judged_once(runs, s), bins=bins, strategy="quantile") for s, t in titles.items()}


def outside(diagram: Reliability) -> str:
    """How many bins lie outside their band, in words."""
    beyond = (diagram.frequency < diagram.low) | (diagram.frequency > diagram.high)
    return f"{beyond.sum()} of {len(diagram.count)}"


def sets(runs: Sequence[Run], scored: str, *, alpha: float, per_class: bool = False) -> np.ndarray:
    """Conformal sets (N, 2) of the galaxies of ``judged_once``, calibrated by network on its validation galaxies."""
    found = []
    for run in runs:
        logits = run.logits_of(scored)[:, once(run, scored)]
        found.append(conformal_sets(calibrating(run), logits, alpha=alpha, class_conditional=per_class))
    return np.concatenate(found)


def coverage(runs: Sequence[Run], scored: str = DOUBTED, *, alpha: float, per_class: bool = False) -> Interval:
    """The share of galaxies whose class is in their set, percent, with its exact interval."""
    members = sets(runs, scored, alpha=alpha, per_class=per_class)
    _, labels = judged_once(runs, scored)
    return exact_interval(int(members[np.arange(len(labels)), labels].sum()), len(labels))


def expected_coverage(runs: Sequence[Run], *, alpha: float) -> Interval:
    """The coverage that the confident galaxies of these folds should show, see ``coverage_range``."""
    return coverage_range([(len(calibrating(run)[1]), len(run.labels[TRUSTED])) for run in runs], alpha=alpha)


def conformal_table(runs: Sequence[Run], *, alpha: float) -> str:
    """Coverage and sizes of conformal sets by set of galaxies and kind of threshold, as Markdown."""
    titles = {TRUSTED: "confident", DOUBTED: "uncertain", HYBRID: "hybrid"}
    kinds = {"one for all": False, "one per class": True}
    found = {(t, k): sets(runs, s, alpha=alpha, per_class=c) for s, t in titles.items() for k, c in kinds.items()}
    labels = {t: None if s == HYBRID else judged_once(runs, s)[1] for s, t in titles.items()}
    return tables.conformal(found, labels)
