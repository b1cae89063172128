"""From a Config to its stored record: data, training, predictions, provenance."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import radio_bnn
from radio_bnn.config import THERMOMETERS, Config, run_id
from radio_bnn.data import Splits, load, mirabest
from radio_bnn.data.simulate import scaled_counts
from radio_bnn.evaluation import resampling
from radio_bnn.files import CHECKOUT, check_writable, is_checkout
from radio_bnn.inference import sgmcmc
from radio_bnn.inference.checkpoint import CheckpointError
from radio_bnn.inference.likelihood import REJECTED, targets
from radio_bnn.inference.predict import on_threads, predict_as_trained
from radio_bnn.inference.reached import whole_objective
from radio_bnn.inference.resolve import resolve
from radio_bnn.inference.train import Fit, device_name, fit
from radio_bnn.progress import say
from radio_bnn.runs import outstanding, protocols, records
from radio_bnn.runs.records import SCORED, Diverged, Posterior, Run, cached_folder, packed, unpacked
from radio_bnn.seeds import generator

Parameters = dict[str, torch.Tensor]
SMALLEST = 2.0**-120  # a second moment that float32 holds


def load_or_run(
    config: Config,
    *,
    recompute: bool = False,
    keep_posterior: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Run:
    """The stored run of ``config``, or a new one, trained and written to the user's cache.

    ``recompute`` trains even if a record exists, ``keep_posterior`` unless the posterior is at hand as well. An
    interrupted training continues at the next call.
    """
    lacks = recompute or (keep_posterior and not records.at_hand(config, Posterior.kind))
    if not lacks and (stored := records.find(config)) is not None:
        return stored
    return execute(config, cached_folder(), keep_posterior=keep_posterior, device=device, progress=progress)


def load_or_run_all(configs: Sequence[Config], *, recompute: bool = False, device: str = "auto") -> list[Run]:
    """The stored runs of ``configs``, in order; what must be trained is announced with the time that it will take."""
    missing = [config for config in configs if recompute or records.find(config) is None]
    if missing:
        seconds = outstanding.expected_seconds(missing)
        known = f"about {seconds / 60:.0f} min on one core" if seconds else "minutes to hours each, on one core"
        print(f"Training {len(missing)} runs on {', '.join(sorted({c.data for c in missing}))}: {known}.", flush=True)
    return [load_or_run(config, recompute=recompute, device=device) for config in configs]


def execute(
    config: Config, folder: Path, *, device: str = "auto", progress: bool = True, keep_posterior: bool = False
) -> Run:
    """Train ``config`` with one CPU thread, predict the scored sets, write the record into ``folder``, atomically.

    ``keep_posterior`` also writes the trained network there, see ``posterior_record``. A checkpoint that is damaged, or
    of other code or data, is not continued: a line says so, and the training starts again. Raises OSError, before the
    training, for a folder that cannot be written; FloatingPointError where the training diverges, and leaves a record
    of that there.
    """
    checkpoint = cached_folder() / "unfinished" / f"{run_id(config.trained)}.pt"
    check_writable(checkpoint.parent, of="set RADIO_BNN_CACHE to a folder that can")
    check_writable(folder, of="name another folder for the records")
    before = start_of(config, device=device, progress=progress)
    started = time.perf_counter()
    try:
        trained, splits, logits = train_and_predict(
            config, device=device, before=before, checkpoint=checkpoint, progress=progress
        )
    except FloatingPointError as problem:
        made = described(config, load_data(config), device=device, seconds=time.perf_counter() - started)
        records.write(Diverged(config.trained, made | {"reason": str(problem)}), folder)
        checkpoint.unlink(missing_ok=True)
        raise
    content = made_content(trained, logits, splits)
    seconds = trained.earlier_seconds + time.perf_counter() - started
    made = described(config, splits, device=device, seconds=seconds)
    if keep_posterior:
        records.write(posterior_record(trained, made), folder)
    run = Run(config, made | content, made_arrays(logits, splits))
    records.write(run, folder)
    checkpoint.unlink(missing_ok=True)
    return run


def train_and_predict(
    config: Config,
    *,
    device: str,
    before: Parameters | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> tuple[Fit, Splits, dict[str, np.ndarray]]:
    """The trained network of ``config``, its galaxies, and its predictive logits by set, on one CPU thread.

    ``before``: the parameters from which it starts, as ``start_of`` returns them.
    """
    splits = load_data(config)
    with one_thread():
        try:
            trained = fit(config, splits, device=device, start_from=before, checkpoint=checkpoint, progress=progress)
        except CheckpointError as problem:
            say(f"{problem.reason}: it is deleted, and the training starts again")
            checkpoint.unlink(missing_ok=True)
            trained = fit(config, splits, device=device, start_from=before, checkpoint=checkpoint, progress=progress)
        return trained, splits, predict_sets(trained, splits, progress=progress)


def start_of(config: Config, *, device: str, progress: bool = True) -> Parameters | None:
    """The parameters from which a run with a ``path`` starts, as the posterior's record of its last stage has them.

    That stage is trained if it is not at hand.
    """
    if config.previous is None:
        return None
    if not records.at_hand(config.previous, Posterior.kind):
        with one_thread():
            load_or_run(config.previous, keep_posterior=True, device=device, progress=progress)
    return network(records.find(config.previous, Posterior)).state_dict()


def one_thread() -> AbstractContextManager[None]:
    """What is recorded is computed on one CPU thread, so that it can be repeated."""
    return on_threads(1)


def load_data(config: Config) -> Splits:
    """The data that ``config`` names; "mirabest" is never replaced by simulated galaxies."""
    division = {name: getattr(config, name) for name in ("data_seed", "fold", "train_on")}
    if config.data == "mirabest":
        return load("mirabest", **division)
    if config.population == "voted":
        return load("simulated", voted=(config.simulated_galaxies, config.labellers), **division)
    return load("simulated", counts=scaled_counts(config.simulated_galaxies), **division)


def find_data(sources: Iterable[str]) -> None:
    """Raise, as ``load_data`` would, if one of the data sets cannot be had; MiraBest is downloaded where it is missing.

    To be asked once, before many runs.
    """
    if "mirabest" in sources and mirabest.locate() is None:
        mirabest.fetch()


def predict_sets(trained: Fit, splits: Splits, *, progress: bool = False) -> dict[str, np.ndarray]:
    """Predictive logits of the scored sets: {set: (S, N, 2) float32}."""
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
        )
        for name in SCORED
    }


def made_arrays(logits: dict[str, np.ndarray], splits: Splits) -> dict[str, np.ndarray]:
    """The arrays of a run's record."""
    arrays, names = {}, np.sort(splits.galaxies.name)
    for name, values in logits.items():
        galaxies = splits[name]
        arrays[f"difference_{name}"], arrays[f"energy_{name}"] = packed(values)
        arrays[f"labels_{name}"] = galaxies.labels.astype(np.uint8)
        arrays[f"galaxy_{name}"] = np.searchsorted(names, galaxies.name).astype(np.uint16)
    return arrays


def made_content(trained: Fit, logits: dict[str, np.ndarray], splits: Splits) -> dict[str, Any]:
    """What a run's record says beside where it was made: metrics of the arrays as stored, what training reached."""
    stored = {name: unpacked(*packed(values)) for name, values in logits.items()}
    return {
        "metrics": {name: score(name, stored[name], splits[name].labels) for name in SCORED},
        "reached": reached(trained, splits),
        "selected_epoch": trained.selected_epoch,
        "history": _rounded(trained.history),
        **_temperatures(trained.model),
    }


def _temperatures(model: nn.Module) -> dict[str, Any]:
    """What the thermometers of a chain read, {thermometer: {tensor: one number per cycle}}; nothing of others."""
    if not isinstance(model, sgmcmc.Chain):
        return {}
    names = [name for name, _ in model.members[0].named_parameters()]
    read = {t: getattr(model, t).T.tolist() for t in THERMOMETERS}
    return {records.TEMPERATURES: {t: dict(zip(names, values, strict=True)) for t, values in read.items()}}


def reached(trained: Fit, splits: Splits) -> dict[str, float]:
    """The objective on the training galaxies, the NLL of their classes, the complexity, and how many have a class.

    The first three in nats, all evaluated afresh.
    """
    config, train, device = trained.config, splits["train"], next(trained.model.parameters()).device
    noise, labels = generator(config.seed, "objective", device=device), targets(config.likelihood, train)
    with one_thread():
        terms = whole_objective(resolve(config), trained.model, train.images, labels, generator=noise)
    classed = int((labels != REJECTED).sum()) if config.likelihood == "curation" else len(train)
    return dict(zip(records.REACHED, (*map(float, terms), classed), strict=True))


def score(scored: str, logits: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """The stored metrics of one set, none of an empty one; hybrids are neither class and have uncertainties only."""
    if not len(labels):
        return {}
    return resampling.summarise(logits, None if scored == "hybrid" else labels)


def posterior_record(trained: Fit, made: dict[str, Any]) -> Posterior:
    """The record of a trained network: parameters as float16 (0.9 MB), second moments, the history of its training."""
    arrays = {name: value.cpu().numpy().astype(np.float16) for name, value in trained.model.state_dict().items()}
    for name, value in trained.second_moment.items():
        logs = np.log2(np.maximum(value.cpu().numpy().astype(np.float64), SMALLEST))
        arrays[f"{records.SECOND_MOMENT}{name}"] = logs.astype(np.float16)
    return Posterior(trained.config.trained, made | {"history": _rounded(trained.history)}, arrays)


def network(posterior: Posterior) -> nn.Module:
    """The trained network that a posterior's record holds. Raises ValueError if it is not of its config."""
    config = posterior.config
    model = resolve(config).method.network(config, generator(config.seed, "init"))
    try:
        model.load_state_dict({name: torch.from_numpy(values) for name, values in posterior.parameters.items()})
    except RuntimeError as problem:
        raise ValueError(
            f"posterior {posterior.identity} is no network of its config ({problem}): delete both of its files and "
            "train again"
        ) from problem
    return model


def _rounded(history: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [float(f"{value:.5g}") for value in values] for name, values in history.items()}


# Provenance


def described(config: Config, splits: Splits, *, device: str, seconds: float) -> dict[str, Any]:
    """What every record says of how it was made: its protocol, and ``provenance`` with the data's checksum."""
    data = {"data": splits.source, "data_sha256": splits.sha256}
    return {
        "protocol": protocols.protocol(config),
        "provenance": provenance(config, device=device, seconds=seconds) | data,
    }


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


def check_unchanged(folder: Path) -> None:
    """Raise ValueError if ``folder`` holds this checkout's committed records and tracked files have changed.

    New records are no change, and what a reader writes elsewhere is never refused.
    """
    if folder.resolve() != (CHECKOUT / "book" / "results").resolve():
        return
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!book/results")
    if changed:
        raise ValueError(
            f"{changed.split()[-1]} has changed since the last commit, and a committed record names the commit that "
            "made it: commit first, or write elsewhere with --out"
        )


@cache
def _commit() -> str:
    return _git("describe", "--always", "--dirty", "--abbrev=12") or _installed_commit() or "unknown"


def _git(*arguments: str) -> str:
    """What git says of the checkout that holds this package; empty where there is none."""
    if not is_checkout(CHECKOUT) or not (CHECKOUT / ".git").exists():
        return ""
    try:
        ask = ["git", "-C", str(CHECKOUT), *arguments]
        here = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook's are others
        return subprocess.run(ask, env=here, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _installed_commit() -> str:
    """The commit from which pip installed this package, as direct_url.json says (PEP 610); empty if from elsewhere."""
    try:
        found = distribution("radio-bnn")
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return ""
    is_this = Path(str(found.locate_file("radio_bnn"))).resolve() == Path(radio_bnn.__file__).resolve().parent
    return origin.get("vcs_info", {}).get("commit_id", "")[:12] if is_this else ""


def processor() -> str:
    """The name of this machine's processor, as it calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
