"""How the next edition trains: the learning rates with the lowest objective, whatever they score.

Judged on the training galaxies of fold 0 alone, 100 epochs at every temperature for every candidate: the lowest sum
over the temperatures of log J, J being the negative ELBO evaluated afresh. One rule for every prior.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from radio_bnn.inference.resolve import resolve
from radio_bnn.inference.vi import whole_objective
from radio_bnn.paper import experiments, tables
from radio_bnn.runs import execute
from radio_bnn.runs.records import Posterior, Record, expect_names, find
from radio_bnn.seeds import generator

DRAWS = 20
QUANTITIES = ("objective", "nll", "kl")


class Objective(Record):
    """What a training reached on its training galaxies: ``content["measured"]``, {quantity: nats}."""

    kind = "objective"

    def check(self) -> None:
        """Raise ValueError or KeyError unless every quantity is there and positive."""
        expect_names(self.content["measured"], QUANTITIES)
        if not all(0 < value < math.inf for value in self.content["measured"].values()):
            raise ValueError(f"what it measured is not positive: {self.content['measured']}")


def measure(posterior: Posterior) -> Objective:
    """The objective J = NLL + T KL of a posterior on its training galaxies, in nats, on one thread."""
    config, started = posterior.config, time.perf_counter()
    splits = execute.load_data(config)
    train, noise = splits["train"], generator(config.seed, "objective")
    with execute.one_thread():
        terms = whole_objective(
            resolve(config), execute.network(posterior), train.images, train.labels, draws=DRAWS, generator=noise
        )
    made = execute.described(config, splits, device="cpu", seconds=time.perf_counter() - started)
    return Objective(config, made | {"measured": dict(zip(QUANTITIES, map(float, terms), strict=True))})


def measured(prior: str) -> dict[str, list[float] | None]:
    """J of every stage of every candidate for ``prior``, in nats: {title: [J]}; None where a stage is not stored."""
    found = {title: [find(c, Objective) for c in stages] for title, stages in experiments.candidates(prior).items()}
    return {
        title: None if None in stages else [record.content["measured"]["objective"] for record in stages]
        for title, stages in found.items()
    }


def chosen(found: Mapping[str, Sequence[float] | None]) -> str | None:
    """The title with the lowest sum over the temperatures of log J; None unless every candidate is stored."""
    if None in found.values():
        return None
    return min(found, key=lambda title: sum(map(math.log, found[title])))


def reached(prior: str) -> dict[float, float]:
    """J by temperature of the candidate that is chosen for ``prior``, {T: nats}; empty before it is."""
    found = measured(prior)
    if (title := chosen(found)) is None:
        return {}
    return {c.temperature: j for c, j in zip(experiments.candidates(prior)[title], found[title], strict=True)}


def table(prior: str) -> str:
    """J by temperature of every candidate for ``prior``, with the sum that decides, as Markdown."""
    groups, found = experiments.candidates(prior), measured(prior)
    header = ["rates of means, \u03c1", *(f"T = {c.temperature:g}" for c in next(iter(groups.values())))]
    rows, best = [], chosen(found)
    for title, values in found.items():
        shown = ["not run"] * len(header[1:]) if values is None else [f"{value:.0f}" for value in values]
        total = "not run" if values is None else f"{sum(map(math.log, values)):.2f}"
        rows.append([f"**{title}**" if title == best else title, *shown, total])
    return tables.markdown([*header, "sum of log J"], rows)
