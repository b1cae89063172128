"""Eight divisions of a data set into train, validation and test, so that every confident galaxy is judged once.

Fold 0 tests on MiraBest's own test batch. The other confident FRI and FRII form the test sets of folds 1 to 7. Of what
a fold does not test on, 145 galaxies validate and the others train. Test and validation sets are stratified by class
and subclass as far as whole numbers allow. Uncertain galaxies and hybrids are never trained on, and every network
scores them. Galaxies whose images overlap on the sky share fold and role; an uncertain galaxy or hybrid is not scored
by a network that was trained on its neighbour.

MiraBest's division is committed beside this file; ``python -m radio_bnn.data.folds`` makes that table anew.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from radio_bnn.config import N_FOLDS, check_fold
from radio_bnn.data import ruler
from radio_bnn.data.galaxies import CLASSES, IMAGE_SIZE, PIXEL_ARCSEC, SPLIT_NAMES, Galaxies, Splits, split

VALIDATION_SHARE = 145 / 729
OVERLAP_ARCMIN = IMAGE_SIZE * PIXEL_ARCSEC / 60
FIRST_EDITION_SEEDS = (14, 15, 16)  # data seeds
RULED = ("peaks", "extent", "peaks_in_size")  # columns of the table
AROUND = 0.75  # half the size of a galaxy, and half as much again
TABLE = Path(__file__).with_name("folds.csv")
TABLE_SHA256 = "2e9eb8469d383231df9729fbebd8aed27826506c7b1d8d15814720f865dabde4"  # with the ends of lines of Unix
TEST, VALIDATION, TRAIN, SCORED, LEFT_OUT = "test", "validation", "train", "scored", "left out"


class Folds(NamedTuple):
    """``fold`` (N,), 0..7, in which a galaxy belongs to the test set; ``role`` (N, 8), what it is in each of them."""

    fold: np.ndarray
    role: np.ndarray


def divide(
    galaxies: Galaxies,
    *,
    source: str,
    sha256: str,
    data_seed: int,
    fold: int | None = None,
    train_on: str = "confident",
    reason: str = "",
    archive: str = "",
) -> Splits:
    """The five sets of a data set by ``fold``, or by ``data_seed`` where that is None, see ``split``.

    MiraBest is divided as committed, by name; simulated galaxies by ``assign``, and as each has a sky of its own, none
    overlap. ``uncertain`` and ``hybrid`` are all that the fold scores. The order is that of ``galaxies``, except that
    validation is shuffled, so that each of its ``validation_halves`` has its share of every class and no pair of
    overlapping galaxies is apart.
    ``train_on`` "labelled": the uncertain galaxies of the other folds are trained on too, and scored by their own fold
    alone; "all": the hybrids as well.
    Raises ValueError for a fold that does not exist, and for galaxies of MiraBest that the table does not hold.
    """
    if fold is None:
        return split(galaxies, source=source, sha256=sha256, data_seed=data_seed, reason=reason, archive=archive)
    check_fold(fold)
    real = source == "mirabest"
    division = committed(galaxies.name) if real else assign(galaxies)
    role = division.role[:, fold]
    groups = _groups(len(galaxies), overlaps(galaxies)) if real else []
    index = {
        "train": role == TRAIN,
        "validation": _in_halves(galaxies.code, role == VALIDATION, groups, np.random.default_rng(fold)),
        "test": role == TEST,
        "uncertain": (role == SCORED) & (galaxies.morphology < 3),
        "hybrid": (role == SCORED) & (galaxies.morphology == 3),
    }
    if train_on != "confident":
        index = _widened(index, galaxies, division.fold == fold, role, groups, train_on)
    sets = {name: galaxies[index[name]] for name in SPLIT_NAMES}
    return Splits(sets, galaxies, source=source, sha256=sha256, fold=fold, reason=reason, archive=archive)


def _widened(
    index: dict[str, np.ndarray],
    galaxies: Galaxies,
    own: np.ndarray,
    role: np.ndarray,
    groups: Sequence[Sequence[int]],
    train_on: str,
) -> dict[str, np.ndarray]:
    """The sets of a fold that also trains on galaxies that are not judged, unless their neighbour is held out."""
    joins = ~own & np.isin(role, (SCORED, LEFT_OUT))
    for group in groups:
        if any(role[i] in (TEST, VALIDATION) for i in group):
            joins[list(group)] = False
    if train_on == "labelled":
        joins &= galaxies.morphology < 3
    scored = {name: index[name] & own for name in ("uncertain", "hybrid")}
    return index | scored | {"train": index["train"] | joins}


def overlaps(galaxies: Galaxies, *, arcmin: float = OVERLAP_ARCMIN) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of galaxies within ``arcmin`` of each other, the width of an image: they share sky."""
    position = _position(galaxies)
    chord = 2 * np.sin(np.radians(arcmin / 60) / 2)
    pairs = []
    for i, place in enumerate(position):
        near = np.flatnonzero(np.linalg.norm(position[i + 1 :] - place, axis=1) <= chord)
        pairs += [(i, int(i + 1 + j)) for j in near]
    return pairs


def separation(galaxies: Galaxies, i: int, j: int) -> float:
    """How far galaxies ``i`` and ``j`` are apart on the sky, arcmin."""
    a, b = _position(galaxies)[[i, j]]
    return float(np.degrees(2 * np.arcsin(min(np.linalg.norm(a - b) / 2, 1.0))) * 60)


def _position(galaxies: Galaxies) -> np.ndarray:
    """Unit vectors (N, 3)."""
    ra, dec = np.radians(galaxies.ra), np.radians(galaxies.dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def assign(galaxies: Galaxies, pairs: Sequence[tuple[int, int]] = (), *, seed: int = 0) -> Folds:
    """Divide ``galaxies`` and keep ``pairs`` (i, j) together; deterministic in their order and ``seed``.

    The committed table of MiraBest is ``assign`` with its ``overlaps`` and seed 0; simulated galaxies are divided when
    they are drawn. Without pairs, how many of each class have a role follows from how many of each class there are.
    """
    rng = np.random.default_rng(seed)
    judged = (galaxies.morphology < 3) & galaxies.confident
    groups = _groups(len(galaxies), pairs)
    fold = np.zeros(len(galaxies), int)
    for pool in (judged & ~galaxies.in_test_batch, ~judged & ~galaxies.in_test_batch):
        members = _shuffled(galaxies.code, pool, rng)
        fold[members] = 1 + np.arange(len(members)) % (N_FOLDS - 1)
        _keep_together(fold, galaxies.code, pool, groups)
    for group in groups:
        if (leaders := [i for i in group if judged[i]]) and len(leaders) < len(group):
            fold[[i for i in group if not judged[i]]] = fold[leaders[0]]
    role = np.stack([_roles(galaxies.code, judged, fold == k, groups, rng) for k in range(N_FOLDS)], axis=1)
    return Folds(fold, role)


def _roles(
    code: np.ndarray, judged: np.ndarray, tested: np.ndarray, groups: Sequence[Sequence[int]], rng: np.random.Generator
) -> np.ndarray:
    """The role of every galaxy in one fold, (N,)."""
    rest = judged & ~tested
    validates = np.zeros(len(code), int)
    for c, n in _shares(code[rest], round(VALIDATION_SHARE * rest.sum())).items():
        validates[rng.permutation(np.flatnonzero(rest & (code == c)))[:n]] = 1
    _keep_together(validates, code, rest, groups)
    role = np.where(tested, TEST, np.where(validates == 1, VALIDATION, TRAIN)).astype(object)
    role[~judged] = SCORED
    for group in groups:
        if any(role[i] == TRAIN for i in group):
            role[[i for i in group if not judged[i]]] = LEFT_OUT
    return role.astype(str)


def _in_halves(
    code: np.ndarray, validates: np.ndarray, groups: Sequence[Sequence[int]], rng: np.random.Generator
) -> np.ndarray:
    """The galaxies that validate (M,), shuffled within two halves between which each class is dealt."""
    half = np.zeros(len(code), int)
    half[_shuffled(code, validates, rng)[::2]] = 1
    _keep_together(half, code, validates, groups)
    mixed = rng.permutation(np.flatnonzero(validates))
    return mixed[np.argsort(half[mixed], kind="stable")]


def _groups(n: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Galaxies that overlap, directly or through others; groups of two or more."""
    first = list(range(n))
    for i, j in pairs:
        low, high = sorted((first[i], first[j]))
        first = [low if f == high else f for f in first]
    return [members for f in sorted(set(first)) if len(members := [i for i in range(n) if first[i] == f]) > 1]


def _shuffled(code: np.ndarray, pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The members of ``pool``, class after class, each class in random order."""
    return np.concatenate([rng.permutation(np.flatnonzero(pool & (code == c))) for c in CLASSES])


def _shares(code: np.ndarray, n: int) -> dict[int, int]:
    """How many of each class make ``n`` galaxies in the proportions of ``code``, by largest remainders."""
    counts = {c: int((code == c).sum()) for c in CLASSES if (code == c).any()}
    exact = {c: n * count / len(code) for c, count in counts.items()}
    shares = {c: int(value) for c, value in exact.items()}
    for c in sorted(exact, key=lambda c: shares[c] - exact[c])[: n - sum(shares.values())]:
        shares[c] += 1
    return shares


def _keep_together(value: np.ndarray, code: np.ndarray, pool: np.ndarray, groups: Sequence[Sequence[int]]) -> None:
    """Give the members of a group within ``pool`` one value, in place, by exchanging with galaxies of equal class."""
    grouped = np.zeros(len(code), bool)
    grouped[[i for group in groups for i in group]] = True
    for group in groups:
        first, *others = [i for i in group if pool[i]] or [None]
        for i in others:
            if value[i] != value[first]:
                free = np.flatnonzero(pool & ~grouped & (code == code[i]) & (value == value[first]))
                if len(free):
                    value[free[0]] = value[i]
                value[i] = value[first]


def write_table(galaxies: Galaxies, folds: Folds, path: Path) -> None:
    """Write one line per galaxy, by name: name, test fold, role in each of the eight folds, and what the name lacks.

    That is the number of pixels above 0, whether the first edition chose anything on it, as a validation galaxy, and
    what ``ruler.measure`` finds on its image, alone and within AROUND times the size of the catalogue, in arcsec.
    """
    lit, seen = (galaxies.images > 0).sum(axis=(1, 2)), np.isin(galaxies.name, _chosen_on(galaxies))
    roles = [f"role_{k}" for k in range(N_FOLDS)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "fold", *roles, "lit_pixels", "chosen_on", *RULED])
        for i in np.argsort(galaxies.name):
            alone = ruler.measure(galaxies.images[i])
            inside = ruler.measure(galaxies.images[i], within=AROUND * galaxies.size[i])
            ruled = (f"{length:.1f}" for length in (*alone, inside.peaks))
            writer.writerow([galaxies.name[i], folds.fold[i], *folds.role[i], lit[i], int(seen[i]), *ruled])


def _chosen_on(galaxies: Galaxies) -> np.ndarray:
    """The names of the galaxies that validated in the first edition, under any of its three data seeds."""
    sets = [split(galaxies, source="mirabest", sha256="", data_seed=seed) for seed in FIRST_EDITION_SEEDS]
    return np.concatenate([each["validation"].name for each in sets])


class Catalogue(NamedTuple):
    """MiraBest's galaxies in ascending order of their names, (1256,) each, without pixels.

    ``redshift``; ``size``, the labellers' largest angular size in arcsec; ``lit_pixels`` above 0; ``chosen_on``: it
    validated in the first edition. ``peaks`` and ``extent``: the ``ruler`` on the image, arcsec; ``peaks_in_size``: the
    distance of its peaks where the ruler ends at AROUND times ``size`` from the centre.
    """

    name: np.ndarray
    fold: np.ndarray
    code: np.ndarray
    redshift: np.ndarray
    size: np.ndarray
    lit_pixels: np.ndarray
    chosen_on: np.ndarray
    peaks: np.ndarray
    extent: np.ndarray
    peaks_in_size: np.ndarray

    @property
    def judged(self) -> np.ndarray:
        """Whether a network's test set holds the galaxy, a confident FRI or FRII; (1256,)."""
        return (self.code < 300) & (self.code // 10 % 10 == 0)


@cache
def catalogue() -> Catalogue:
    """What the committed table says of every galaxy of MiraBest, most of it by its name."""
    rows = _rows()
    parts = np.array([name.split("_") for name in rows])
    numbers = {key: np.array([int(row[key]) for row in rows.values()]) for key in ("fold", "lit_pixels", "chosen_on")}
    return Catalogue(
        np.array(list(rows)),
        numbers["fold"],
        parts[:, 0].astype(int),
        parts[:, 2].astype(float),
        parts[:, 3].astype(float),
        numbers["lit_pixels"],
        numbers["chosen_on"].astype(bool),
        *(np.array([float(row[key]) for row in rows.values()]) for key in RULED),
    )


def committed(names: np.ndarray) -> Folds:
    """The committed division of MiraBest for the galaxies called ``names`` (N,), in that order.

    Raises ValueError for a galaxy that the table does not hold.
    """
    rows = _rows()
    if unknown := [name for name in names if name not in rows]:
        raise ValueError(
            f"{unknown[0]} is not in {TABLE.name}, which divides the {len(rows)} galaxies of MiraBest: folds need its "
            "published batches; divide others with fold=None"
        )
    chosen = [rows[name] for name in names]
    fold = np.array([int(row["fold"]) for row in chosen])
    return Folds(fold, np.array([[row[f"role_{k}"] for k in range(N_FOLDS)] for row in chosen]))


def committed_names() -> np.ndarray:
    """The names of MiraBest's galaxies (1256,), which begin with the class code, in ascending order."""
    return np.array(list(_rows()))


@cache
def _rows() -> dict[str, dict[str, str]]:
    raw = TABLE.read_bytes().replace(b"\r\n", b"\n")
    if hashlib.sha256(raw).hexdigest() != TABLE_SHA256:
        raise ValueError(
            f"{TABLE} is not the table of the folds of this version: its sha256 differs; install radio_bnn again, or "
            "take the file from the repository"
        )
    return {row.pop("name"): row for row in csv.DictReader(raw.decode().splitlines())}


def main() -> int:
    """Write the table anew from MiraBest and say so in one line; 1 where MiraBest is not, and nothing is written."""
    from radio_bnn.data.mirabest import F_BATCHES, fetch, locate, read

    try:
        galaxies, _, _ = read(locate((F_BATCHES,)) or fetch(F_BATCHES), (F_BATCHES,))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    write_table(galaxies, assign(galaxies, overlaps(galaxies)), TABLE)
    print(f"{TABLE.name} divides {len(galaxies)} galaxies into {N_FOLDS} folds.")
    if (found := hashlib.sha256(TABLE.read_bytes()).hexdigest()) != TABLE_SHA256:
        print(f"It is another table than before: TABLE_SHA256 in {Path(__file__).name} must become {found}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
