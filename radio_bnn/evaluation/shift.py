"""Does a network notice inputs unlike those that it was trained on? Scores of unlikeness, and how well they tell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """The spread of a training set's features: class ``means`` (C, D) and the inverse covariance (D, D) within."""

    means: np.ndarray
    precision: np.ndarray


def spread_of(train: np.ndarray, labels: np.ndarray) -> Spread:
    """The spread of features (N, D) with labels (N,).

    The covariance is shrunk as Ledoit and Wolf (2004) do, so that it can be inverted for any D.
    """
    from sklearn.covariance import ledoit_wolf  # heavy, and not needed where the spread is stored

    classes = np.unique(labels)
    means = np.stack([train[labels == c].mean(axis=0) for c in classes])
    covariance, _ = ledoit_wolf(train - means[np.searchsorted(classes, labels)], assume_centered=True)
    return Spread(means, np.linalg.inv(covariance))


def squared_distance(spread: Spread, features: np.ndarray) -> np.ndarray:
    """Squared distance to the nearest class mean, in units of the spread (Lee et al. 2018); (M, D) -> (M,).

    About D for features like those of the training set.
    """
    apart = features[:, None] - spread.means
    return np.einsum("mci,ij,mcj->mc", apart, spread.precision, apart).min(axis=1)


def mahalanobis(train: np.ndarray, labels: np.ndarray, features: np.ndarray) -> np.ndarray:
    """``squared_distance`` of features (M, D) from training features (N, D) with labels (N,); (M,)."""
    return squared_distance(spread_of(train, labels), features)


def auroc(known: np.ndarray, shifted: np.ndarray) -> float:
    """The probability that a shifted input has the higher score than a known one; (N,), (M,) -> 0..1."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.repeat([0, 1], [len(known), len(shifted)]), np.concatenate([known, shifted])))


def false_positive_rate(known: np.ndarray, shifted: np.ndarray, *, caught: float = 0.95) -> float:
    """The share of known inputs flagged where a share ``caught`` of the shifted ones is; (N,), (M,) -> 0..1."""
    threshold = np.sort(shifted)[::-1][int(np.ceil(caught * len(shifted))) - 1]
    return float((known >= threshold).mean())
