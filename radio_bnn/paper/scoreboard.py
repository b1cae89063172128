"""The scoreboard: every claim of the paper with its verdict, read from the outputs of the chapters' claim cells.

A claim cell ends with ``claims.judge(...).say()``. Its output carries the verdict as JSON under ``claims.MIME``, so
nothing on the scoreboard is typed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from radio_bnn import messages
from radio_bnn.files import replacing
from radio_bnn.paper import experiments, front, multiverse
from radio_bnn.paper.chapters import opened
from radio_bnn.paper.claims import CLAIMS, MIME, NOT_REPRODUCED, NOT_TESTED, REPRODUCED, Verdict, holm
from radio_bnn.paper.prose import FINDING, NOT_RUN
from radio_bnn.paper.tables import ends_together

FILE = Path("_generated") / "scoreboard.md"
HEADER = ("Claim", "As the mathematics says", "As released", "Our numbers, with 95 % intervals")
NOT_JUDGED = "not judged yet"


class Entry(NamedTuple):
    """The verdict of one claim cell: ``chapter`` is the notebook's name, ``anchor`` the cell's link target."""

    claim: str
    verdict: Verdict
    chapter: str
    anchor: str


def collect(book: str | Path) -> list[Entry]:
    """The verdicts in the stored outputs of a book's chapters, by chapter and cell.

    Raises ValueError for an output that is no verdict on a known claim, and for a claim that two cells judge; and for a
    file that is no notebook.
    """
    entries = [entry(data[MIME], chapter) for chapter, data in _outputs(book) if MIME in data]
    seen: dict[str, str] = {}
    for found in entries:
        if found.claim in seen:
            raise ValueError(
                f"{found.claim} is judged in {seen[found.claim]} and again in {found.chapter}: keep one cell"
            )
        seen[found.claim] = found.chapter
    return entries


def _outputs(book: str | Path) -> list[tuple[str, dict[str, Any]]]:
    """The name of the chapter and the data of every stored output of a book's code cells, in order."""
    return [
        (path.stem, output.get("data", {}))
        for path in sorted(Path(book).glob("*.ipynb"))
        for cell in opened(path).cells
        for output in cell.get("outputs", [])
    ]


def released(book: str | Path) -> dict[str, Verdict]:
    """The verdicts on the released code in the output that shows every claim under every protocol; empty without."""
    chapter, record = next(
        ((c, data[multiverse.MIME]) for c, data in _outputs(book) if multiverse.MIME in data), ("", "")
    )
    if not chapter:
        return {}
    try:
        return {claim: Verdict(**verdict) for claim, verdict in json.loads(record)[experiments.RELEASED].items()}
    except (TypeError, ValueError, KeyError, AttributeError) as problem:
        raise _no_verdict(chapter, record, problem) from problem


def entry(record: str, chapter: str) -> Entry:
    """The entry of one claim cell's record, the JSON text of a verdict."""
    try:
        verdict = Verdict(**json.loads(record))
        CLAIMS[verdict.claim]
    except (TypeError, ValueError, KeyError) as problem:
        raise _no_verdict(chapter, record, problem) from problem
    return Entry(verdict.claim, verdict, chapter, f"claim-{verdict.claim.lower()}")


def _no_verdict(chapter: str, record: Any, problem: Exception) -> ValueError:
    said = f"{messages.shown(record)} is no verdict on a claim ({messages.said(problem)})"
    return ValueError(f"{chapter}: {said}: execute the chapter again")


def page(entries: Iterable[Entry], as_released: Mapping[str, Verdict] | None = None) -> str:
    """A Markdown table with one row per claim, in the order of ``CLAIMS``; a claim without a cell is not judged yet.

    Beside a verdict stands what it would be by Holm's procedure over the claims that are judged, where that differs;
    ``as_released``: the verdicts on the released code, {claim: verdict}, empty where nothing was run.
    """
    as_released = as_released or {}
    judged = {found.claim: found for found in entries}
    together = holm(found.verdict for found in judged.values())
    rows = [row(c, judged.get(c), together.get(c, ""), as_released.get(c)) for c in CLAIMS]
    lines = [HEADER, ("---",) * len(HEADER), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def row(claim: str, found: Entry | None, together: str, as_released: Verdict | None) -> tuple[str, ...]:
    """The cells of one line of the table."""
    said, contrast = CLAIMS[claim].says, CLAIMS[claim].contrast
    other = released_standing(as_released)
    if found is None:
        return f"{claim}: {said}", NOT_JUDGED, other, contrast
    verdict, where = found.verdict, found.chapter.replace("_", " ")
    shown = f"**{front.standing(verdict)}**{reason(verdict)}"
    shown += f"; all together {together}" if together != verdict.verdict else ""
    return f"[{claim}, {where}](#{found.anchor}): {said}", shown, other, f"{contrast}{numbers(verdict)}"


def released_standing(verdict: Verdict | None) -> str:
    """The verdict on the released code with its folds, or that nothing was run."""
    known = verdict is not None and (multiverse.was_run(verdict) or verdict.verdict == NOT_TESTED)
    return front.standing(verdict) if known else NOT_RUN


def reason(verdict: Verdict) -> str:
    """Why a verdict is neither reproduced nor not; what stands beside it, part and folds, is not said again."""
    if verdict.verdict in (REPRODUCED, NOT_REPRODUCED) or verdict.why == CLAIMS[verdict.claim].contrast:
        return ""
    said = verdict.why.partition("; few folds")[0]
    names = [f"{name}: " for name in verdict.parts if said.startswith(f"{name}: ")]
    return f": {said.removeprefix(names[0]) if names else said}"


def numbers(verdict: Verdict) -> str:
    """Every part of a claim in words, with its number; nothing of one without numbers."""
    if len(verdict.parts) == 1:
        return f": **{ends_together(verdict.number)}**"
    shown = {front.named(verdict.claim, name): ends_together(number) for name, number in verdict.numbers.items()}
    said = [f"{name} **{number}**" for name, number in shown.items()]
    return "".join(f"<br>{one}" for one in said)


def write(book: str | Path) -> Path:
    """Write the scoreboard of a book's chapters into it, and what else its first page includes; return the first.

    Raises FileNotFoundError for a folder that is no book, and ValueError as :func:`collect` does.
    """
    if not (Path(book) / "_toc.yml").is_file():
        raise FileNotFoundError(f"{book} is not a book: it has no _toc.yml. Name the folder with --book.")
    for name, text in texts(book).items():
        with replacing(Path(book) / FILE.parent / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return Path(book) / FILE


def texts(book: str | Path) -> dict[str, str]:
    """Everything that is made of the verdicts in a book's chapters, {name of the file: text}."""
    found, as_released = collect(book), released(book)
    beyond = [data[FINDING] for _, data in _outputs(book) if FINDING in data]
    return {FILE.name: page(found, as_released), **front.pages((each.verdict for each in found), as_released, beyond)}
