"""Scores and calibration errors of predictive logits: one number for many galaxies, without any resampling.

Shapes, checks and units are those of ``predictive``: ``logits`` (S, N, C), ``labels`` (N,) integers 0..C-1. Equal
largest probabilities count as the first of the classes concerned. Intervals and nulls are in ``resampling``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, logsumexp
from scipy.stats import rankdata

from radio_bnn.evaluation.predictive import (
    UNCERTAINTIES,
    central_samples,
    check,
    check_choice,
    check_count,
    check_logits,
    predictive_mean,
)


def _average(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=-1)


@dataclass(frozen=True)
class Metric:
    """A scalar metric in two steps: numbers per galaxy, then a reduction over galaxies.

    ``columns(logits, labels)`` gives a tuple of (N,) arrays whose n-th entries depend on galaxy n alone;
    ``reduce(*columns)`` takes arrays (..., N) to (...). Resampled galaxies and labels redrawn for a null then need the
    posterior samples only once (C times for a null). Called with (logits, labels) it returns a float, nan where
    undefined. ``labels`` may be None unless ``needs_labels``; ``binary`` says that every column entry is 0 or 100,
    ``between_sets`` that the labels are no classes but say to which of two sets, 0 or 1, a galaxy belongs.
    """

    columns: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]
    reduce: Callable[..., np.ndarray] = _average
    needs_labels: bool = True
    binary: bool = False
    between_sets: bool = False

    def __call__(self, logits: ArrayLike, labels: ArrayLike | None = None) -> float:
        return float(self.reduce(*self.checked_columns(logits, labels)))

    def checked_columns(self, logits: ArrayLike, labels: ArrayLike | None) -> tuple[np.ndarray, ...]:
        """``columns`` of checked input."""
        if labels is None and self.needs_labels:
            raise ValueError("labels are None; this metric compares predictions with labels (N,)")
        if labels is None:
            return self.columns(check_logits(logits), None)
        return self.columns(*check(logits, labels))


# Scores


def _misclassified(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return 100.0 * (predictive_mean(logits).argmax(axis=-1) != labels)


def _sample_misclassified(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return 100.0 * (logits.argmax(axis=-1) != labels).mean(axis=0)


def _surprise(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    log_likelihood = log_softmax(logits, axis=-1)[:, np.arange(len(labels)), labels]
    return np.log(len(logits)) - logsumexp(log_likelihood, axis=0)


def _squared_distance(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return ((predictive_mean(logits) - np.eye(logits.shape[2])[labels]) ** 2).sum(axis=-1)


def error(logits: ArrayLike, labels: ArrayLike) -> float:
    """Error of the averaged predictive, 100 mean_n [argmax_c p_nc != y_n], in percent, 0..100.

    The definition of Mohan & Scaife 2024. That of Mohan et al. 2022, whose mean over posterior samples is the metric
    "single_sample_error_percent", is of one sample: ``error(logits[[s]], labels)``; its spread over samples is not a
    sampling error of the test set.
    """
    return float(_misclassified(*check(logits, labels)).mean())


def nll(logits: ArrayLike, labels: ArrayLike) -> float:
    """Negative log-likelihood of the averaged predictive, -mean_n log p_n,y_n, in nats per galaxy, 0..inf.

    Computed in log space, so it is finite for all finite logits. 50/50 on two classes scores ln 2 = 0.693.
    """
    return float(_surprise(*check(logits, labels)).mean())


def brier(logits: ArrayLike, labels: ArrayLike) -> float:
    """Brier score, mean_n sum_c (p_nc - [y_n = c])^2, 0 (perfect) to 2 (certain and wrong).

    The original sum over classes: for two classes twice the one-class form. 50/50 scores 0.5. Source: Brier 1950.
    """
    return float(_squared_distance(*check(logits, labels)).mean())


# Ranking


def _ranked_columns(logits: np.ndarray, members: np.ndarray, *, uncertainty: str) -> tuple[np.ndarray, np.ndarray]:
    return UNCERTAINTIES[uncertainty].of(logits), members


def _area(scores: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The Mann-Whitney U of the members over its largest value; (..., N) -> (...), nan where one set is empty."""
    n = members.sum(axis=-1)
    pairs = n * (members.shape[-1] - n)
    above = (rankdata(scores, axis=-1) * members).sum(axis=-1) - n * (n + 1) / 2
    return np.where(pairs > 0, above / np.maximum(pairs, 1), np.nan)


def auroc_of(uncertainty: str) -> Metric:
    """P(a galaxy of set 1 is less certain than one of set 0) + P(equal) / 2, the area under the ROC curve, 0..1.

    ``uncertainty`` is a name of ``UNCERTAINTIES``; the labels of the metric name the set of every galaxy. 1/2 is
    chance, and what an uncertainty that is equal for all gives. Raises ValueError for an unknown uncertainty.
    Source: Hanley & McNeil 1982.
    """
    check_choice("uncertainty", uncertainty, UNCERTAINTIES)
    return Metric(partial(_ranked_columns, uncertainty=uncertainty), _area, between_sets=True)


# Calibration


def bin_index(position: ArrayLike, *, bins: int, strategy: str = "uniform") -> np.ndarray:
    """The bin 0..B-1 of every position in [0, 1]; (..., N) -> (..., N).

    ``"uniform"`` bins have equal width, each with its lower edge and the last with both; ``"quantile"`` bins hold
    equally many positions (+-1, ties in the order given). Raises ValueError for another strategy and for no bins.
    """
    check_count("bins", bins)
    check_choice("strategy", strategy, ("uniform", "quantile"))
    position = np.asarray(position, dtype=np.float64)
    if strategy == "uniform":
        return np.clip(np.floor(position * bins), 0, bins - 1).astype(np.int64)
    rank = position.argsort(axis=-1, kind="stable").argsort(axis=-1)
    return rank * bins // position.shape[-1]


def _binned_gap(
    position: np.ndarray, gap: np.ndarray, *, bins: int, strategy: str = "uniform", keep: np.ndarray | None = None
) -> np.ndarray:
    """100 sum_B |B|/n |mean_B gap| = 100 sum_B |sum_B gap| / n over the last axis; nan where ``keep`` keeps nothing."""
    keep = np.ones(position.shape, bool) if keep is None else keep
    kept, size = np.where(keep, gap, 0.0), keep.sum(axis=-1)
    row = np.arange(kept[..., 0].size).reshape(*size.shape, 1)
    place = row * bins + bin_index(position, bins=bins, strategy=strategy)
    sums = np.bincount(place.ravel(), kept.ravel(), minlength=row.size * bins).reshape(*size.shape, bins)
    total = np.abs(sums).sum(axis=-1)
    return np.where(size > 0, 100.0 * total / np.maximum(size, 1), np.nan)


def _uce_columns(logits: np.ndarray, labels: np.ndarray, *, uncertainty: str) -> tuple[np.ndarray, ...]:
    classes, (of, largest) = logits.shape[2], UNCERTAINTIES[uncertainty]
    wrong = (logits.argmax(axis=-1) != labels).mean(axis=0)
    return of(logits) / largest(classes), wrong * classes / (classes - 1), labels


def _uce_reduced(
    position: np.ndarray, wrong: np.ndarray, labels: np.ndarray, *, bins: int, of: int | None = None
) -> np.ndarray:
    return _binned_gap(position, position - wrong, bins=bins, keep=None if of is None else labels == of)


def _classwise_mean(position: np.ndarray, wrong: np.ndarray, labels: np.ndarray, *, bins: int) -> np.ndarray:
    return np.mean([_uce_reduced(position, wrong, labels, bins=bins, of=c) for c in (0, 1)], axis=0)


def _ece_columns(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = predictive_mean(logits)
    return mean.max(axis=-1), (mean.argmax(axis=-1) == labels).astype(np.float64)


def _ece_reduced(confidence: np.ndarray, correct: np.ndarray, *, bins: int, strategy: str) -> np.ndarray:
    return _binned_gap(confidence, confidence - correct, bins=bins, strategy=strategy)


def uce_of(uncertainty: str = "predictive_entropy", *, bins: int = 8, of: int | None = None) -> Metric:
    """``uce`` as a metric, of all galaxies or of those whose true class is ``of``.

    Raises ValueError for an uncertainty without a largest value, which cannot be scaled to [0, 1].
    """
    scalable = [name for name, (_, largest) in UNCERTAINTIES.items() if largest is not None]
    check_choice("uncertainty", uncertainty, scalable)
    return Metric(partial(_uce_columns, uncertainty=uncertainty), partial(_uce_reduced, bins=bins, of=of))


def central_uce(*, share: float = 0.64) -> Metric:
    """The UCE on the ``central_samples`` of every galaxy, a ``share`` of them; as released 64 % (audit A5)."""
    uce = uce_of()
    return Metric(lambda logits, labels: uce.columns(central_samples(logits, share=share), labels), uce.reduce)


def uce(logits: ArrayLike, labels: ArrayLike, *, uncertainty: str = "predictive_entropy", bins: int = 8) -> float:
    """Uncertainty calibration error, 100 sum_B |B|/n |mean_B u - mean_B e|, in percent, 0..200.

    u is the uncertainty over its largest value, e = C/(C-1) times the share of posterior samples that misclassify the
    galaxy (twice that share for two classes), B the equal-width ``bins`` of u on [0, 1]. Of the variance of two classes
    u is four times the value. A perfectly calibrated classifier does NOT score 0, because entropy / ln 2 exceeds twice
    the error (audit A8): read it beside ``resampling.calibrated_null``. Source: Laves et al. 2019; Mohan & Scaife 2024.
    """
    return uce_of(uncertainty, bins=bins)(logits, labels)


def classwise_uce(
    logits: ArrayLike, labels: ArrayLike, *, uncertainty: str = "predictive_entropy", bins: int = 8
) -> np.ndarray:
    """``uce`` over the galaxies of each true class; (C,) percent. Its mean is the cUCE of the papers.

    Raises ValueError if a class has no galaxies.
    """
    logits, labels = check(logits, labels)
    classes = range(logits.shape[2])
    if missing := [c for c in classes if c not in labels]:
        raise ValueError(f"labels hold no galaxy of class {missing[0]}; class-wise UCE needs at least one of each")
    return np.array([uce_of(uncertainty, bins=bins, of=c)(logits, labels) for c in classes])


def ece(logits: ArrayLike, labels: ArrayLike, *, bins: int = 15, strategy: str = "uniform") -> float:
    """Expected calibration error, 100 sum_B |B|/n |mean_B confidence - accuracy_B|, in percent, 0..100.

    Confidence is max_c p_nc of the averaged predictive; bins are those of ``bin_index``. Positive in expectation for a
    calibrated classifier of finite N: read it beside its ``resampling.calibrated_null``.
    Source: Guo et al. 2017; Nixon et al. 2019.
    """
    return Metric(_ece_columns, partial(_ece_reduced, bins=bins, strategy=strategy))(logits, labels)


# Registry


def _mean_of(uncertainty: str) -> Metric:
    return Metric(lambda logits, _: (UNCERTAINTIES[uncertainty].of(logits),), needs_labels=False)


METRICS: dict[str, Metric] = {
    "error_percent": Metric(lambda logits, labels: (_misclassified(logits, labels),), binary=True),
    "single_sample_error_percent": Metric(lambda logits, labels: (_sample_misclassified(logits, labels),)),
    "nll": Metric(lambda logits, labels: (_surprise(logits, labels),)),
    "brier": Metric(lambda logits, labels: (_squared_distance(logits, labels),)),
    "predictive_entropy": _mean_of("predictive_entropy"),
    "expected_entropy": _mean_of("expected_entropy"),
    "mutual_information": _mean_of("mutual_information"),
    "overlap_index": _mean_of("overlap_index"),
    "uce_percent": uce_of(),
    "uce_fri_percent": uce_of(of=0),
    "uce_frii_percent": uce_of(of=1),
    "classwise_uce_percent": Metric(
        partial(_uce_columns, uncertainty="predictive_entropy"), partial(_classwise_mean, bins=8)
    ),
    "ece_percent": Metric(_ece_columns, partial(_ece_reduced, bins=15, strategy="uniform")),
}
"""The scalars kept in a record, called as ``METRICS[name](logits, labels)``; uncertainties are means over galaxies.

Class-wise entries are over class 0 (FRI) and class 1 (FRII); ``classwise_uce_percent`` is the mean of the two (cUCE).
"""

CALIBRATION = ("uce_percent", "uce_fri_percent", "uce_frii_percent", "classwise_uce_percent", "ece_percent")
"""Metrics that a calibrated classifier does not bring to 0: always shown beside their null."""


def resolve(statistic: str | Metric) -> Metric:
    """The metric itself, or the entry of METRICS of that name. Raises ValueError for anything else."""
    if isinstance(statistic, Metric):
        return statistic
    check_choice("statistic", statistic, METRICS)
    return METRICS[statistic]
