"""Records of MiraBest's folds whose truth is known."""

import math

import numpy as np

from radio_bnn.config import run_id
from radio_bnn.data.folds import catalogue
from radio_bnn.paper import experiments
from radio_bnn.runs.records import HISTORY, Run, packed

N = 583
SAMPLES = 6


def places(config, scored):
    """The galaxies of MiraBest that a fold tests on, or all doubted ones."""
    table = catalogue()
    if scored == "test":
        return np.flatnonzero(table.judged & (table.fold == config.fold))
    hybrid, confident = table.code >= 300, table.code // 10 % 10 == 0
    return np.flatnonzero(hybrid if scored == "hybrid" else ~hybrid & ~confident)


def run_of(config, *, evidence_for_truth=2.0, nll=50.0, objective=100.0, validation=0.3, doubt=0.5):
    """A run whose logits favour the true class by so much, less on doubted galaxies."""
    table, arrays = catalogue(), {}
    for scored in ("validation", "test", "uncertain", "hybrid"):
        chosen = places(config, "test" if scored == "validation" else scored)
        labels = (table.code[chosen] // 100 - 1) % 2
        rng = np.random.default_rng([config.fold, len(chosen)])  # what every run of the fold shares
        size = evidence_for_truth * (doubt if scored in ("uncertain", "hybrid") else 1.0)
        signal = (1 - 2 * labels) * (size + rng.normal(0, 1, len(chosen)))
        logits = np.stack([signal, np.zeros(len(chosen))], -1) + rng.normal(0, 1, (SAMPLES, len(chosen), 2))
        arrays[f"difference_{scored}"], arrays[f"energy_{scored}"] = packed(logits)
        arrays[f"labels_{scored}"], arrays[f"galaxy_{scored}"] = labels.astype(np.uint8), chosen.astype(np.uint16)
    score = {"value": validation, "low": 0.0, "high": 1.0}
    metrics = {s: {"nll": score, "error_percent": score} for s in ("validation", "test", "uncertain")}
    reached = {"objective": objective, "nll": nll, "complexity": 1.0, "galaxies": N}
    content = {"reached": reached, "metrics": metrics, "history": {name: [1.0] for name in HISTORY}}
    return Run(config, content, arrays)


def fill(store, configs, **settings):
    for config in configs:
        store[run_id(config), "run"] = run_of(config, **settings)


def path(store, by_temperature, folds=range(8), **changes):
    for t, settings in by_temperature.items():
        fill(store, experiments.paths(folds, **changes)[t], **settings)


LEARNT = {"nll": 50.0, "objective": 100.0}
STUCK = {"nll": N * math.log(2), "objective": 420.0, "evidence_for_truth": 0.0}
SHAPE = {t: dict(LEARNT) for t in (0.001, 0.003, 0.01, 0.03, 0.1)} | {t: dict(STUCK) for t in (0.2, 0.3, 1.0)}


def controlled(store, folds=experiments.FEW):
    path(
        store,
        {t: {"objective": 410.0, "nll": 404.0} for t in experiments.TEMPERATURES},
        folds,
        **experiments.LABEL_FREE,
    )
