"""Does a network notice inputs unlike those that it was trained on? Scores of unlikeness, and how well they tell."""

from __future__ import annotations

import numpy as np
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score


def mahalanobis(train: np.ndarray, labels: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Squared distance to the nearest class mean of the training features, in units of their spread (Lee et al. 2018).

    train (N, D) with labels (N,), features (M, D) -> (M,), about D for features like those of the training. The spread
    is the covariance within classes, shrunk as Ledoit and Wolf (2004) do, so that it can be inverted for any D.
    """
    classes = np.unique(labels)
    means = np.stack([train[labels == c].mean(axis=0) for c in classes])
    within = train - means[np.searchsorted(classes, labels)]
    covariance, _ = ledoit_wolf(within, assume_centered=True)
    apart = features[:, None] - means
    return np.einsum("mci,mci->mc", apart, np.linalg.solve(covariance, apart.swapaxes(1, 2)).swapaxes(1, 2)).min(axis=1)


def auroc(known: np.ndarray, shifted: np.ndarray) -> float:
    """The probability that a shifted input has the higher score than a known one; (N,), (M,) -> 0..1."""
    return float(roc_auc_score(np.repeat([0, 1], [len(known), len(shifted)]), np.concatenate([known, shifted])))


def false_positive_rate(known: np.ndarray, shifted: np.ndarray, *, caught: float = 0.95) -> float:
    """The share of known inputs flagged where a share ``caught`` of the shifted ones is; (N,), (M,) -> 0..1."""
    threshold = np.sort(shifted)[::-1][int(np.ceil(caught * len(shifted))) - 1]
    return float((known >= threshold).mean())
