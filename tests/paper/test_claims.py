import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from scenarios import evidence

from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import claims, prose
from radio_bnn.paper.claims import CLAIMS, GUESSES, LEARNS, METASTABLE, Evidence, Verdict, judge


def ladder(**states):
    """{T: state of eight folds} from words such as T0_1="learns"."""
    return {float(name[1:].replace("_", ".")): [state] * 8 for name, state in states.items()}


ELBO = ladder(T0_01=LEARNS, T0_1=LEARNS, T1=GUESSES)
SIX = list(CLAIMS["C5"].parts)
QUIET = dict.fromkeys(SIX, (0.1, 0.5))
NINE = {name: (0.1, 0.01) for name in CLAIMS["C9"].parts}
DRIVEN = {
    ("C1", "reproduced"): evidence(AUROC=(0.6, 0.05), coefficient=(0.5, 0.2)),
    ("C1", "not reproduced"): evidence(AUROC=(0.4, 0.05), coefficient=(0.5, 0.2)),
    ("C1", "undecided"): evidence(AUROC=(0.6, 0.05), coefficient=(0.1, 0.2)),
    ("C2", "reproduced"): evidence(excess=(-2.0, 1.0), NLL=(-0.02, 0.01)),
    ("C2", "not reproduced"): evidence(excess=(-2.0, 1.0), NLL=(0.02, 0.01)),
    ("C2", "undecided"): evidence(excess=(0.0, 1.0), NLL=(-0.02, 0.01)),
    ("C3", "reproduced"): evidence(NLL=(0.0, 0.01)),
    ("C3", "not reproduced"): evidence(NLL=(0.05, 0.01)),
    ("C3", "undecided"): evidence(NLL=(0.015, 0.01)),
    ("C3", "vacuous here"): evidence(NLL=(0.0, 0.01), vacuous=["both sides guess"]),
    ("C4", "reproduced"): evidence(kept=(0.4, 0.2)),
    ("C4", "not reproduced"): evidence(kept=(-0.4, 0.2)),
    ("C4", "undecided"): evidence(kept=(0.1, 0.2)),
    ("C4", "vacuous here"): evidence(kept=(0.0, 0.0), vacuous=["equal logits"]),
    ("C5", "reproduced"): evidence(**QUIET | {SIX[0]: (9.0, 1.0), SIX[5]: (-9.0, 1.0)}),
    ("C5", "not reproduced"): evidence(**QUIET),
    ("C5", "undecided"): evidence(**QUIET | {SIX[0]: (9.0, 1.0)}),
    ("C6", "reproduced"): evidence(a=(0.4, 0.1), b=(0.1, 0.01), states={"ELBO": ELBO}),
    ("C6", "by collapse only"): evidence(a=(0.4, 0.1), b=(0.0, 0.01), states={"ELBO": ELBO}),
    ("C6", "not reproduced"): evidence(a=(0.0, 0.01), b=(0.0, 0.01), states={"ELBO": ELBO}),
    ("C6", "undecided"): evidence(a=(0.4, 0.1), b=(0.02, 0.01), states={"ELBO": ELBO}),
    ("C7", "reproduced"): evidence(**{"T = 0.01": (0.0, 0.01)}, states={"ELBO": ELBO, "PAC²": ELBO}),
    ("C7", "not reproduced"): evidence(**{"T = 0.01": (0.1, 0.01)}, states={"ELBO": ELBO, "PAC²": ELBO}),
    ("C7", "undecided"): evidence(**{"T = 0.01": (0.04, 0.02)}, states={"ELBO": ELBO, "PAC²": ELBO}),
    ("C8a", "reproduced"): evidence(NLL=(-0.1, 0.05)),
    ("C8a", "not reproduced"): evidence(NLL=(0.1, 0.05)),
    ("C8a", "undecided"): evidence(NLL=(-0.01, 0.05)),
    ("C8b", "reproduced"): evidence(D4=(0.1, 0.05), rotation=(0.1, 0.05)),
    ("C8b", "not reproduced"): evidence(D4=(0.1, 0.05), rotation=(0.0, 0.01)),
    ("C8b", "undecided"): evidence(D4=(0.1, 0.05), rotation=(0.02, 0.01)),
    ("C9", "reproduced"): evidence(**NINE | {"S = 5, cooling": (0.0, 0.005), "S = 5, curation": (-0.05, 0.01)}),
    ("C9", "not reproduced"): evidence(**NINE),
    ("C9", "undecided"): evidence(**NINE | {"S = 5, cooling": (0.0, 0.005), "S = 5, curation": (0.0, 0.01)}),
    ("C10", "reproduced"): evidence(entropy=(20.0, 5.0)),
    ("C10", "not reproduced"): evidence(entropy=(0.5, 1.0)),
    ("C10", "undecided"): evidence(entropy=(12.0, 5.0)),
}


@pytest.mark.parametrize(("claim", "verdict"), DRIVEN, ids=" ".join)
def test_every_rule_comes_out_in_each_of_its_verdicts(claim, verdict):
    found = judge(claim, DRIVEN[claim, verdict])
    assert found.verdict == verdict and found.why


def test_one_number_of_labellers_is_enough_but_pays_for_the_others():
    """Both parts below for S = 5 at level 0.95 and not at 1 - 0.05 / 3: one of three was chosen, so it is undecided."""
    held = {"S = 5, cooling": (0.015, 0.004), "S = 5, curation": (-0.05, 0.01)}
    assert judge("C9", evidence(**NINE | held)).verdict == "undecided"
    assert judge("C9", evidence(**NINE | {"S = 5, cooling": (0.0, 0.005)})).verdict == "not reproduced"


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_can_be_reproduced_not_reproduced_and_undecided(claim):
    assert {"reproduced", "not reproduced", "undecided"} <= {verdict for c, verdict in DRIVEN if c == claim}


def test_every_claim_of_the_abstract_has_a_rule():
    assert list(CLAIMS) == ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8a", "C8b", "C9", "C10"]
    assert all(claim.rule for claim in CLAIMS.values())
    with pytest.raises(KeyError):
        judge("C11")


def test_collapse_in_some_folds_alone_is_undecided():
    partly = ELBO | {1.0: [GUESSES] * 7 + [METASTABLE]}
    found = judge("C6", evidence(a=(0.4, 0.1), b=(0.0, 0.01), states={"ELBO": partly}))
    assert found.verdict == "undecided"


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (ladder(T0_01=LEARNS, T0_1=GUESSES), "not reproduced"),
        (ladder(T0_01=LEARNS, T0_1=METASTABLE), "undecided"),
    ],
)
def test_an_objective_that_stops_learning_earlier_makes_a_difference(other, verdict):
    states = {"ELBO": ELBO, "PAC²": other}
    assert judge("C7", evidence(**{"T = 0.01": (0.0, 0.01)}, states=states)).verdict == verdict


def test_what_a_training_has_reached_follows_from_its_nll_and_the_control():
    assert claims.state(96.0, 10.0, 100.0, guessing=100.0) == GUESSES
    assert claims.state(94.0, 97.0, 100.0, guessing=100.0) == LEARNS
    assert claims.state(94.0, 98.0, 100.0, guessing=100.0) == METASTABLE
    assert claims.state(94.0, 150.0, 100.0, guessing=100.0) == METASTABLE


def test_a_temperature_learns_only_if_every_fold_does():
    states = {0.1: [LEARNS] * 7 + [METASTABLE], 0.03: [LEARNS] * 8, 1.0: [GUESSES] * 8, 0.01: [LEARNS] * 8}
    assert claims.learning(states) == [0.01, 0.03]
    assert claims.largest_learning(states) == 0.03 and claims.largest_learning({1.0: [GUESSES]}) is None


def test_few_folds_are_said_and_fewer_than_three_are_undecided():
    strong = {"NLL": (-0.1, 0.01)}
    assert judge("C8a", evidence(**strong)).why.count("few folds") == 0
    assert judge("C8a", evidence(**strong, folds=4)).why.endswith("few folds: 4")
    two = judge("C8a", evidence(**strong, folds=2))
    assert (two.verdict, two.why, two.stands) == ("undecided", "2 folds, fewer than 3", 0)


def test_a_metastable_temperature_leaves_a_claim_undecided():
    found = judge("C8a", evidence(NLL=(-0.1, 0.01), metastable=["T = 0.01 in fold 3"]))
    assert (found.verdict, found.why) == ("undecided", "metastable: T = 0.01 in fold 3")


@pytest.mark.parametrize(("lacking", "why"), [(0, "not run"), (7, "not run: 7 runs are lacking")])
def test_without_records_a_claim_is_not_run(lacking, why):
    found = judge("C6", Evidence(lacking=lacking))
    assert (found.verdict, found.why, found.number, found.folds) == ("undecided", why, "not run", 0)


def test_a_verdict_stands_as_far_as_its_interval_may_widen():
    assert judge("C8a", evidence(NLL=(-0.1, 0.099))).stands == 1
    assert judge("C8a", evidence(NLL=(-0.1, 0.0499))).stands == 4
    assert judge("C8a", evidence(NLL=(-0.1, 0.001))).stands == 10


def test_the_corrected_interval_judges_beside_and_is_named_where_it_differs():
    found = judge("C8a", evidence(NLL=(-0.1, 0.08)))
    assert (found.verdict, found.corrected) == ("reproduced", "undecided")
    assert "By the corrected resampled t it would be **undecided**" in found._repr_mimebundle_()["text/markdown"]
    plain = judge("C8a", evidence(NLL=(-0.1, 0.01)))._repr_mimebundle_()["text/markdown"]
    assert "it would be" not in plain and "corrected t [-0.115, -0.085]" in plain


def test_few_folds_are_called_so_where_the_verdict_is_shown():
    shown = {n: judge("C8a", evidence(NLL=(-0.1, 0.5), folds=n))._repr_mimebundle_()["text/markdown"] for n in (4, 8)}
    assert "on 4 of 8 folds (few folds):" in shown[4] and "on 8 of 8 folds:" in shown[8]


def test_holm_is_the_step_down_procedure_on_p_values():
    """A verdict with p-value p stands at level 1 - 0.05 / k for every k up to 0.05 / p."""
    p = {"C1": 0.004, "C2": 0.011, "C3": 0.02, "C4": 0.03, "C8a": 0.2}
    verdicts = [
        Verdict(c, "reproduced" if x <= 0.05 else "undecided", "", {"x": [0]}, stands=min(10, int(0.05 / x)))
        for c, x in p.items()
    ]
    accepted = set()
    for place, (claim, x) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        if x > 0.05 / (len(p) - place):
            break
        accepted.add(claim)
    assert accepted == {"C1", "C2"}
    assert claims.holm(verdicts) == {c: "reproduced" if c in accepted else "undecided" for c in p}


def test_holm_does_not_count_what_was_not_judged():
    alone = Verdict("C1", "reproduced", "", {"x": [0]}, stands=1)
    others = [
        Verdict("C9", "not tested", ""),
        Verdict("C4", "vacuous here", "", {"x": [0]}),
        Verdict("C2", "undecided", ""),
    ]
    assert claims.holm([alone, *others])["C1"] == "reproduced"


def test_a_verdict_shows_every_part_and_carries_its_record():
    shown = judge("C2", DRIVEN["C2", "reproduced"])._repr_mimebundle_()
    assert (
        "-2.0 [-3.0, -1.0] points" in shown["text/markdown"]
        and "-0.020 [-0.030, -0.010] nats" in shown["text/markdown"]
    )
    assert Verdict(**json.loads(shown[claims.MIME])).verdict == "reproduced"


def test_a_verdict_names_its_parts_for_the_prose_and_is_still_shown(monkeypatch):
    said = {}
    monkeypatch.setattr(prose, "say", said.update)
    verdict = judge("C8a", evidence(NLL=(-0.1, 0.05)))
    assert verdict.say() is verdict
    assert said == {
        "c8a_verdict": "reproduced",
        "c8a_number": "-0.100 [-0.150, -0.050] nats",
        "c8a_folds": 8,
        "c8a_why": "NLL < 0, with the whole interval",
    }


def test_the_digest_changes_with_a_bound_a_word_and_a_rule_but_not_with_a_docstring(monkeypatch):
    before, claim = claims.digest("C3"), CLAIMS["C3"]
    part = claim.parts["NLL"]
    changed = [
        replace(claim, parts={"NLL": part._replace(bound=0.03)}),
        replace(claim, contrast="another contrast"),
        replace(claim, rule=claims.differently),
    ]
    for other in changed:
        monkeypatch.setitem(CLAIMS, "C3", other)
        assert claims.digest("C3") != before
    monkeypatch.setitem(CLAIMS, "C3", claim)

    def documented(x):
        """Says something."""
        return x  # and comments on it

    def bare(x):
        return x

    assert claims._code(documented).replace("documented", "bare") == claims._code(bare)
    assert claims.digest("C3") == before


def test_intervals_of_the_estimates_are_asked_at_the_level_of_the_rule():
    """C5 reads its six parts at 1 - 0.05 / 6 to find a difference."""
    asked = set()
    watched = SimpleNamespace(
        value=9.0,
        interval=lambda level: asked.add(round(level, 6)) or Interval(9.0, 8.0, 10.0),
        corrected_interval=lambda level: Interval(9.0, 8.0, 10.0),
    )
    judge("C5", Evidence(dict.fromkeys(SIX, watched), 8))
    assert round(1 - 0.05 / 6, 6) in asked
