"""Has the converged protocol converged? Three seeds, doubled epochs, doubled initial sigma: one record.

python benchmarks/convergence.py FILE.json [--workers N]. What is compared, on validation galaxies only: NLL, KL per
weight, and the error against the share of fully-connected weights pruned by signal-to-noise.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from radio_bnn import metrics, store
from radio_bnn.config import Config, run_id
from radio_bnn.files import replacing
from radio_bnn.layers import Normal, load_posterior, posterior
from radio_bnn.predict import predict
from radio_bnn.prune import prune, signal_to_noise
from radio_bnn.seeds import generator
from radio_bnn.train import fit

FRACTIONS = (0.3, 0.6, 0.8, 0.9, 0.95)


def variants() -> dict[str, Config]:
    """The runs that are compared: three seeds on the same galaxies, and two changes of the first."""
    base = Config.converged()
    seeds = {f"seed {base.seed + i}": replace(base, seed=base.seed + i) for i in range(3)}
    wide = replace(base, init_rho_low=base.init_rho_low + math.log(2), init_rho_high=base.init_rho_high + math.log(2))
    return {**seeds, "twice the epochs": replace(base, epochs=2 * base.epochs), "twice the initial sigma": wide}


def measure(values: dict) -> dict[str, float]:
    """Train one config and measure what must have settled."""
    torch.set_num_threads(1)
    config = Config.from_dict(values)
    splits = store.load_data(config)
    validation = splits["validation"]
    checkpoint = store.cached_folder() / "unfinished" / f"convergence-{run_id(config)}.pt"
    trained = fit(config, splits, device="cpu", checkpoint=checkpoint, progress=False)
    q = {
        name: Normal(p.mean.detach().clone(), p.scale.detach().clone()) for name, p in posterior(trained.model).items()
    }
    found = {"kl_per_weight": trained.history["kl_per_weight"][-1], "mean_rho": trained.history["mean_rho"][-1]}
    for fraction in (0.0, *FRACTIONS):
        load_posterior(trained.model, prune(q, signal_to_noise(q), fraction))
        logits = predict(trained.model, validation.images, samples=100, generator=generator(config.seed, "predict"))
        found[f"error at {fraction:g}"] = metrics.error(logits, validation.labels)
        if not fraction:
            found["validation_nll"] = metrics.nll(logits, validation.labels)
    return found


def judge(measured: dict[str, dict[str, float]]) -> dict[str, dict[str, float | bool]]:
    """Per quantity: standard deviation over the seeds, and whether both changes stay below it."""
    seeds = [values for name, values in measured.items() if name.startswith("seed")]
    verdict = {}
    for key in seeds[0]:
        spread = float(np.std([values[key] for values in seeds], ddof=1))
        changes = {name: abs(values[key] - seeds[0][key]) for name, values in measured.items() if name[:4] == "twic"}
        verdict[key] = {"standard_deviation": spread, **changes, "settled": max(changes.values()) <= spread}
    return verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    configs = variants()
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        measured = dict(zip(configs, pool.map(measure, [c.to_dict() for c in configs.values()]), strict=True))
    base = Config.converged()
    where = store.provenance(base, device="cpu", seconds=0.0)
    record = {"config": base.to_dict(), "measured": measured, "judged": judge(measured), "provenance": where}
    with replacing(options.file) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
