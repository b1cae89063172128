"""Labelled galaxy images, the class table of MiraBest, and the split that every experiment uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

PIXEL_ARCSEC = 1.8
IMAGE_SIZE = 150

# Three-digit label: morphology (1 FRI, 2 FRII, 3 hybrid), confidence (0 confident, 1 uncertain), subclass.
CLASSES: dict[int, str] = {
    100: "FRI confident, standard",
    102: "FRI confident, wide-angle tail",
    104: "FRI confident, head-tail",
    110: "FRI uncertain, standard",
    112: "FRI uncertain, wide-angle tail",
    200: "FRII confident, standard",
    201: "FRII confident, double-double",
    210: "FRII uncertain, standard",
    300: "hybrid confident",
    310: "hybrid uncertain",
}
# Galaxies per class in the seven training batches and in the test batch (Porter & Scaife 2023).
COUNTS: dict[int, tuple[int, int]] = {
    100: (297, 42),
    102: (43, 6),
    104: (8, 1),
    110: (167, 24),
    112: (2, 1),
    200: (378, 54),
    201: (3, 1),
    210: (171, 24),
    300: (17, 2),
    310: (13, 2),
}
SPLIT_NAMES = ("train", "validation", "test", "uncertain", "hybrid")
N_TRAIN_SHARE = 584 / 729
HOW_TO_GET_MIRABEST = (
    "To use MiraBest, download MiraBest_F_batches.tar.gz (DOI 10.5281/zenodo.4288837, or "
    "http://www.jb.man.ac.uk/research/MiraBest/MiraBest_F/MiraBest_F_batches.tar.gz) "
    "and set RADIO_BNN_DATA to it or to its folder."
)


@dataclass(frozen=True, eq=False)
class Galaxies:
    """A set of N labelled galaxy images.

    Shapes: ``images`` (N, 150, 150) uint8, background 0; every other array (N,).
    Units: ``ra`` and ``dec`` degrees (J2000), ``size`` largest angular size in arcsec.
    ``ratio`` (Fanaroff-Riley ratio, 0..1) and ``p_fri`` (probability that one annotator calls it FRI, given
    the ratio) are known for simulated galaxies only and are ``None`` otherwise.
    """

    images: np.ndarray
    code: np.ndarray
    in_test_batch: np.ndarray
    name: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    redshift: np.ndarray
    size: np.ndarray
    ratio: np.ndarray | None = None
    p_fri: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = {f.name: len(a) for f in fields(self) if (a := getattr(self, f.name)) is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"every array of Galaxies needs one entry per galaxy, got lengths {lengths}")

    def __len__(self) -> int:
        return len(self.code)

    def __getitem__(self, index) -> Galaxies:
        """The galaxies selected by a boolean mask, an index array or a slice."""
        return Galaxies(**{f.name: None if (a := getattr(self, f.name)) is None else a[index] for f in fields(self)})

    @property
    def morphology(self) -> np.ndarray:
        """1 FRI, 2 FRII, 3 hybrid; shape (N,)."""
        return self.code // 100

    @property
    def confident(self) -> np.ndarray:
        """Whether the human labellers were confident; shape (N,)."""
        return self.code // 10 % 10 == 0

    @property
    def labels(self) -> np.ndarray:
        """0 FRI, 1 FRII; for hybrids 0 confident, 1 uncertain; shape (N,), int64."""
        hybrid = self.morphology == 3
        return np.where(hybrid, ~self.confident, self.morphology - 1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Splits(Mapping):
    """The five scored sets of one data set: ``train``, ``validation``, ``test``, ``uncertain``, ``hybrid``.

    ``source`` is ``"mirabest"`` or ``"simulated"``; ``reason`` says why it is simulated; ``archive`` names MiraBest's
    file and ``sha256`` identifies it (or, simulated, the pixels); ``galaxies`` holds all of them, also those that no
    set scores. They are divided by ``data_seed`` or by ``fold``; the other is None.
    """

    sets: dict[str, Galaxies]
    galaxies: Galaxies
    source: str
    sha256: str
    data_seed: int | None = None
    fold: int | None = None
    reason: str = ""
    archive: str = ""

    def __getitem__(self, name: str) -> Galaxies:
        if name not in self.sets:
            raise KeyError(f"no set called {name!r}: choose one of {', '.join(self.sets)}")
        return self.sets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sets)

    def __len__(self) -> int:
        return len(self.sets)

    @property
    def title(self) -> str:
        """The name to print beside every number and figure."""
        return "MiraBest" if self.source == "mirabest" else "simulated galaxies"

    def banner(self) -> str:
        """One plain line that says which galaxies these are; for MiraBest it is the same on every machine."""
        fold = "" if self.fold is None else f"; fold {self.fold}"
        if self.source != "mirabest":
            return f"SIMULATED GALAXIES, not MiraBest: {self.reason}{fold}. {HOW_TO_GET_MIRABEST}"
        counts = ", ".join(f"{name} {len(galaxies)}" for name, galaxies in self.items())
        return f"MiraBest: {self.archive} (sha256 {self.sha256[:12]}), {len(self.galaxies)} galaxies{fold}; {counts}."


def split(
    galaxies: Galaxies, *, source: str, sha256: str, data_seed: int, reason: str = "", archive: str = ""
) -> Splits:
    """Divide a data set as the papers do.

    Confident FRI and FRII of the training batches are shuffled by ``data_seed`` and cut at 584/729 into train and
    validation; those of the test batch are the test set. Scored apart: the uncertain galaxies of the test batch and
    the hybrids of the training batches.
    """
    fr = galaxies.morphology < 3
    pool = np.flatnonzero(fr & galaxies.confident & ~galaxies.in_test_batch)
    order = pool[np.random.default_rng(data_seed).permutation(len(pool))]
    n_train = round(len(pool) * N_TRAIN_SHARE)
    index = {
        "train": order[:n_train],
        "validation": order[n_train:],
        "test": np.flatnonzero(fr & galaxies.confident & galaxies.in_test_batch),
        "uncertain": np.flatnonzero(fr & ~galaxies.confident & galaxies.in_test_batch),
        "hybrid": np.flatnonzero(~fr & ~galaxies.in_test_batch),
    }
    sets = {name: galaxies[index[name]] for name in SPLIT_NAMES}
    return Splits(sets, galaxies, source=source, sha256=sha256, data_seed=data_seed, reason=reason, archive=archive)


def validation_halves(n: int) -> tuple[slice, slice]:
    """Which of n validation galaxies select the network, and which calibrate it: the first n // 2, and the others.

    A guarantee from calibrating galaxies holds only if they had no part in the selection. Both index ``Galaxies`` and
    arrays (N, ...).
    """
    return slice(0, n // 2), slice(n // 2, n)


def pixel_statistics(images: np.ndarray) -> dict[str, float]:
    """``mean`` and ``std`` of the pixels on [0, 1], and ``lit_percent``, the share that is not background.

    images (N, H, W) uint8. MiraBest's 729 confident training galaxies: 0.00309, 0.03508.
    """
    pixels = images / 255
    return {"mean": float(pixels.mean()), "std": float(pixels.std()), "lit_percent": float(100 * (images > 0).mean())}
