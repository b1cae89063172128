"""Readings: numbers read of a group of runs, alone or minus another group on the same galaxies of the same folds.

Groups of runs have one run for each fold, in the order of the folds, or None where it is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from radio_bnn.evaluation import crossval
from radio_bnn.evaluation.conformal import conformal_sets
from radio_bnn.evaluation.crossval import Estimate, Excess
from radio_bnn.evaluation.metrics import METRICS, central_uce
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import tables
from radio_bnn.paper.claims import COLLAPSED
from radio_bnn.paper.contrasts import DOUBTED, TRUSTED, Runs, compare, shared, side, test_share
from radio_bnn.paper.evidence import PROMISED, calibrating, doubt, over_guessing
from radio_bnn.runs.records import Run


class Found(NamedTuple):
    """A number with its interval, and the number of folds that it stands on."""

    interval: Interval
    folds: int


class Reading(NamedTuple):
    """What is read of runs: its title, the units of the number and of a difference, a format; is more better?"""

    title: str
    units: tuple[str, str]
    format: str
    of: Callable[[Sequence[Run]], Estimate]
    more_is_better: bool = False


Row = Mapping[str, Found | None]


class Panel(NamedTuple):
    """One panel of a figure of differences: its label, the better side, and {row: {series: found}}."""

    label: str
    better: str
    rows: dict[str, dict[str, Found | None]]


def _held_out(statistic: Any) -> Callable[[Sequence[Run]], Estimate]:
    """A statistic of the confident galaxies of all folds, each judged by the network that did not train on it."""
    return lambda runs: compare(runs=runs).estimate(statistic, runs=1.0)


def doubted_nll(runs: Sequence[Run]) -> Estimate:
    """The NLL of the uncertain galaxies, which all networks score, the mean of the networks; nats per galaxy."""
    found = side(runs, DOUBTED)
    of = METRICS["nll"].checked_columns
    values = [of(x, y)[0] for x, y in zip(found.logits, found.labels, strict=True)]
    every = [np.ones(len(v), bool) for v in values]
    return crossval.averaged(values, every, found.places, test_share=test_share(runs))


def hybrid_doubt(runs: Sequence[Run]) -> Estimate:
    """The AUROC of the entropy for hybrids against confident test galaxies, the mean of the networks."""
    return doubt(runs, "predictive_entropy", doubted="hybrid")


def set_size(runs: Sequence[Run]) -> Estimate:
    """How many classes the conformal set of a test galaxy holds that promises 90 %, the mean; 0..2.

    Calibrated on the half of the fold's validation galaxies that calibrates.
    """
    held = side(runs, TRUSTED)
    sets = [conformal_sets(calibrating(run), x, alpha=1 - PROMISED) for run, x in zip(runs, held.logits, strict=True)]
    sizes = [each.sum(axis=1).astype(float) for each in sets]
    every = [np.ones(len(size), bool) for size in sizes]
    return crossval.averaged(sizes, every, held.places, test_share=test_share(runs))


# As in the 2024 paper: of the 64 % most central samples of every galaxy.
CENTRAL_UCE = central_uce()
PERCENT, NATS, NONE, POINTS = ("%", "points"), ("nats", "nats"), ("", ""), ("points", "points")
READINGS = {
    "error": Reading("error", PERCENT, ".1f", _held_out("error_percent")),
    "one_sample": Reading("single-sample error", PERCENT, ".1f", _held_out("single_sample_error_percent")),
    "nll": Reading("NLL", NATS, ".3f", _held_out("nll")),
    "brier": Reading("Brier score", NONE, ".3f", _held_out("brier")),
    "uce": Reading("UCE", PERCENT, ".1f", _held_out("uce_percent")),
    "central_uce": Reading("UCE of central samples", PERCENT, ".1f", _held_out(CENTRAL_UCE)),
    "excess": Reading("UCE above its null", POINTS, "+.1f", _held_out(Excess(METRICS["uce_percent"]))),
    "fri": Reading("FRI", POINTS, "+.1f", _held_out(Excess(METRICS["uce_fri_percent"]))),
    "frii": Reading("FRII", POINTS, "+.1f", _held_out(Excess(METRICS["uce_frii_percent"]))),
    "class_excess": Reading("cUCE above its null", POINTS, "+.1f", _held_out(Excess(METRICS["classwise_uce_percent"]))),
    "auroc": Reading(
        "AUROC, uncertain galaxies", NONE, ".2f", lambda runs: doubt(runs, "predictive_entropy"), more_is_better=True
    ),
    "hybrid_auroc": Reading("AUROC, hybrids", NONE, ".2f", hybrid_doubt, more_is_better=True),
    "set_size": Reading("classes in a conformal set", NONE, ".2f", set_size),
    "doubted_nll": Reading("NLL, uncertain galaxies", NATS, ".2f", doubted_nll),
}
"""Every reading by name."""


def read(name: str, runs: Runs) -> Found | None:
    """The reading of the runs that are stored; None without any. Raises KeyError for an unknown name."""
    [found] = shared(runs)
    return Found(READINGS[name].of(found).interval(), len(found)) if found else None


def differ(name: str, runs: Runs, base: Runs) -> Found | None:
    """The reading of ``runs`` minus that of ``base``, paired, on the folds that both have; None without any.

    Of errors it is the score interval where that is wider, see ``contrasts.Comparison.interval``.
    """
    a, b = shared(runs, base)
    if not a:
        return None
    pair = compare(runs=a, base=b)
    if name == "error":
        return Found(pair.interval("error_percent", runs=1.0, base=-1.0), len(a))
    of = READINGS[name].of
    return Found(crossval.difference(of(a), of(b)).interval(), len(a))


def alone(groups: Mapping[str, Runs], names: Iterable[str]) -> dict[str, Row]:
    """Readings of each group, {row: {name: found}}."""
    names = list(names)
    return {title: {name: read(name, runs) for name in names} for title, runs in groups.items()}


def minus(pairs: Mapping[str, tuple[Runs, Runs]], names: Iterable[str]) -> dict[str, Row]:
    """Readings of the first group of each pair minus those of the second, {row: {name: found}}."""
    names = list(names)
    return {title: {name: differ(name, *pair) for name in names} for title, pair in pairs.items()}


def table(rows: Mapping[str, Row], *, first: str, differences: bool = False) -> str:
    """``alone`` or ``minus`` with the number of folds behind each row, as Markdown."""
    names = list(next(iter(rows.values())))
    body = []
    for title, row in rows.items():
        cells = [_cell(row[name], signed(name) if differences else READINGS[name].format) for name in names]
        body.append([title, *cells, str(next((f.folds for f in row.values() if f), 0))])
    return tables.markdown([first, *(label(name, difference=differences) for name in names), "folds"], body)


def label(name: str, *, difference: bool = False) -> str:
    """The title of a reading with its unit in brackets."""
    reading = READINGS[name]
    unit = reading.units[difference]
    return f"{reading.title} [{unit}]" if unit else reading.title


def signed(name: str) -> str:
    """The format of a difference: with its sign."""
    return f"+{READINGS[name].format.removeprefix('+')}"


def _cell(found: Found | None, spec: str) -> str:
    return "not run" if found is None else tables.foldable(found.interval, spec)


def spoken(row: Row, names: Iterable[str]) -> str:
    """Differences in words, such as "error +1.2 [+0.1, +2.3] points, NLL ..."; "not run" without any."""
    said = []
    for name in names:
        if row[name] is None:
            return "not run"
        unit = READINGS[name].units[1]
        said.append(f"{READINGS[name].title} {row[name].interval:{signed(name)}} {unit}".strip())
    return ", ".join(said)


def panels(rows: Mapping[str, Row], kinds: Mapping[str, str] | None = None) -> list[Panel]:
    """``minus`` for figures, a panel for each reading; ``kinds`` says which series a row belongs to."""
    kinds = kinds or {}
    return [
        Panel(
            label(name, difference=True),
            "right" if READINGS[name].more_is_better else "left",
            {title: {kinds.get(title, ""): row[name]} for title, row in rows.items()},
        )
        for name in next(iter(rows.values()))
    ]


def marked(title: str, runs: Runs) -> str:
    """The title of a group of runs, with how many of them guess, where any does."""
    n = guessing(runs)
    return f"{title} ({n} of {len(shared(runs)[0])} guess)" if n else title


def guessing(runs: Runs) -> int:
    """How many of the stored trainings guess: their NLL is at least 0.95 N ln 2 on the N galaxies they train on."""
    return sum(guesses(run) for run in runs if run is not None)


def guesses(run: Run) -> bool:
    """Whether a training guesses, see ``guessing``."""
    return over_guessing(run) >= COLLAPSED
