"""What is said of the temperatures is what the records hold, also where few or none are stored."""

import math

import pytest
from synthetic import LEARNT, SHAPE, STUCK, N, controlled, fill, path

from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import contrasts, experiments, temperatures
from radio_bnn.paper.contrasts import Point

KEPT = {"nll": 0.5 * N * math.log(2), "objective": 415.0}  # it has learned, and guessing costs as little


def ladders(folds=range(8)):
    return contrasts.along(experiments.paths(folds)), contrasts.along(experiments.controls())


def test_the_borders_are_where_every_fold_does_the_same(store):
    path(store, SHAPE)
    path(store, {0.2: KEPT, 0.3: KEPT})
    fill(store, [experiments.paths()[0.3][2]], **STUCK)
    controlled(store)
    found = temperatures.borders(*ladders())
    assert {name: found[name] for name in ("warmest", "guessing", "metastable", "trainings")} == {
        "warmest": "0.1", "guessing": "1", "metastable": "15", "trainings": "64",
    }  # fmt: skip
    kept = [run.metric("nll").value for t in (0.2, 0.3) for k, run in enumerate(ladders()[0][t]) if (t, k) != (0.3, 2)]
    assert found["kept"] == f"{sum(kept) / 15:.2f}"


def test_ladders_are_compared_by_their_borders(store):
    path(store, SHAPE)
    controlled(store)
    ladder, controls = ladders()
    text = temperatures.border_table({"a": ladder, "b": {0.1: [None]}}, controls, first="views").splitlines()
    assert text[2] == "| a | 0.1 | 0.2 | 0 | 64 |" and text[3] == "| b | not run | not run | not run | 0 |"
    assert temperatures.border_table({"a": ladder}, {}, first="views").splitlines()[2] == "| a | none | none | 0 | 64 |"


@pytest.mark.parametrize("folds", [0, 1, 8])
def test_without_a_control_no_fold_has_a_state(store, folds):
    if folds:
        path(store, SHAPE, range(folds))
    found = temperatures.borders(*ladders())
    assert found == {"warmest": None, "guessing": None, "metastable": "0", "trainings": f"{8 * folds}", "kept": None}
    text = temperatures.fold_table(*ladders())
    assert text.count("not run") == 8 * (8 - folds) and text.count("?") == 8 * folds


def test_a_fold_is_set_by_its_own_state_also_after_one_that_is_not_stored(store):
    path(store, {0.1: LEARNT, 0.3: KEPT, 1.0: STUCK}, [0, 5])
    controlled(store)
    ladder, controls = ladders()
    rows = [line.split(" | ") for line in temperatures.fold_table(ladder, controls).splitlines()]
    said = dict(zip(rows[0][1:], rows[2 + 5][1:], strict=True))
    values = {t: f"{ladder[t][5].metric('nll').value:.2f}" for t in (0.1, 0.3, 1.0)}
    assert said["T = 0.1"] == values[0.1]
    assert said["T = 0.3"] == f"*{values[0.3]}*"
    assert said["T = 1 |"] == f"({values[1.0]}) |"
    assert rows[2 + 1].count("not run") == 7 and rows[2 + 1][-1] == "not run |"


def at(values):
    return {t: None if j is None else Point(Interval(j, j, j), [j]) for t, j in values.items()}


CONTROL = at(dict.fromkeys((0.01, 0.1, 0.2, 0.3, 1.0), 1 / 0.98))


@pytest.mark.parametrize(
    "path_of, expected",
    [
        ({0.01: 0.1, 0.1: 0.5, 0.2: 1.1, 0.3: 1.2, 1.0: 1.01}, [(None, 1.0)]),
        ({0.01: 0.1, 0.1: 0.2, 0.2: 0.3, 0.3: 0.4, 1.0: 0.5}, []),
        ({0.01: 2.0, 0.1: 2.0, 0.2: 2.0, 0.3: 2.0, 1.0: 2.0}, [(0.01, 1.0)]),
        ({0.01: 0.5, 0.1: 2.0, 0.2: None, 0.3: 2.0, 1.0: 0.5}, [(None, 0.1), (0.3, None)]),
        ({0.01: 0.5, 0.1: 2.0, 0.2: 0.5, 0.3: 0.5, 1.0: 0.5}, [(None, None)]),
        (dict.fromkeys((0.01, 0.1, 0.2, 0.3, 1.0)), []),
    ],
)
def test_learning_does_not_pay_between_the_crossings(path_of, expected):
    found = temperatures.without_advantage(at(path_of), CONTROL)
    assert len(found) == len(expected)
    for ends, wanted in zip(found, expected, strict=True):
        assert all(w is None or e == pytest.approx(w) for e, w in zip(ends, wanted, strict=True))


def test_a_crossing_is_interpolated_on_both_logarithmic_axes():
    """log J goes from -log 4 to log 2 over log T from log 0.01 to log 1: it is 0 two thirds of the way."""
    cost, control = at({0.01: 0.25, 1.0: 2.0}), at({0.01: 1 / 0.98, 1.0: 1 / 0.98})
    [(low, high)] = temperatures.without_advantage(cost, control)
    assert (low, high) == (pytest.approx(0.01 ** (1 / 3)), 1.0)


def test_without_a_control_there_the_range_ends():
    control = at({0.01: 1.0, 0.1: 1.0, 1.0: None})
    assert temperatures.without_advantage(at({0.01: 2.0, 0.1: 2.0, 1.0: 2.0}), control) == [(0.01, 0.1)]


def test_twins_that_agree_differ_by_nothing_and_absent_ones_are_not_run(store):
    fill(store, experiments.headline(range(3)))
    runs = contrasts.stored(experiments.headline(range(3)))
    same = temperatures.rounding(runs, runs)
    assert same["rounding_nll"] == "+0.000 [+0.000, +0.000] nats" and same["rounding_folds"] == "3"
    none = temperatures.rounding(runs, contrasts.stored(experiments.in_float32()))
    assert none == {"rounding_folds": "0", "rounding_error": None, "rounding_nll": None}
