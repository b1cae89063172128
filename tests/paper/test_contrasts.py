import numpy as np
import pytest
from test_evidence import run_of

from radio_bnn.evaluation import metrics
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import contrasts, experiments
from radio_bnn.paper.tables import NO_BREAK


def runs(folds=range(3), **settings):
    return [run_of(experiments.run(fold), **settings) for fold in folds]


def test_a_curve_pools_metrics_with_intervals_and_shows_histories_with_the_range_of_folds():
    found = runs()
    for k, run in enumerate(found):
        run.content["history"]["kl_per_weight"] = [9.0, 0.5 + k]
    curve = contrasts.curve({1.0: [*found, None], 0.1: [None]}, "kl_per_weight")
    assert curve == {1.0: contrasts.Point(Interval(1.5, 0.5, 2.5), [0.5, 1.5, 2.5]), 0.1: None}
    assert contrasts.scaled(curve, 2.0)[1.0] == contrasts.Point(Interval(3.0, 1.0, 5.0), [1.0, 3.0, 5.0])
    point = contrasts.curve({1.0: found}, "nll")[1.0]
    logits = np.concatenate([run.logits_of("test") for run in found], axis=1)
    labels = np.concatenate([run.labels["test"] for run in found])
    assert point.interval.value == pytest.approx(metrics.nll(logits, labels))
    assert point.values == pytest.approx([metrics.nll(r.logits_of("test"), r.labels["test"]) for r in found])
    assert point.interval.low < point.interval.value < point.interval.high


def test_a_group_does_not_differ_from_itself_in_the_table():
    same = runs()
    text = contrasts.difference_table({"a": same, "b": same, "c": [None]}, {"NLL": ("nll", "+.2f")})
    assert text.splitlines()[0] == "| minus a | NLL | folds |"
    assert text.splitlines()[2].replace(NO_BREAK, " ") == "| b | +0.00 [+0.00, +0.00] | 3 |"
    assert text.splitlines()[3] == "| c | not run | 0 |"


def test_galaxies_are_kept_by_their_places():
    found = contrasts.compare(lambda places: places % 2 == 0, a=runs())
    whole = contrasts.compare(a=runs())
    kept = [
        metrics.METRICS["nll"].columns(x[:, p % 2 == 0], y[p % 2 == 0])[0]
        for x, y, p in zip(*whole.sides["a"], strict=True)
    ]
    assert found.estimate("nll", a=1.0).value == pytest.approx(np.concatenate(kept).mean())


def test_a_difference_of_errors_has_a_width_where_nothing_is_classified_differently():
    found = contrasts.compare(a=runs(), b=runs())
    interval = found.interval("error_percent", a=1.0, b=-1.0)
    assert interval.value == 0 and interval.low < 0 < interval.high
    assert found.interval("nll", a=1.0, b=-1.0) == (0, 0, 0)
    assert found.interval("error_percent", a=1.0) == found.estimate("error_percent", a=1.0).interval()
