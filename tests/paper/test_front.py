"""The first page says what the verdicts say, whatever they are."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from scenarios import evidence
from test_claims import DRIVEN

from radio_bnn.paper import claims, front
from radio_bnn.paper.claims import CLAIMS, Verdict, judge


def verdicts(**parts):
    return {claim: judge(claim, evidence(**of)) for claim, of in parts.items()}


C3 = {"C3": {"NLL": (0.0, 0.01)}}
BESIDE = {"the largest T at which every fold learns": "0.1"}
TRUST = {
    "error on the uncertain galaxies": "41 %, 37 to 44 by network",
    "NLL on the uncertain galaxies": "1.25 nats, 1.11 to 1.33 by network",
    "coverage, of 90 % promised, on the uncertain galaxies": "72 %, 66 to 77 by network",
}


# Headlines


def test_every_claim_has_a_clause_for_both_answers():
    assert set(front.CLAUSES) == set(CLAIMS)
    assert set(front.OPEN) == set(claims.VERDICTS) - set(claims.DECIDED)


@pytest.mark.parametrize(("claim", "word"), DRIVEN, ids=" ".join)
def test_a_headline_says_one_answer_or_leaves_the_question_open(claim, word):
    said = front.headline(judge(claim, DRIVEN[claim, word]))
    yes, no = front.CLAUSES[claim]
    expected = {
        "reproduced": yes,
        "not reproduced": no,
        "undecided": f"whether {yes} is undecided",
        "vacuous here": f"whether {yes} cannot be seen here",
        "by collapse only": "the variational posterior must be cooled only to keep the network from guessing",
        "not tested": f"whether {yes} is not tested",
    }[word]
    assert said == expected[0].upper() + expected[1:]


UNTESTED = Verdict("C9", "not tested", "no run could tell")


def test_a_verdict_names_its_folds():
    few = judge("C3", evidence(NLL=(0.0, 0.01), folds=1))
    assert front.standing(few) == "undecided, 1 fold"
    assert front.standing(verdicts(**C3)["C3"]) == "reproduced, 8 folds"
    assert front.standing(UNTESTED) == "not tested"


# Findings

SPOKEN = [case for case in DRIVEN if case[0] in ("C1", "C2", "C3", "C4", "C6", "C10")]


@pytest.mark.parametrize(("claim", "word"), SPOKEN, ids=" ".join)
def test_a_finding_says_the_verdict_whatever_it_is_with_folds_and_numbers(claim, word):
    verdict = judge(claim, replace(DRIVEN[claim, word], beside=BESIDE))
    count, sentence = front.findings({claim: verdict}).splitlines()
    held = word == "reproduced"
    others = "" if held else f"; 1 {word} ({claim})"
    assert count.startswith(f"- **{int(held)} of 1 claims {'is' if held else 'are'} reproduced**")
    assert others in count and count.endswith("Numbers stand on all 8 folds for 1 of them.")
    assert sentence.startswith(f"- **{front.headline(verdict)}** ([{claim}](#claim-{claim.lower()}): ")
    assert "8 folds)" in sentence
    assert any(number in sentence for number in verdict.numbers.values())


def test_nothing_is_said_of_what_was_not_run():
    count = "- **0 of 2 claims are reproduced**; 2 undecided (C1, C6). Numbers stand on all 8 folds for 0 of them.\n"
    assert front.findings({"C6": judge("C6"), "C1": judge("C1")}) == count


def test_few_folds_and_what_does_not_stand_among_all_claims_are_said():
    """Of two claims that are both judged at the limit of their level, neither stands together."""
    found = verdicts(C3={"NLL": (0.0, 0.0199), "folds": 4}, C8a={"NLL": (-0.5, 0.499)})
    text = front.findings(found)
    assert "2 of 2 claims are reproduced** (C3, C8a)" in text
    assert "for 1 of them, on fewer for C3 (4)." in text
    assert "Judged all together, C3, C8a would be undecided." in text
    assert "all together" not in front.findings(verdicts(**C3))


def test_the_released_code_is_said_where_it_was_run():
    text = front.findings(verdicts(**C3))
    assert "As released" not in text
    released = {
        "C7": Verdict("C7", "vacuous here", "no gradient"),
        "C3": judge("C3", evidence(NLL=(0.5, 0.1), folds=3)),
        "C4": judge("C4"),
        "C9": UNTESTED,
    }
    text = front.findings(verdicts(**C3), released)
    assert "As released: 1 not reproduced (C3); 1 vacuous here (C7).\n" in text


def test_a_network_that_guesses_is_named_where_its_prior_is_judged():
    beside = {"the Laplace mixture guesses": "in 3 of 8 folds"}
    text = front.findings({"C2": judge("C2", replace(DRIVEN["C2", "reproduced"], beside=beside))})
    assert "guesses in 3 of 8 folds" in text


def test_where_the_sparse_prior_never_learns_the_heading_says_so_and_keeps_the_verdict():
    beside = {"the Laplace mixture guesses": "in 8 of 8 folds"}
    text = front.findings({"C2": judge("C2", replace(DRIVEN["C2", "not reproduced"], beside=beside))})
    assert "**With a sparse prior the network does not learn, so that no calibration can be compared**" in text
    assert "([C2](#claim-c2): by its rule not reproduced, 8 folds)" in text


def test_what_no_claim_makes_comes_last():
    text = front.pages([UNTESTED], beyond=["**A ruler** errs."])["findings.md"]
    assert text.splitlines()[-1] == "- **A ruler** errs." and len(text.splitlines()) == 2


def test_what_trust_deserves_is_said_where_it_is_known():
    known = front.findings({"C1": judge("C1", replace(DRIVEN["C1", "reproduced"], beside=TRUST))})
    for said in (
        "41 % (37 to 44) wrong",
        "1.25 nats (1.11 to 1.33) where guessing has 0.69",
        "72 % (66 to 77), means and ranges",
    ):
        assert said in known
    assert "wrong" not in front.findings({"C1": judge("C1", DRIVEN["C1", "reproduced"])})


def test_what_guessing_costs_is_said_unless_every_network_learns_at_the_warmest():
    found = {"C6": judge("C6", replace(DRIVEN["C6", "by collapse only"], beside=BESIDE))}
    assert "$T = 0.1$, the warmest at which every network learns; warmer," in front.findings(found)
    found = {"C6": judge("C6", replace(DRIVEN["C6", "reproduced"], beside={next(iter(BESIDE)): "1"}))}
    assert "warmer" not in front.findings(found)


# The summary


def test_a_row_stands_on_the_side_that_the_claim_wants_in_units_of_its_margin():
    """C3 wants less than 0.02 nats: 0 is one margin to the right, 0.06 two to the left."""
    [row] = front.rows(verdicts(**C3)["C3"])
    assert tuple(row.interval) == pytest.approx((1.0, 0.5, 1.5))
    [row] = front.rows(judge("C3", evidence(NLL=(0.06, 0.02))))
    assert tuple(row.interval) == pytest.approx((-2.0, -3.0, -1.0))
    [row] = front.rows(judge("C10", evidence(entropy=(15.0, 1.0))))
    assert tuple(row.interval) == pytest.approx((0.5, 0.4, 0.6))


@pytest.mark.parametrize(("claim", "word"), [case for case in DRIVEN if case[1] in claims.DECIDED], ids=" ".join)
def test_a_claim_is_reproduced_where_its_intervals_lie_in_the_grey(claim, word):
    """Of C5 one interval under each ranking, of C9 both of one number of labellers.

    A claim that is not reproduced has one that is not wholly in it.
    """
    rows = front.rows(judge(claim, DRIVEN[claim, word]))
    inside = [any(a <= r.interval.low and r.interval.high <= b for a, b in _open_ended(r.wanted)) for r in rows]
    either = {
        "C5": any(inside[:3]) and any(inside[3:]),
        "C9": any(a and b for a, b in zip(inside[::2], inside[1::2], strict=False)),
    }
    enough = either.get(claim, all(inside))
    assert enough == (word == "reproduced")


def _open_ended(wanted):
    far = float("inf")
    return [(-far if a == -front.REACH else a, far if b == front.REACH else b) for a, b in wanted]


def test_the_summary_has_every_claim_and_a_row_for_every_part():
    found = {claim: judge(claim, of) for (claim, word), of in DRIVEN.items() if word == "undecided"}
    found |= {"C9": UNTESTED, "C4": judge("C4")}
    page = ElementTree.fromstring(front.summary(found))
    groups = [group for group in page if group.get("class").startswith("claim ")]
    assert [group.find("div/b").text for group in groups] == list(CLAIMS)
    for group, claim in zip(groups, CLAIMS, strict=True):
        drawings = group.findall("div/svg")
        assert len(drawings) == len(found[claim].parts)
        assert all(svg.get("role") == "img" and svg.find("title").text.startswith(claim) for svg in drawings)
        assert group.find("div/span").text == front.standing(found[claim])
    assert "not run" in ElementTree.tostring(groups[3], "unicode")


def test_what_lies_beyond_the_edge_is_an_arrow_and_few_folds_are_hollow():
    far = front.summary(verdicts(C3={"NLL": (5.0, 0.1), "folds": 4}))
    assert far.count('class="beyond"') == 1 and "<circle" not in far
    near = front.summary(verdicts(C3={"NLL": (0.01, 0.001), "folds": 4}))
    assert 'class="value few"' in near and "beyond" not in near and "4 folds" in near
    assert "value few" not in front.summary(verdicts(**C3))


@pytest.mark.parametrize("value", [-9.0, -5.9, 0.0, 5.9, 9.0])
@pytest.mark.parametrize("half", [0.01, 1.0, 20.0])
def test_an_interval_stays_on_its_row_and_is_seen(value, half):
    """In units of C3, 0.02 nats below its bound; an arrow for each end beyond, pointing out."""
    found = verdicts(C3={"NLL": (0.02 * (1 - value), 0.02 * half)})
    text = front.summary(found)
    [(start, end)] = re.findall(r'class="interval" x1="(\S+)" x2="(\S+)"', text)
    assert 0 <= float(start) <= float(end) <= front.WIDTH
    assert float(end) > float(start) or half == 0.01
    beyond = [value - half < -front.REACH, value + half > front.REACH]
    assert [f'class="beyond" points="{edge},11' in text for edge in (0, front.WIDTH)] == beyond
    assert ("<circle" in text) == (abs(value) <= front.REACH)
