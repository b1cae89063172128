"""Why is the posterior cold? Every candidate cause as a ladder of temperatures, read in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from radio_bnn.paper import curation, experiments, sampling, tables
from radio_bnn.paper.contrasts import Runs, along, compare
from radio_bnn.paper.evidence import measured_nll
from radio_bnn.paper.experiments import OF_CHAINS, UPWARD
from radio_bnn.paper.prose import NOT_RUN
from radio_bnn.paper.readings import Found, guesses
from radio_bnn.runs.records import Run

Ladder = Mapping[float, Runs]

NONE_LEARNS = "none learns"


class Cause(NamedTuple):
    """What a way to the posterior needs, temperatures as (middle, lowest, highest) of the folds, and what T = 1 costs.

    ``star``: the T of lowest validation NLL among those that learn, the geometric mean of the folds. ``warmest``: the
    largest T that learns. Both None where none does. ``lost``: held-out NLL at T = 1 minus that at T*, nats.
    ``guesses``: in how many folds T = 1 guesses. ``change``: what is lost minus what the reference loses on the same
    galaxies, nats, below zero where the candidate needs the cold less. A temperature learns where the training NLL lies
    below 0.95 N ln 2; no control is asked.
    """

    star: tuple[float, float, float] | None
    warmest: tuple[float, float, float] | None
    lost: Found | None
    guesses: int
    change: Found | None = None

    @property
    def no_temperature(self) -> str:
        """What stands in place of a temperature where there is none."""
        return NONE_LEARNS if self.lost else NOT_RUN


def candidates() -> dict[str, dict[str, tuple[Ladder, int]]]:
    """The stored runs of ``experiments.rows``: of each its ladder, and what T is divided by on the axis."""
    joined = curation.likelihoods() | {OF_CHAINS: (sampling.posteriors(sampling.stored()), 1)}
    return {
        group: {title: joined[title] if title in joined else (along(ladder), 1) for title, ladder in those.items()}
        for group, those in experiments.rows().items()
    }


def read(ladder: Ladder, share: int = 1, reference: Ladder | None = None) -> Cause:
    """The temperatures of a ladder, on the folds on which all of them are stored: one that lacks might be the best.

    The axis is T / ``share``. ``reference``: the ladder that ``change`` is against.
    """
    by_fold = _by_fold(ladder)
    best = {k: _best(runs) for k, runs in by_fold.items()}
    warmest = {k: max((t for t, run in runs.items() if not guesses(run)), default=None) for k, runs in by_fold.items()}
    learning = [k for k, t in warmest.items() if t is not None]
    stars, known = ([of[k] / share for k in learning] for of in (best, warmest))
    ends = _ends(by_fold)
    if not ends:
        return Cause(_spread(stars), _spread(known), None, 0)
    pairs = compare(**_columns(ends, hot="hot", best="best"))
    lost = Found(pairs.estimate("nll", hot=1.0, best=-1.0).interval(), pairs.folds)
    change = None if reference is None else _change(ends, _ends(_by_fold(reference)))
    return Cause(_spread(stars), _spread(known), lost, sum(guesses(hot) for hot, _ in ends.values()), change)


def _by_fold(ladder: Ladder) -> dict[int, dict[float, Run]]:
    """{fold: {T: run}} of the folds on which all temperatures are stored."""
    by_fold = enumerate(zip(*ladder.values(), strict=True))
    return {k: dict(zip(ladder, runs, strict=True)) for k, runs in by_fold if None not in runs}


def _ends(by_fold: Mapping[int, Mapping[float, Run]]) -> dict[int, tuple[Run, Run]]:
    """{fold: (its run at T = 1, its run at T*)}; empty without T = 1."""
    return {k: (runs[experiments.WARM], runs[_best(runs)]) for k, runs in by_fold.items() if experiments.WARM in runs}


def _change(ends: Mapping[int, tuple[Run, Run]], others: Mapping[int, tuple[Run, Run]]) -> Found | None:
    both = [k for k in ends if k in others]
    if not both:
        return None
    columns = _columns({k: ends[k] for k in both}, hot="hot", best="best")
    columns |= _columns({k: others[k] for k in both}, hot="plain_hot", best="plain_best")
    pairs = compare(**columns)
    return Found(pairs.estimate("nll", hot=1.0, best=-1.0, plain_hot=-1.0, plain_best=1.0).interval(), pairs.folds)


def _columns(ends: Mapping[int, tuple[Run, Run]], *, hot: str, best: str) -> dict[str, list[Run]]:
    return dict(zip((hot, best), map(list, zip(*ends.values(), strict=True)), strict=True))


def _best(runs: Mapping[float, Run]) -> float:
    """The temperature of lowest validation NLL among those that learn, or among all if none does."""
    chosen = [t for t, run in runs.items() if not guesses(run)] or list(runs)
    return min(chosen, key=lambda t: measured_nll(runs[t]))


def _spread(temperatures: Sequence[float]) -> tuple[float, float, float] | None:
    if not temperatures:
        return None
    return float(np.exp(np.mean(np.log(temperatures)))), min(temperatures), max(temperatures)


def all_read() -> dict[str, dict[str, Cause]]:
    """``read`` of every candidate, {group: {title: cause}}, against the upward path."""
    plain = along(experiments.paths())
    return {
        group: {title: read(*candidate, None if title == UPWARD else plain) for title, candidate in those.items()}
        for group, those in candidates().items()
    }


def spoken(found: Mapping[str, Mapping[str, Cause]]) -> dict[str, str | int]:
    """What ``all_read`` says of the cause, for a sentence: every candidate under one of five names, by its change.

    ``less`` and ``more``: its interval lies below or above zero; ``unclear``: it does not; ``lacking``: none is known.
    ``nowhere``: no temperature learns in any fold, so that T = 1 cannot lose against one that does.
    ``whole``: what the upward path loses at T = 1 on ``whole_folds``. ``least``: of those that learn at T = 1 in every
    fold, ``n_learn`` in number, the one that loses least there.
    """
    causes = {title: cause for those in found.values() for title, cause in those.items()}
    whole = causes.pop(UPWARD).lost
    by_word: dict[str, list[str]] = {"less": [], "more": [], "unclear": [], "nowhere": [], "lacking": []}
    for title, cause in causes.items():
        number = f" ({cause.change.interval:+.3f}, {cause.change.folds} folds)" if cause.change else ""
        by_word[_word(cause)].append(title + number)
    learn = {title: cause.lost for title, cause in causes.items() if cause.lost and not cause.guesses}
    least = min(learn, key=lambda title: learn[title].interval.value, default=None)
    return {
        "whole": f"{whole.interval:+.3f} nats" if whole else NOT_RUN,
        "whole_folds": whole.folds if whole else 0,
        **{word: "; ".join(titles) or "none" for word, titles in by_word.items()},
        "n_learn": len(learn),
        "least": f"{least} ({learn[least].interval:+.3f} nats)" if least else "none",
    }


def _word(cause: Cause) -> str:
    if cause.change is None:
        return "lacking"
    if cause.warmest is None:
        return "nowhere"
    low, high = cause.change.interval[1:]
    return "less" if high < 0 else "more" if low > 0 else "unclear"


def table(found: Mapping[str, Mapping[str, Cause]]) -> str:
    """One row for each candidate, as Markdown; with ``change`` where the upward path is one of them."""
    against = any(UPWARD in those for those in found.values())
    rows = [
        [f"{group}: {title}", *_cells(title, cause, against)]
        for group, those in found.items()
        for title, cause in those.items()
    ]
    columns = ["T*", "largest T that learns", "NLL at T = 1 minus T* [nats]"]
    columns += [f"minus that of {UPWARD}"] if against else []
    return tables.markdown(["candidate", *columns, "T = 1 guesses, folds", "folds"], rows)


def _cells(title: str, cause: Cause, against: bool) -> list[object]:
    folds = cause.lost.folds if cause.lost else 0
    lost, change = (of and tables.unbroken(of.interval, "+.3f") for of in (cause.lost, cause.change))
    guesses = f"{cause.guesses} of {folds}" if cause.lost else NOT_RUN
    change = ["–" if title == UPWARD else change or NOT_RUN] if against else []
    learns = [_said(spread) if spread else cause.no_temperature for spread in (cause.star, cause.warmest)]
    return [*learns, lost or NOT_RUN, *change, guesses, folds]


def _said(spread: tuple[float, float, float]) -> str:
    middle, low, high = spread
    return f"{middle:.2g}" if low == high else f"{middle:.2g} ({low:.2g} to {high:.2g})"
