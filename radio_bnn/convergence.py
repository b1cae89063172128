"""How far the chapters' protocol has converged, and how it was chosen: one record, on validation galaxies alone."""

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radio_bnn import metrics, store, tables
from radio_bnn.config import Config, run_id
from radio_bnn.contrasts import PRECISION, config_of
from radio_bnn.files import replacing
from radio_bnn.progress import bar
from radio_bnn.prune import frozen, predict_pruned, signal_to_noise
from radio_bnn.seeds import generator
from radio_bnn.train import fit

FILE = "convergence.json"
SEEDS = 3
FRACTIONS = (0.3, 0.6, 0.8, 0.9, 0.95)
SAMPLES = 100
# What a converged training must not change, by name of the record: title and format.
QUANTITIES = {
    "objective": ("objective [nats]", ".0f"),
    "kl_per_weight": ("KL [nats per weight]", ".4f"),
    "mean_rho": ("mean log σ", ".3f"),
    "validation_nll": ("NLL [nats]", ".3f"),
    **{f"error_at_{f:g}": (f"error, {100 * f:.0f} % pruned [%]", ".1f") for f in (0.0, *FRACTIONS)},
}


def seeds() -> dict[str, Config]:
    """The chapters' protocol from three training seeds on the same galaxies."""
    base = config_of()
    return {f"seed {base.seed + i}": replace(base, seed=base.seed + i) for i in range(SEEDS)}


def doubled() -> dict[str, Config]:
    """What a converged training would not notice, with the first seed."""
    base = config_of()
    wider = {name: getattr(base, name) + math.log(2) for name in ("init_rho_low", "init_rho_high")}
    return {"twice the epochs": replace(base, epochs=2 * base.epochs), "twice the initial σ": replace(base, **wider)}


def searched() -> dict[str, Config]:
    """The neighbours among which the protocol was chosen, the preview protocol, and the published one; first seed."""
    base = config_of()
    same = {"seed": base.seed, "data_seed": base.data_seed, "precision": PRECISION}
    return {
        "learning rate of the means 2e-3": replace(base, learning_rate=2e-3),
        "learning rate of ρ 1e-2": replace(base, rho_learning_rate=1e-2),
        "Adam's second decay 0.999": replace(base, adam_beta2=0.999),
        "fully-connected means from He": replace(base, init_fc_scale=1.0),
        "fully-connected means from He / 10": replace(base, init_fc_scale=0.1),
        "initial σ of 0.08": replace(base, init_rho_low=-2.5, init_rho_high=-2.5),
        "`Config.preview()`": Config.preview(**same),
        "`Config.published()`": Config.published(**same),
    }


def measure(values: dict[str, Any]) -> dict[str, float]:
    """Train ``Config.from_dict(values)`` on one thread and measure QUANTITIES; an interrupted training continues."""
    torch.set_num_threads(1)
    config = Config.from_dict(values)
    splits = store.load_data(config)
    checkpoint = store.cached_folder() / "unfinished" / f"convergence-{run_id(config)}.pt"
    trained = fit(config, splits, device="cpu", checkpoint=checkpoint, progress=False)
    q, last = frozen(trained.model), {name: values[-1] for name, values in trained.history.items()}
    weights = sum(part.mean.numel() for part in q.values())
    cost = len(splits["train"]) * last["train_nll"] + config.temperature * weights * last["kl_per_weight"]
    found = {"objective": cost, "kl_per_weight": last["kl_per_weight"], "mean_rho": last["mean_rho"]}
    validation, noise = splits["validation"], generator(config.seed, "predict")
    rankings, fractions = {"snr": signal_to_noise(q)}, (0.0, *FRACTIONS)
    logits = predict_pruned(
        trained.model, rankings, validation.images, fractions, samples=SAMPLES, generator=noise, progress=False
    )["snr"]
    found["validation_nll"] = metrics.nll(logits[0], validation.labels)
    found |= {f"error_at_{f:g}": metrics.error(x, validation.labels) for f, x in zip(fractions, logits, strict=True)}
    return found


def run(path: Path, *, workers: int = 1, progress: bool = True) -> dict[str, Any]:
    """Measure all variants in ``workers`` processes and write the record to ``path``, atomically."""
    configs = seeds() | doubled() | searched()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        longest_first = sorted(configs, key=lambda name: -configs[name].epochs)
        futures = {name: pool.submit(measure, configs[name].to_dict()) for name in longest_first}
        with bar(total=len(futures), desc="variants", show=progress) as shown:
            for future in futures.values():
                future.add_done_callback(lambda _: shown.update())
            measured = {name: futures[name].result() for name in configs}
    provenance = store.provenance(config_of(), device="cpu", seconds=0.0)
    provenance.pop("wall_seconds")
    record = {
        "configs": {name: config.to_dict() for name, config in configs.items()},
        "measured": measured,
        "provenance": provenance,
    }
    with replacing(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")
    return record


def read() -> dict[str, Any] | None:
    """The book's record, or None. Raises ValueError if it is not of the protocol that the chapters use now."""
    path = store.committed_folder() / FILE
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    expected = {name: config.to_dict() for name, config in (seeds() | doubled() | searched()).items()}
    if record["configs"] != expected:
        raise ValueError(f"{FILE} is of another protocol than the chapters' runs: make it again with convergence.run")
    return record


def judge(measured: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | bool]]:
    """Per quantity: standard deviation over seeds, both changes from the first seed, and whether both stay below it.

    {quantity: {"deviation", "twice the epochs", "twice the initial σ", "settled"}}.
    """
    verdict = {}
    for quantity in QUANTITIES:
        values = [measured[name][quantity] for name in seeds()]
        changes = {name: measured[name][quantity] - values[0] for name in doubled()}
        deviation = float(np.std(values, ddof=1))
        settled = all(abs(change) < deviation for change in changes.values())
        verdict[quantity] = {"deviation": deviation, **changes, "settled": settled}
    return verdict


def settled_table(record: Mapping[str, Any] | None) -> str:
    """What doubling the epochs and the initial sigma changes, against the spread of the seeds, as Markdown."""
    if record is None:
        return "Not run."
    rows = []
    for quantity, found in judge(record["measured"]).items():
        title, spec = QUANTITIES[quantity]
        values = [record["measured"][name][quantity] for name in seeds()]
        changes = [f"{found[name]:+{spec}}" for name in doubled()]
        settled = "yes" if found["settled"] else "no"
        rows.append([title, f"{np.mean(values):{spec}}", f"{found['deviation']:{spec}}", *changes, settled])
    return tables.markdown(["", "mean of the seeds", "their deviation", *doubled(), "settled"], rows)


def searched_table(record: Mapping[str, Any] | None) -> str:
    """The chosen protocol, first seed, and every neighbour that was tried, as Markdown."""
    if record is None:
        return "Not run."
    columns = {name: QUANTITIES[name] for name in ("objective", "kl_per_weight", "validation_nll", "error_at_0")}
    chosen = {"**the chosen protocol**": next(iter(seeds()))} | {name: name for name in (*doubled(), *searched())}
    rows = [
        [title, *(f"{record['measured'][name][key]:{spec}}" for key, (_, spec) in columns.items())]
        for title, name in chosen.items()
    ]
    return tables.markdown(["", *(title for title, _ in columns.values())], rows)
