"""Somebody's own galaxies: simulated ones as FITS cutouts, classified by the command, and what to make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radio_bnn.data import shifts, simulate
from radio_bnn.data.galaxies import PIXEL_ARCSEC
from radio_bnn.evaluation.resampling import exact_interval
from radio_bnn.paper import tables

if TYPE_CHECKING:
    from astropy.table import QTable

GALAXIES = {"FRI": 100, "FRII": 200, "hybrid": 300}
"""Kinds of simulated galaxies with their class codes in MiraBest."""
FIELDS = {"point source": shifts.draw_point, "empty field": shifts.draw_empty}
"""What is no radio galaxy of either class, drawn from a generator, (300, 300) in mJy/beam."""
KINDS = (*GALAXIES, *FIELDS)
LABELS = ("FRI", "FRII", "ask", "none")


def write_cutouts(folder: Path, n: int, *, seed: int = 0) -> list[Path]:
    """``n`` simulated FITS cutouts of each of KINDS in ``folder``, and one that is half missing; their paths.

    300 x 300 pixels of 1.8" in Jy/beam, as FIRST's server sends them, on a tangent plane.
    """
    paths = []
    for kind in KINDS:
        for k in range(n):
            raw = _draw(kind, np.random.default_rng([seed, KINDS.index(kind), k]), seed + k)
            paths.append(folder / f"{kind.replace(' ', '_')}_{k:02d}.fits")
            write_cutout(raw, paths[-1])
    raw = simulate.draw_cutout(GALAXIES["FRI"], seed=seed).copy()
    raw[:, : raw.shape[1] // 2] = np.nan
    paths.append(folder / "half_missing_00.fits")
    write_cutout(raw, paths[-1])
    return paths


def _draw(kind: str, rng: np.random.Generator, seed: int) -> np.ndarray:
    return simulate.draw_cutout(GALAXIES[kind], seed=seed) if kind in GALAXIES else FIELDS[kind](rng)


def write_cutout(raw: np.ndarray, path: Path) -> None:
    """A FITS file of one image, (H, W) in mJy/beam, as FIRST's server sends them: Jy/beam, pixels of 1.8", north up."""
    from astropy.io import fits

    header = fits.Header({"BUNIT": "JY/BEAM", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    for axis, (value, step) in enumerate(((180.0, -1), (30.0, 1)), start=1):
        header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = value, step * PIXEL_ARCSEC / 3600
        header[f"CRPIX{axis}"] = (raw.shape[0] + 1) / 2
    fits.PrimaryHDU((raw / 1e3).astype(np.float32), header).writeto(path)


def read(path: str | Path) -> QTable:
    """The table that the command wrote, with empty texts where astropy reads them as missing."""
    from astropy.table import MaskedColumn, QTable

    found = QTable.read(path)
    for name, column in found.items():
        if isinstance(column, MaskedColumn) and column.dtype.kind == "U":
            found[name] = column.filled("")
    return found


def kinds(found: QTable) -> np.ndarray:
    """The kind of each source, by its name, (N,); "half missing" is one of its own."""
    return np.array([str(name).rpartition("_")[0].replace("_", " ") for name in found["name"]])


def row_table(found: QTable) -> str:
    """Name, P(FRII), label, entropy, rank of the unlikeness, flags and message of each source, as Markdown."""
    numbers = {"p_frii": "P(FRII)", "predictive_entropy": "entropy [nats]", "unlikeness_rank": "rank of unlikeness"}
    rows = []
    for row in found:
        cells = [f"{row[name]:.2f}" if row["label"] else "–" for name in numbers]
        rows.append([f"`{row['name']}`", row["label"] or "–", *cells, row["flags"] or "–", row["message"] or "–"])
    return tables.markdown(["name", "label", *numbers.values(), "flags", "message"], rows)


def label_table(found: QTable, of: Sequence[str] = KINDS) -> str:
    """How often each kind gets each label, and how uncertain and how unlike the training it is, as Markdown."""
    kind, rows = kinds(found), []
    for name in of:
        own = found[kind == name]
        used = own[own["label"] != ""]
        counts = [int((used["label"] == label).sum()) for label in LABELS]
        unlike = sum("unlike_training" in flags.split() for flags in used["flags"])
        entropy = f"{np.median(used['predictive_entropy']):.2f}" if len(used) else "–"
        rows.append([name, len(own), *counts, len(own) - len(used), entropy, unlike])
    columns = ["sources", *LABELS, "not used", "median entropy [nats]", "`unlike_training`"]
    return tables.markdown(["simulated as", *columns], rows)


def wrong(found: QTable) -> tuple[int, int]:
    """How many of the simulated FRI and FRII that get a label of one class get the other one's, and how many do."""
    kind = kinds(found)
    sure = found[np.isin(kind, ("FRI", "FRII")) & np.isin(found["label"], ("FRI", "FRII"))]
    return int((sure["label"] != kinds(sure)).sum()), len(sure)


def spoken(found: QTable, facts: Mapping[str, Any]) -> dict[str, object]:
    """What the chapter says of the sources, and of the galaxies that no network was trained on, in words by name."""
    kind, (errors, sure) = kinds(found), wrong(found)
    strange = found[np.isin(kind, list(FIELDS)) & (found["label"] != "")]
    named = np.isin(strange["label"], ("FRI", "FRII"))
    flagged = np.array(["unlike_training" in flags.split() for flags in strange["flags"]], dtype=bool)
    beyond, scores = facts["never_trained_on"], facts["held_out"]["scores"]
    said = {f"ask_{name}": f"{beyond[name]['label_percent']['ask']:.0f}" for name in beyond}
    said |= {f"unlike_{name}": f"{beyond[name]['unlike_training_percent']:.1f}" for name in beyond}
    said |= {f"error_{view}": _held(scores[view]["error_percent"], ".1f") for view in scores}
    said |= {f"nll_{view}": _held(scores[view]["nll"], ".3f") for view in scores}
    said |= {f"uce_{view}": _held(scores[view]["uce_percent"], ".0f") for view in scores}
    return said | {
        "n_sources": len(found),
        "n_used": int((found["label"] != "").sum()),
        "n_sure": sure,
        "n_wrong": errors,
        "wrong_percent": f"{exact_interval(errors, sure):.0f}",
        "n_strange": len(strange),
        "n_named": int(named.sum()),
        "n_flagged": int(flagged.sum()),
        "covered_uncertain": f"{beyond['uncertain']['covered_percent']:.0f}",
    }


def _held(score: Mapping[str, float], spec: str) -> str:
    return f"{score['value']:{spec}} [{score['low']:{spec}}, {score['high']:{spec}}]"
