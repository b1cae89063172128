"""Small worlds that several tests share."""

import io
import pickle
import tarfile
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from radio_bnn.config import HISTORY, Config
from radio_bnn.data.folds import committed_names, divide
from radio_bnn.data.galaxies import CLASSES, COUNTS, Galaxies, Splits, split
from radio_bnn.data.mirabest import F_BATCHES
from radio_bnn.data.simulate import scaled_counts
from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.evaluation.resampling import Interval, summarise
from radio_bnn.inference.resolve import resolve
from radio_bnn.model.inputs import normalise
from radio_bnn.paper.claims import Evidence
from radio_bnn.runs.protocols import protocol
from radio_bnn.runs.records import REACHED, SCORED, Run, packed, samples_of, unpacked
from radio_bnn.seeds import generator

BACKGROUND = normalise(np.zeros((1, 1, 1), np.uint8), torch.float64).item()


def images(n: int, *, seed: int = 0, side: int = 150, signal: float = 0.02) -> np.ndarray:
    """n uint8 images whose pixels are background but for a share ``signal``."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 256, (n, side, side))
    return (pixels * (rng.random((n, side, side)) < signal)).astype(np.uint8)


CODES = np.repeat([100, 200, 110, 210, 300, 310], [14, 14, 3, 3, 3, 3])


def galaxies(seed: int = 0, code: np.ndarray = CODES, in_test: np.ndarray | None = None) -> Galaxies:
    """40 galaxies that any network can tell apart: FRI are bright in the middle, FRII at two ends."""
    rng = np.random.default_rng(seed)
    pixels = images(len(code), seed=seed, signal=0.002)
    for image, c in zip(pixels, code, strict=True):
        y, x = rng.integers(70, 80, 2)
        for shift in (0,) if c // 100 == 1 else (-20, 20):
            image[y - 3 : y + 4, x + shift - 3 : x + shift + 4] = 255
    zeros = np.zeros(len(code))
    names = np.array([f"toy_{i}" for i in range(len(code))])
    if in_test is None:
        in_test = (np.arange(len(code)) % 4 == 0) & (code < 300)
    return Galaxies(pixels, code, in_test, names, zeros, zeros, zeros, zeros)


def splits(seed: int = 0):
    """The five sets of the toy galaxies."""
    return split(galaxies(seed), source="simulated", sha256="toy", data_seed=0, reason="a test")


def catalogue(config: Config):
    """Toy galaxies, as many of each class as the simulated catalogue of ``config`` has, divided as that is."""
    counts = scaled_counts(config.simulated_galaxies)
    code = np.repeat(list(counts), [sum(pair) for pair in counts.values()])
    in_test = np.concatenate([np.arange(sum(pair)) >= pair[0] for pair in counts.values()])
    toys = galaxies(0, code, in_test)
    return divide(toys, source="simulated", sha256="toy", data_seed=0, fold=config.fold, reason="a test")


@cache
def unseen(data: str, size: int, fold: int | None, data_seed: int) -> Splits:
    """A data set without pixels and places on the sky, divided: MiraBest by its names, or a simulated catalogue."""
    counts = COUNTS if data == "mirabest" else scaled_counts(size)
    code = np.repeat(list(counts), [sum(pair) for pair in counts.values()])
    in_test = np.concatenate([np.arange(sum(pair)) >= pair[0] for pair in counts.values()])
    names = committed_names() if data == "mirabest" else np.array([f"sim_{i:06d}" for i in range(len(code))])
    nowhere = [np.full(len(code), np.nan)] * 4
    known = Galaxies(np.zeros((len(code), 1, 1), np.uint8), code, in_test, names, *nowhere)
    return divide(known, source=data, sha256="", data_seed=data_seed, fold=fold)


def recorded(config: Config, sets: dict | None = None, *, seconds: float = 10.0) -> Run:
    """The record of a run with random logits, or with ``sets`` {name: (logits (S, N, 2), labels (N,))}."""
    if sets is None:
        sha256, rng = F_BATCHES.checksum.partition(":")[2], np.random.default_rng(config.seed)
        known = unseen(config.data, config.simulated_galaxies, config.fold, config.data_seed)
        names = np.sort(known.galaxies.name)
        places = {name: np.searchsorted(names, known[name].name) for name in SCORED}
        sets = {k: (rng.normal(size=(samples_of(config), len(known[k]), 2)), known[k].labels) for k in SCORED}
    else:
        sha256, ends = "of galaxies that no test knows", np.cumsum([len(labels) for _, labels in sets.values()])
        places = {k: np.arange(end - len(sets[k][1]), end) for k, end in zip(sets, ends, strict=True)}
    arrays = {}
    for name, (logits, labels) in sets.items():
        arrays[f"difference_{name}"], arrays[f"energy_{name}"] = packed(np.asarray(logits, float))
        arrays |= {f"labels_{name}": labels.astype(np.uint8), f"galaxy_{name}": places[name].astype(np.uint16)}
    stored = {k: unpacked(arrays[f"difference_{k}"], arrays[f"energy_{k}"]) for k in sets}
    reached = (100 + 1e4 * config.temperature, 100.0, 1e4, 584)
    content = {
        "protocol": protocol(config),
        "provenance": {"data": config.data, "data_sha256": sha256, "wall_seconds": seconds},
        "metrics": {k: summarise(stored[k], None if k == "hybrid" else y, resamples=20) for k, (_, y) in sets.items()},
        "reached": dict(zip(REACHED, reached, strict=True)),
        "selected_epoch": 1,
        "history": {name: [2.0, 1.0] for name in HISTORY},
    }
    if config.method == "sgmcmc":
        content["temperatures"] = {t: {"fc3.weight": [1.0] * config.cycles} for t in ("kinetic", "configurational")}
    return Run(config, content, arrays)


def network(seed: int = 0, **changes):
    """An initialised float64 network."""
    config = Config.preview(precision="float64", **changes)
    return resolve(config).method.network(config, generator(seed, "init"))


def closeness(a: torch.Tensor, b: torch.Tensor) -> float:
    """max |a - b| / max |b|, the measure of performance.md for equality."""
    return float((a.detach() - b.detach()).abs().max() / b.detach().abs().max())


def gradients(loss: torch.Tensor, parameters) -> torch.Tensor:
    """The gradient of ``loss`` with respect to all ``parameters`` as one vector."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


@dataclass(frozen=True)
class Synthetic:
    """An interval of half-width ``half`` at level 0.95, that grows as alpha falls."""

    value: float
    half: float
    corrected: float = 1.5

    def interval(self, level):
        half = self.half * (0.05 / (1 - level)) ** 0.5
        return Interval(self.value, self.value - half, self.value + half)

    def corrected_interval(self, level):
        return replace(self, half=self.half * self.corrected).interval(level)


def evidence(*, folds=8, states=None, metastable=(), vacuous=(), **parts):
    estimates = {name: Synthetic(*numbers) for name, numbers in parts.items()}
    return Evidence(estimates, folds, 0, states or {}, metastable, vacuous)


def logits_of(class_0) -> np.ndarray:
    """Two-class logits whose softmax is (p, 1 - p); (S, N) -> (S, N, 2)."""
    p = np.asarray(class_0, float)
    return np.log(np.stack([p, 1 - p], axis=-1))


# Two samples (rows) of three galaxies. Averaged: 0.65, 0.70, 0.99 for class 0. Sample 1 is wrong on galaxy 0, both
# samples and the average are wrong on galaxy 1, nobody is wrong on galaxy 2.
HAND = logits_of([[0.9, 0.8, 0.99], [0.4, 0.6, 0.99]])
HAND_LABELS = np.array([0, 1, 0])


def predictions() -> tuple[np.ndarray, np.ndarray]:
    """A plausible run: 40 samples of 60 galaxies as stored, float16, with their labels."""
    rng = np.random.default_rng(1)
    labels = rng.integers(2, size=60)
    evidence = rng.normal(1.0, 1.5, 60) * (1 - 2 * labels)
    logits = np.stack([evidence, -evidence], axis=-1) + rng.normal(0, 1, (40, 60, 2))
    return logits.astype(np.float16), labels


def calibrated(n: int, seed: int = 0, samples: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A network that is calibrated by construction: labels drawn from its own averaged predictive."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (1, n, 2)) + rng.normal(0, 1, (samples, n, 2))
    return logits, (rng.random(n) > predictive_mean(logits)[:, 0]).astype(int)


def mirabest_batch(number: int) -> dict:
    """Two galaxies as a MiraBest batch holds them."""
    codes, rng = (100, 310), np.random.default_rng(number)
    names = [f"./PNG/{code}_{number:03}.250-010.500_0.1281_0034.09.png" for code in codes]
    return {
        "batch_label": f"training batch {number} of 7",
        "labels": [list(CLASSES).index(code) for code in codes],
        "data": [rng.integers(0, 256, (150, 150), dtype=np.uint8) for _ in codes],
        "filenames": [np.str_(name) for name in names],
    }


def pickled(value: object) -> bytes:
    """A pickle as NumPy 1 wrote it."""
    return pickle.dumps(value, protocol=3).replace(b"numpy._core.", b"numpy.core.")


def archived(batches: dict[str, bytes]) -> bytes:
    """The bytes of a .tar.gz with one member per batch, in reverse order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in reversed(batches.items()):
            member = tarfile.TarInfo(f"F_batches/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
