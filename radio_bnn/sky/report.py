"""One page with a row for each galaxy, those first that a human should look at first."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from radio_bnn.files import replacing
from radio_bnn.sky.sources import Sources
from radio_bnn.sky.table import Row

SURE = ("FRI", "FRII")
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fff; --soft: #595963; --line: #c9c9d1; --fill: #2a5caa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ee; --paper: #17171b; --soft: #b0b0bb; --line: #45454f; --fill: #8ab4f8; }
}
body { margin: 0 auto; max-width: 75rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; }
p { max-width: 70ch; }
.table { overflow-x: auto; }
.table:focus-visible { outline: 3px solid var(--fill); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--soft); padding-bottom: .5rem; }
th, td { text-align: left; vertical-align: top; padding: .6rem .8rem .6rem 0; border-top: 1px solid var(--line); }
thead th { white-space: nowrap; }
tbody th { overflow-wrap: anywhere; min-width: 9rem; }
small, dt { color: var(--soft); font-weight: normal; }
small { display: block; font-size: .875rem; }
img { display: block; image-rendering: pixelated; background: #000; }
svg { display: block; }
dl { display: grid; grid-template-columns: auto auto; gap: 0 .8rem; margin: 0; font-variant-numeric: tabular-nums; }
dd { margin: 0; text-align: right; }
.label { font-weight: bold; font-size: 1.125rem; }
.flag { display: inline-block; border: 1px solid var(--line); border-radius: .3rem;
  padding: 0 .4rem; margin: 0 0 .2rem; }
@media (max-width: 40rem) { img { width: 6rem; height: 6rem; } tbody th { min-width: 7rem; } }
@media print { .table { overflow: visible; } }
"""
HEADS = ("Image", "Source", "Class", "P(FRI) of the draws", "Uncertainty", "Flags")


def write_report(path: Path, rows: Sequence[Row], sources: Sources, about: Mapping[str, Any]) -> None:
    """Write the page, in one self-contained file; the images are read again, one at a time."""
    order = sorted(range(len(rows)), key=lambda i: (urgency(rows[i]), i))
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(_head(rows, about))
        file.writelines(_row(rows[i], sources[i].image) for i in order)
        file.write("</tbody>\n</table>\n</div>\n</main>\n</body>\n</html>\n")


def urgency(row: Row) -> tuple:
    """What a human should look at first sorts first.

    Sources that could not be used; those unlike the training set; those without one plausible class; the uncertain.
    """
    if "p_fri" not in row:
        return (0,)
    unlike = "unlike_training" in row["flags"].split()
    return (1, not unlike, row["label"] in SURE, -row["predictive_entropy"])


def _head(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    counts = {label: sum(row.get("label") == label for row in rows) for label in (*SURE, "ask", "none")}
    unusable = sum("p_fri" not in row for row in rows)
    said = ", ".join(f"{n} {label}" for label, n in counts.items()) + f", {unusable} not classified"
    facts = "; ".join(f"{name} {value}" for name, value in about.items())
    heads = "".join(f'<th scope="col">{head}</th>' for head in HEADS)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Radio galaxies, classified</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>Radio galaxies, classified</h1>
<p>{len(rows)} sources: {said}. First come those that could not be used, then those unlike the galaxies of the
training, then those for which both classes are plausible, or neither; the most uncertain first.</p>
<p>“ask” means that both classes are plausible, “none” that neither is. The histogram shows the probability of FRI
by all draws of all networks, from 0 (FRII) to 1 (FRI). Entropies are in nats, at most ln 2. Unlikeness is the
squared distance of the networks' last features from those of their training galaxies, its rank the share of held-out
galaxies that are nearer. The image is what the networks see: 150 by 150 pixels of 1.8″, noise removed.</p>
<p><small>{escape(facts)}.</small></p>
<div class="table" role="region" aria-labelledby="caption" tabindex="0">
<table>
<caption id="caption">All sources, those to look at first on top</caption>
<thead><tr>{heads}</tr></thead>
<tbody>
"""


def _row(row: Row, image: np.ndarray | None) -> str:
    flags = "".join(f'<span class="flag">{escape(flag)}</span> ' for flag in row["flags"].split()) or "none"
    cells = [_picture(image, row["name"]), None, *_said(row), flags]
    place = f"<small>{row['ra']:.5f}°, {row['dec']:+.5f}°</small>" if np.isfinite(row["ra"]) else ""
    message = f"<small>{escape(row['message'])}</small>" if row["message"] else ""
    source = f'<th scope="row">{escape(row["name"])}{place}{message}</th>'
    return f"<tr>{''.join(source if cell is None else f'<td>{cell}</td>' for cell in cells)}</tr>\n"


def _said(row: Row) -> Iterator[str]:
    """Class, histogram and uncertainty; dashes where there is none."""
    if "p_fri" not in row:
        yield from ("not classified", "–", "–")
        return
    yield f'<span class="label">{row["label"]}</span><small>P(FRI) {row["p_fri"]:.3f}</small>'
    yield _histogram(row["histogram"])
    numbers = {"entropy": "predictive_entropy", "mutual information": "mutual_information", "unlikeness": "unlikeness"}
    terms = "".join(f"<dt>{title}</dt><dd>{row[name]:.3g}</dd>" for title, name in numbers.items())
    yield f"<dl>{terms}<dt>rank</dt><dd>{row['unlikeness_rank']:.2f}</dd></dl>"


def _histogram(counts: Sequence[int]) -> str:
    width, height, highest = 160, 48, max(counts)
    step, total = width / len(counts), sum(counts)
    bars = "".join(
        f'<rect x="{i * step:g}" y="{height * (1 - n / highest):.1f}" width="{step - 1:g}" '
        f'height="{height * n / highest:.1f}"/>'
        for i, n in enumerate(counts)
        if n
    )
    half = len(counts) // 2
    text = f"{sum(counts[:half])} of {total} draws below one half, {sum(counts[half:])} above"
    tall = height + 18
    return (
        f'<svg width="{width}" height="{tall}" viewBox="0 0 {width} {tall}" role="img" aria-label="{text}">'
        f'<g fill="var(--fill)">{bars}</g><path d="M0 {height}.5H{width}" stroke="var(--soft)"/>'
        f'<g fill="var(--soft)" font-size="12"><text y="{height + 14}">0 FRII</text>'
        f'<text x="{width}" y="{height + 14}" text-anchor="end">FRI 1</text></g></svg>'
    )


def _picture(image: np.ndarray | None, name: str) -> str:
    if image is None:
        return "no image"
    content = base64.b64encode(png(image)).decode()
    said = f"{escape(name)} as the networks see it"
    return f'<img src="data:image/png;base64,{content}" width="150" height="150" alt="{said}">'


def png(image: np.ndarray) -> bytes:
    """A greyscale image (H, W) uint8 as a PNG file."""
    height, width = image.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), image], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(lines, 9), b"IEND": b""}
    packed = (struct.pack(">I", len(x)) + k + x + struct.pack(">I", zlib.crc32(k + x)) for k, x in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
