import numpy as np
import pytest

from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper.tables import NO_BREAK, by_column, conformal, differences, foldable, markdown


def test_a_table_has_one_line_per_row_below_its_header():
    assert markdown(["prior", "NLL"], [["Laplace", 0.25]]) == "| prior | NLL |\n| :--- | ---: |\n| Laplace | 0.25 |"


def test_a_ragged_row_is_refused():
    with pytest.raises(ValueError, match="has 1 cells, expected 2"):
        markdown(["a", "b"], [["x"]])


def test_a_run_does_not_differ_from_itself_and_is_better_than_its_opposite():
    logits = np.array([[[3.0, -3.0], [-3.0, 3.0]]])
    runs = {"a": [logits], "same": [logits], "opposite": [-logits]}
    table = differences(runs, np.array([0, 1]), {"e": ("error_percent", "+.0f")})
    assert table.replace(NO_BREAK, " ").splitlines()[2:] == [
        "| same | +0 [+0, +0] |",
        "| opposite | +100 [+100, +100] |",
    ]


def test_a_cell_says_whether_it_was_run_planned_or_neither():
    columns = {"ELBO": {1.0: Interval(0.5, 0.25, 0.75), 0.1: None}, "PAC": {1.0: None}}
    rows = by_column(columns, ".2f", first="T").replace(NO_BREAK, " ").splitlines()[2:]
    assert rows == ["| 1.0 | 0.50 [0.25, 0.75] | not run |", "| 0.1 | not run | – |"]


def test_table_of_sets_by_hand():
    sets = {("confident", "one"): np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool), ("hybrid", "one"): np.eye(2) > 0}
    rows = conformal(sets, {"confident": np.array([0, 1, 0, 1]), "hybrid": None}).splitlines()[2:]
    covered = " | ".join(x.replace(" ", NO_BREAK) for x in ("50 [7, 93]", "50 [1, 99]", "50 [1, 99]"))
    assert rows == [f"| confident | one | {covered} | 50 | 25 | 25 |", "| hybrid | one | – | – | – | 100 | 0 | 0 |"]


def test_a_foldable_number_breaks_before_its_interval_alone():
    assert foldable(Interval(0.5, 0.25, 0.75), ".2f").split(" ") == ["0.50", f"[0.25,{NO_BREAK}0.75]"]
