"""How the next edition trains: the learning rates with the lowest objective, whatever they score.

Judged on the training galaxies of fold 0 alone, 100 epochs at every temperature for every candidate: the lowest sum
over the temperatures of log J, J being the negative ELBO evaluated afresh, or for the mode of the posterior
-log p(D | w) - T log p(w). One rule for every prior and method.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from radio_bnn.config import Config
from radio_bnn.inference.reached import whole_objective
from radio_bnn.inference.resolve import resolve
from radio_bnn.paper import experiments, tables
from radio_bnn.runs import execute
from radio_bnn.runs.records import Diverged, Posterior, Record, expect_names, find
from radio_bnn.seeds import generator

QUANTITIES = ("objective", "nll", "kl")


class Objective(Record):
    """What a training reached on its training galaxies: ``content["measured"]``, {quantity: nats}."""

    kind = "objective"

    def check(self) -> None:
        """Raise ValueError or KeyError unless every quantity is there and positive."""
        expect_names(self.content["measured"], QUANTITIES)
        if not all(math.isfinite(value) for value in self.content["measured"].values()):
            raise ValueError(f"what it measured is not finite: {self.content['measured']}")


def measure(posterior: Posterior) -> Objective:
    """The objective J = NLL + T KL of a posterior on its training galaxies, in nats, on one thread."""
    config, started = posterior.config, time.perf_counter()
    splits = execute.load_data(config)
    train, noise = splits["train"], generator(config.seed, "objective")
    with execute.one_thread():
        terms = whole_objective(
            resolve(config), execute.network(posterior), train.images, train.labels, generator=noise
        )
    made = execute.described(config, splits, device="cpu", seconds=time.perf_counter() - started)
    return Objective(config, made | {"measured": dict(zip(QUANTITIES, map(float, terms), strict=True))})


def measured(title: str) -> dict[str, list[float] | None]:
    """J of every stage of every candidate for ``title``, in nats: {title: [J]}.

    None where a stage is not stored, infinity where the training of a stage diverged.
    """
    return {name: _objectives(stages) for name, stages in experiments.candidates(title).items()}


def _objectives(stages: Sequence[Config]) -> list[float] | None:
    if any(find(config, Diverged) for config in stages):
        return [math.inf] * len(stages)
    found = [find(config, Objective) for config in stages]
    return None if None in found else [record.content["measured"]["objective"] for record in found]


def chosen(found: Mapping[str, Sequence[float] | None]) -> str | None:
    """The rates with the lowest ``total``; None unless every candidate is stored, and where all diverge."""
    if None in found.values():
        return None
    best = min(found, key=lambda name: total(found[name]))
    return best if math.isfinite(total(found[best])) else None


def total(values: Sequence[float]) -> float:
    """What decides: the sum over the temperatures of log J; of a single one J itself, which may be negative; nats."""
    return values[0] if len(values) == 1 else sum(map(math.log, values))


def reached(title: str) -> dict[float, float]:
    """J by temperature of the candidate that is chosen for ``title``, {T: nats}; empty before it is."""
    found = measured(title)
    if (best := chosen(found)) is None:
        return {}
    return {c.temperature: j for c, j in zip(experiments.candidates(title)[best], found[best], strict=True)}


def table(title: str) -> str:
    """J at the coldest and the warmest T of every candidate for ``title``, with the sum that decides, as Markdown."""
    groups, found = experiments.candidates(title), measured(title)
    stages = next(iter(groups.values()))
    ends = sorted({0, len(stages) - 1})
    rows, best = [], chosen(found)
    for name, values in found.items():
        shown = ["not run" if values is None else _said(values[k], ".0f") for k in ends]
        decides = "not run" if values is None else _said(total(values), ".2f")
        rows.append([f"**{name}**" if name == best else name, *shown, decides])
    header = ["rates of means and log σ", *(f"J at T = {stages[k].temperature:g}" for k in ends), "sum of log J"]
    return tables.markdown(header, rows)


def _said(value: float, spec: str) -> str:
    return f"{value:{spec}}" if math.isfinite(value) else "diverges"


def chosen_table() -> str:
    """For every title of ``experiments.CHOSEN_FOR`` the rates of lowest objective, and J at T = 0.01, as Markdown."""
    rows = []
    for title in experiments.CHOSEN_FOR:
        found = measured(title)
        best = chosen(found)
        rows.append(
            [title.replace("_", " "), best or "not run", "not run" if best is None else f"{found[best][0]:.0f}"]
        )
    return tables.markdown(["training", "rates of means, ρ", "J at T = 0.01"], rows)
