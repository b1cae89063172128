"""Numbers that other papers print and that were read there, beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from radio_bnn.paper import tables
from radio_bnn.paper.readings import Found


class Printed(NamedTuple):
    """A row of table 1 of Mohan & Scaife 2024, as it is printed there: test error and UCE of the predictive entropy.

    Both in percent, the mean and the standard deviation of 10 runs on one test batch; None where none is printed.
    """

    method: str
    augmented: bool
    error: str
    uce: str | None


# Source: Mohan & Scaife 2024 (UAI, PMLR 244:2587), table 1, as read.
UAI_2024_TABLE_1 = (
    Printed("HMC", True, "4.16 ± 0.45", "14.76 ± 0.95"),
    Printed("HMC", False, "6.24 ± 0.45", "12.65 ± 0.01"),
    Printed("variational inference", True, "3.94 ± 0.01", "12.77 ± 6.11"),
    Printed("variational inference", False, "3.84 ± 0.01", "12.32 ± 6.36"),
    Printed("last-layer Laplace", True, "8.85 ± 2.09", "23.84 ± 3.54"),
    Printed("dropout", True, "7.88 ± 2.81", "25.75 ± 4.44"),
    Printed("ensembles", True, "7.69 ± 0.27", "24.41"),
    Printed("maximum a posteriori", True, "5.76", None),
)


def beside(ours: Mapping[str, Mapping[str, Found | None]]) -> str:
    """The printed table with our error and UCE of central samples, in rows of their own, as Markdown.

    ours {method: {"error" and "central_uce": found}}; a method that the printed table does not have is refused.
    """
    known = {row.method for row in UAI_2024_TABLE_1}
    if unknown := set(ours) - known:
        raise ValueError(f"{sorted(unknown)} are not in the printed table, which has {', '.join(sorted(known))}")
    rows = [[row.method, _yes(row.augmented), row.error, row.uce or "–", "2024"] for row in UAI_2024_TABLE_1]
    for method, found in ours.items():
        cells = [_shown(found[name]) for name in ("error", "central_uce")]
        folds = next((f.folds for f in found.values() if f), 0)
        rows.append([method, _yes(False), *cells, f"here, {folds} folds"])
    return tables.markdown(["method", "augmented", "error [%]", "UCE [%]", "from"], rows)


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def _shown(found: Found | None) -> str:
    return "not run" if found is None else tables.unbroken(found.interval, ".1f")
