"""Tables for the chapters, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from radio_bnn.evaluation.conformal import summarise_sets
from radio_bnn.evaluation.resampling import Interval, contrast, exact_interval
from radio_bnn.paper.prose import NOT_RUN

Columns = Mapping[str, tuple[str, str]]
NO_BREAK = "\u00a0"

# Title of a column: (metric, format).
DIFFERENCES: Columns = {
    "error [points]": ("error_percent", "+.1f"),
    "NLL [nats]": ("nll", "+.3f"),
    "Brier score": ("brier", "+.3f"),
}


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is aligned left, the others right. Raises ValueError for a ragged row."""
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"row {list(row)} has {len(row)} cells, expected {len(header)}: {list(header)}")
    lines = [header, [":---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def differences(logits: Mapping[str, Sequence[np.ndarray]], labels: np.ndarray, columns: Columns = DIFFERENCES) -> str:
    """Each group of runs minus the first one on the same galaxies, with the 95 % interval of ``contrast``.

    logits {name: [(S, N, C), one per network]}, labels (N,). Negative where a group scores lower than the first.
    """
    (reference, base), *others = logits.items()
    rows = []
    for name, runs in others:
        terms = [(1.0, runs), (-1.0, base)]
        rows.append([name, *(unbroken(contrast(m, terms, labels), spec) for m, spec in columns.values())])
    return markdown([f"minus {reference}", *columns], rows)


def conformal(sets: Mapping[tuple[str, str], np.ndarray], labels: Mapping[str, np.ndarray | None]) -> str:
    """Conformal sets {(set of galaxies, kind of threshold): (N, 2) boolean} in percent, coverage with exact intervals.

    labels {set of galaxies: (N,), or None where the galaxies are neither FRI nor FRII}.
    """
    columns = [
        "covered [%]",
        "FRI covered [%]",
        "FRII covered [%]",
        "one class [%]",
        "both: ask a human [%]",
        "none [%]",
    ]
    rows = []
    for (name, kind), members in sets.items():
        true = labels[name]
        cells = ["–"] * 3 if true is None else _covered(members, true)
        rows.append([name, kind, *cells, *(f"{size:.0f}" for size in summarise_sets(members, true)[1:])])
    return markdown(["galaxies", "threshold", *columns], rows)


def _covered(members: np.ndarray, labels: np.ndarray) -> list[str]:
    """Coverage of all galaxies and of those of each class, percent, with exact intervals; "–" where there are none."""
    inside = members[np.arange(len(labels)), labels]
    parts = [inside, *(inside[labels == c] for c in (0, 1))]
    return [unbroken(exact_interval(int(part.sum()), len(part)), ".0f") if len(part) else "–" for part in parts]


def unbroken(interval: Interval, spec: str) -> str:
    """A number with its interval on one line."""
    return f"{interval:{spec}}".replace(" ", NO_BREAK)


def foldable(interval: Interval, spec: str) -> str:
    """A number with its interval that breaks between the two, in a table of many columns."""
    return ends_together(f"{interval:{spec}}")


def ends_together(number: str) -> str:
    """The text of a number with its interval, whose two ends stay on one line."""
    return number.replace(", ", f",{NO_BREAK}")


def span(values: Sequence[float], spec: str) -> str:
    """The mean and the range; "not run" of none."""
    if not values:
        return NOT_RUN
    return f"{np.mean(values):{spec}} ({min(values):{spec}} to {max(values):{spec}})"


def by_column(columns: Mapping[str, Mapping[object, object]], spec: str, *, first: str) -> str:
    """One column per series, {title: {row: number with interval}}, rows in the order of their appearance.

    A cell is formatted with ``spec``; None reads "not run", and a row that a series does not have "–".
    """
    rows = list(dict.fromkeys(row for cells in columns.values() for row in cells))
    body = [[row, *(_cell(cells, row, spec) for cells in columns.values())] for row in rows]
    return markdown([first, *columns], body)


def _cell(cells: Mapping[object, object], row: object, spec: str) -> str:
    if row not in cells:
        return "–"
    return NOT_RUN if cells[row] is None else unbroken(cells[row], spec)
