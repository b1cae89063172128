"""Readers of stored files for the fuzzing: records of every kind, the estimate of time, MiraBest without its checksum.

READERS: {name: (write a valid file or folder below one, return it; read it)}. Reading returns, or raises ValueError or
OSError. A record that is read must be the one that was written, and the estimate must never raise.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
from scenarios import archived, mirabest_batch, pickled, recorded

from radio_bnn.config import Config
from radio_bnn.data import mirabest
from radio_bnn.data.galaxies import Galaxies
from radio_bnn.inference import prune
from radio_bnn.paper import pruning
from radio_bnn.paper.on_orbit import OnOrbit
from radio_bnn.paper.protocol import QUANTITIES, Objective
from radio_bnn.paper.pruning import Pruning
from radio_bnn.paper.shifted import SETS, Shifted
from radio_bnn.runs import outstanding, records
from radio_bnn.runs.records import Posterior, Record, Run

CONFIG = Config.preview(data="simulated", simulated_galaxies=60, samples=3)


@cache
def run() -> Run:
    """A run of few galaxies."""
    return recorded(CONFIG)


def posterior() -> Posterior:
    """Two tensors and a history."""
    arrays = {"conv1.mean": np.linspace(-1, 1, 50).astype(np.float16), "second_moment.conv1": np.zeros(50, np.float16)}
    return Posterior(CONFIG.trained, _made("history"), arrays)


def objective() -> Objective:
    """A record without arrays."""
    return Objective(CONFIG, _made() | {"measured": dict.fromkeys(QUANTITIES, 1.5)})


def on_orbit() -> OnOrbit:
    """The test galaxies of the run."""
    arrays = run().arrays
    return OnOrbit(CONFIG, _made(), {name: arrays[name] for name in ("difference_test", "labels_test", "galaxy_test")})


def shifted() -> Shifted:
    """Two images of every set."""
    n, rng = 2 * len(SETS), np.random.default_rng(0)
    arrays = {"difference": rng.normal(size=(CONFIG.samples, n)).astype(np.float16), "set": np.arange(n) // 2}
    arrays |= {"energy": np.ones(n, np.float16), "distance": np.ones(n, np.float32), "galaxy": np.arange(n)}
    arrays |= {name: arrays[name].astype(kind) for name, kind in {"set": np.uint8, "galaxy": np.uint16}.items()}
    return Shifted(CONFIG, _made() | {"galaxies": 40, "seconds": 0.01}, arrays)


def pruned() -> Pruning:
    """Every ranking that needs no second moments, of the test galaxies of the run."""
    rankings, arrays = [name for name in prune.IMPORTANCE if name not in prune.OPTIONAL], run().arrays
    difference = np.repeat(arrays["difference_test"][None], len(pruning.FRACTIONS), axis=0)
    content = {
        "fractions": list(pruning.FRACTIONS),
        "samples": CONFIG.samples,
        "fisher": {"kind": "true", "draws": 10, "galaxies": 30},
        "rankings": rankings,
        "tensors": ["fc3.weight"],
        "agreement_with_snr": {name: 0.5 for name in rankings if name != "snr"},
        "savings": [dict.fromkeys(pruning.SAVINGS, 1.0) | {"fraction": f} for f in pruning.SAVED_AT],
        "regimes": {},
    }
    made = {f"difference_{name}": difference for name in rankings}
    made |= {"labels": arrays["labels_test"], "galaxy": arrays["galaxy_test"]}
    made["counts_fc3.weight"] = np.arange(len(prune.DECIBEL_EDGES) - 1, dtype=np.uint32)
    return Pruning(CONFIG, _made() | content, made)


def _made(*names: str) -> dict:
    return {name: run().content[name] for name in ("protocol", "provenance", *names)}


def stored(make: Callable[[], Record]) -> tuple[Callable[[Path], Path], Callable[[Path], Record]]:
    """Write a record into a folder; read it, which must be refused or be what was written."""

    def write(folder: Path) -> Path:
        records.write(make(), folder)
        return folder

    def read(folder: Path) -> Record:
        wanted = make()
        found = records.read(folder, wanted.identity, type(wanted))
        assert (found.config, found.content) == (wanted.config, wanted.content), "another content was believed"
        assert list(found.arrays) == list(wanted.arrays), "other arrays were believed"
        for name, values in wanted.arrays.items():
            assert found.arrays[name].dtype == values.dtype and np.array_equal(found.arrays[name], values), name
        return found

    return write, read


def write_results(folder: Path) -> Path:
    """A folder with two runs and something foreign."""
    for seed in (1, 2):
        records.write(recorded(replace(CONFIG, seed=seed)), folder)
    (folder / "foreign.json").write_text("[null]")
    return folder


def estimate(folder: Path) -> float | None:
    """The time that a run should take, by whatever is left of two runs that took 10 s; it must not raise."""
    try:
        with mock.patch.dict(os.environ, RADIO_BNN_RESULTS=str(folder), RADIO_BNN_CACHE=str(folder / "none")):
            seconds = outstanding.expected_seconds([replace(CONFIG, seed=1), replace(CONFIG, seed=5)])
    except (ValueError, OSError) as error:
        raise AssertionError("one broken record stopped the estimate") from error
    assert seconds in (None, 20.0), f"the estimate is {seconds} s"
    return seconds


def write_archive(folder: Path) -> Path:
    """The batches of MiraBest, two galaxies each."""
    batches = {name: pickled(mirabest_batch(number)) for number, name in enumerate(mirabest.BATCHES, start=1)}
    path = folder / "tiny.tar.gz"
    path.write_bytes(archived(batches))
    return path


def read_archive(path: Path) -> Galaxies:
    """Its galaxies, whatever its checksum."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return mirabest.read(path, (mirabest.Archive(path.name, "F_batches", f"sha256:{digest}"),))[0]


def write_batch(folder: Path) -> Path:
    """One batch, a pickle."""
    path = folder / "data_batch_1"
    path.write_bytes(pickled(mirabest_batch(1)))
    return path


def read_batch(path: Path) -> object:
    """Its images and names, without archive and checksum."""
    return mirabest._batch({"data_batch_1": memoryview(path.read_bytes())}, "data_batch_1")


READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    **{make.__name__: stored(make) for make in (run, posterior, objective, on_orbit, pruned, shifted)},
    "estimate": (write_results, estimate),
    "archive": (write_archive, read_archive),
    "batch": (write_batch, read_batch),
}
