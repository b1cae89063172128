"""Stored runs: one JSON record and one compressed file of float16 logits per Config, written once, never edited."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

import radio_bnn
from radio_bnn import resampling
from radio_bnn.config import UNUSED, Config, run_id
from radio_bnn.data import Splits, load
from radio_bnn.data.mirabest import cache_folder
from radio_bnn.data.simulate import scaled_counts
from radio_bnn.files import replacing
from radio_bnn.predict import predict_as_trained
from radio_bnn.resolve import resolve
from radio_bnn.seeds import generator
from radio_bnn.train import Fit, device_name, fit

SCHEMA = 1
MIRABEST_GALAXIES = Config().simulated_galaxies
SCORED = ("validation", "test", "uncertain", "hybrid")
PROTOCOLS = ("published", "published_2021", "preview", "converged")
# What may vary within a protocol; every other field belongs to its recipe.
VARIED = set(
    [
        "data",
        "data_seed",
        "simulated_galaxies",
        "seed",
        "method",
        "prior",
        "prior_scale",
        "temperature",
        "members",
        "likelihood",
        "objective",
        "augmentation",
        "samples",
        "precision",
        "as_released",
    ]
)


@dataclass(frozen=True)
class Run:
    """A stored run: ``record`` as written to JSON, ``logits`` and ``labels`` by set name.

    logits[set] (S, N, 2) float16; labels[set] (N,) with 0 FRI, 1 FRII (hybrid: 0 confident, 1 uncertain).
    """

    config: Config
    record: dict[str, Any]
    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    def scores(self, scored: str = "test") -> dict[str, dict[str, float]]:
        """All stored metrics of one set: {name: {"value", "low", "high"}}."""
        return self.record["metrics"][scored]

    def metric(self, name: str, scored: str = "test") -> resampling.Interval:
        """The stored metric with its 95 % interval over galaxies."""
        return resampling.Interval(**self.scores(scored)[name])


def protocol(config: Config) -> str:
    """The name of the protocol whose recipe ``config`` follows, or "custom"."""
    for name in PROTOCOLS:
        reference = getattr(Config, name)(likelihood=config.likelihood)
        recipe = [f.name for f in dataclasses.fields(Config) if f.name not in VARIED]
        if all(getattr(config, f) == getattr(reference, f) for f in recipe):
            return name
    return "custom"


def committed_folder() -> Path:
    """The folder of the book's records: ``RADIO_BNN_RESULTS``, or ``book/results`` of this checkout."""
    if named := os.environ.get("RADIO_BNN_RESULTS"):
        return Path(named)
    return Path(__file__).resolve().parents[1] / "book" / "results"


def cached_folder() -> Path:
    """The folder of the user's own runs, inside the cache."""
    return cache_folder() / "results"


def find(config: Config) -> Run | None:
    """The stored run of ``config``: the book's, else the user's, else None."""
    for folder in (committed_folder(), cached_folder()):
        if (folder / f"{run_id(config)}.json").exists():
            return read(folder, run_id(config))
    return None


def read(folder: Path, identity: str) -> Run:
    """The run ``identity`` in ``folder``. Raises ValueError for a record that is not whole or not of its config."""
    with reading(folder, identity) as (record, arrays):
        config = Config.from_dict(record["config"])
        logits = {name: arrays[f"logits_{name}"] for name in SCORED}
        labels = {name: arrays[f"labels_{name}"] for name in SCORED}
    if run_id(config) != identity:
        raise ValueError(
            f"record {identity} holds the config of run {run_id(config)}: a record is never edited or renamed"
        )
    return Run(config, record, logits, labels)


@contextmanager
def reading(folder: Path, identity: str) -> Iterator[tuple[dict[str, Any], Mapping[str, np.ndarray]]]:
    """The JSON and the arrays of the record ``identity`` in ``folder``, while open.

    Raises ValueError if either is missing, is not whole, or lacks what is asked of it inside the scope.
    """
    path = folder / f"{identity}.json"
    try:
        # Opened here, because np.load leaves a file open that is no archive.
        with path.with_suffix(".npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            yield json.loads(path.read_text()), arrays
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as problem:
        raise ValueError(
            f"record {identity} cannot be read ({problem}): delete both of its files and run it again"
        ) from problem


def load_or_run(config: Config, *, recompute: bool = False, device: str = "auto", progress: bool = True) -> Run:
    """The stored run of ``config``, or a new one, trained and written to the user's cache.

    ``recompute`` trains even if a record exists. An interrupted training continues at the next call.
    """
    if not recompute and (stored := find(config)) is not None:
        return stored
    return execute(config, cached_folder(), device=device, progress=progress)


def load_or_run_all(configs: list[Config], *, recompute: bool = False, device: str = "auto") -> list[Run]:
    """The stored runs of ``configs``, in order; what must be trained is announced with the time that it will take."""
    missing = [config for config in configs if recompute or find(config) is None]
    if missing:
        seconds = expected_seconds(missing)
        known = f"about {seconds / 60:.0f} min on one core" if seconds else "minutes to hours each, on one core"
        print(f"Training {len(missing)} runs on {', '.join(sorted({c.data for c in missing}))}: {known}.", flush=True)
    return [load_or_run(config, recompute=recompute, device=device) for config in configs]


def execute(
    config: Config, folder: Path, *, device: str = "auto", progress: bool = True, keep_posterior: bool = False
) -> Run:
    """Train ``config`` with one CPU thread, predict the scored sets, write the record into ``folder``, atomically.

    ``keep_posterior`` also writes the trained network there, for ``posterior_of``.
    """
    splits = load_data(config)
    checkpoint = cached_folder() / "unfinished" / f"{run_id(config)}.pt"
    threads, started = torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(1)
    try:
        trained = fit(config, splits, device=device, checkpoint=checkpoint, progress=progress)
        logits = predict_sets(trained, splits, progress=progress)
    finally:
        torch.set_num_threads(threads)
    labels = {name: splits[name].labels for name in SCORED}
    record = make_record(trained, logits, labels, splits, device=device, seconds=time.perf_counter() - started)
    if keep_posterior:
        write_posterior(trained, folder)
    write(Run(config, record, logits, labels), folder)
    checkpoint.unlink(missing_ok=True)
    return Run(config, record, logits, labels)


def load_data(config: Config) -> Splits:
    """The data that ``config`` names; "mirabest" is never replaced by simulated galaxies."""
    if config.data == "mirabest":
        return load("mirabest", data_seed=config.data_seed)
    return load("simulated", data_seed=config.data_seed, counts=scaled_counts(config.simulated_galaxies))


def predict_sets(trained: Fit, splits: Splits, *, progress: bool = False) -> dict[str, np.ndarray]:
    """Predictive logits of the scored sets as they are stored: {set: (S, N, 2) float16}."""
    config, device = trained.config, next(trained.model.parameters()).device
    return {
        name: predict_as_trained(
            resolve(config),
            trained.model,
            splits[name].images,
            samples=config.samples,
            precision=config.precision,
            generator=generator(config.seed, "predict", device=device),
            progress=progress,
        ).astype(np.float16)
        for name in SCORED
    }


def make_record(
    trained: Fit, logits: dict, labels: dict, splits: Splits, *, device: str, seconds: float
) -> dict[str, Any]:
    """What the JSON of a run holds; every metric is computed from the float16 logits."""
    config = trained.config
    return {
        "schema": SCHEMA,
        "run_id": run_id(config),
        "protocol": protocol(config),
        "config": config.to_dict(),
        "metrics": {name: score(name, logits[name], labels[name]) for name in SCORED},
        "selected_epoch": trained.selected_epoch,
        "history": {k: [float(f"{v:.5g}") for v in values] for k, values in trained.history.items()},
        "provenance": provenance(config, device=device, seconds=seconds)
        | {"data": splits.source, "data_sha256": splits.sha256},
    }


def score(scored: str, logits: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """The stored metrics of one set; hybrids are neither FRI nor FRII, so they have uncertainties only."""
    return resampling.summarise(logits, None if scored == "hybrid" else labels)


def provenance(config: Config, *, device: str, seconds: float) -> dict[str, Any]:
    """Where and with what a run was made: version, commit, torch, device, precision, wall time in seconds."""
    name = device_name(device)
    return {
        "version": radio_bnn.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name() if name == "cuda" else processor(),
        "threads": 1,
        "precision": config.precision,
        "wall_seconds": round(seconds, 1),
    }


def write(run: Run, folder: Path) -> None:
    """Write both files of a run, see ``write_record``."""
    arrays = {f"logits_{k}": v for k, v in run.logits.items()}
    arrays |= {f"labels_{k}": v.astype(np.uint8) for k, v in run.labels.items()}
    write_record(folder, run.record, arrays)


def write_record(folder: Path, record: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``<run_id>.npz``, then ``<run_id>.json``, each atomically: a record that exists is whole."""
    path = folder / f"{record['run_id']}.json"
    _write_arrays(path.with_suffix(".npz"), arrays)
    with replacing(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def write_posterior(trained: Fit, folder: Path) -> None:
    """Write means and rhos of a trained network as float16 to ``<run_id>.posterior.npz`` (0.9 MB), atomically."""
    arrays = {name: value.cpu().numpy().astype(np.float16) for name, value in trained.model.state_dict().items()}
    path = folder / f"{run_id(trained.config)}.posterior.npz"
    _write_arrays(path, {"config": np.array(json.dumps(trained.config.to_dict())), **arrays})


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def posterior_of(config: Config) -> nn.Module | None:
    """The trained network of ``config`` from the book's results or the user's cache, or None if neither kept it.

    Raises ValueError for a file that is not whole or not of its config.
    """
    for folder in (committed_folder(), cached_folder()):
        if (path := folder / f"{run_id(config)}.posterior.npz").exists():
            return _read_posterior(path, config)
    return None


def _read_posterior(path: Path, config: Config) -> nn.Module:
    model = resolve(config).method.network(config, generator(config.seed, "init"))
    try:
        with np.load(path, allow_pickle=False) as arrays:
            weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "config"}
            stored = Config.from_dict(json.loads(str(arrays["config"])))
        model.load_state_dict(weights)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as problem:
        raise ValueError(f"posterior {path.name} cannot be read ({problem}): delete it and train again") from problem
    if stored != config:
        raise ValueError(f"posterior {path.name} holds another config: it is never edited or renamed; delete it")
    return model


def expected_seconds(configs: list[Config]) -> float | None:
    """How long training ``configs`` takes, one after the other: as their records took, or as like ones did per galaxy.

    A run that is not stored counts as its work, galaxies x epochs x forwards per step, times the median time per work
    of the book's records in its precision. None if there is no such record.
    """
    rates = _seconds_per_work()
    seconds = []
    for config in configs:
        if (run := find(config)) is not None:
            seconds.append(run.record["provenance"]["wall_seconds"])
        elif config.precision in rates:
            seconds.append(rates[config.precision] * _work(config))
        else:
            return None
    return sum(seconds)


def _seconds_per_work() -> dict[str, float]:
    rates: dict[str, list[float]] = {}
    for path in committed_folder().glob("*.json"):
        record = json.loads(path.read_text())
        if "run_id" in record:
            config = Config.from_dict(record["config"])
            rates.setdefault(config.precision, []).append(record["provenance"]["wall_seconds"] / _work(config))
    return {precision: median(values) for precision, values in rates.items()}


def _work(config: Config) -> float:
    galaxies = MIRABEST_GALAXIES if config.data == "mirabest" else config.simulated_galaxies
    forwards = (1 if config.objective == "elbo" else 2) * (1 if config.likelihood == "categorical" else 8)
    networks = 1 if "members" in UNUSED[config.method] else config.members
    return galaxies * config.epochs * forwards * networks


@cache
def _commit() -> str:
    root = Path(__file__).resolve().parents[1]
    try:
        ask = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(ask, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def processor() -> str:
    """The name of this machine's processor, as it calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
