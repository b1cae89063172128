"""What trained networks make of inputs that they were not made for, and which of their scores notices."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import nn

from radio_bnn.data.galaxies import Splits
from radio_bnn.data.shifts import SHIFTS
from radio_bnn.data.simulate import simulate
from radio_bnn.evaluation import crossval
from radio_bnn.evaluation.crossval import Estimate
from radio_bnn.evaluation.predictive import mutual_information, predictive_entropy
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.evaluation.shift import mahalanobis
from radio_bnn.inference.ensemble import Ensemble
from radio_bnn.inference.laplace import features
from radio_bnn.inference.predict import predict_as_trained
from radio_bnn.inference.resolve import resolve
from radio_bnn.model.inputs import network_input
from radio_bnn.paper import contrasts, experiments, tables
from radio_bnn.paper.prose import NOT_RUN
from radio_bnn.paper.readings import Found
from radio_bnn.runs import execute
from radio_bnn.runs.records import Posterior, Record, expect, expect_names, packed, samples_of, unpacked
from radio_bnn.seeds import generator

KNOWN = "test"
DOUBTED = {"uncertain galaxies": "uncertain", "hybrids": "hybrid"}  # by title the set of the fold
SIMULATED = "simulated galaxies"
SETS = (KNOWN, *DOUBTED, *SHIFTS, SIMULATED)
RESAMPLES = 500  # for each of hundreds of intervals
ARRAYS = ("difference", "energy", "distance", "set", "galaxy")


class Shifted(Record):
    """What a run makes of its test galaxies and of every other of SETS.

    Arrays, over the M images of all sets: difference (S, M) float16, logits of FRI minus of FRII; energy (M,) float16,
    the energy score; distance (M,) float32, the squared distance of the last features from those of the training
    galaxies, see ``unlikeness``; set (M,) uint8, the place in SETS; galaxy (M,) uint16, the place among the names of
    its data set of the galaxy that is shown, or in place of which another thing is.
    ``content``: "galaxies" trained on, and "seconds" to predict one image with all samples.
    """

    kind = "shift"

    @property
    def logits(self) -> np.ndarray:
        """Logits of all images (S, M, 2), float64, equal in every score."""
        return unpacked(self.arrays["difference"], self.arrays["energy"])

    def of(self, name: str) -> np.ndarray:
        """Which images are of the set ``name``, (M,) boolean. Raises ValueError for an unknown one."""
        return self.arrays["set"] == SETS.index(name)

    def check(self) -> None:
        """Raise ValueError or KeyError unless every set is there and all shapes fit."""
        expect_names(self.arrays, ARRAYS)
        n = len(self.arrays["set"])
        expect("difference", self.arrays["difference"], (samples_of(self.config), n), np.float16)
        for name, kind in {"energy": np.float16, "distance": np.float32, "set": np.uint8, "galaxy": np.uint16}.items():
            expect(name, self.arrays[name], (n,), kind)
        if lacking := [name for name in SETS if not self.of(name).any()]:
            raise ValueError(f"it lacks images of {', '.join(lacking)}")
        if int(self.arrays["set"].max()) >= len(SETS):
            raise ValueError(f"set holds {self.arrays['set'].max()}, expected 0 to {len(SETS) - 1}")
        if (self.arrays["distance"] < 0).any():
            raise ValueError("a squared distance is negative")
        if not self.content["galaxies"] >= 1 or not 0 <= self.content["seconds"] < math.inf:
            raise ValueError("galaxies must be at least 1 and seconds finite and at least 0")


# Measure


def images_of(splits: Splits, *, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images (n, 150, 150) uint8 of every set of SETS, and which galaxies they show or stand for, (n,) uint16.

    Every shift is of all test galaxies; simulated ones are as many of each class. Deterministic in ``seed``.
    """
    names, test = np.sort(splits.galaxies.name), splits["test"]
    place = {name: np.searchsorted(names, splits[name].name).astype(np.uint16) for name in (KNOWN, *DOUBTED.values())}
    found = {KNOWN: (test.images, place[KNOWN])}
    found |= {title: (splits[name].images, place[name]) for title, name in DOUBTED.items()}
    for k, (title, shift) in enumerate(SHIFTS.items()):
        found[title] = shift(test.images, np.random.default_rng([seed, k])), place[KNOWN]
    codes, counts = np.unique(test.code, return_counts=True)
    drawn = simulate(counts={int(c): (int(n), 0) for c, n in zip(codes, counts, strict=True)}, seed=seed)
    return found | {SIMULATED: (drawn.images, place[KNOWN])}


def networks(model: nn.Module) -> list[nn.Module]:
    """The networks of a method that have features of their own: all members, or the one under a spread last layer."""
    return list(model.members) if isinstance(model, Ensemble) else [getattr(model, "base", model)]


def unlikeness(model: nn.Module, train: np.ndarray, labels: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Squared distance of the last features from the nearest class of the training galaxies, (M,), mean of networks.

    Images train (N, H, W) with labels (N,), images (M, H, W), uint8; the features are those at the posterior mean. See
    ``shift.squared_distance``.
    """
    found = []
    for base in networks(model):
        known, new = (features(base, network_input(x))[:, :-1].numpy() for x in (train, images))
        found.append(mahalanobis(known, labels, new))
    return np.mean(found, axis=0)


def measure(posterior: Posterior) -> Shifted:
    """Predict every set with one draw of the weights for all, on one thread, and look at the last features."""
    config, started = posterior.config, time.perf_counter()
    splits, model = execute.load_data(config), execute.network(posterior)
    sets, train = images_of(splits, seed=config.fold or 0), splits["train"]
    images = np.concatenate([shown for shown, _ in sets.values()])
    noise = generator(config.seed, "predict")
    with execute.one_thread():
        begun = time.perf_counter()
        settings = {"samples": config.samples, "precision": config.precision}
        logits = predict_as_trained(resolve(config), model, images, generator=noise, **settings)
        seconds = (time.perf_counter() - begun) / len(images)
        distance = unlikeness(model, train.images, train.labels, images)
    difference, energy = packed(logits)
    arrays = {"difference": difference, "energy": energy, "distance": distance.astype(np.float32)}
    arrays["set"] = np.repeat(np.arange(len(SETS), dtype=np.uint8), [len(sets[name][0]) for name in SETS])
    arrays["galaxy"] = np.concatenate([places for _, places in sets.values()])
    made = execute.described(config, splits, device="cpu", seconds=time.perf_counter() - started)
    return Shifted(config, made | {"galaxies": len(train), "seconds": float(f"{seconds:.3g}")}, arrays)


# Read


def together(members: Sequence[Shifted | None]) -> Shifted | None:
    """One record with the draws of all that predict together in a fold; None where one is not stored.

    Energy and distance are the means, the seconds the sum.
    """
    if not members or None in members:
        return None
    first = members[0]
    arrays = dict(first.arrays) | {"difference": np.concatenate([m.arrays["difference"] for m in members])}
    for name in ("energy", "distance"):
        arrays[name] = np.mean([m.arrays[name].astype(np.float32) for m in members], axis=0)
    seconds = sum(m.content["seconds"] for m in members)
    return Shifted(first.config, first.content | {"seconds": seconds}, arrays)


def stored(folds: int) -> dict[str, list[Shifted | None]]:
    """What is stored of every method on the first folds, one record for each fold; None also where not planned yet."""
    plan = experiments.shifted(range(folds))
    plan |= {title: [[]] * folds for title in experiments.NEWTON if title not in plan}
    return {title: [together(contrasts.stored(group, Shifted)) for group in groups] for title, groups in plan.items()}


SCORES: dict[str, Callable[[Shifted], np.ndarray]] = {
    "entropy": lambda record: predictive_entropy(record.logits),
    "mutual information": lambda record: mutual_information(record.logits),
    "energy": lambda record: record.arrays["energy"].astype(float),
    "distance of features": lambda record: record.arrays["distance"].astype(float),
}
"""Scores by title, of all images of a record (M,): larger is less like the training galaxies."""
Detector = Callable[..., Estimate]


def detect(records: Sequence[Shifted | None], by: Detector = crossval.ranking) -> dict[str, dict[str, Found | None]]:
    """How well every score tells every other set from the test galaxies, {set: {score: found}}; None without records.

    ``by`` ``crossval.ranking`` is the AUROC, ``crossval.false_alarms`` the false-positive rate at 95 % caught;
    intervals end at 0 and 1.
    """
    here = [record for record in records if record is not None]
    if not here:
        return {name: dict.fromkeys(SCORES) for name in SETS[1:]}
    values = {title: [score(record) for record in here] for title, score in SCORES.items()}
    share = float(np.mean([r.of(KNOWN).sum() / r.content["galaxies"] for r in here]))

    def found(name: str, title: str) -> Found:
        low, high = ([x[r.of(s)] for x, r in zip(values[title], here, strict=True)] for s in (KNOWN, name))
        ids = [r.arrays["galaxy"][r.of(name)] for r in here]
        value, *ends = by(low, high, ids, test_share=share, resamples=RESAMPLES).interval()
        return Found(Interval(value, *(min(max(end, 0.0), 1.0) for end in ends)), len(here))

    return {name: {title: found(name, title) for title in SCORES} for name in SETS[1:]}


def table(found: Mapping[str, Mapping[str, Found | None]], spec: str = ".2f") -> str:
    """``detect`` of one method, a row for each set and a column for each score, as Markdown."""
    rows = [
        [name, *(NOT_RUN if of is None else tables.foldable(of.interval, spec) for of in scores.values())]
        for name, scores in found.items()
    ]
    return tables.markdown(["instead of test galaxies", *SCORES], rows)


def spoken(found: Mapping[str, Mapping[str, Mapping[str, Found | None]]]) -> dict[str, str]:
    """In words: how many methods are stored, the score of highest AUROC on average over methods and sets, both ends.

    {"n_methods", "best_score", "best_auroc", "hardest", "hardest_auroc", "easiest", "easiest_auroc"}; found is
    ``detect`` of every method.
    """
    here = [sets for sets in found.values() if all(of for scores in sets.values() for of in scores.values())]
    if not here:
        names = ("best_score", "best_auroc", "hardest", "hardest_auroc", "easiest", "easiest_auroc")
        return {"n_methods": "none", **dict.fromkeys(names, NOT_RUN)}
    value = np.array([[[of.interval.value for of in s.values()] for s in sets.values()] for sets in here])
    of_score, of_set = value.mean(axis=(0, 1)), value.mean(axis=0).max(axis=1)
    best, low, high = int(of_score.argmax()), int(of_set.argmin()), int(of_set.argmax())
    said = {"best": of_score[best], "hardest": of_set[low], "easiest": of_set[high]}
    names = {"best_score": list(SCORES)[best], "hardest": SETS[1:][low], "easiest": SETS[1:][high]}
    return {"n_methods": str(len(here)), **names} | {f"{key}_auroc": f"{x:.2f}" for key, x in said.items()}
