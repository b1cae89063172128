"""Every candidate cause is read in the same way, on ladders whose answer is known."""

import pytest
from matplotlib import pyplot as plt
from synthetic import LEARNT, SHAPE, STUCK, path

from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import causes, experiments, figures
from radio_bnn.paper.readings import Found


def ladder(store, shape, folds=range(8), **changes):
    path(store, shape, folds, **changes)
    return causes.along(experiments.paths(folds, temperatures=list(shape), **changes))


def test_a_ladder_that_guesses_at_one_says_so_and_what_it_loses(store):
    found = causes.read(ladder(store, SHAPE | {0.1: LEARNT | {"evidence_for_truth": 3.0}}))
    assert found.guesses == 8
    assert found.warmest == pytest.approx((0.1, 0.1, 0.1)) and found.star == pytest.approx((0.1, 0.1, 0.1))
    assert found.lost.folds == 8 and found.lost.interval.low > 0.2


def test_one_that_learns_everywhere_loses_nothing(store):
    found = causes.read(ladder(store, {0.1: dict(LEARNT), 1.0: LEARNT | {"evidence_for_truth": 3.0}}))
    assert found.guesses == 0 and found.star == (1.0, 1.0, 1.0) == found.warmest
    assert found.lost.interval.value == 0


def test_temperatures_are_shared_out_among_labellers_and_a_gap_leaves_its_fold_out(store):
    whole = ladder(store, {0.1: dict(LEARNT), 1.0: dict(STUCK)})
    assert causes.read(whole, 10).warmest == pytest.approx((0.01, 0.01, 0.01))
    gap = {t: [None, *runs[1:]] if t == 0.1 else runs for t, runs in whole.items()}
    assert causes.read(gap).lost.folds == 7
    unread = (None, None, None, 0, None)
    for lacking in (0.3, 0.1, 1.0):  # T = 1 alone, say, would be the best of all temperatures, and lose nothing
        assert causes.read(whole | {lacking: [None] * 8}) == unread
    short = {t: runs for t, runs in whole.items() if t != 1.0}
    assert causes.read(short).star == pytest.approx((0.1, 0.1, 0.1)) and causes.read(short).lost is None
    assert causes.read({t: [None] * 8 for t in whole}) == causes.read({}) == unread


def test_what_a_candidate_changes_is_its_loss_minus_that_of_the_reference_on_the_same_folds(store):
    reference = ladder(store, {0.1: LEARNT | {"evidence_for_truth": 3.0}, 1.0: dict(STUCK)})
    better = ladder(store, {0.1: LEARNT | {"evidence_for_truth": 3.0}, 1.0: dict(LEARNT)}, range(3), prior="laplace")
    assert causes.read(reference, reference=reference).change.interval == pytest.approx((0, 0, 0), abs=1e-12)
    found = causes.read(better, reference=reference)
    on_three = causes.read({t: runs[:3] for t, runs in reference.items()})
    assert found.change.folds == 3 and found.change.interval.high < 0
    assert found.change.interval.value == pytest.approx(found.lost.interval.value - on_three.lost.interval.value)
    shifted = {t: [None] * 3 + runs[3:] for t, runs in reference.items()}
    assert causes.read(better, reference=shifted).change is None  # no fold in common
    assert causes.read(better).change is None


def test_the_sentence_puts_every_candidate_under_one_word_by_its_interval():
    def cause(value, low, high, guesses=0, lost=0.2, warmest=(1, 1, 1)):
        change = None if value is None else Found(Interval(value, low, high), 3)
        return causes.Cause(warmest, warmest, Found(Interval(lost, 0.1, 0.3), 3), guesses, change)

    nothing = causes.Cause(None, None, None, 0)
    found = {
        "a": {causes.UPWARD: cause(None, 0, 0, 3, 0.5), "prior": cause(-0.2, -0.3, -0.1), "never": nothing},
        "b": {"noise": cause(0.2, 0.1, 0.3, 2), "chains": cause(-0.1, -0.3, 0.1, lost=0.05)},
        "c": {"downward": cause(-0.5, -0.6, -0.4, 3, 0.0, None)},
    }
    said = causes.spoken(found)
    assert said["less"] == "prior (-0.200 [-0.300, -0.100], 3 folds)" and said["more"].startswith("noise (+0.200")
    assert said["unclear"].startswith("chains (-0.100") and said["lacking"] == "never"
    assert said["whole"].startswith("+0.500") and said["whole_folds"] == 3
    assert said["nowhere"].startswith("downward (-0.500")  # it has nothing to lose, whatever the interval
    assert said["n_learn"] == 2 and said["least"].startswith("chains (+0.050")
    alone = causes.spoken({"a": {causes.UPWARD: nothing, "never": nothing}})
    assert alone["whole"] == "not run" and alone["least"] == alone["less"] == "none" and alone["n_learn"] == 0


def test_where_nothing_learns_no_temperature_is_named_in_table_or_figure(store):
    found = causes.read(ladder(store, {0.1: dict(STUCK), 1.0: dict(STUCK)}))
    assert found.warmest is None and found.guesses == 8 and found.star is None and found.lost.folds == 8
    assert causes.table({"path": {"downward": found}}).count(causes.NONE_LEARNS) == 2
    figure, axes = plt.subplots(1, 3, sharey=True)
    figures.causes(axes, {"path": {"downward": found}})
    assert [[text.get_text() for text in ax.texts] for ax in axes] == [[causes.NONE_LEARNS]] * 2 + [[]]
    plt.close(figure)


def test_a_fold_that_learns_nowhere_has_no_part_in_the_best_temperature(store):
    learns = ladder(store, {0.1: dict(LEARNT), 1.0: dict(STUCK)})
    stuck = ladder(store, {0.1: dict(STUCK), 1.0: dict(STUCK)}, prior="laplace")
    mixed = {t: runs[:4] + stuck[t][4:] for t, runs in learns.items()}
    found = causes.read(mixed)
    assert found.star == found.warmest == pytest.approx((0.1, 0.1, 0.1)) and found.lost.folds == 8


def test_every_candidate_has_a_row_in_table_and_figure_run_or_not(store):
    path(store, SHAPE)
    found = causes.all_read()
    titles = [title for those in found.values() for title in those]
    assert len(titles) == len(set(titles)) and {"upward", "chains", "PAC²", "10 labellers"} <= set(titles)
    header, _, *lines = causes.table(found).splitlines()
    assert "minus that of upward" in header
    assert "minus that" not in causes.table({"prior": found["prior"]})  # nothing to be against
    assert len(lines) == len(titles) and sum("not run" in line for line in lines) == len(titles) - 1
    figure, axes = plt.subplots(1, 3, sharey=True)
    figures.causes(axes, found)
    assert [label.get_text() for label in axes[0].get_yticklabels()][0].endswith(")")
    assert sum(text.get_text() == "not run" for text in axes[2].texts) == len(titles) - 1
    plt.close(figure)
