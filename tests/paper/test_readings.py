"""What is read of groups of runs, alone and as paired differences."""

import math

import numpy as np
import pytest
from synthetic import N, run_of

from radio_bnn.evaluation.metrics import METRICS, error, nll
from radio_bnn.evaluation.predictive import central_samples
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import experiments, readings
from radio_bnn.paper.literature import UAI_2024_TABLE_1, beside
from radio_bnn.paper.readings import Found
from radio_bnn.paper.tables import NO_BREAK


def runs(folds=range(3), **settings):
    return [run_of(experiments.run(fold), **settings) for fold in folds]


SURE, UNSURE = runs(evidence_for_truth=3.0), runs(evidence_for_truth=1.0)


def test_a_reading_counts_the_folds_that_are_stored():
    logits = np.concatenate([run.logits_of("test") for run in UNSURE], axis=1)
    labels = np.concatenate([run.labels["test"] for run in UNSURE])
    found = readings.read("nll", [UNSURE[0], None, *UNSURE[1:]])
    assert found.folds == 3 and found.interval.value == pytest.approx(nll(logits, labels))
    assert readings.read("nll", [None]) is None


@pytest.mark.parametrize("name", readings.READINGS)
def test_a_group_does_not_differ_from_itself(name):
    found = readings.differ(name, [*UNSURE, None], UNSURE)
    assert found.folds == 3 and found.interval.value == 0
    assert found.interval.low < 0 < found.interval.high if name == "error" else not any(found.interval)


def test_a_difference_is_on_the_folds_that_both_have():
    found = readings.differ("doubted_nll", [None, *SURE[1:]], UNSURE)
    means = [[nll(r.logits_of("uncertain"), r.labels["uncertain"]) for r in group[1:]] for group in (SURE, UNSURE)]
    assert found.folds == 2 and found.interval.value == pytest.approx(np.mean(means[0]) - np.mean(means[1]))
    assert readings.differ("nll", [None, SURE[1]], [UNSURE[0], None]) is None


def test_the_uce_of_central_samples_is_that_of_fewer_samples():
    logits, labels = UNSURE[0].logits_of("test"), UNSURE[0].labels["test"].astype(int)
    assert readings.CENTRAL_UCE(logits, labels) == METRICS["uce_percent"](central_samples(logits), labels)


def test_tables_and_words_say_units_folds_and_what_was_not_run():
    rows = readings.minus({"a": (SURE, UNSURE), "b": ([None], UNSURE)}, ["error", "nll"])
    header, _, a, b = readings.table(rows, first="minus c", differences=True).splitlines()
    assert header == "| minus c | error [points] | NLL [nats] | folds |" and b == "| b | not run | not run | 0 |"
    found = rows["a"]["error"].interval
    assert f"| {found:+.1f} |" in a.replace(NO_BREAK, " ")
    assert readings.spoken(rows["a"], ["error"]) == f"error {found:+.1f} points"
    assert readings.spoken(rows["b"], ["error"]) == "not run"
    alone = readings.table(readings.alone({"a": SURE}, ["error", "brier"]), first="").splitlines()[0]
    assert alone == "|  | error [%] | Brier score | folds |"


def test_panels_turn_rows_into_series_and_know_the_better_side():
    rows = {"a": {"nll": None, "auroc": Found(Interval(0.1, 0, 0.2), 8)}, "b": {"nll": None, "auroc": None}}
    first, second = readings.panels(rows, {"b": "other"})
    assert (first.label, first.better, second.better) == ("NLL [nats]", "left", "right")
    assert second.rows == {"a": {"": rows["a"]["auroc"]}, "b": {"other": None}}


def test_a_row_is_marked_with_the_trainings_that_guess():
    stuck = runs(range(2), nll=0.96 * N * math.log(2))
    assert readings.guessing([*stuck, None, SURE[2]]) == 2
    assert readings.marked("Laplace", [*stuck, SURE[2]]) == "Laplace (2 of 3 guess)"
    assert readings.marked("Laplace", SURE) == "Laplace"


def test_ours_stand_below_what_is_printed_elsewhere():
    found = {name: Found(Interval(13.25, 9.5, 17.25), 8) for name in ("error", "central_uce")}
    lines = beside({"dropout": found, "maximum a posteriori": dict.fromkeys(found)}).splitlines()[2:]
    assert len(lines) == len(UAI_2024_TABLE_1) + 2
    assert lines[2] == "| variational inference | yes | 3.94 ± 0.01 | 12.77 ± 6.11 | 2024 |"
    assert lines[-1] == "| maximum a posteriori | no | not run | not run | here, 0 folds |"
    assert lines[-2].startswith("| dropout | no | 13.2") and lines[-2].endswith("| here, 8 folds |")
    with pytest.raises(ValueError, match="not in the printed table"):
        beside({"MCMC": found})


def test_the_error_of_a_reading_is_that_of_the_metric():
    logits, labels = SURE[0].logits_of("test"), SURE[0].labels["test"].astype(int)
    assert readings.read("error", SURE[:1]).interval.value == pytest.approx(error(logits, labels))
