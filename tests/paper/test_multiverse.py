"""Every claim under every protocol, on synthetic records whose truth is known."""

import json

import pytest
from synthetic import LEARNT, STUCK, controlled, fill

from radio_bnn.config import run_id
from radio_bnn.paper import claims, evidence, experiments, multiverse
from radio_bnn.paper.claims import COLLAPSE, GUESSES, NOT_REPRODUCED, REPRODUCED, UNDECIDED, VACUOUS
from radio_bnn.paper.multiverse import Multiverse, judged
from radio_bnn.runs.records import Diverged

TWO = ("as released", "published")


def heated(store, protocol, cold, warm):
    ladder = experiments.PROTOCOLS[protocol]().ladder
    fill(store, ladder[experiments.COLD], **cold)
    fill(store, ladder[experiments.WARM], **warm)


@pytest.mark.parametrize("protocol", TWO)
@pytest.mark.parametrize(
    ("warm", "verdict"),
    [
        (STUCK, COLLAPSE),
        (LEARNT | {"evidence_for_truth": 0.5}, REPRODUCED),
        (LEARNT | {"evidence_for_truth": 2.5}, NOT_REPRODUCED),
        (LEARNT | {"evidence_for_truth": 1.882}, UNDECIDED),
    ],
    ids=["collapse", "effect", "none", "unclear"],
)
def test_at_two_temperatures_the_training_nll_tells_the_effect_from_collapse(store, protocol, warm, verdict):
    heated(store, protocol, LEARNT | {"objective": 2000.0}, warm)
    found = judged("C6", protocol)
    assert found.verdict == verdict and found.folds == 3 and list(found.parts) == ["a"]


def test_two_temperatures_are_judged_whatever_the_objective_and_more_are_not(store):
    """A protocol that ends far from its optimum has objectives above the control's; the chapters' may not."""
    controlled(store)
    heated(store, "published", LEARNT | {"objective": 2000.0}, STUCK)
    ladder = experiments.PROTOCOLS["published"]().ladder
    states = evidence.states_of("published", {t: evidence.stored(group) for t, group in ladder.items()})
    assert states == {0.01: ["learns"] * 3, 1.0: [GUESSES] * 3}
    heated(store, "first edition", LEARNT | {"objective": 2000.0}, STUCK)
    assert evidence.evidence("C6", "first edition").states["ELBO"][0.01] == ["metastable"] * 3


def test_the_rule_for_two_temperatures_is_registered_beside_that_of_c6():
    variant, c6 = claims.AT_TWO_TEMPERATURES, claims.CLAIMS["C6"]
    assert (variant.id, variant.says, variant.margin) == (c6.id, c6.says, c6.margin)
    assert claims.digest_of(variant) != claims.digest("C6") == claims.digest_of(c6)


def test_what_a_protocol_does_not_run_is_not_run_and_c7_as_released_is_vacuous(store):
    found = multiverse.multiverse()
    assert list(found.verdicts) == list(experiments.PROTOCOLS)
    table = found.table().splitlines()
    assert len(table) == 2 + len(claims.CLAIMS)
    c7 = next(line for line in table if line.startswith("| C7")).split("|")
    assert VACUOUS in c7[2] and [cell.strip() for cell in c7[3:8]] == ["not run"] * 5
    assert found["as released"]["C7"].verdict == VACUOUS
    assert {found["published"][claim].verdict for claim in ("C2", "C8a", "C8b")} == {UNDECIDED}
    assert found["published"]["C2"].lacking == 0 < found["as released"]["C2"].lacking


def test_conclusions_that_depend_on_the_protocol_are_named():
    def of(**verdicts):
        parts = {"a": [0.1, 0.0, 0.2]}
        return {
            c: claims.Verdict(c, verdicts.get(c, UNDECIDED), "", parts if c in verdicts else {}) for c in claims.CLAIMS
        }

    one = of(C3=REPRODUCED, C6=COLLAPSE, C1=REPRODUCED, C5=UNDECIDED, C10=UNDECIDED)
    found = Multiverse({"one": one, "two": of(C3=REPRODUCED, C6=REPRODUCED, C5=UNDECIDED, C10=REPRODUCED)})
    assert found.agreed() == ["C3"] and found.disagreed() == ["C6"]


def test_the_length_of_training_is_compared_on_the_same_folds():
    def of(number, verdict=REPRODUCED):
        given = claims.Verdict("C3", verdict, "", {"NLL": [number, number - 1, number + 1]}, 3)
        return {claim: given if claim == "C3" else claims.Verdict(claim, UNDECIDED, "") for claim in claims.CLAIMS}

    short, own, long = multiverse.LENGTHS
    eight = {experiments.CHAPTERS_OWN: of(0.0, NOT_REPRODUCED)}
    found = Multiverse({short: of(0.0), own: of(1.0, UNDECIDED), long: of(2.0)} | eight)
    assert found.by_length() == found.changed() == {"C3": [REPRODUCED, UNDECIDED, REPRODUCED]}
    assert found.apart() == {"C3: NLL": False}  # they meet at 1
    assert found.disagreed() == ["C3"]
    assert Multiverse({short: of(0.0), own: of(1.0), long: of(2.1)}).apart() == {"C3: NLL": True}
    unlike = {short: of(0.0), own: of(1.0, NOT_REPRODUCED), long: of(2.0)}
    assert Multiverse({title: of(0.0) for title in multiverse.LENGTHS}).changed() == {}
    fewer = claims.Verdict("C3", UNDECIDED, "", {"NLL": [0.0, -1.0, 1.0]}, 1)
    assert Multiverse({short: of(0.0), own: of(0.0), long: of(0.0) | {"C3": fewer}}).by_length() == {}
    assert Multiverse(unlike).agreed() == ["C3"]  # three folds of the chapters' are no protocol of their own


def test_three_folds_of_the_chapters_runs_are_among_their_eight():
    few, every = experiments.PROTOCOLS[experiments.ON_FEW](), experiments.PROTOCOLS[experiments.CHAPTERS_OWN]()
    assert few.ladder == {t: group[:3] for t, group in every.ladder.items()}
    assert few.cold == {prior: group[:3] for prior, group in every.cold.items()}


def test_the_table_carries_its_verdicts_for_the_scoreboard(store):
    heated(store, "as released", LEARNT, STUCK)
    found = multiverse.multiverse()
    stored = json.loads(found._repr_mimebundle_()[multiverse.MIME])
    assert claims.Verdict(**stored["as released"]["C6"]).verdict == COLLAPSE == found["as released"]["C6"].verdict
    assert claims.Verdict(**stored["as released"]["C6"]).number == found["as released"]["C6"].number


def test_as_released_the_second_moment_ranks_where_the_mathematics_asks_for_the_fisher_information():
    assert evidence._fisher("as released") == "released_fisher"
    assert {evidence._fisher(p) for p in experiments.PROTOCOLS if p != "as released"} == {"fisher"}


def test_what_is_said_of_them_counts_what_it_names(store):
    heated(store, "as released", LEARNT, STUCK)
    heated(store, "published", LEARNT, STUCK)
    sparse = experiments.PROTOCOLS["three times longer"]().cold[experiments.SPARSE]
    store[run_id(sparse[2]), "diverged"] = Diverged(sparse[2], {"reason": "in epoch 3"})
    said = multiverse.spoken(multiverse.multiverse())
    agreed = said["agreed"].split(", ")
    assert "C6" in agreed and len(agreed) == said["n_agreed"] and said["disagreed"] == "none"
    assert said["c6_released"] == f"*{COLLAPSE}*" == said["c6_published"]
    assert said["n_diverged"] == 1 and said["diverged"].endswith("T = 0.01: folds 2")
    assert said["n_released"] == sum(bool(judged(claim, "as released").parts) for claim in claims.CLAIMS)
    assert (said["n_numbers"], said["changed"], said["held"]) == (0, "none", "not run")


def test_trainings_that_diverged_are_named_with_their_folds(store):
    assert multiverse.diverged() == {}
    sparse = experiments.PROTOCOLS["three times longer"]().cold[experiments.SPARSE]
    for config in sparse[1:]:
        store[run_id(config), "diverged"] = Diverged(config, {"reason": "in epoch 3"})
    assert multiverse.diverged() == {"three times longer, laplace mixture prior, T = 0.01": [1, 2]}


def test_how_far_each_protocol_trains_is_read_from_its_runs(store):
    heated(store, "first edition", LEARNT | {"objective": 250.0}, STUCK)
    row = next(line for line in multiverse.reached_table().splitlines() if line.startswith("| first edition"))
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells[:3] == ["100", "250 (250 to 250)", "not run"]
    assert cells[3].startswith("0.12") and cells[4].startswith("1.00") and cells[-1] == "3"
    assert multiverse.reached_table().count("not run") == 5 * (len(experiments.PROTOCOLS) - 1) + 1
    fill(store, experiments.PROTOCOLS["first edition"]().cold[experiments.SPARSE], **LEARNT | {"objective": 3000.0})
    assert "| 3,000 (3,000 to 3,000) |" in multiverse.reached_table()


def test_what_the_longest_training_changes_is_read_on_the_folds_of_both(store):
    assert set(multiverse.further().values()) == {"not run"}
    short, _, long = multiverse.LENGTHS
    fill(store, experiments.PROTOCOLS[short]().ladder[experiments.COLD], **LEARNT | {"objective": 250.0})
    fill(store, experiments.PROTOCOLS[long]().ladder[experiments.COLD], **LEARNT | {"objective": 80.0})
    assert multiverse.further() == {"short": "250", "long": "80", "held": "+0.000 [+0.000, +0.000]"}
