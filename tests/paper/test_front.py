"""The first page says what the verdicts say, whatever they are."""

import re
from dataclasses import replace

import pytest
from scenarios import evidence
from test_claims import DRIVEN

from radio_bnn.paper import front
from radio_bnn.paper.claims import judge


def verdicts(**parts):
    return {claim: judge(claim, evidence(**of)) for claim, of in parts.items()}


C3 = {"C3": {"NLL": (0.0, 0.01)}}


def test_a_row_stands_on_the_side_that_the_claim_wants_in_units_of_its_margin():
    """C3 wants less than 0.02 nats: 0 is one margin to the right, 0.06 two to the left."""
    [row] = front.rows(verdicts(**C3))
    assert tuple(row.interval) == pytest.approx((1.0, 0.5, 1.5))
    [row] = front.rows(verdicts(C3={"NLL": (0.06, 0.02)}))
    assert tuple(row.interval) == pytest.approx((-2.0, -3.0, -1.0))
    [row] = front.rows(verdicts(C10={"entropy": (15.0, 1.0)}))
    assert tuple(row.interval) == pytest.approx((0.5, 0.4, 0.6))


def test_the_summary_has_a_row_for_every_part_and_every_claim_without_numbers():
    found = verdicts(C1={"AUROC": (0.6, 0.05), "coefficient": (0.3, 0.1)}, **C3) | {
        "C4": judge("C4"),
        "C9": judge("C9"),
    }
    text = front.summary(found)
    assert text.count("<svg") == text.count('role="img"') == 3 and text.count('class="row') == 5
    assert "not tested" in text and "reproduced, 8 folds" in text


def test_what_lies_beyond_the_edge_is_an_arrow_and_few_folds_are_hollow():
    far = front.summary(verdicts(C3={"NLL": (5.0, 0.1), "folds": 4}))
    assert far.count("beyond") == 1 and "<circle" not in far
    near = front.summary(verdicts(C3={"NLL": (0.01, 0.001), "folds": 4}))
    assert "value few" in near and "beyond" not in near and "4 folds" in near
    assert "value few" not in front.summary(verdicts(**C3))
    edges = [float(x) for x in re.findall(r'x[12]="([0-9.]+)"', far)]
    assert min(edges) >= 0 and max(edges) <= front.WIDTH


SPOKEN = [case for case in DRIVEN if case[0] in ("C1", "C2", "C3", "C4", "C6", "C10")]


@pytest.mark.parametrize(("claim", "word"), SPOKEN, ids=" ".join)
def test_a_sentence_says_the_verdict_whatever_it_is_and_the_number(claim, word):
    beside = {"the largest T at which every fold learns": "0.1"}
    verdict = judge(claim, replace(DRIVEN[claim, word], beside=beside))
    count, sentence = front.findings({claim: verdict}).splitlines()
    assert count == f"- Of 1 claims: 1 {word} ({claim})."
    assert f": {word}" in sentence and f"[{claim}](#claim-{claim.lower()})" in sentence
    assert any(number in sentence for number in verdict.numbers.values())


def test_a_network_that_guesses_is_named_where_its_prior_is_judged():
    beside = {"the Laplace mixture guesses": "in 3 of 8 folds"}
    text = front.findings({"C2": judge("C2", replace(DRIVEN["C2", "reproduced"], beside=beside))})
    assert "guesses in 3 of 8 folds" in text


def test_nothing_is_said_of_what_was_not_run():
    assert front.findings({"C6": judge("C6"), "C1": judge("C1")}) == "- Of 2 claims: 2 undecided (C1, C6).\n"
