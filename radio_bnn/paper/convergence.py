"""How far the chapters' protocol has converged, and how it was chosen: judged on validation galaxies alone."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np

from radio_bnn.evaluation import metrics
from radio_bnn.inference.prune import frozen, predict_pruned, signal_to_noise
from radio_bnn.paper import experiments, tables
from radio_bnn.runs import execute
from radio_bnn.runs.records import Posterior, Record, expect_names, find
from radio_bnn.seeds import generator

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

Measured = Mapping[str, Mapping[str, float]]


class Convergence(Record):
    """What QUANTITIES are for one training: ``content["measured"]``, {quantity: number}."""

    kind = "convergence"

    def check(self) -> None:
        """Raise ValueError or KeyError unless every quantity is there and finite."""
        expect_names(self.content["measured"], list(QUANTITIES))
        if not all(math.isfinite(value) for value in self.content["measured"].values()):
            raise ValueError(f"what it measured is not finite: {self.content['measured']}")


def measure(posterior: Posterior) -> Convergence:
    """QUANTITIES of a posterior and of the last epoch of its training, on one thread."""
    config, started = posterior.config, time.perf_counter()
    splits, model = execute.load_data(config), execute.network(posterior)
    q, last = frozen(model), {name: values[-1] for name, values in posterior.content["history"].items()}
    weights = sum(part.mean.numel() for part in q.values())
    cost = len(splits["train"]) * last["train_nll"] + config.temperature * weights * last["kl_per_weight"]
    found = {"objective": cost, "kl_per_weight": last["kl_per_weight"], "mean_rho": last["mean_rho"]}
    validation, noise = splits["validation"], generator(config.seed, "predict")
    rankings, fractions = {"snr": signal_to_noise(q)}, (0.0, *FRACTIONS)
    with execute.one_thread():
        logits = predict_pruned(
            model, rankings, validation.images, fractions, samples=SAMPLES, generator=noise, progress=False
        )["snr"]
    found["validation_nll"] = metrics.nll(logits[0], validation.labels)
    found |= {f"error_at_{f:g}": metrics.error(x, validation.labels) for f, x in zip(fractions, logits, strict=True)}
    made = execute.described(config, splits, device="cpu", seconds=time.perf_counter() - started)
    return Convergence(config, made | {"measured": found})


def read() -> dict[str, dict[str, float]]:
    """What was measured of every variant of ``experiments.convergence`` that is stored: {title: {quantity: number}}."""
    stored = {title: find(config, Convergence) for title, config in experiments.convergence().items()}
    return {title: record.content["measured"] for title, record in stored.items() if record is not None}


def judge(measured: Measured) -> dict[str, dict[str, float | bool]]:
    """Per quantity: standard deviation over seeds, both changes from the first seed, and whether both stay below it.

    {quantity: {"deviation", "twice the epochs", "twice the initial σ", "settled"}}; empty where a variant is missing.
    """
    if any(name not in measured for name in experiments.training_seeds() | experiments.doubled()):
        return {}
    verdict = {}
    for quantity in QUANTITIES:
        values = [measured[name][quantity] for name in experiments.training_seeds()]
        changes = {name: measured[name][quantity] - values[0] for name in experiments.doubled()}
        deviation = float(np.std(values, ddof=1))
        settled = all(abs(change) < deviation for change in changes.values())
        verdict[quantity] = {"deviation": deviation, **changes, "settled": settled}
    return verdict


def settled_table(measured: Measured) -> str:
    """What doubling the epochs and the initial sigma changes, against the spread of the seeds, as Markdown."""
    rows = []
    for quantity, found in judge(measured).items():
        title, spec = QUANTITIES[quantity]
        values = [measured[name][quantity] for name in experiments.training_seeds()]
        changes = [f"{found[name]:+{spec}}" for name in experiments.doubled()]
        settled = "yes" if found["settled"] else "no"
        rows.append([title, f"{np.mean(values):{spec}}", f"{found['deviation']:{spec}}", *changes, settled])
    header = ["", "mean of the seeds", "their deviation", *experiments.doubled(), "settled"]
    return tables.markdown(header, rows) if rows else "Not run."


def searched_table(measured: Measured) -> str:
    """The chosen protocol, first seed, and every neighbour that was tried, as Markdown; what is missing is not run."""
    columns = {name: QUANTITIES[name] for name in ("objective", "kl_per_weight", "validation_nll", "error_at_0")}
    tried = experiments.doubled() | experiments.neighbours()
    titles = {next(iter(experiments.training_seeds())): "**the chosen protocol**"} | {name: name for name in tried}
    rows = [
        [
            title,
            *(f"{measured[name][key]:{spec}}" if name in measured else "not run" for key, (_, spec) in columns.items()),
        ]
        for name, title in titles.items()
    ]
    return tables.markdown(["", *(title for title, _ in columns.values())], rows)
