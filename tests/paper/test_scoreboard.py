"""The scoreboard says what the claim cells found, about every claim, once."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from scenarios import contrast

from radio_bnn.cli import main
from radio_bnn.paper import claims, scoreboard
from radio_bnn.paper.claims import CLAIMS, Verdict, judge


def claim_cell(verdict: Verdict, **changes: str) -> nbformat.NotebookNode:
    output = new_output("execute_result", data=verdict._repr_mimebundle_() | changes, execution_count=1)
    return new_code_cell("claims.judge(...).say()", execution_count=1, outputs=[output], metadata={"tags": ["claim"]})


def write_chapter(book, name: str, *cells: nbformat.NotebookNode) -> None:
    (book / "_toc.yml").touch()
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1"), *cells]), book / f"{name}.ipynb")


C3 = judge("C3", contrast(0.5, -0.25, 1.25))
C6 = judge("C6", contrast(0.5, 0.25, 0.75, runs=1))
C4 = judge("C4", None)


@pytest.fixture
def book(tmp_path):
    write_chapter(tmp_path, "pruning", claim_cell(C3), claim_cell(C4))
    write_chapter(tmp_path, "cold_posterior", claim_cell(C6))
    write_chapter(tmp_path, "data")
    return tmp_path


def rows(text: str) -> dict[str, list[str]]:
    """The lines of a table by claim: the number of columns is that of the header in every line."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert {len(line) for line in lines} == {len(scoreboard.HEADER)}
    return {line[0].strip("[").partition(",")[0].partition("]")[0]: line for line in lines[2:]}


def test_verdicts_survive_the_notebook_with_their_chapter_and_link_target(book):
    assert scoreboard.collect(book) == [
        ("C6", C6, "cold_posterior", "claim-c6"),
        ("C3", C3, "pruning", "claim-c3"),
        ("C4", C4, "pruning", "claim-c4"),
    ]


def test_every_claim_has_a_line_in_order_judged_or_not(book):
    found = rows(scoreboard.page(scoreboard.collect(book)))
    assert list(found) == list(CLAIMS)
    assert [claim for claim, line in found.items() if scoreboard.NOT_JUDGED in line] == [
        claim for claim in CLAIMS if claim not in ("C3", "C4", "C6")
    ]
    for claim, line in found.items():
        assert line[2] == CLAIMS[claim].says


def test_a_line_holds_number_interval_runs_verdict_reason_and_link(book):
    link, verdict, _, number, runs = rows(scoreboard.page(scoreboard.collect(book)))["C6"]
    assert link == "[C6, cold posterior](#claim-c6)"
    assert verdict == f"**undecided**: {C6.why}"
    assert number == f"{CLAIMS['C6'].contrast}: **+0.500 [+0.250, +0.750] nats**"
    assert runs == "1"


def test_what_was_not_run_has_neither_number_nor_runs(book):
    _, verdict, _, number, runs = rows(scoreboard.page(scoreboard.collect(book)))["C4"]
    assert (verdict, number, runs) == ("**undecided**: not run", CLAIMS["C4"].contrast, "")


def test_without_any_claim_cell_nothing_is_judged():
    assert all(line[1] == scoreboard.NOT_JUDGED for line in rows(scoreboard.page([])).values())


@pytest.mark.parametrize(
    "record",
    [
        "not json",
        "[]",
        json.dumps({"claim": "C99", "verdict": "reproduced", "why": ""}),
        json.dumps({"claim": "C3", "verdict": "reproduced"}),
        json.dumps({"claim": "C3", "verdict": "reproduced", "why": "", "mood": "good"}),
    ],
)
def test_an_output_that_is_no_verdict_names_its_chapter(tmp_path, record):
    write_chapter(tmp_path, "pruning", claim_cell(C3, **{claims.MIME: record}))
    with pytest.raises(ValueError, match="pruning: .* is no verdict on a claim"):
        scoreboard.collect(tmp_path)


def test_a_claim_is_judged_once(book):
    write_chapter(book, "priors", claim_cell(C6))
    with pytest.raises(ValueError, match="C6 is judged in cold_posterior and again in priors"):
        scoreboard.collect(book)


def test_the_command_writes_the_same_page_again_and_refuses_a_folder_without_a_book(book, capsys):
    for _ in range(2):
        assert main(["scoreboard", "--book", str(book)]) == 0
        assert (book / scoreboard.FILE).read_text() == scoreboard.page(scoreboard.collect(book))
    assert [path.name for path in (book / "_generated").iterdir()] == ["scoreboard.md"]
    assert main(["scoreboard", "--book", str(book / "_generated")]) == 1
    assert "is not a book" in capsys.readouterr().err
