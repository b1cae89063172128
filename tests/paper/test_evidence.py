"""What is read of each claim, on synthetic records whose truth is known."""

import math

import numpy as np
import pytest
from synthetic import LEARNT, SHAPE, STUCK, N, controlled, fill, path, run_of

from radio_bnn.config import run_id
from radio_bnn.evaluation import predictive
from radio_bnn.paper import contrasts, evidence, experiments, temperatures
from radio_bnn.paper.claims import CLAIMS, GUESSES, LEARNS, METASTABLE, judge
from radio_bnn.paper.on_orbit import ARRAYS, OneView, OnOrbit


def test_without_records_every_claim_says_how_many_it_lacks(store):
    for claim in evidence.READ:
        found = evidence.evidence(claim)
        assert not found.estimates and found.lacking > 0
        assert judge(claim, found).verdict == "undecided"


def test_states_hold_each_fold_against_its_control_or_the_mean_of_the_controls(store):
    ladder = {
        0.1: [
            run_of(c, nll=50.0, objective=j) for c, j in zip(experiments.paths()[0.1], (95, 99, 95, 99), strict=False)
        ]
    }
    controls = {
        0.1: [run_of(c, objective=j) for c, j in zip(experiments.controls([0, 1])[0.1], (100, 90), strict=True)]
    }
    assert evidence.states(ladder, controls)[0.1] == [LEARNS, METASTABLE, METASTABLE, METASTABLE]
    assert evidence.states(ladder, {}) == {}
    guess = {0.1: [run_of(experiments.run(0), nll=0.95 * N * math.log(2), objective=1.0)]}
    assert evidence.states(guess, controls)[0.1] == [GUESSES]


@pytest.mark.parametrize(
    ("warmest", "verdict"), [(2.0, "by collapse only"), (0.7, "reproduced")], ids=["collapse", "effect"]
)
def test_the_cold_effect_is_told_from_collapse(store, warmest, verdict):
    """T = 1 guesses; the warmest T that learns is as good as the best one, or worse."""
    shape = SHAPE | {0.1: LEARNT | {"evidence_for_truth": warmest, "validation": 0.4}}
    path(store, shape)
    controlled(store)
    found = judge("C6", evidence.evidence("C6"))
    assert found.verdict == verdict and found.folds == 8
    assert found.beside["the largest T at which every fold learns"] == "0.1"


def test_the_best_temperature_is_chosen_on_validation_galaxies_among_those_that_learn(store):
    shape = {t: s | {"validation": {0.03: 0.2, 1.0: 0.1}.get(t, 0.3)} for t, s in SHAPE.items()}
    path(store, shape)
    controlled(store)
    assert evidence.evidence("C6").beside["T* by fold"] == ", ".join(["0.03"] * 8)


def test_galaxies_that_were_seen_before_can_be_left_out(store):
    path(store, SHAPE)
    controlled(store)
    beside = evidence.evidence("C6").beside
    assert {f"{name}, {title}" for name in "ab" for title in evidence.UNSEEN} <= set(beside)
    pair = contrasts.compare(
        evidence._not_fold_0, a=contrasts.stored(experiments.headline()), b=contrasts.stored(experiments.headline())
    )
    assert len(pair.estimate("nll", a=1.0).by_fold) == 7


def test_doubt_that_follows_the_labellers_is_found_and_survives_adjustment(store):
    fill(store, experiments.headline(), doubt=0.0)
    controlled(store)
    found = judge("C1", evidence.evidence("C1"))
    assert found.verdict == "reproduced" and found.parts["AUROC"][1] > 0.5 and found.parts["coefficient"][1] > 0


def test_a_random_order_of_rejection_has_the_score_itself_as_its_area(store):
    fill(store, experiments.headline())
    runs = contrasts.stored(experiments.headline())
    [[title, error, nll]] = contrasts.rejection_rows(runs, {"random": "at random"})
    whole = contrasts.compare(runs=runs)
    assert title == "at random" and float(nll.split()[0]) == pytest.approx(
        whole.estimate("nll", runs=1.0).value, abs=1e-3
    )
    assert float(error.split()[0]) == pytest.approx(whole.estimate("error_percent", runs=1.0).value, abs=0.1)


def test_two_priors_that_predict_alike_do_not_differ(store):
    fill(store, experiments.headline())
    fill(store, experiments.headline(prior=experiments.SPARSE))
    controlled(store)
    fill(
        store,
        experiments.headline(experiments.FEW, prior=experiments.SPARSE, **experiments.LABEL_FREE),
        objective=410.0,
    )
    found = evidence.evidence("C2")
    assert found.estimates["NLL"].value == 0 and found.estimates["excess"].value == 0
    assert judge("C2", found).verdict == "undecided"


def test_a_metastable_prior_leaves_its_claim_undecided(store):
    fill(store, experiments.headline())
    fill(store, experiments.headline(prior=experiments.SPARSE), objective=1000.0)
    controlled(store)
    fill(
        store,
        experiments.headline(experiments.FEW, prior=experiments.SPARSE, **experiments.LABEL_FREE),
        objective=900.0,
    )
    found = judge("C2", evidence.evidence("C2"))
    assert found.verdict == "undecided" and found.why.startswith(
        "metastable: Laplace mixture at T = 0.01 in 8 of 8 folds"
    )


def test_a_prior_under_which_training_guesses_is_named_beside_its_claim(store):
    fill(store, experiments.headline())
    fill(store, experiments.headline(prior=experiments.SPARSE), **STUCK)
    controlled(store)
    fill(store, experiments.headline([0], prior=experiments.SPARSE, **experiments.LABEL_FREE), objective=410.0)
    assert evidence.evidence("C2").beside["the Laplace mixture guesses"] == "in 8 of 8 folds"
    groups = {"Laplace mixture": contrasts.stored(experiments.headline(prior=experiments.SPARSE))}
    row = temperatures.reached_table(groups | {"none": [None]}, first="prior").splitlines()
    assert row[2] == "| Laplace mixture | 420 (420 to 420) | 1.00 (1.00 to 1.00) | 8 of 8 |"
    assert row[3] == "| none | not run | not run | 0 |"


def test_two_objectives_are_compared_wherever_the_elbo_learns(store):
    path(store, SHAPE)
    path(store, SHAPE, objective="pac2")
    controlled(store)
    found = evidence.evidence("C7")
    assert list(found.estimates) == [f"T = {t:g}" for t in (0.001, 0.003, 0.01, 0.03, 0.1)]
    assert judge("C7", found).verdict == "reproduced"


def test_training_on_the_orbit_is_judged_on_it_and_in_one_view_beside(store):
    groups = experiments.orbit(range(4))
    fill(store, groups["D4 orbit"], evidence_for_truth=3.0)
    fill(store, groups["none"], evidence_for_truth=2.0)

    def seen(kind, config, evidence_for_truth):
        run = run_of(config, evidence_for_truth=evidence_for_truth)
        store[run_id(config), kind.kind] = kind(config, run.content, {name: run.arrays[name] for name in ARRAYS})

    assert evidence.evidence("C8a").estimates == {}
    for config in groups["none"]:
        seen(OnOrbit, config, 2.0)
    found = evidence.evidence("C8a")
    assert found.folds == 4 and found.estimates["NLL"].interval().high < 0 and not found.beside
    for config in groups["D4 orbit"][:3]:
        seen(OneView, config, 1.0)
    (said,) = evidence.evidence("C8a").beside.values()
    assert said.startswith("+") and said.endswith("nats, 3 folds")
    assert evidence.evidence("C8a").estimates["NLL"].interval() == found.estimates["NLL"].interval()


def test_a_contrast_of_different_galaxies_is_refused(store):
    a, b = run_of(experiments.run(0)), run_of(experiments.run(1))
    with pytest.raises(ValueError, match="scores other galaxies"):
        contrasts.compare(a=[a], b=[b])


def test_groups_are_compared_on_the_folds_that_all_have(store):
    configs = experiments.headline()
    fill(store, configs[:5])
    some = contrasts.stored(configs)
    assert contrasts.lacking(some) == 3 and contrasts.compare(a=some, b=[None, *some[1:]]).folds == 4
    assert contrasts.compare(a=some, b=[None] * 8) is None


# Temperatures


def test_a_temperature_depends_on_the_path_where_another_direction_goes_two_percent_lower(store):
    ways = {
        title: {t: [run_of(c, objective=j) for c in group] for (t, group) in ladder.items()}
        for (title, ladder), j in zip(experiments.directions().items(), (100.0, 97.9, 99.0), strict=True)
    }
    assert evidence.path_dependent(ways) == list(experiments.TEMPERATURES)
    assert set(evidence.lowest(ways).values()) == {"from scratch"}
    ways["from scratch"] = ways["downward"]
    assert evidence.path_dependent(ways) == []


def test_a_direction_is_drawn_once_it_has_a_run_of_its_own(store):
    """T = 0.01 from scratch is the start of the upward path."""
    path(store, SHAPE, experiments.FEW)
    assert temperatures.run_ways(temperatures.gaussian()[2]) == {}
    fill(store, experiments.directions()["from scratch"][0.1])
    assert list(temperatures.run_ways(temperatures.gaussian()[2])) == ["from scratch"]


def test_where_the_path_matters_the_networks_of_lowest_objective_stand_beside(store):
    path(store, SHAPE)
    controlled(store)
    for way, settings in (("from scratch", {}), ("downward", {0.2: LEARNT | {"objective": 300.0}})):
        for t, group in experiments.directions()[way].items():
            fill(store, group, **settings.get(t, SHAPE[t]))
    fill(store, experiments.headline())
    beside = evidence.evidence("C6").beside
    assert beside["path-dependent"] == "T = 0.2" and "the networks of lowest J, 3 folds" in beside
    rows = temperatures.directions_table(temperatures.gaussian()[2]).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows if "*" in row] == ["| 0.2 *"]


def test_tables_say_what_is_stored_and_what_is_not(store):
    path(store, {0.01: LEARNT, 1.0: STUCK}, range(2))
    controlled(store)
    ladder, controls, ways = temperatures.gaussian()
    text = temperatures.state_table(ladder, controls)
    assert "| 0.01 | 100 | 100 (100 to 100) | 410 | 50 |" in text
    assert "2 learn" in text and "2 guess" in text and text.count("not run") == 6 * 6
    assert temperatures.fold_table(ladder, controls).splitlines()[2].count("not run") == 6
    assert "not run" in temperatures.directions_table(ways) and temperatures.settled_table([None], [None]).count(
        "not run"
    ) == len(temperatures.QUANTITIES)


def test_what_has_settled_changes_less_than_the_folds_differ(store):
    short = [run_of(c, objective=j) for c, j in zip(experiments.headline(range(3)), (100, 110, 120), strict=True)]
    long = [run_of(c, objective=j) for c, j in zip(experiments.longer(), (90, 100, 115), strict=True)]
    row = next(line for line in temperatures.settled_table(long, short).splitlines() if "objective" in line)
    assert row == "| objective J [nats] | 110 | 102 | 10 | yes |"


def test_the_objective_is_shown_over_what_guessing_pays(store):
    curve = temperatures.objective_over_guessing(
        {0.1: [run_of(experiments.run(0), objective=N * math.log(2)), None], 1.0: [None]}
    )
    assert curve[0.1].interval.value == pytest.approx(1.0) and curve[1.0] is None


def curated(store, sharper):
    """Curated networks whose evidence for the truth is ``sharper`` than that of the plain ones, best at T = 1."""
    for s, ladder in experiments.curated().items():
        fill(store, experiments.uncurated(s), **LEARNT)
        for t, configs in ladder.items():
            fill(store, configs, **LEARNT | {"evidence_for_truth": (sharper if t == 1.0 else 0.5 * sharper) / s})


@pytest.mark.parametrize(("sharper", "verdict"), [(4.0, "reproduced"), (0.2, "not reproduced")])
def test_curation_explains_the_effect_where_it_beats_cooling_and_needs_none(store, sharper, verdict):
    curated(store, sharper)
    found = evidence.evidence("C9")
    assert found.folds == 3 and found.lacking == 0 and set(found.estimates) == set(CLAIMS["C9"].parts)
    assert judge("C9", found).verdict == verdict


def test_c9_is_undecided_on_two_folds_and_without_one_number_of_labellers(store):
    curated(store, 4.0)
    for ladder in experiments.curated().values():
        del store[run_id(ladder[1.0][2]), "run"]
    found = judge("C9", evidence.evidence("C9"))
    assert (found.verdict, found.folds, found.lacking) == ("undecided", 2, 3) and "fewer than 3" in found.why
    for config in experiments.curated()[5][1.0][:2]:
        del store[run_id(config), "run"]
    nothing = judge("C9", evidence.evidence("C9"))
    assert (nothing.verdict, nothing.why) == ("undecided", "not run: 5 runs are lacking") and not nothing.parts


def test_what_labellers_agree_on_is_sharper_by_their_number():
    run = run_of(experiments.run(0))
    twice = evidence.agreed(run, 2)
    for name in ("test", "validation"):
        p = predictive.softmax(run.logits_of(name)) ** 2
        np.testing.assert_allclose(predictive.softmax(twice.logits_of(name)), p / p.sum(-1, keepdims=True), atol=1e-6)
