"""Radio galaxies to train on: MiraBest where it can be had, a physical simulator where it cannot."""

from __future__ import annotations

import hashlib

from radio_bnn.config import check_fold
from radio_bnn.data.galaxies import (
    CLASSES,
    COUNTS,
    Galaxies,
    Splits,
    pixel_statistics,
    split,
    validation_halves,
)

__all__ = ["CLASSES", "COUNTS", "Galaxies", "Splits", "load", "pixel_statistics", "split", "validation_halves"]


def load(
    name: str = "auto",
    *,
    data_seed: int = 14,
    fold: int | None = None,
    seed: int = 0,
    counts: dict[int, tuple[int, int]] | None = None,
) -> Splits:
    """The five scored sets of a data set: ``train``, ``validation``, ``test``, ``uncertain``, ``hybrid``.

    ``name``: ``"mirabest"`` from ``RADIO_BNN_DATA`` (the archive or its folder), else the user's cache, else a
    verified download (never if ``RADIO_BNN_OFFLINE=1``); ``"simulated"``: ``counts`` galaxies per class (training,
    test batch) drawn with ``seed``, by default as many as MiraBest has; ``"auto"``: MiraBest if it can be had, else
    simulated with ``Splits.reason`` saying why. ``data_seed`` divides train from validation; with ``fold``
    0 to 7 it is ignored, and all five sets are those of that fold, see :mod:`radio_bnn.data.folds`.
    Raises ``ValueError`` for an unknown name or fold, or a fold of an archive with other galaxies than the published
    one; ``FileNotFoundError`` or ``ValueError`` for a ``RADIO_BNN_DATA`` that is set but wrong (under ``"auto"`` too);
    ``mirabest.Unavailable`` if MiraBest was asked for and cannot be had.
    """
    from radio_bnn.data import mirabest

    check_fold(fold)
    if name not in ("auto", "mirabest", "simulated"):
        raise ValueError(f"no data set called {name!r}: choose one of auto, mirabest, simulated")
    if name == "mirabest" and counts is not None:
        raise ValueError("counts choose how many galaxies to simulate; leave them out for name='mirabest'")
    if name == "simulated":
        return _simulated("asked for by name", data_seed=data_seed, fold=fold, seed=seed, counts=counts)
    try:
        return mirabest.load(data_seed=data_seed, fold=fold)
    except mirabest.Unavailable as unavailable:
        if name == "mirabest":
            raise
        return _simulated(unavailable.reason, data_seed=data_seed, fold=fold, seed=seed, counts=counts)


def _simulated(
    reason: str, *, data_seed: int, fold: int | None, seed: int, counts: dict[int, tuple[int, int]] | None
) -> Splits:
    from radio_bnn.data.folds import divide
    from radio_bnn.data.simulate import simulate

    galaxies = simulate(counts=counts, seed=seed)
    sha256 = hashlib.sha256(galaxies.images.tobytes()).hexdigest()
    return divide(galaxies, source="simulated", sha256=sha256, data_seed=data_seed, fold=fold, reason=reason)
