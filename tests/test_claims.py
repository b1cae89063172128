import json

import pytest

from radio_bnn.claims import CLAIMS, MIME, judge
from radio_bnn.metrics import Interval


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
    assert judge(claim, Interval(*interval), seeds=3).verdict == verdict


def test_fewer_than_three_seeds_are_undecided_and_say_the_direction():
    found = judge("C6", Interval(0.4, 0.3, 0.5), seeds=2)
    assert (found.verdict, found.why) == ("undecided", "2 seeds; the interval points towards the claim")
    assert judge("C6", None, seeds=0).why == "not run"


def test_a_verdict_shows_a_sentence_and_carries_its_record():
    shown = judge("C3", Interval(0.5, -1.0, 1.9), seeds=3)._repr_mimebundle_()
    assert "+0.5 [-1.0, +1.9] points" in shown["text/markdown"]
    assert json.loads(shown[MIME])["verdict"] == "reproduced"


def test_every_claim_of_the_abstract_has_a_rule():
    assert list(CLAIMS) == ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8a", "C8b", "C9", "C10"]
    assert {c.rule for c in CLAIMS.values()} <= {"above", "below", "within", "outside"}
    with pytest.raises(KeyError):
        judge("C11", None, seeds=3)
