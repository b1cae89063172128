"""What trainings have reached at each temperature, on which way they came there, and whether they have settled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import contrasts, experiments, tables
from radio_bnn.paper.claims import ADVANTAGE, GUESSES, LEARNS, METASTABLE
from radio_bnn.paper.contrasts import Point, Runs, along, shared
from radio_bnn.paper.evidence import over_guessing, path_dependent, states
from radio_bnn.paper.readings import guessing
from radio_bnn.runs.records import Run

# What a longer training would not change if it had settled: title, how it is read of a run, format.
QUANTITIES = {
    "objective J [nats]": (lambda run: run.content["reached"]["objective"], ".0f"),
    "training NLL [nats]": (lambda run: run.content["reached"]["nll"], ".0f"),
    "KL divergence [nats]": (lambda run: run.content["reached"]["complexity"], ",.0f"),
    "mean log σ": (lambda run: run.content["history"]["mean_rho"][-1], ".3f"),
    "held-out NLL [nats per galaxy]": (lambda run: run.metric("nll").value, ".3f"),
}


def objective_over_guessing(ladder: Mapping[float, Runs]) -> dict[float, Point | None]:
    """J over N ln 2 at each T: below 1 a training costs less than guessing at no cost; mean and range of the folds."""
    found = {}
    for t, runs in ladder.items():
        values = [over_guessing(run, "objective") for run in runs if run is not None]
        found[t] = Point(Interval(float(np.mean(values)), min(values), max(values)), values) if values else None
    return found


def costs(ladders: Mapping[str, Mapping[float, Runs]]) -> dict[str, dict[float, Point | None]]:
    """``objective_over_guessing`` of each of several ladders, {title: {T: point}}."""
    return {title: objective_over_guessing(ladder) for title, ladder in ladders.items()}


def state_table(ladder: Mapping[float, Runs], controls: Mapping[float, Runs]) -> str:
    """At each T: epochs behind, J, the control's J, training and held-out NLL, and the state of the folds, Markdown."""
    found = states(ladder, controls)
    rows = []
    for t, runs in sorted(ladder.items()):
        here = [run for run in runs if run is not None]
        if not here:
            rows.append([f"{t:g}", *["not run"] * 6])
            continue
        control = [run.content["reached"]["objective"] for run in controls.get(t, []) if run is not None]
        rows.append(
            [
                f"{t:g}",
                str((1 + len(here[0].config.path)) * here[0].config.epochs),
                tables.span([run.content["reached"]["objective"] for run in here], ".0f"),
                f"{np.mean(control):.0f}" if control else "not run",
                f"{np.mean([run.content['reached']['nll'] for run in here]):.0f}",
                tables.unbroken(contrasts.point(here, "nll").interval, ".2f"),
                _count(found.get(t, [])),
            ]
        )
    header = ["T", "epochs behind", "J [nats]", "J of the control", "training NLL", "held-out NLL", "folds"]
    return tables.markdown(header, rows)


def fold_table(ladder: Mapping[float, Runs], controls: Mapping[float, Runs]) -> str:
    """Held-out NLL of every fold (rows) at each T (columns), set by what the fold does there, Markdown.

    Plain where it learns, in italics where it is metastable, in brackets where it guesses, with a question mark
    without a control.
    """
    look = {LEARNS: "{}", METASTABLE: "*{}*", GUESSES: "({})", None: "{} ?"}
    cells: dict[int, dict[float, str]] = {}
    for t, fold, run, reached in _trainings(ladder, controls):
        cells.setdefault(fold, {})[t] = look[reached].format(f"{run.metric('nll').value:.2f}")
    temperatures = sorted(ladder)
    rows = [
        [f"{fold}", *(cells.get(fold, {}).get(t, "not run") for t in temperatures)]
        for fold in range(max(map(len, ladder.values())))
    ]
    return tables.markdown(["fold", *(f"T = {t:g}" for t in temperatures)], rows)


def _trainings(
    ladder: Mapping[float, Runs], controls: Mapping[float, Runs]
) -> Iterator[tuple[float, int, Run, str | None]]:
    """(T, fold, run, state) of every stored training; the state is None at a T without any control."""
    found = states(ladder, controls)
    for t in sorted(ladder):
        here = [(fold, run) for fold, run in enumerate(ladder[t]) if run is not None]
        for (fold, run), reached in zip(here, found.get(t, [None] * len(here)), strict=True):
            yield t, fold, run, reached


def borders(ladder: Mapping[float, Runs], controls: Mapping[float, Runs]) -> dict[str, str | None]:
    """In words for a chapter: up to which T every fold learns, from which T every fold guesses, and what is between.

    "warmest", "guessing": temperatures; "metastable", "trainings": numbers of trainings, all told; "kept": the mean
    held-out NLL of the metastable ones. None where there is nothing to say.
    """
    found = list(_trainings(ladder, controls))
    by_t = {t: {reached for at, _, _, reached in found if at == t} for t, *_ in found}
    learn, guess = ([t for t, here in by_t.items() if here == {state}] for state in (LEARNS, GUESSES))
    kept = [run.metric("nll").value for _, _, run, reached in found if reached == METASTABLE]
    return {
        "warmest": f"{max(learn):g}" if learn else None,
        "guessing": f"{min(guess):g}" if guess else None,
        "metastable": f"{len(kept)}",
        "trainings": f"{len(found)}",
        "kept": f"{np.mean(kept):.2f}" if kept else None,
    }


def border_table(ladders: Mapping[str, Mapping[float, Runs]], controls: Mapping[float, Runs], *, first: str) -> str:
    """``borders`` of each of several ladders, one row each, as Markdown."""
    rows = []
    for title, ladder in ladders.items():
        found = borders(ladder, controls)
        if found["trainings"] == "0":
            rows.append([title, *["not run"] * 3, "0"])
            continue
        rows.append([title, *(found[name] or "none" for name in ("warmest", "guessing", "metastable", "trainings"))])
    header = [first, "every fold learns up to T", "every fold guesses from T", "metastable", "trainings"]
    return tables.markdown(header, rows)


def without_advantage(
    cost: Mapping[float, Point | None], control: Mapping[float, Point | None]
) -> list[tuple[float, float]]:
    """The ranges of T in which the mean J is not more than 2 % below that of the control, joined where they touch.

    Between two temperatures that both have, log J is interpolated linearly in log T.
    """
    ranges: list[tuple[float, float]] = []
    for a, b in pairwise(sorted(cost)):
        ends = [_margin(cost[t], control.get(t)) for t in (a, b)]
        if None in ends or max(ends) < 0:
            continue
        crossing = a * (b / a) ** (ends[0] / (ends[0] - ends[1])) if min(ends) < 0 else a
        low, high = (a if ends[0] >= 0 else crossing), (b if ends[1] >= 0 else crossing)
        joined = ranges.pop()[0] if ranges and ranges[-1][1] == low else low
        ranges.append((joined, high))
    return ranges


def _margin(point: Point | None, control: Point | None) -> float | None:
    """log of J over 0.98 times the control's, from 0 upward where learning does not pay."""
    if point is None or control is None:
        return None
    return math.log(point.interval.value / ((1 - ADVANTAGE) * control.interval.value))


def reached_table(groups: Mapping[str, Runs], *, first: str) -> str:
    """J in nats and training NLL over N ln 2 of groups of runs, mean and range of the folds, and how many guess.

    Markdown; a training guesses if its NLL is at least 0.95 N ln 2, see ``claims.state``.
    """
    rows = []
    for title, runs in groups.items():
        here = [run for run in runs if run is not None]
        share = [over_guessing(run) for run in here]
        if not here:
            rows.append([title, *["not run"] * 2, "0"])
            continue
        objective = tables.span([run.content["reached"]["objective"] for run in here], ",.0f")
        rows.append([title, objective, tables.span(share, ".2f"), f"{guessing(here)} of {len(here)}"])
    return tables.markdown([first, "J [nats]", "training NLL / (N ln 2)", "folds that guess"], rows)


def _count(found: Sequence[str]) -> str:
    counts = {name: list(found).count(name) for name in (LEARNS, METASTABLE, GUESSES)}
    return ", ".join(f"{n} {STATES[name]}" for name, n in counts.items() if n) or "no control"


STATES = {LEARNS: "learn", METASTABLE: "metastable", GUESSES: "guess"}


# Directions


def directions_table(ways: Mapping[str, Mapping[float, Runs]]) -> str:
    """J in nats at each T in every direction, mean and range of the folds; a star where upward is not the lowest.

    Markdown; in brackets the number of folds.
    """
    marked = path_dependent(ways)
    rows = []
    for t in sorted(ways[experiments.UPWARD]):
        cells = []
        for title in ways:
            values = [run.content["reached"]["objective"] for run in ways[title][t] if run is not None]
            cells.append(f"{tables.span(values, '.0f')} [{len(values)}]" if values else "not run")
        rows.append([f"{t:g}{' *' if t in marked else ''}", *cells])
    return tables.markdown(["T", *ways], rows)


def settled_table(longer: Runs, plain: Runs) -> str:
    """What three times the epochs change at T = 0.01, against the spread of the folds, as Markdown.

    "settled" is a quantity that changes by less, on average, than its standard deviation over the folds.
    """
    long, short = shared(longer, plain)
    if len(short) < 2:
        return tables.markdown(["", "three times the epochs"], [[title, "not run"] for title in QUANTITIES])
    rows = []
    for title, (read, spec) in QUANTITIES.items():
        a, b = np.array([read(run) for run in short]), np.array([read(run) for run in long])
        settled = "yes" if abs(b.mean() - a.mean()) < a.std(ddof=1) else "no"
        rows.append([title, f"{a.mean():{spec}}", f"{b.mean():{spec}}", f"{a.std(ddof=1):{spec}}", settled])
    header = [
        "",
        f"{short[0].config.epochs} epochs",
        f"{long[0].config.epochs} epochs",
        "deviation of the folds",
        "settled",
    ]
    return tables.markdown(header, rows)


def rounding(runs: Runs, twins: Runs) -> dict[str, str | None]:
    """``runs`` minus their ``twins`` in another precision: held-out error and NLL with intervals, how many folds."""
    found = contrasts.compare(runs=runs, twins=twins)
    error, nll = (found and found.interval(name, runs=1.0, twins=-1.0) for name in ("error_percent", "nll"))
    return {
        "rounding_folds": f"{found.folds if found else 0}",
        "rounding_error": error and f"{error:+.1f} points",
        "rounding_nll": nll and f"{nll:+.3f} nats",
    }


def run_ways(ways: Mapping[str, Mapping[float, Runs]]) -> dict[str, Mapping[float, Runs]]:
    """The directions other than upward of which any run is stored that upward does not share."""
    upward = {run.identity for runs in ways[experiments.UPWARD].values() for run in runs if run}
    own = {
        title: {run.identity for runs in ladder.values() for run in runs if run} - upward
        for title, ladder in ways.items()
    }
    return {title: ladder for title, ladder in ways.items() if own[title]}


def gaussian() -> tuple[dict[float, Runs], dict[float, Runs], dict[str, dict[float, Runs]]]:
    """The stored runs of the Gaussian prior: upward path, controls, and all directions on a few folds."""
    ways = {title: along(ladder) for title, ladder in experiments.directions().items()}
    return along(experiments.paths()), along(experiments.controls()), ways
