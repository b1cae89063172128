"""Scores, uncertainties and calibration of predictive logits, with bootstrap intervals and calibrated nulls.

Shapes: ``logits`` (S, N, C) with S posterior samples, N galaxies, C >= 2 classes; ``probs`` (S, N, C) their softmax;
``labels`` (N,) integers 0..C-1. Every computation is in float64, also for stored float16 logits. Averages over
posterior samples are averages of probabilities, p_n = mean_s softmax(logits_sn). Entropies are in nats. Equal largest
probabilities count as the first of the classes concerned.

Every function raises ValueError for logits that are not finite, not three-dimensional or empty, and for labels that
are not integers, are out of range, or do not match the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.special import entr, log_softmax, logsumexp, rel_entr
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from radio_bnn.progress import bar

Statistic = Callable[[np.ndarray, np.ndarray], float]
BLOCK = 1_000_000  # resampled galaxies held in memory at once


class Interval(NamedTuple):
    """A number with the two ends of its interval; ``f"{interval:.1f}"`` reads ``11.5 [6.7, 17.3]``."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def _check_logits(logits: ArrayLike) -> np.ndarray:
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 3:
        raise ValueError(f"logits have shape {logits.shape}; expected three axes (samples, galaxies, classes)")
    if 0 in logits.shape or logits.shape[2] < 2:
        raise ValueError(f"logits have shape {logits.shape}; expected at least one sample, one galaxy and two classes")
    if not np.isfinite(logits).all():
        bad = np.argwhere(~np.isfinite(logits))[0]
        where = f"sample {bad[0]}, galaxy {bad[1]}, class {bad[2]}"
        raise ValueError(f"logits hold {logits[tuple(bad)]} (first at {where}); expected finite numbers")
    return logits


def _check(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = _check_logits(logits), np.asarray(labels)
    _, n, classes = logits.shape
    if labels.shape != (n,):
        raise ValueError(f"labels have shape {labels.shape}; expected ({n},), one per galaxy of the logits")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels have dtype {labels.dtype}; expected integers 0..{classes - 1}")
    if labels.min() < 0 or labels.max() >= classes:
        bad = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(f"labels hold {bad}; expected integers 0..{classes - 1} for logits of {classes} classes")
    return logits, labels.astype(np.int64)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")


# Predictive distribution


def softmax(logits: ArrayLike) -> np.ndarray:
    """Class probabilities of every posterior sample, exp(l_c) / sum_k exp(l_k); (S, N, C) -> (S, N, C) in [0, 1]."""
    return special.softmax(_check_logits(logits), axis=-1)


def predictive_mean(logits: ArrayLike) -> np.ndarray:
    """Posterior predictive p_n = mean_s softmax(logits_sn); (S, N, C) -> (N, C), rows sum to 1."""
    return softmax(logits).mean(axis=0)


def central_samples(logits: ArrayLike, *, share: float = 0.64) -> np.ndarray:
    """For every galaxy, the ``share`` of its samples whose class-0 probability is most central.

    (S, N, 2) -> (K, N, 2), K = round(share S) and at least 1, sorted by class-0 probability. The 2024 paper evaluates
    its calibration error on 64 % (audit A5: called 90 % there): ``uce(central_samples(logits), labels)``.
    Raises ValueError for more than two classes and for a share outside (0, 1].
    Source: Mohan & Scaife 2024.
    """
    logits = _check_logits(logits)
    if logits.shape[2] != 2:
        raise ValueError(f"logits have {logits.shape[2]} classes; central samples are defined for two")
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; expected a number above 0 and at most 1")
    order = np.argsort(logits[..., 0] - logits[..., 1], axis=0, kind="stable")
    kept = max(1, round(share * len(logits)))
    start = (len(logits) - kept) // 2
    return np.take_along_axis(logits, order[start : start + kept, :, None], axis=0)


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

    The definition of Mohan & Scaife 2024; ``single_sample_error`` is that of Mohan et al. 2022.
    """
    return float(_misclassified(*_check(logits, labels)).mean())


def single_sample_error(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Error of each single posterior sample, 100 mean_n [argmax_c l_snc != y_n]; (S,) percent, 0..100.

    The 2022 paper quotes mean and standard deviation of these. The standard deviation is the spread over weight
    samples on fixed galaxies, not a sampling error of the test set. Source: Mohan et al. 2022.
    """
    logits, labels = _check(logits, labels)
    return 100.0 * (logits.argmax(axis=-1) != labels).mean(axis=1)


def nll(logits: ArrayLike, labels: ArrayLike) -> float:
    """Negative log-likelihood of the averaged predictive, -mean_n log p_n,y_n, in nats per galaxy, 0..inf.

    Computed in log space, so it is finite for all finite logits. 50/50 on two classes scores ln 2 = 0.693.
    """
    return float(_surprise(*_check(logits, labels)).mean())


def brier(logits: ArrayLike, labels: ArrayLike) -> float:
    """Brier score, mean_n sum_c (p_nc - [y_n = c])^2, 0 (perfect) to 2 (certain and wrong).

    The original sum over classes: for two classes twice the one-class form. 50/50 scores 0.5. Source: Brier 1950.
    """
    return float(_squared_distance(*_check(logits, labels)).mean())


# Uncertainties


def predictive_entropy(logits: ArrayLike) -> np.ndarray:
    """Total uncertainty, H(mean_s p_s) with H(p) = -sum_c p_c ln p_c; (S, N, C) -> (N,) nats, 0..ln C."""
    return entr(predictive_mean(logits)).sum(axis=-1)


def expected_entropy(logits: ArrayLike, *, as_released: bool = False) -> np.ndarray:
    """Aleatoric uncertainty, mean_s H(p_s); (S, N, C) -> (N,) nats, 0..ln C.

    ``as_released`` takes the entropy of the first posterior sample alone (audit A5).
    """
    entropy = entr(softmax(logits)).sum(axis=-1)
    return entropy[0] if as_released else entropy.mean(axis=0)


def mutual_information(logits: ArrayLike) -> np.ndarray:
    """Epistemic uncertainty, H(mean_s p_s) - mean_s H(p_s) = mean_s KL(p_s || p); (S, N, C) -> (N,) nats, 0..ln C.

    Computed as the KL, which has no cancellation. S samples underestimate it by at most about (C - 1) / (2 S), for
    samples that disagree with certainty. Source: Houlsby et al. 2011; Depeweg et al. 2018.
    """
    divergence = rel_entr(softmax(logits), predictive_mean(logits)).sum(axis=-1)
    return np.maximum(divergence.mean(axis=0), 0.0)


def _kernel_densities(samples: np.ndarray, grid: np.ndarray, bandwidth: float) -> np.ndarray:
    """Gaussian kernel density of each class; samples (S, C), grid (G,) -> (C, G)."""
    z = (grid - samples[..., None]) / bandwidth
    return np.exp(-0.5 * z**2).mean(axis=0) / (bandwidth * np.sqrt(2 * np.pi))


def _overlap_integral(samples: np.ndarray, bandwidth: float) -> float:
    # The minimum vanishes wherever class 0 has no samples: a grid around those alone is complete and small.
    step = bandwidth / 20
    grid = step * np.unique(np.rint(samples[:, :1] / step) + np.arange(-120, 121))
    return step * _kernel_densities(samples, grid, bandwidth).min(axis=0).sum()


def _overlap_as_released(samples: np.ndarray, bandwidth: float) -> float:
    return _kernel_densities(samples, np.linspace(0, 1, 100), bandwidth).min(axis=0).sum() / 100


OVERLAPS = {"integral": _overlap_integral, "as_released": _overlap_as_released}


def overlap_index(
    logits: ArrayLike, *, definition: str = "integral", space: str = "probs", bandwidth: float = 0.1
) -> np.ndarray:
    """Overlap of the classes' sample densities, integral of min_c f_nc(x) dx; (S, N, C) -> (N,), 0..1.

    f_nc is the Gaussian kernel density (absolute ``bandwidth``) of the S softmax values of class c, or of its logits
    with ``space="logits"``. ``"integral"`` covers the whole line and is good to 1e-3; ``"as_released"`` is the sum over
    linspace(0, 1, 100) divided by 100, which loses a percent, the kernels' tails, and any logits outside [0, 1] (A5).
    Not a probability: one sample at (0.5, 0.5) gives 1. Costs S x C x (grid of a few hundred) per galaxy.
    Source: Pastore & Calcagni 2019.
    """
    logits = _check_logits(logits)
    _check_choice("definition", definition, tuple(OVERLAPS))
    _check_choice("space", space, ("probs", "logits"))
    if not (np.isfinite(bandwidth) and bandwidth > 0):
        raise ValueError(f"bandwidth is {bandwidth}; expected a positive number")
    samples = softmax(logits) if space == "probs" else logits
    return np.array([OVERLAPS[definition](samples[:, n], bandwidth) for n in range(samples.shape[1])])


def energy_score(logits: ArrayLike) -> np.ndarray:
    """Energy, mean_s -log sum_c exp(l_snc); (S, N, C) -> (N,) nats, any real number; high means unfamiliar.

    The only score here that an offset common to all logits changes. Source: Liu et al. 2020.
    """
    return -logsumexp(_check_logits(logits), axis=-1).mean(axis=0)


def auroc(scores: ArrayLike, positive: ArrayLike) -> float:
    """P(score of a positive > score of a negative) + P(equal) / 2, the area under the ROC curve, 0..1, chance 0.5.

    scores (N,) finite, positive (N,) boolean or 0/1. Raises ValueError unless both kinds are present.
    """
    scores, positive = np.asarray(scores, dtype=np.float64), np.asarray(positive)
    if scores.ndim != 1 or positive.shape != scores.shape:
        raise ValueError(f"scores {scores.shape} and positive {positive.shape}: expected two equal shapes (N,)")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores hold {scores[~np.isfinite(scores)][0]}; expected finite numbers")
    if set(np.unique(positive).tolist()) != {0, 1}:
        raise ValueError(f"positive holds {np.unique(positive).tolist()[:4]}; expected both True and False")
    return float(roc_auc_score(positive.astype(bool), scores))


# Calibration

UNCERTAINTIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "predictive_entropy": lambda logits: predictive_entropy(logits) / np.log(logits.shape[2]),
    "expected_entropy": lambda logits: expected_entropy(logits) / np.log(logits.shape[2]),
    "mutual_information": lambda logits: mutual_information(logits) / np.log(logits.shape[2]),
    "overlap_index": overlap_index,
}
"""Uncertainties scaled to [0, 1]: entropies over ln C; the overlap index already is."""


def _bin_index(position: np.ndarray, bins: int, strategy: str) -> np.ndarray:
    if strategy == "uniform":
        return np.clip(np.floor(position * bins), 0, bins - 1)
    rank = position.argsort(axis=-1, kind="stable").argsort(axis=-1)
    return rank * bins // position.shape[-1]


def _binned_gap(
    position: np.ndarray, gap: np.ndarray, *, bins: int, strategy: str = "uniform", keep: np.ndarray | None = None
) -> np.ndarray:
    """100 sum_B |B|/n |mean_B gap| = 100 sum_B |sum_B gap| / n over the last axis; nan where ``keep`` keeps nothing."""
    keep = np.ones(position.shape, bool) if keep is None else keep
    index, kept, size = _bin_index(position, bins, strategy), np.where(keep, gap, 0.0), keep.sum(axis=-1)
    total = sum(np.abs(np.where(index == b, kept, 0.0).sum(axis=-1)) for b in range(bins))
    return np.where(size > 0, 100.0 * total / np.maximum(size, 1), np.nan)


def _uce_columns(logits: np.ndarray, labels: np.ndarray, *, uncertainty: str) -> tuple[np.ndarray, ...]:
    classes = logits.shape[2]
    wrong = (logits.argmax(axis=-1) != labels).mean(axis=0)
    return UNCERTAINTIES[uncertainty](logits), wrong * classes / (classes - 1), labels


def _uce_of(
    position: np.ndarray, wrong: np.ndarray, labels: np.ndarray, *, bins: int, of: int | None = None
) -> np.ndarray:
    return _binned_gap(position, position - wrong, bins=bins, keep=None if of is None else labels == of)


def _classwise_mean(position: np.ndarray, wrong: np.ndarray, labels: np.ndarray, *, bins: int) -> np.ndarray:
    return np.mean([_uce_of(position, wrong, labels, bins=bins, of=c) for c in (0, 1)], axis=0)


def _ece_columns(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = predictive_mean(logits)
    return mean.max(axis=-1), (mean.argmax(axis=-1) == labels).astype(np.float64)


def _ece_of(confidence: np.ndarray, correct: np.ndarray, *, bins: int, strategy: str) -> np.ndarray:
    return _binned_gap(confidence, confidence - correct, bins=bins, strategy=strategy)


def _average(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=-1)


@dataclass(frozen=True)
class Metric:
    """A scalar metric in two steps: numbers per galaxy, then a reduction over galaxies.

    ``columns(logits, labels)`` gives a tuple of (N,) arrays whose n-th entries depend on galaxy n alone;
    ``reduce(*columns)`` takes arrays (..., N) to (...). Resampled galaxies and labels redrawn for a null then need the
    posterior samples only once (C times for a null). Called with (logits, labels) it returns a float, nan where
    undefined. ``labels`` may be None unless ``needs_labels``; ``binary`` says that every column entry is 0 or 100.
    """

    columns: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]
    reduce: Callable[..., np.ndarray] = _average
    needs_labels: bool = True
    binary: bool = False

    def __call__(self, logits: ArrayLike, labels: ArrayLike | None = None) -> float:
        return float(self.reduce(*self.checked_columns(logits, labels)))

    def checked_columns(self, logits: ArrayLike, labels: ArrayLike | None) -> tuple[np.ndarray, ...]:
        """``columns`` of checked input."""
        if labels is None and self.needs_labels:
            raise ValueError("labels are None; this metric compares predictions with labels (N,)")
        if labels is None:
            return self.columns(_check_logits(logits), None)
        return self.columns(*_check(logits, labels))


def _uce_metric(uncertainty: str, bins: int, **options) -> Metric:
    _check_choice("uncertainty", uncertainty, tuple(UNCERTAINTIES))
    _check_count("bins", bins)
    return Metric(partial(_uce_columns, uncertainty=uncertainty), partial(_uce_of, bins=bins, **options))


def _ece_metric(bins: int, strategy: str) -> Metric:
    _check_count("bins", bins)
    _check_choice("strategy", strategy, ("uniform", "quantile"))
    return Metric(_ece_columns, partial(_ece_of, bins=bins, strategy=strategy))


def uce(logits: ArrayLike, labels: ArrayLike, *, uncertainty: str = "predictive_entropy", bins: int = 8) -> float:
    """Uncertainty calibration error, 100 sum_B |B|/n |mean_B u - mean_B e|, in percent, 0..200.

    u is the uncertainty scaled to [0, 1] (``UNCERTAINTIES``), e = C/(C-1) times the share of posterior samples that
    misclassify the galaxy (twice that share for two classes), B the equal-width ``bins`` of u on [0, 1], each holding
    its lower edge and the last both. A perfectly calibrated classifier does NOT score 0, because entropy / ln 2 exceeds
    twice the error (audit A8): read it beside ``uce_null``. Source: Laves et al. 2019; Mohan & Scaife 2024.
    """
    return _uce_metric(uncertainty, bins)(logits, labels)


def classwise_uce(
    logits: ArrayLike, labels: ArrayLike, *, uncertainty: str = "predictive_entropy", bins: int = 8
) -> np.ndarray:
    """``uce`` over the galaxies of each true class; (C,) percent. Its mean is the cUCE of the papers.

    Raises ValueError if a class has no galaxies.
    """
    logits, labels = _check(logits, labels)
    classes = range(logits.shape[2])
    if missing := [c for c in classes if c not in labels]:
        raise ValueError(f"labels hold no galaxy of class {missing[0]}; class-wise UCE needs at least one of each")
    columns = _uce_metric(uncertainty, bins).columns(logits, labels)
    return np.array([_uce_of(*columns, bins=bins, of=c) for c in classes])


def ece(logits: ArrayLike, labels: ArrayLike, *, bins: int = 15, strategy: str = "uniform") -> float:
    """Expected calibration error, 100 sum_B |B|/n |mean_B confidence - accuracy_B|, in percent, 0..100.

    Confidence is max_c p_nc of the averaged predictive. ``"uniform"`` bins have equal width on [0, 1], each with its
    lower edge; ``"quantile"`` bins hold equally many galaxies (+-1, ties in the order given). Positive in expectation
    for a calibrated classifier of finite N: read it beside ``calibrated_null("ece_percent", logits)``.
    Source: Guo et al. 2017; Nixon et al. 2019.
    """
    return _ece_metric(bins, strategy)(logits, labels)


METRICS: dict[str, Metric] = {
    "error_percent": Metric(lambda logits, labels: (_misclassified(logits, labels),), binary=True),
    "single_sample_error_percent": Metric(lambda logits, labels: (_sample_misclassified(logits, labels),)),
    "nll": Metric(lambda logits, labels: (_surprise(logits, labels),)),
    "brier": Metric(lambda logits, labels: (_squared_distance(logits, labels),)),
    "predictive_entropy": Metric(lambda logits, _: (predictive_entropy(logits),), needs_labels=False),
    "expected_entropy": Metric(lambda logits, _: (expected_entropy(logits),), needs_labels=False),
    "mutual_information": Metric(lambda logits, _: (mutual_information(logits),), needs_labels=False),
    "overlap_index": Metric(lambda logits, _: (overlap_index(logits),), needs_labels=False),
    "uce_percent": _uce_metric("predictive_entropy", 8),
    "uce_fri_percent": _uce_metric("predictive_entropy", 8, of=0),
    "uce_frii_percent": _uce_metric("predictive_entropy", 8, of=1),
    "classwise_uce_percent": Metric(
        partial(_uce_columns, uncertainty="predictive_entropy"), partial(_classwise_mean, bins=8)
    ),
    "ece_percent": _ece_metric(15, "uniform"),
}
"""The scalars kept in a record, called as ``METRICS[name](logits, labels)``; uncertainties are means over galaxies.

Class-wise entries are over class 0 (FRI) and class 1 (FRII); ``classwise_uce_percent`` is the mean of the two (cUCE).
"""

CALIBRATION = ("uce_percent", "uce_fri_percent", "uce_frii_percent", "classwise_uce_percent", "ece_percent")
"""Metrics that a calibrated classifier does not bring to 0: always shown beside their null."""

_METRIC_OF = {error: "error_percent", nll: "nll", brier: "brier", uce: "uce_percent", ece: "ece_percent"}


def _resolve(statistic: str | Statistic) -> Metric | Statistic:
    if callable(statistic):
        return METRICS[_METRIC_OF[statistic]] if statistic in _METRIC_OF else statistic
    _check_choice("statistic", statistic, tuple(METRICS))
    return METRICS[statistic]


# Nulls and intervals


def _interval(value: float, draws: np.ndarray, level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1, such as 0.95")
    draws = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(draws):
        raise ValueError("the statistic is nan on these galaxies; a class-wise one needs galaxies of every class")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def calibrated_null(statistic: str | Statistic, logits: ArrayLike, *, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """Distribution of ``statistic`` if the predictive were the truth: y_n ~ Categorical(p_n), (draws,).

    ``statistic`` is a name or entry of METRICS (milliseconds) or any function of (logits, labels) (``draws`` calls).
    Class-wise metrics are nan in draws without that class. Source: Broecker & Smith 2007 (consistency resampling).
    """
    logits, statistic = _check_logits(logits), _resolve(statistic)
    _check_count("draws", draws)
    _, n, classes = logits.shape
    uniform = np.random.default_rng(seed).random((draws, n, 1))
    drawn = (uniform > predictive_mean(logits).cumsum(axis=-1)[:, :-1]).sum(axis=-1)
    if not isinstance(statistic, Metric):
        return np.array([statistic(logits, labels) for labels in bar(drawn, desc="null", delay=3, leave=False)])
    per_class = [statistic.columns(logits, np.full(n, c)) for c in range(classes)]
    return statistic.reduce(*[np.stack(column)[drawn, np.arange(n)] for column in zip(*per_class, strict=True)])


def uce_null(
    logits: ArrayLike, *, uncertainty: str = "predictive_entropy", bins: int = 8, draws: int = 1000, seed: int = 0
) -> np.ndarray:
    """UCE that the same predictions would have if they were perfectly calibrated; (draws,) percent. See audit A8."""
    return calibrated_null(_uce_metric(uncertainty, bins), logits, draws=draws, seed=seed)


def _null_and_excess(
    metric: Metric, logits: np.ndarray, labels: np.ndarray, drawn: np.ndarray, level: float
) -> tuple[Interval, Interval]:
    value, null = metric(logits, labels), _interval(np.nanmedian(drawn), drawn, level)
    return null, Interval(value - null.value, value - null.high, value - null.low)


def uce_excess(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    uncertainty: str = "predictive_entropy",
    bins: int = 8,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """UCE minus the median of its calibrated null, in percentage points; may be negative.

    The ends are UCE minus the null's upper and lower quantile: an interval that leaves out 0 rejects calibration at
    1 - ``level``. It is a test of calibration on these galaxies, not a confidence interval of the miscalibration.
    """
    metric, (logits, labels) = _uce_metric(uncertainty, bins), _check(logits, labels)
    return _null_and_excess(metric, logits, labels, calibrated_null(metric, logits, draws=draws, seed=seed), level)[1]


def _resamples(n: int, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Galaxy indices drawn with replacement, in blocks (b, n) that fit in memory."""
    block = max(1, BLOCK // n)
    for start in range(0, draws, block):
        yield rng.integers(n, size=(min(block, draws - start), n))


def _replicates(
    statistic: Metric | Statistic, logits: ArrayLike, labels: ArrayLike | None, draws: int, seed: int
) -> np.ndarray:
    """The statistic on ``draws`` resamplings of the galaxies, the same ones for equal N and seed; (draws,)."""
    resamples = _resamples(np.shape(logits)[1], draws, np.random.default_rng(seed))
    if isinstance(statistic, Metric):
        columns = statistic.checked_columns(logits, labels)
        return np.concatenate([statistic.reduce(*[column[index] for column in columns]) for index in resamples])
    rows = bar((row for block in resamples for row in block), desc="bootstrap", total=draws, delay=3, leave=False)
    return np.array([statistic(logits[:, row], None if labels is None else labels[row]) for row in rows])


def _checked_run(logits: ArrayLike, labels: ArrayLike | None) -> tuple[np.ndarray, np.ndarray | None]:
    return (_check_logits(logits), None) if labels is None else _check(logits, labels)


def bootstrap_draws(
    statistic: str | Statistic, logits: ArrayLike, labels: ArrayLike | None, *, draws: int = 1000, seed: int = 0
) -> np.ndarray:
    """The statistic on galaxies resampled with replacement; (draws,). See ``bootstrap``."""
    _check_count("draws", draws)
    return _replicates(_resolve(statistic), *_checked_run(logits, labels), draws, seed)


def bootstrap(
    statistic: str | Statistic,
    logits: ArrayLike,
    labels: ArrayLike | None,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A statistic with its percentile-bootstrap interval over galaxies.

    ``statistic`` is a name or entry of METRICS, or error, nll, brier, uce, ece themselves (milliseconds), or any
    function of (logits, labels) (``draws`` calls). Holds the trained network and the posterior samples fixed: it is the
    uncertainty from the finite test set alone. Binned calibration errors grow when galaxies repeat, so their interval
    lies high and may leave out the value. Where the error is exactly 0 or 100 % resampling sees no spread, and the
    Wilson interval stands in; other statistics that are equal for all galaxies get zero width.
    Raises ValueError if the statistic is nan. Source: Efron & Tibshirani 1993, ch. 13; Wilson 1927.
    """
    logits, labels = _checked_run(logits, labels)
    metric = _resolve(statistic)
    value = metric(logits, labels)
    interval = _interval(value, bootstrap_draws(metric, logits, labels, draws=draws, seed=seed), level)
    if isinstance(metric, Metric) and metric.binary and value in (0.0, 100.0):
        n = logits.shape[1]
        wilson = binomtest(n if value else 0, n).proportion_ci(level, method="wilson")
        return Interval(value, 100 * float(wilson.low), 100 * float(wilson.high))
    return interval


def as_runs(logits: ArrayLike | Sequence[ArrayLike]) -> list[ArrayLike]:
    """One array (S, N, C) or a sequence of them -> a list of them. Raises ValueError for none."""
    runs = list(logits) if isinstance(logits, (list, tuple)) or np.ndim(logits) == 4 else [logits]
    if not runs:
        raise ValueError("no run given; expected logits (S, N, C) or a list of them, one per training seed")
    return runs


def paired_bootstrap(
    statistic: str | Statistic,
    pair: tuple[ArrayLike | Sequence[ArrayLike], ArrayLike | Sequence[ArrayLike]],
    labels: ArrayLike | None,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Difference of a statistic between two sets of predictions for the same galaxies, mean_r (a_r - b_r).

    ``pair`` is (a, b), each logits (S, N, C) or a list of R such arrays, one per training seed, in the same order.
    Every draw resamples the galaxies once for all runs and, if R > 1, the seeds: both sources of spread are in the
    interval. R seeds underestimate the variance between seeds by (R - 1) / R. Exactly 0 for identical predictions.
    Raises ValueError for unequal numbers of seeds. Source: Efron & Tibshirani 1993.
    """
    runs_a, runs_b = (as_runs(runs) for runs in pair)
    if len(runs_a) != len(runs_b):
        raise ValueError(f"the pair has {len(runs_a)} and {len(runs_b)} runs; expected one of each per training seed")
    checked = [(_checked_run(a, labels), _checked_run(b, labels)) for a, b in zip(runs_a, runs_b, strict=True)]
    if len(sizes := {run[0].shape[1] for both in checked for run in both}) > 1:
        raise ValueError(f"the runs predict {sorted(sizes)} galaxies; expected the same galaxies in all")
    _check_count("draws", draws)
    metric = _resolve(statistic)
    value = np.mean([metric(*a) - metric(*b) for a, b in checked])
    replicates = [[_replicates(metric, *run, draws, seed) for run in both] for both in checked]
    differences = np.stack([a - b for a, b in replicates])
    chosen = np.random.default_rng([seed, 1]).integers(len(checked), size=(len(checked), draws))
    return _interval(value, np.take_along_axis(differences, chosen, axis=0).mean(axis=0), level)


def mcnemar(logits_a: ArrayLike, logits_b: ArrayLike, labels: ArrayLike) -> float:
    """Exact two-sided p-value that two averaged predictives err equally often on the same galaxies, 0..1.

    Of the galaxies that exactly one of them misclassifies, each is equally likely to be at fault: a Binomial(1/2) test.
    1 if there are none. The posterior samples may differ in number. Source: McNemar 1947.
    """
    wrong_a, wrong_b = _misclassified(*_check(logits_a, labels)) > 0, _misclassified(*_check(logits_b, labels)) > 0
    only_a, only_b = int((wrong_a & ~wrong_b).sum()), int((wrong_b & ~wrong_a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def summarise(
    logits: ArrayLike, labels: ArrayLike | None = None, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Every metric of METRICS with its interval, as a record keeps it: {name: {"value", "low", "high"}}, JSON-able.

    Intervals are those of ``bootstrap``. Each calibration metric ``x_percent`` comes with ``x_null_percent`` (median
    and quantiles of its calibrated null) and ``x_excess_percent`` (see ``uce_excess``). Without ``labels``, as for
    hybrid galaxies, whose labels are no FR class, only the uncertainties; class-wise metrics of absent classes are left
    out, and the null of a class that the network never predicts.
    """
    logits, labels = _checked_run(logits, labels)
    summary: dict[str, Interval] = {}
    for name, metric in METRICS.items():
        if (metric.needs_labels and labels is None) or np.isnan(metric(logits, labels)):
            continue
        summary[name] = bootstrap(metric, logits, labels, draws=draws, level=level, seed=seed)
        drawn = calibrated_null(metric, logits, draws=draws, seed=seed) if name in CALIBRATION else np.array([])
        if not np.isnan(drawn).all():
            null, excess = _null_and_excess(metric, logits, labels, drawn, level)
            summary[name.replace("_percent", "_null_percent")] = null
            summary[name.replace("_percent", "_excess_percent")] = excess
    return {name: interval._asdict() for name, interval in summary.items()}
