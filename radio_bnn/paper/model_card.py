"""The tables of the model card, made of what the posteriors that come with the package say of themselves.

``python -m radio_bnn.paper.model_card`` writes them into the book; ``radio_bnn.paper.bundle`` does it too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from radio_bnn.evaluation.reliability import reliability
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.files import CHECKOUT, replacing
from radio_bnn.inference.prune import fully_connected, kept
from radio_bnn.paper.tables import markdown, unbroken
from radio_bnn.sky import posteriors
from radio_bnn.sky.posteriors import VIEWS, Ensemble

SCORES = {
    "error_percent": ("error [%]", ".1f"),
    "nll": ("NLL [nats]", ".3f"),
    "brier": ("Brier score", ".3f"),
    "ece_percent": ("ECE [%]", ".1f"),
    "uce_percent": ("UCE [%]", ".1f"),
}
BINS = 6


def main() -> int:
    """Write the tables of the committed posteriors and name the files."""
    for path in write(CHECKOUT / "book"):
        print(path)
    return 0


def write(book: Path, file: Path = posteriors.FILE) -> list[Path]:
    """Write every one of TABLES below ``book``, atomically, and return the paths."""
    ensemble, paths = posteriors.read(file), []
    for name, made in TABLES.items():
        paths.append(book / "_generated" / f"model_card_{name}.md")
        with replacing(paths[-1]) as partial:
            partial.write_text(made(ensemble) + "\n")
    return paths


def what(ensemble: Ensemble) -> str:
    """What the networks are and where they come from."""
    facts, source = ensemble.facts["what"], ensemble.facts["provenance"]
    total = sum(_kept(ensemble, k)[1] for k in range(len(ensemble.networks)))
    left = sum(_kept(ensemble, k)[0] for k in range(len(ensemble.networks)))
    rows = [
        ["networks", f"{len(ensemble.networks)}, one for each fold"],
        ["draws of each", f"{ensemble.draws}"],
        ["method", f"{facts['method']}, objective {facts['objective']}, {facts['epochs']} epochs"],
        ["prior", facts["prior"]],
        ["temperature", f"{facts['temperature']:g}"],
        ["reached through temperatures", ", ".join(f"{t:g}" for t in facts["path"]) or "none, trained there"],
        ["precision of the training", facts["precision"]],
        ["fully-connected weights left", f"{left:,} of {total:,}, {100 * left / total:.1f} %"],
        ["sha256 of the file", f"`{ensemble.sha256}`"],
        ["sha256 of the data", f"`{source['data_sha256']}`"],
        ["made at commit", f"`{source['commit']}`"],
        ["of the runs", ", ".join(f"`{record['run']}`" for record in source["records"])],
    ]
    return markdown(["", "value"], rows)


def scores(ensemble: Ensemble) -> str:
    """Scores of the single networks on held-out galaxies, as they are and over the orbit, with 95 % intervals."""
    titles = {"upright": "the image", "orbit": "its eight views"}
    rows = []
    for view in VIEWS:
        found = ensemble.facts["held_out"]["scores"][view]
        rows.append([titles[view], *(unbroken(Interval(**found[k]), spec) for k, (_, spec) in SCORES.items())])
    return markdown(["prediction from", *(title for title, _ in SCORES.values())], rows)


def calibration(ensemble: Ensemble) -> str:
    """How often held-out galaxies are FRII, in bins of equal numbers by the probability that their network gives."""
    logits = np.concatenate([network.logits("upright") for network in ensemble.networks], axis=1)
    labels = np.concatenate([network.labels for network in ensemble.networks]).astype(int)
    found = reliability(logits, labels, bins=BINS, strategy="quantile")
    rows = [
        [f"{p:.3f}", f"{share:.3f}", f"{low:.3f} to {high:.3f}", f"{n:.0f}"]
        for p, share, low, high, n in zip(*found, strict=True)
    ]
    return markdown(["mean P(FRII)", "share of FRII", "if calibrated", "galaxies"], rows)


def compact(ensemble: Ensemble) -> str:
    """What the compact form changes, by fold, beside what new draws change."""
    rows = []
    for fold, facts in zip(ensemble.facts["what"]["folds"], ensemble.facts["compression"], strict=True):
        pairs = [facts[what][k] for k in ("median", "q95") for what in ("change_by_pruning", "change_by_draws")]
        nll = [f"{value:.3f}" for value in facts["nll_by_draws"].values()]
        rows.append([fold, f"{100 * facts['fraction']:g}", *(f"{x:.2g}" for x in pairs), *nll])
    few, many = ensemble.facts["compression"][0]["nll_by_draws"]
    titles = ["median, pruning", "median, draws", "95 % quantile, pruning", "95 % quantile, draws"]
    return markdown(["fold", "pruned [%]", *titles, f"NLL, {few} draws", f"NLL, {many} draws"], rows)


def draws(ensemble: Ensemble) -> str:
    """How far few draws of each network are from many."""
    facts = ensemble.facts["draws"]
    row = [facts["few"], facts["many"], facts["galaxies"], *(f"{facts['change'][k]:.2g}" for k in ("median", "q95"))]
    return markdown(["draws of each", "against", "galaxies", "median change of P", "95 % quantile"], [row])


def beyond(ensemble: Ensemble) -> str:
    """What the ensemble says of galaxies that no network was trained on."""
    rows = []
    for name, facts in ensemble.facts["never_trained_on"].items():
        known = [f"{facts[k]:.0f}" if k in facts else "–" for k in ("error_percent", "covered_percent")]
        shares = [f"{value:.0f}" for value in facts["label_percent"].values()]
        rows.append([name, facts["galaxies"], *shares, *known, f"{facts['unlike_training_percent']:.0f}"])
    labels = next(iter(ensemble.facts["never_trained_on"].values()))["label_percent"]
    titles = [f"{label} [%]" for label in labels]
    return markdown(["", "galaxies", *titles, "error [%]", "class in label [%]", "`unlike_training` [%]"], rows)


def _kept(ensemble: Ensemble, k: int) -> Sequence[int]:
    """How many fully-connected weights a network keeps, and of how many."""
    q = ensemble.networks[k].posterior
    masks = [kept(q[name]) for name in fully_connected(q)]
    return sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)


TABLES: dict[str, Callable[[Ensemble], str]] = {
    made.__name__: made for made in (what, scores, calibration, compact, draws, beyond)
}
"""The tables by name."""

if __name__ == "__main__":
    sys.exit(main())
