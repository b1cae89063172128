"""The posterior predictive of every galaxy and its uncertainties, from predictive logits.

Shapes: ``logits`` (S, N, C) with S posterior samples, N galaxies, C >= 2 classes; ``probs`` (S, N, C) their softmax;
``labels`` (N,) integers 0..C-1. Every computation is in float64, also for stored float16 logits. Averages over
posterior samples are averages of probabilities, p_n = mean_s softmax(logits_sn). Entropies are in nats.

Every function raises ValueError for logits that are not finite, not three-dimensional or empty, and for labels that
are not integers, are out of range, or do not match the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.special import entr, logsumexp, rel_entr

# Checks


def check_logits(logits: ArrayLike) -> np.ndarray:
    """The logits in float64; ValueError unless they are finite, (S, N, C), and of at least two classes."""
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


def check(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """``check_logits``, and the labels as int64; ValueError unless there is one class 0..C-1 per galaxy."""
    logits, labels = check_logits(logits), np.asarray(labels)
    _, n, classes = logits.shape
    if labels.shape != (n,):
        raise ValueError(f"labels have shape {labels.shape}; expected ({n},), one per galaxy of the logits")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels have dtype {labels.dtype}; expected integers 0..{classes - 1}")
    if labels.min() < 0 or labels.max() >= classes:
        bad = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(f"labels hold {bad}; expected integers 0..{classes - 1} for logits of {classes} classes")
    return logits, labels.astype(np.int64)


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """ValueError unless ``value`` is one of the ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def check_count(name: str, value: int) -> None:
    """ValueError unless ``value`` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")


def check_fraction(name: str, value: float) -> None:
    """ValueError unless 0 < ``value`` < 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; expected a number between 0 and 1")


# Predictive distribution


def softmax(logits: ArrayLike) -> np.ndarray:
    """Class probabilities of every posterior sample, exp(l_c) / sum_k exp(l_k); (S, N, C) -> (S, N, C) in [0, 1]."""
    return special.softmax(check_logits(logits), axis=-1)


def predictive_mean(logits: ArrayLike) -> np.ndarray:
    """Posterior predictive p_n = mean_s softmax(logits_sn); (S, N, C) -> (N, C), rows sum to 1."""
    return softmax(logits).mean(axis=0)


def central_samples(logits: ArrayLike, *, share: float = 0.64) -> np.ndarray:
    """For every galaxy, the ``share`` of its samples whose class-0 probability is most central.

    (S, N, 2) -> (K, N, 2), K = round(share S) and at least 1, sorted by class-0 probability. The 2024 paper evaluates
    its calibration error on 64 % (audit A5: called 90 % there): ``metrics.uce(central_samples(logits), labels)``.
    Raises ValueError for more than two classes and for a share outside (0, 1].
    Source: Mohan & Scaife 2024.
    """
    logits = check_logits(logits)
    if logits.shape[2] != 2:
        raise ValueError(f"logits have {logits.shape[2]} classes; central samples are defined for two")
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; expected a number above 0 and at most 1")
    order = np.argsort(logits[..., 0] - logits[..., 1], axis=0, kind="stable")
    kept = max(1, round(share * len(logits)))
    start = (len(logits) - kept) // 2
    return np.take_along_axis(logits, order[start : start + kept, :, None], axis=0)


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
    step, reach = bandwidth / 20, 120
    places = np.unique(np.rint(samples[:, 0] / step))
    apart = np.flatnonzero(np.diff(places) > 2 * reach) + 1
    parts = [np.arange(part[0] - reach, part[-1] + reach + 1) for part in np.split(places, apart)]
    return step * _kernel_densities(samples, step * np.concatenate(parts), bandwidth).min(axis=0).sum()


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
    logits = check_logits(logits)
    check_choice("definition", definition, OVERLAPS)
    check_choice("space", space, ("probs", "logits"))
    if not (np.isfinite(bandwidth) and bandwidth > 0):
        raise ValueError(f"bandwidth is {bandwidth}; expected a positive number")
    samples = softmax(logits) if space == "probs" else logits
    return np.array([OVERLAPS[definition](samples[:, n], bandwidth) for n in range(samples.shape[1])])


def predictive_variance(logits: ArrayLike) -> np.ndarray:
    """Posterior variance of the class probabilities, mean_c Var_s p_snc; (S, N, C) -> (N,), 0..(C - 1) / C^2.

    For two classes it is the variance of either probability, 1/4 where half of the samples are certain of each class.
    """
    return softmax(logits).var(axis=0).mean(axis=-1)


def energy_score(logits: ArrayLike) -> np.ndarray:
    """Energy, mean_s -log sum_c exp(l_snc); (S, N, C) -> (N,) nats, any real number; high means unfamiliar.

    The only score here that an offset common to all logits changes. Source: Liu et al. 2020.
    """
    return -logsumexp(check_logits(logits), axis=-1).mean(axis=0)


class Uncertainty(NamedTuple):
    """``of``: (S, N, C) -> (N,), larger is less certain; ``largest``: number of classes -> its largest value, or None.

    An uncertainty without a largest value ranks galaxies, but cannot be compared with an error rate.
    """

    of: Callable[[ArrayLike], np.ndarray]
    largest: Callable[[int], float] | None


UNCERTAINTIES: dict[str, Uncertainty] = {
    "predictive_entropy": Uncertainty(predictive_entropy, np.log),
    "mutual_information": Uncertainty(mutual_information, np.log),
    "expected_entropy": Uncertainty(expected_entropy, np.log),
    "overlap_index": Uncertainty(overlap_index, lambda classes: 1.0),
    "predictive_variance": Uncertainty(predictive_variance, lambda classes: (classes - 1) / classes**2),
    "energy_score": Uncertainty(energy_score, None),
}
"""Every uncertainty of one galaxy, by name; each but the energy is at least 0."""
