"""Labellers who must agree: MiraBest under likelihoods that know of them, and simulated galaxies that are curated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from radio_bnn.data.galaxies import Galaxies
from radio_bnn.paper import contrasts, experiments, tables
from radio_bnn.paper.contrasts import Point, Runs, along
from radio_bnn.paper.evidence import agreed
from radio_bnn.paper.prose import NOT_RUN

if TYPE_CHECKING:
    from radio_bnn.paper.causes import Cause

Ladders = Mapping[str, tuple[Mapping[float, Runs], int]]
PLAIN = "plain likelihood"
SIMULATED_CURED = "ten, curation likelihood"  # of experiments.WORLDS


def likelihoods(*, by_all: bool = True) -> dict[str, tuple[dict[float, Runs], int]]:
    """MiraBest under every likelihood but the plain one: its ladder of stored runs, and what T is divided by.

    ``by_all``: the curated ones as they predict what all labellers agree on, else what one of them says.
    """
    curated = {}
    for s, ladder in experiments.curated().items():
        as_seen = {t: [run and agreed(run, s if by_all else 1) for run in runs] for t, runs in along(ladder).items()}
        curated[f"{s} labellers"] = as_seen, s
    return curated | {title: (along(ladder), 1) for title, ladder in experiments.unsure().items()}


def plain(folds: Sequence[int] = experiments.FEW) -> dict[str, tuple[dict[float, Runs], int]]:
    """MiraBest under the plain likelihood on the same folds, as ``likelihoods`` has the others."""
    return {PLAIN: (along(experiments.paths(folds, temperatures=experiments.LADDER)), 1)}


def worlds() -> dict[str, tuple[dict[float, Runs], int]]:
    """Simulated galaxies under each of ``experiments.WORLDS``; where ten must agree and the network knows, as they do.

    Not MiraBest. T is as it is, divided by nothing.
    """
    found = {title: along(ladder) for title, ladder in experiments.controlled().items()}
    labellers = experiments.WORLDS[SIMULATED_CURED]["labellers"]
    known = {t: [run and agreed(run, labellers) for run in runs] for t, runs in found[SIMULATED_CURED].items()}
    return {title: (ladder, 1) for title, ladder in (found | {SIMULATED_CURED: known}).items()}


def curves(ladders: Ladders, name: str = "nll") -> dict[str, dict[float, Point | None]]:
    """``contrasts.curve`` of each ladder over T divided by its number of labellers, {title: {T / S: point}}."""
    return {
        title: contrasts.curve({round(t / share, 9): runs for t, runs in ladder.items()}, name)
        for title, (ladder, share) in ladders.items()
    }


def spoken(found: Mapping[str, Cause], name: str) -> dict[str, str]:
    """What T = 1 loses against the best T of each ladder, in words, {"<name>_1": "+0.3 [...] nats", ...}."""
    lost = [f"{cause.lost.interval:+.3f} nats" if cause.lost else NOT_RUN for cause in found.values()]
    return {f"{name}_{k}": said for k, said in enumerate(lost, start=1)}


def kept_table(drawn: Mapping[int, Galaxies]) -> str:
    """What agreement selects among simulated galaxies {S: galaxies}, as Markdown.

    The share on which all S agree, and how probable the label was, given the latent ratio, among all and among those.
    """
    rows = []
    for s, galaxies in drawn.items():
        p = np.where(galaxies.labels == 0, galaxies.p_fri, 1 - galaxies.p_fri)
        kept = galaxies.confident
        rows.append([s, f"{100 * kept.mean():.0f}", f"{p.mean():.3f}", f"{p[kept].mean():.3f}"])
    columns = ["kept [%]", "mean P(label), all", "mean P(label), kept"]
    return tables.markdown(["labellers", *columns], rows)
