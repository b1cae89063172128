"""How well a simple classifier tells simulated galaxies from real ones, and by which features of the image."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label, maximum_filter
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from radio_bnn.data.galaxies import Galaxies
from radio_bnn.data.ruler import MIN_ISLAND
from radio_bnn.progress import bar

FEATURES = (
    "non-zero pixels",
    "islands",
    "islands of one pixel",
    "islands of 8 pixels or more",
    "pixels in the largest island",
    "faintest non-zero pixel",
    "mean of non-zero pixels",
    "flux in the 5 brightest pixels",
    "pixels holding half the flux",
    "flux outside the largest island",
    "local maxima",
    "offset of the centroid",
    "extent",
    "elongation",
    "concentration",
    "asymmetry",
)


def features(images: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and values of simple image features, images (N, H, W) uint8 -> (names, (N, F) float64).

    Lengths are in pixels; shape features are flux-weighted over the islands of at least 8 pixels (0 where none).
    """
    rows = []
    for image in np.asarray(images, dtype=np.float64):
        islands, n = label(image > 0, structure=np.ones((3, 3)))
        area = np.bincount(islands.ravel(), minlength=n + 1)
        area[0] = 0
        galaxy = np.where(area[islands] >= MIN_ISLAND, image, 0)
        rows.append([*_islands(image, islands, area), *_brightness(image, galaxy), *_shape(galaxy)])
    return FEATURES, np.array(rows).reshape(len(rows), len(FEATURES))


def _islands(image: np.ndarray, islands: np.ndarray, area: np.ndarray) -> list[float]:
    counts = [(area > 0).sum(), (area == 1).sum(), (area >= MIN_ISLAND).sum()]
    lit = image[image > 0]
    faintest, mean = (lit.min(), lit.mean()) if len(lit) else (0, 0)
    return [len(lit), *counts, area.max(), faintest, mean]


def _brightness(image: np.ndarray, galaxy: np.ndarray) -> list[float]:
    descending = np.sort(image.ravel())[::-1].cumsum()
    total = descending[-1]
    if total == 0:
        return [0.0] * 4
    islands, n = label(galaxy > 0, structure=np.ones((3, 3)))
    main = max(np.bincount(islands.ravel(), galaxy.ravel(), n + 1)[1:], default=0)
    peaks = (galaxy == maximum_filter(galaxy, 5)) & (galaxy > 25)
    return [descending[4] / total, np.searchsorted(descending, total / 2) + 1, 1 - main / total, label(peaks)[1]]


def _shape(galaxy: np.ndarray) -> list[float]:
    total = galaxy.sum()
    if total == 0:
        return [0.0] * 5
    centre = np.array(galaxy.shape) // 2
    r = np.argwhere(galaxy) - centre
    weight = galaxy[galaxy > 0] / total
    mean = weight @ r
    spread = np.linalg.eigvalsh((r - mean).T @ ((r - mean) * weight[:, None])).clip(1e-3)
    distance = np.linalg.norm(r - mean, axis=1)
    order = np.argsort(distance)
    r20, r80 = np.interp([0.2, 0.8], weight[order].cumsum(), distance[order])
    turned = np.roll(np.rot90(galaxy, 2), 1 - np.array(galaxy.shape) % 2, axis=(0, 1))
    asymmetry = np.abs(galaxy - turned).sum() / (2 * total)
    return [np.linalg.norm(mean), np.sqrt(spread.sum()), np.sqrt(spread[1] / spread[0]), r20 / max(r80, 1), asymmetry]


def distinguish(
    real: Galaxies, simulated: Galaxies, *, seed: int = 0, folds: int = 5, trees: int = 100
) -> dict[str, float | dict[str, float]]:
    """Cross-validated random forest on ``features``, real against simulated.

    Returns ``auroc`` (0.5: cannot tell; 1: always tells), ``standard_error`` over the folds, and ``importance``: per
    feature, the AUROC lost on the held-out folds when that feature is shuffled, largest first. Both sets should hold
    the classes in the same proportions. Raises ValueError if either has fewer galaxies than ``folds``.
    """
    if min(len(real), len(simulated)) < folds:
        raise ValueError(f"{len(real)} real and {len(simulated)} simulated galaxies: need at least {folds} of each")
    names, x = features(np.concatenate([real.images, simulated.images]))
    y = np.repeat([1, 0], [len(real), len(simulated)])
    auroc, importance = [], []
    cuts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y)
    for train, test in bar(cuts, total=folds, desc="real or simulated", show=len(y) >= 300):
        forest = RandomForestClassifier(trees, min_samples_leaf=3, random_state=seed).fit(x[train], y[train])
        auroc.append(roc_auc_score(y[test], forest.predict_proba(x[test])[:, 1]))
        shuffled = permutation_importance(forest, x[test], y[test], scoring="roc_auc", n_repeats=5, random_state=seed)
        importance.append(shuffled.importances_mean)
    mean = np.mean(importance, axis=0)
    return {
        "auroc": float(np.mean(auroc)),
        "standard_error": float(np.std(auroc, ddof=1) / np.sqrt(folds)),
        "importance": {names[i]: float(mean[i]) for i in np.argsort(-mean)},
    }
