"""Radio galaxies to train on: MiraBest where it can be had, a physical simulator where it cannot."""

from __future__ import annotations

import hashlib
from typing import Any

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
    train_on: str = "confident",
    seed: int = 0,
    counts: dict[int, tuple[int, int]] | None = None,
    voted: tuple[int, int] | None = None,
) -> Splits:
    """The five scored sets of a data set: ``train``, ``validation``, ``test``, ``uncertain``, ``hybrid``.

    ``name``: ``"mirabest"`` from ``RADIO_BNN_DATA`` (the archive or its folder), else the user's cache, else a
    verified download (never if ``RADIO_BNN_OFFLINE=1``); ``"simulated"``: ``counts`` galaxies per class (training,
    test batch) drawn with ``seed``, by default as many as MiraBest has; ``"auto"``: MiraBest if it can be had, else
    simulated with ``Splits.reason`` saying why. ``data_seed`` divides train from validation; with ``fold``
    0 to 7 it is ignored, and all five sets are those of that fold and of ``train_on``, see :mod:`radio_bnn.data.folds`.
    ``voted``: (galaxies, labellers) in place of ``counts``, see ``simulate.voted``.
    Raises ``ValueError`` for an unknown name or fold, or a fold of an archive with other galaxies than the published
    one; ``FileNotFoundError`` or ``ValueError`` for a ``RADIO_BNN_DATA`` that is set but wrong (under ``"auto"`` too);
    ``mirabest.Unavailable`` if MiraBest was asked for and cannot be had.
    """
    from radio_bnn.data import mirabest

    check_fold(fold)
    if name not in ("auto", "mirabest", "simulated"):
        raise ValueError(f"no data set called {name!r}: choose one of auto, mirabest, simulated")
    if voted is not None and (name != "simulated" or counts is not None):
        raise ValueError("voted is another simulated population: leave it out with counts, and name='simulated'")
    if name == "mirabest" and counts is not None:
        raise ValueError("counts choose how many galaxies to simulate; leave them out for name='mirabest'")
    division = {"data_seed": data_seed, "fold": fold, "train_on": train_on}
    if name == "simulated":
        return _simulated("asked for by name", seed=seed, counts=counts, voted=voted, **division)
    try:
        return mirabest.load(**division)
    except mirabest.Unavailable as unavailable:
        if name == "mirabest":
            raise
        return _simulated(unavailable.reason, seed=seed, counts=counts, **division)


def _simulated(
    reason: str,
    *,
    seed: int,
    counts: dict[int, tuple[int, int]] | None,
    voted: tuple[int, int] | None = None,
    **division: Any,
) -> Splits:
    from radio_bnn.data import simulate
    from radio_bnn.data.folds import divide

    if voted is None:
        galaxies = simulate.simulate(counts=counts, seed=seed)
    else:
        galaxies = simulate.voted(voted[0], labellers=voted[1], seed=seed)
    sha256 = hashlib.sha256(galaxies.images.tobytes()).hexdigest()
    return divide(galaxies, source="simulated", sha256=sha256, reason=reason, **division)
