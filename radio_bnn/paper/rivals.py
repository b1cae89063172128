"""Every inference method on the same folds: what it predicts, how it doubts, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from radio_bnn.paper import contrasts, experiments, readings, sampling, shifted, tables
from radio_bnn.paper.contrasts import Runs
from radio_bnn.paper.experiments import VARIATIONAL
from radio_bnn.paper.prose import NOT_RUN
from radio_bnn.paper.readings import Found, Row
from radio_bnn.runs import outstanding
from radio_bnn.runs.records import Run

SCORES = ("error", "nll", "brier", "excess")
DOUBTS = ("auroc", "hybrid_auroc", "set_size")
NAMES = (*SCORES, *DOUBTS)
"""What is read of every method, see ``readings.READINGS``."""
# Titles here, by those of the table of the 2024 paper.
PRINTED_AS = {
    VARIATIONAL: "variational inference",
    "last layer, diagonal Laplace": "last-layer Laplace",
    "dropout": "dropout",
    "deep ensemble": "ensembles",
    "maximum a posteriori": "maximum a posteriori",
}


class Cost(NamedTuple):
    """What it takes to train all that predicts together, and to predict a galaxy; None: not run.

    ``passes`` of the training galaxies through a network, seconds of one core on whatever machine, milliseconds.
    """

    passes: int | None
    train: float | None
    predict: float | None


def titles() -> list[str]:
    """Every method, whether or not it can be planned yet."""
    planned = list(experiments.rivals([0]))
    return planned + [title for title in experiments.NEWTON if title not in planned]


def _members(folds: int) -> dict[str, list[list[Run | None]]]:
    plan = experiments.rivals(range(folds))
    return {title: [contrasts.stored(group) for group in plan.get(title, [[]] * folds)] for title in titles()}


def stored(folds: int) -> dict[str, Runs]:
    """The runs of every method on the first folds, those that predict together as one run, {title: runs}."""
    return {title: [sampling.together(members) for members in groups] for title, groups in _members(folds).items()}


def costs(folds: int) -> dict[str, Cost]:
    """What every method costs, the mean of the folds that are stored; predictions as their records under shift say."""
    seen = shifted.stored(folds)
    found = {}
    for title, groups in _members(folds).items():
        whole = [runs for runs in groups if runs and None not in runs]
        passes = next((sum(stages(run) * outstanding.passes(run.config) for run in runs) for runs in whole), None)
        train = [sum(map(trained_seconds, runs)) for runs in whole]
        predict = [1e3 * record.content["seconds"] for record in seen.get(title, []) if record is not None]
        found[title] = Cost(passes, *(float(np.mean(values)) if values else None for values in (train, predict)))
    return found


def trained_seconds(run: Run) -> float:
    """Seconds from the start of a path to the end of this run, every stage counted as long as the last."""
    return run.content["provenance"]["wall_seconds"] * stages(run)


def stages(run: Run) -> int:
    """How many trainings, one after the other, a run is the last of."""
    return 1 + len(run.config.path)


def table(
    found: Mapping[str, Row], minus: Mapping[str, Row], names: Sequence[str], spent: Mapping[str, Cost] | None = None
) -> str:
    """Some readings of every method, below each what it is minus that of the variational one, as Markdown.

    In brackets the number of folds. ``found`` is ``readings.alone``, ``minus`` what ``against`` returns; with the costs
    where they are given.
    """
    rows = []
    for title, row in found.items():
        cells = ["<br>".join(_lines(row[name], minus.get(title, {}).get(name), name)) for name in names]
        if spent is not None:
            cells += [NOT_RUN if value is None else f"{value:,.0f}" for value in spent[title]]
        rows.append([f"{title} ({next((of.folds for of in row.values() if of), 0)})", *cells])
    columns = [readings.label(name) for name in names]
    if spent is not None:
        columns += ["training [passes]", "training [s]", "prediction [ms]"]
    return tables.markdown(["", *columns], rows)


def _lines(alone: Found | None, minus: Found | None, name: str) -> list[str]:
    """A reading, and in italics its difference where there is one."""
    if alone is None:
        return [NOT_RUN]
    lines = [tables.foldable(alone.interval, readings.READINGS[name].format)]
    return lines + ([] if minus is None else [f"*{tables.foldable(minus.interval, readings.signed(name))}*"])


def against(runs: Mapping[str, Runs], base: str = VARIATIONAL, names: Sequence[str] = NAMES) -> dict[str, Row]:
    """``readings.minus`` of every other method and ``base``."""
    return readings.minus({title: (group, runs[base]) for title, group in runs.items() if title != base}, names)


def as_printed(runs: Mapping[str, Runs]) -> dict[str, Row]:
    """Error and UCE of central samples of the methods that the 2024 paper has, by its names for them."""
    return readings.alone({name: runs[title] for title, name in PRINTED_AS.items()}, ["error", "central_uce"])


def spoken(minus: Mapping[str, Row], name: str = "nll") -> dict[str, str]:
    """In words: how many methods are stored beside the variational one, and which have a lower reading than it.

    {"n_rivals", "better", "worse"}: those whose whole interval lies below 0, and above.
    """
    here = {title: row[name].interval for title, row in minus.items() if row[name] is not None}
    better = [f"{title} ({i:{readings.signed(name)}})" for title, i in here.items() if i.high < 0]
    worse = [f"{title} ({i:{readings.signed(name)}})" for title, i in here.items() if i.low > 0]
    said = {"better": "; ".join(better) or "none", "worse": "; ".join(worse) or "none"}
    return {"n_rivals": f"{len(here)} of {len(minus)}", **said}
