"""The scoreboard says what the claim cells found, about every claim, once."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from scenarios import evidence

from radio_bnn.cli import main
from radio_bnn.paper import claims, scoreboard
from radio_bnn.paper.claims import CLAIMS, Verdict, judge
from radio_bnn.paper.multiverse import MIME as MULTIVERSE
from radio_bnn.paper.multiverse import Multiverse
from radio_bnn.paper.prose import Finding


def claim_cell(verdict: Verdict, **changes: str) -> nbformat.NotebookNode:
    output = new_output("execute_result", data=verdict._repr_mimebundle_() | changes, execution_count=1)
    return new_code_cell("claims.judge(...).say()", execution_count=1, outputs=[output], metadata={"tags": ["claim"]})


def write_chapter(book, name: str, *cells: nbformat.NotebookNode) -> None:
    (book / "_toc.yml").touch()
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1"), *cells]), book / f"{name}.ipynb")


C3 = judge("C3", evidence(NLL=(0.0, 0.0199)))
C8A = judge("C8a", evidence(NLL=(-0.5, 0.25), folds=4))
C4 = judge("C4")


@pytest.fixture
def book(tmp_path):
    write_chapter(tmp_path, "pruning", claim_cell(C3), claim_cell(C4))
    write_chapter(tmp_path, "augmentation", claim_cell(C8A))
    write_chapter(tmp_path, "data")
    return tmp_path


def rows(text: str) -> dict[str, list[str]]:
    """The lines of a table by claim: the number of columns is that of the header in every line."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert {len(line) for line in lines} == {len(scoreboard.HEADER)}
    return {re.match(r"\[?(C\d+[ab]?)", line[0]).group(1): line for line in lines[2:]}


def test_verdicts_survive_the_notebook_with_their_chapter_and_link_target(book):
    assert scoreboard.collect(book) == [
        ("C8a", C8A, "augmentation", "claim-c8a"),
        ("C3", C3, "pruning", "claim-c3"),
        ("C4", C4, "pruning", "claim-c4"),
    ]


def test_every_claim_has_a_line_in_order_judged_or_not(book):
    found = rows(scoreboard.page(scoreboard.collect(book)))
    assert list(found) == list(CLAIMS)
    assert [claim for claim, line in found.items() if scoreboard.NOT_JUDGED in line] == [
        claim for claim in CLAIMS if claim not in ("C3", "C4", "C8a")
    ]
    for claim, line in found.items():
        assert line[0].endswith(f": {CLAIMS[claim].says}")


def test_a_line_holds_numbers_folds_verdict_and_link(book):
    link, verdict, released, number = rows(scoreboard.page(scoreboard.collect(book)))["C8a"]
    assert link == f"[C8a, augmentation](#claim-c8a): {CLAIMS['C8a'].says}"
    assert (verdict, released) == ("**reproduced, 4 folds**", "not run")
    assert number == f"{CLAIMS['C8a'].contrast}: **-0.500 [-0.750,\u00a0-0.250] nats**"


def test_claims_are_also_judged_together(book):
    """Of two claims that are judged, one stands at half the level, and then the other one has it all."""
    assert (C3.stands, C8A.stands) == (1, 3)
    assert rows(scoreboard.page(scoreboard.collect(book)))["C3"][1] == "**reproduced, 8 folds**"
    barely = judge("C8a", evidence(NLL=(-0.5, 0.499)))
    alone = scoreboard.Entry("C8a", barely, "augmentation", "claim-c8a")
    both = [alone, *(found for found in scoreboard.collect(book) if found.claim == "C3")]
    said = [rows(scoreboard.page(both))[claim][1] for claim in ("C3", "C8a")]
    assert said == ["**reproduced, 8 folds**; all together undecided"] * 2


def test_what_was_not_run_says_so_and_has_no_numbers(book):
    _, verdict, _, number = rows(scoreboard.page(scoreboard.collect(book)))["C4"]
    assert (verdict, number) == ("**undecided**: not run", CLAIMS["C4"].contrast)


def test_a_verdict_that_is_neither_says_why_and_does_not_repeat_what_stands_beside():
    open_ = judge("C4", evidence(kept=(0.1, 0.2)))
    assert open_.why.startswith("kept: ") and scoreboard.reason(open_) == ": the interval contains both answers"
    few = Verdict("C6", "by collapse only", "T = 1 guesses; few folds: 3", {"a": [0, 0, 0]}, 3)
    assert scoreboard.reason(few) == ": T = 1 guesses"
    assert scoreboard.reason(C3) == ""


def test_every_part_of_a_claim_is_shown_in_words():
    found = judge("C1", evidence(AUROC=(0.6, 0.05), coefficient=(0.5, 0.2)))
    _, one, other = scoreboard.numbers(found).split("<br>")
    assert one == "area under the ROC curve **0.60 [0.55,\u00a00.65]**"
    assert other == f"{CLAIMS['C1'].parts['coefficient'].says} **+0.50 [+0.30,\u00a0+0.70]**"


def test_the_verdicts_on_the_released_code_stand_beside(book):
    assert scoreboard.released(book) == {}
    assert {line[2] for line in rows(scoreboard.page(scoreboard.collect(book))).values()} == {"not run"}
    by_claim = {"C3": judge("C3", evidence(NLL=(0.5, 0.1), folds=3)), "C4": judge("C4")}
    by_claim["C9"] = Verdict("C9", "not tested", "no run could tell")
    by_claim["C7"] = Verdict("C7", "vacuous here", "no gradient")
    found = Multiverse({"as released": by_claim})
    data = {MULTIVERSE: found._repr_mimebundle_()[MULTIVERSE]}
    output = new_output("execute_result", data=data, execution_count=1)
    write_chapter(book, "multiverse", new_code_cell("found", execution_count=1, outputs=[output]))
    said = {claim: line[2] for claim, line in rows(scoreboard.texts(book)["scoreboard.md"]).items()}
    assert [said[claim] for claim in ("C3", "C4", "C7", "C8a", "C9")] == [
        "not reproduced, 3 folds",
        "not run",
        "vacuous here",
        "not run",
        "not tested",
    ]
    assert "As released: 1 not reproduced (C3); 1 vacuous here (C7)." in scoreboard.texts(book)["findings.md"]


def test_a_finding_that_no_claim_makes_is_collected(book):
    data = Finding("**A ruler** errs.")._repr_mimebundle_()
    output = new_output("execute_result", data=data, execution_count=1)
    write_chapter(book, "atlas", new_code_cell("found", execution_count=1, outputs=[output]))
    assert scoreboard.texts(book)["findings.md"].endswith("\n- **A ruler** errs.\n")


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
    write_chapter(book, "priors", claim_cell(C8A))
    with pytest.raises(ValueError, match="C8a is judged in augmentation and again in priors"):
        scoreboard.collect(book)


def test_the_command_writes_the_same_page_again_and_refuses_a_folder_without_a_book(book, capsys):
    for _ in range(2):
        assert main(["scoreboard", "--book", str(book)]) == 0
        assert (book / scoreboard.FILE).read_text() == scoreboard.page(scoreboard.collect(book))
    assert {path.name for path in (book / "_generated").iterdir()} == set(scoreboard.texts(book))
    assert main(["scoreboard", "--book", str(book / "_generated")]) == 1
    assert "is not a book" in capsys.readouterr().err
