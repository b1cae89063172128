import json
from types import SimpleNamespace

import pytest
from scenarios import contrast

from radio_bnn.paper import prose
from radio_bnn.paper.claims import CLAIMS, MIME, judge


@pytest.mark.parametrize(
    ("claim", "interval", "verdict"),
    [
        ("C3", (0.5, -1.0, 1.9), "reproduced"),
        ("C3", (0.5, -1.0, 2.1), "undecided"),
        ("C3", (5.0, 2.1, 8.0), "not reproduced"),
        ("C6", (0.4, 0.3, 0.5), "reproduced"),
        ("C6", (-0.1, -0.2, -0.01), "not reproduced"),
        ("C7", (0.0, -0.04, 0.04), "reproduced"),
        ("C7", (0.1, 0.06, 0.2), "not reproduced"),
        ("C7", (0.0, -0.06, 0.04), "undecided"),
        ("C5", (3.0, 1.0, 5.0), "reproduced"),
        ("C5", (0.1, -1.0, 1.5), "not reproduced"),
        ("C5", (1.0, -1.0, 3.0), "undecided"),
    ],
)
def test_the_rule_reads_the_interval_only(claim, interval, verdict):
    assert judge(claim, contrast(*interval)).verdict == verdict


def test_fewer_than_three_runs_are_undecided_and_say_the_direction():
    found = judge("C6", contrast(0.4, 0.3, 0.5, runs=2))
    assert (found.verdict, found.why) == ("undecided", "2 runs; the interval points towards the claim")
    assert judge("C6", contrast(0.4, 0.3, 0.5, runs=1)).why.startswith("1 run;")


@pytest.mark.parametrize("absent", [None, SimpleNamespace(interval=None, runs=0)])
def test_without_an_interval_a_claim_is_not_run(absent):
    found = judge("C6", absent)
    assert (found.verdict, found.why, found.number, found.runs) == ("undecided", "not run", "not run", 0)


def test_a_verdict_shows_a_sentence_and_carries_its_record():
    shown = judge("C3", contrast(0.5, -1.0, 1.9))._repr_mimebundle_()
    assert "+0.5 [-1.0, +1.9] points" in shown["text/markdown"]
    assert json.loads(shown[MIME])["verdict"] == "reproduced"


def test_a_verdict_names_its_parts_for_the_prose_and_is_still_shown(monkeypatch):
    said = {}
    monkeypatch.setattr(prose, "say", said.update)
    verdict = judge("C8a", contrast(-0.1, -0.2, -0.05))
    assert verdict.say() is verdict
    assert said == {
        "c8a_verdict": "reproduced",
        "c8a_number": "-0.100 [-0.200, -0.050] nats",
        "c8a_runs": 3,
        "c8a_why": "the interval lies below 0",
    }


def test_every_claim_of_the_abstract_has_a_rule():
    assert list(CLAIMS) == ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8a", "C8b", "C9", "C10"]
    assert {c.rule for c in CLAIMS.values()} <= {"above", "below", "within", "outside"}
    with pytest.raises(KeyError):
        judge("C11", None)
