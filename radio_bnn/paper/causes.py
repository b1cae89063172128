"""Why is the posterior cold? Every candidate cause as a ladder of temperatures, read in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from radio_bnn.paper import curation, experiments, sampling, tables
from radio_bnn.paper.contrasts import Runs, along, compare
from radio_bnn.paper.evidence import measured_nll
from radio_bnn.paper.prose import NOT_RUN
from radio_bnn.paper.readings import Found, guesses
from radio_bnn.runs.records import Run

Ladder = Mapping[float, Runs]


class Cause(NamedTuple):
    """What a way to the posterior needs, temperatures as (middle, lowest, highest) of the folds, and what T = 1 costs.

    ``star``: the T of lowest validation NLL among those that learn, the geometric mean of the folds. ``warmest``: the
    largest T that learns. ``lost``: held-out NLL at T = 1 minus that at T*, nats. ``guesses``: in how many folds T = 1
    guesses. A temperature learns where the training NLL lies below 0.95 N ln 2; no control is asked.
    """

    star: tuple[float, float, float] | None
    warmest: tuple[float, float, float] | None
    lost: Found | None
    guesses: int


def candidates() -> dict[str, dict[str, tuple[Ladder, int]]]:
    """Every candidate by group and title: its ladder of stored runs, and what T is divided by on the axis."""
    ways = {title: along(ladder) for title, ladder in experiments.directions().items()}
    ways |= {"upward": along(experiments.paths()), "upward, with A1's noise": along(experiments.noisy())}
    of_the_chapters = {experiments.CHAPTERS_OWN, experiments.ON_FEW}
    others = {t: make for t, make in experiments.PROTOCOLS.items() if t not in of_the_chapters}
    ways |= {title: along(make().ladder) for title, make in others.items()}
    ways |= {title: along(experiments.newton().get(title, {})) for title in experiments.NEWTON}
    plain = {
        "how one trains": ways,
        "prior": {title: along(experiments.scales().get(title, {})) for title in experiments.SCALES},
        "family": {"chains": sampling.posteriors(sampling.stored())}
        | {title: along(ladder) for title, ladder in experiments.last_layers().items()},
        "objective": {t: along(ladder) for t, ladder in experiments.objectives().items() if t == "PAC²"},
        "augmentation": {t: along(ladder) for t, ladder in experiments.augmentations().items() if t != "none"},
    }
    found = {group: {t: (ladder, 1) for t, ladder in ladders.items()} for group, ladders in plain.items()}
    return found | {"likelihood": curation.likelihoods()}


def read(ladder: Ladder, share: int = 1) -> Cause:
    """The temperatures of a ladder, without those that were never run, on the folds on which all others are stored.

    The axis is T / ``share``. Nothing is read of a ladder that is to reach T = 1 and was not run there.
    """
    planned = set(ladder)
    ladder = {t: runs for t, runs in ladder.items() if any(run is not None for run in runs)}
    if not ladder or experiments.WARM in planned - set(ladder):
        return Cause(None, None, None, 0)
    folds = [k for k, runs in enumerate(zip(*ladder.values(), strict=True)) if None not in runs]
    by_fold = [{t: runs[k] for t, runs in ladder.items()} for k in folds]
    best = {k: _best(runs) for k, runs in zip(folds, by_fold, strict=True)}
    stars = [t / share for t in best.values()]
    warmest = [max((t for t, run in runs.items() if not guesses(run)), default=None) for runs in by_fold]
    known = [t / share for t in warmest if t is not None]
    hot = ladder.get(experiments.WARM)
    if not folds or hot is None:
        return Cause(_spread(stars), _spread(known), None, 0)
    pairs = compare(hot=[hot[k] for k in folds], best=[ladder[best[k]][k] for k in folds])
    lost = Found(pairs.estimate("nll", hot=1.0, best=-1.0).interval(), pairs.folds)
    return Cause(_spread(stars), _spread(known), lost, sum(guesses(hot[k]) for k in folds))


def _best(runs: Mapping[float, Run]) -> float:
    """The temperature of lowest validation NLL among those that learn, or among all if none does."""
    chosen = [t for t, run in runs.items() if not guesses(run)] or list(runs)
    return min(chosen, key=lambda t: measured_nll(runs[t]))


def _spread(temperatures: Sequence[float]) -> tuple[float, float, float] | None:
    if not temperatures:
        return None
    return float(np.exp(np.mean(np.log(temperatures)))), min(temperatures), max(temperatures)


def all_read() -> dict[str, dict[str, Cause]]:
    """``read`` of every candidate, {group: {title: cause}}."""
    return {
        group: {title: read(*candidate) for title, candidate in those.items()} for group, those in candidates().items()
    }


def table(found: Mapping[str, Mapping[str, Cause]]) -> str:
    """One row for each candidate, as Markdown."""
    rows = []
    for group, those in found.items():
        for title, cause in those.items():
            folds = cause.lost.folds if cause.lost else 0
            lost = tables.unbroken(cause.lost.interval, "+.3f") if cause.lost else NOT_RUN
            guesses = f"{cause.guesses} of {folds}" if cause.lost else NOT_RUN
            rows.append([f"{group}: {title}", _said(cause.star), _said(cause.warmest), lost, guesses, folds])
    columns = ["T*", "largest T that learns", "NLL at T = 1 minus T* [nats]", "T = 1 guesses, folds", "folds"]
    return tables.markdown(["candidate", *columns], rows)


def _said(spread: tuple[float, float, float] | None) -> str:
    if spread is None:
        return NOT_RUN
    middle, low, high = spread
    return f"{middle:.2g}" if low == high else f"{middle:.2g} ({low:.2g} to {high:.2g})"
