"""Chains of stochastic-gradient Hamiltonian Monte Carlo as posteriors, one per fold, and whether to trust them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np

from radio_bnn.config import THERMOMETERS
from radio_bnn.evaluation.chains import effective_sample_size, split_rhat
from radio_bnn.evaluation.predictive import softmax
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.model.layers import Conv2d, Linear
from radio_bnn.model.lenet import LeNet
from radio_bnn.paper import contrasts, experiments, tables
from radio_bnn.paper.contrasts import Runs, compare
from radio_bnn.paper.prose import NOT_RUN, Finding
from radio_bnn.runs.records import SCORED, TEMPERATURES, Run

Chains = list[list[Run | None]]
AGREES = 1.1  # R-hat of a galaxy's probability up to which chains are said to agree on it
COLD, HOT = 0.8, 1.2  # a thermometer over T, outside of which a chain is not in equilibrium


def stored() -> dict[float, Chains]:
    """The stored chains of each fold at each temperature, {T: [[run or None]]}."""
    return {t: [contrasts.stored(chains) for chains in folds] for t, folds in experiments.chains().items()}


def together(chains: Sequence[Run | None]) -> Run | None:
    """One run with the draws of all chains of a fold; None where one is not stored.

    Its config and its history are those of the first chain; what was stored of its scores is left out.
    """
    if not chains or None in chains:
        return None
    arrays = dict(chains[0].arrays)
    for name in SCORED:
        arrays[f"difference_{name}"] = np.concatenate([run.arrays[f"difference_{name}"] for run in chains])
        energies = [run.arrays[f"energy_{name}"].astype(np.float32) for run in chains]
        arrays[f"energy_{name}"] = np.mean(energies, axis=0)
    return replace(chains[0], content=chains[0].content | {"metrics": {}}, arrays=arrays)


def posteriors(found: Mapping[float, Chains]) -> dict[float, list[Run | None]]:
    """``together`` of every fold at each temperature, {T: runs}."""
    return {t: [together(chains) for chains in folds] for t, folds in found.items()}


# Whether to trust them


class Trust(NamedTuple):
    """How well the chains of a fold agree on its test galaxies, and what their thermometers read.

    ``agree``: share of galaxies whose P(FRI) has an R-hat up to AGREES, percent. ``draws``: median effective number of
    draws of P(FRI). ``kinetic`` and ``configurational``: temperature over T, the mean over all weights. ``off``: the
    tensors of weights whose configurational temperature is not within COLD to HOT times T, by chain and cycle, counted.
    """

    agree: float
    draws: float
    kinetic: float
    configurational: float
    off: int
    readings: int


def trust(chains: Sequence[Run]) -> Trust:
    """The diagnostics of the chains of one fold; all of one length."""
    p = np.stack([softmax(run.logits_of("test"))[..., 0] for run in chains])
    rhat, draws = split_rhat(p), effective_sample_size(p)
    sizes = np.array([_sizes()[name] for name in chains[0].content[TEMPERATURES]["kinetic"]])
    share = sizes / sizes.sum()
    read = {t: np.stack([_over_temperature(run, t) for run in chains]) for t in THERMOMETERS}
    mean = {t: float((values.mean(axis=(0, 2)) * share).sum()) for t, values in read.items()}
    off = (read["configurational"] < COLD) | (read["configurational"] > HOT)
    return Trust(
        float(100 * (rhat <= AGREES).mean()), float(np.median(draws)), *mean.values(), int(off.sum()), off.size
    )


def _over_temperature(run: Run, thermometer: str) -> np.ndarray:
    """What a thermometer reads in every tensor and cycle, over T; (L, cycles)."""
    return np.array(list(run.content[TEMPERATURES][thermometer].values())) / run.config.temperature


@cache
def _sizes() -> dict[str, int]:
    """How many weights each tensor of the network has, by name."""
    return {name: p.numel() for name, p in LeNet(Conv2d, Linear).named_parameters()}


def trusted(found: Mapping[float, Chains]) -> dict[float, list[Trust]]:
    """``trust`` of the folds that have all their chains, {T: those of the folds}."""
    return {t: [trust(chains) for chains in folds if chains and None not in chains] for t, folds in found.items()}


def agreeing(folds: Sequence[Trust]) -> str:
    """The share of test galaxies on which the chains agree, percent, mean and range of the folds."""
    return tables.span([fold.agree for fold in folds], ".0f")


def trust_table(found: Mapping[float, Sequence[Trust]]) -> str:
    """The diagnostics at each temperature, mean and range over the folds, as Markdown."""
    rows = []
    for t, known in found.items():
        if not known:
            rows.append([f"{t:g}", *[NOT_RUN] * 5, "0"])
            continue
        spans = {"agree": ".0f", "draws": ".0f", "kinetic": ".2f", "configurational": ".2f"}
        cells = [tables.span([getattr(each, name) for each in known], spec) for name, spec in spans.items()]
        off = f"{sum(each.off for each in known)} of {sum(each.readings for each in known)}"
        rows.append([f"{t:g}", *cells, off, len(known)])
    columns = ["R-hat up to 1.1 [% of galaxies]", "effective draws", "kinetic / T", "configurational / T"]
    return tables.markdown(["T", *columns, "tensors off by a fifth", "folds"], rows)


# What they predict

SCORES = {"NLL [nats]": ("nll", ".3f"), "error [%]": ("error_percent", ".1f")}


def score_table(sampled: Mapping[float, Runs], variational: Mapping[float, Runs]) -> str:
    """NLL and error of the chains and of the variational posterior at each T, and their difference, as Markdown."""
    rows = []
    for t, runs in sampled.items():
        found = compare(chains=runs, q=variational.get(t, []))
        if found is None:
            rows.append([f"{t:g}", *[NOT_RUN] * 6, "0"])
            continue
        cells = []
        for metric, spec in SCORES.values():
            for factors, sign in (({"chains": 1.0}, ""), ({"q": 1.0}, ""), ({"chains": 1.0, "q": -1.0}, "+")):
                cells.append(tables.foldable(found.interval(metric, **factors), sign + spec))
        rows.append([f"{t:g}", *cells, found.folds])
    columns = [f"{title}{who}" for title in SCORES for who in (", chains", ", variational", ", difference")]
    return tables.markdown(["T", *columns, "folds"], rows)


def contrast(sampled: Mapping[float, Runs], at: float, minus: Runs) -> str | None:
    """The held-out NLL of the chains at a temperature minus that of other runs, in words; None if not run."""
    found = compare(chains=sampled.get(at, []), other=minus)
    return found and f"{found.interval('nll', chains=1.0, other=-1.0):+.3f}"


def spoken(sampled: Mapping[float, Runs], variational: Mapping[float, Runs], *, best: float) -> dict[str, object]:
    """What the chains at T = 1 say, in words by name; ``best``: the temperature of the variational posterior's best."""
    hot = experiments.WARM
    found = compare(chains=sampled.get(hot, []), q=variational.get(hot, []))
    if found is None:
        return {"answer": "No chain is stored on all its starts.", "n_hot": 0} | dict.fromkeys(
            ("chains_hot", "vi_hot", "minus_best"), NOT_RUN
        )
    alone = {name: found.interval("nll", **{side: 1.0}) for name, side in (("chains_hot", "chains"), ("vi_hot", "q"))}
    return {name: f"{interval:.3f}" for name, interval in alone.items()} | {
        "answer": f"{_answer(found.interval('nll', chains=1.0, q=-1.0))} {_cooled(sampled, best)}".strip(),
        "n_hot": found.folds,
        "minus_best": contrast(sampled, hot, variational.get(best, [])) or NOT_RUN,
    }


def _answer(difference: Interval) -> str:
    """Chains minus variational posterior at T = 1, in a sentence."""
    if difference.high < 0:
        return "The sampled posterior predicts where the fitted Gaussian, at the same temperature, does not."
    if difference.low > 0:
        return "The sampled posterior predicts worse than the fitted Gaussian at the same temperature."
    return "Sampled and fitted posterior can't be told apart at the same temperature."


def _cooled(sampled: Mapping[float, Runs], best: float) -> str:
    """Whether the chains themselves predict better where they are cooled, in a sentence; empty if not run."""
    found = compare(cold=sampled.get(best, []), hot=sampled.get(experiments.WARM, []))
    if found is None:
        return ""
    change = found.interval("nll", cold=1.0, hot=-1.0)
    said = "helps" if change.high < 0 else "harms" if change.low > 0 else "makes no difference that these folds show"
    return f"Cooling the chains to T = {best:g} {said}: their NLL changes by {change:+.3f} nats."


def finding(said: Mapping[str, object], *, best: float) -> Finding | None:
    """What the first page says of the chains, from what is ``spoken`` of them; None if they were not run."""
    if not said["n_hot"]:
        return None
    return Finding(
        f"**{said['answer'].partition('.')[0]}** ([other posteriors](inference.ipynb), {said['n_hot']} folds). At T = 1"
        f" the held-out NLL of the chains is {said['chains_hot']} nats, that of the variational posterior"
        f" {said['vi_hot']}; minus the variational one at T = {best:g}, its best, it is {said['minus_best']} nats."
        f"{said['answer'].partition('.')[2]}"
    )
