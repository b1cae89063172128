import numpy as np
import pytest

from radio_bnn import contrasts, metrics, store
from radio_bnn.config import run_id

LABELS = np.arange(30) % 2


def logits(seed: int, *, sharpness: float = 1.0, n: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    signal = sharpness * (2 * (np.arange(n) % 2) - 1)
    return np.stack([-signal, signal], -1) + rng.normal(size=(5, n, 2))


GROUPS = [[logits(10 * g + r, sharpness=1 + g / 2) for r in range(3)] for g in range(4)]


@pytest.mark.parametrize("statistic", ["nll", "error_percent", "uce_percent"])
def test_two_groups_agree_with_the_paired_bootstrap(statistic):
    a, b = GROUPS[:2]
    found = contrasts.contrast(statistic, [(1.0, a), (-1.0, b)], LABELS)
    assert found == pytest.approx(metrics.paired_bootstrap(statistic, (a, b), LABELS), abs=1e-12)


def test_one_group_of_equal_runs_is_the_bootstrap_of_one():
    run = GROUPS[0][0]
    expected = metrics.bootstrap("nll", run, LABELS)
    for n in (1, 3):
        assert contrasts.contrast("nll", [(1.0, [run] * n)], LABELS) == pytest.approx(expected, abs=1e-12)


def test_identical_groups_cancel_exactly():
    """A difference of differences of the same runs is 0 with no width, although each group varies."""
    a, b = GROUPS[:2]
    found = contrasts.contrast("nll", [(1, a), (-1, b), (-1, a), (1, b)], LABELS)
    assert found == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_the_value_is_the_combination_of_the_means_and_is_linear():
    factors = (1.0, -1.0, -2.0, 0.5)
    found = contrasts.contrast("brier", list(zip(factors, GROUPS, strict=True)), LABELS)
    means = [np.mean([metrics.brier(x, LABELS) for x in group]) for group in GROUPS]
    assert found.value == pytest.approx(np.dot(factors, means))
    doubled = contrasts.contrast("brier", [(2 * f, g) for f, g in zip(factors, GROUPS, strict=True)], LABELS)
    assert doubled == pytest.approx([2 * x for x in found])


def test_one_run_has_the_interval_of_its_bootstrap():
    found = contrasts.contrast("nll", [(1.0, GROUPS[0][:1])], LABELS)
    assert found == pytest.approx(metrics.bootstrap("nll", GROUPS[0][0], LABELS))


def test_runs_that_cannot_be_paired_are_refused():
    with pytest.raises(ValueError, match=r"\[1, 3\] runs"):
        contrasts.contrast("nll", [(1, GROUPS[0]), (-1, GROUPS[1][:1])], LABELS)
    with pytest.raises(ValueError, match=r"\[28, 30\] galaxies"):
        contrasts.contrast("nll", [(1, GROUPS[0][:1]), (-1, [logits(0, n=28)])], LABELS)
    with pytest.raises(ValueError, match="statistic='wrong'.*nll"):
        contrasts.of_runs("wrong", [(1, [None])])
    with pytest.raises(ValueError, match="seeds=0"):
        contrasts.stored(seeds=0)


def store_run(folder, i: int, **changes) -> store.Run:
    config = contrasts.config_of(122 + i, **changes)
    sets = {name: logits(i + 100 * (config.temperature < 1)) for name in store.SCORED}
    labels = dict.fromkeys(store.SCORED, LABELS)
    record = {"run_id": run_id(config), "config": config.to_dict(), "history": {"kl_per_weight": [9.0, 0.5 + i]}}
    record["metrics"] = {"test": metrics.summarise(sets["test"], LABELS, draws=20)}
    run = store.Run(config, record, sets, labels)
    store.write(run, folder)
    return run


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path))
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_contrast_stands_on_the_seeds_that_every_group_has(records):
    kept = [store_run(records, 0, temperature=t) for t in (1.0, 0.01)]
    store_run(records, 1, temperature=1.0)
    warm, cold = (contrasts.stored(seeds=3, temperature=t) for t in (1.0, 0.01))
    assert [run is None for run in warm + cold] == [False, False, True, False, True, True]
    found = contrasts.of_runs("nll", [(1.0, warm), (-1.0, cold)])
    pair = tuple(run.logits["test"] for run in kept)
    assert found.seeds == 1
    assert found.interval == pytest.approx(metrics.paired_bootstrap("nll", pair, LABELS))
    assert f"{found:+.2f}" == f"{found.interval:+.2f}"
    effect = contrasts.warm_minus_cold(seeds=3)
    assert contrasts.of_runs("nll", effect) == found
    assert contrasts.of_runs("nll", effect + contrasts.warm_minus_cold(seeds=3, factor=-1.0)).interval == (0, 0, 0)


def test_what_was_not_run_is_said(records):
    nothing = contrasts.of_runs("nll", [(1.0, contrasts.stored(seeds=2, temperature=1.0))])
    assert nothing == contrasts.Contrast(None, 0)
    assert f"{nothing:+.2f}" == "not run"
    assert contrasts.scaled({1.0: None}, 2.0) == {1.0: None}
    runs = contrasts.along_temperature([1.0, 0.1], seeds=2)
    assert contrasts.curve(runs, "nll") == {0.1: None, 1.0: None}


def test_a_curve_takes_metrics_with_intervals_and_histories_with_the_range_of_seeds(records):
    runs = [store_run(records, i, temperature=1.0) for i in range(2)]
    by_temperature = contrasts.along_temperature([1.0], seeds=3)
    point = contrasts.curve(by_temperature, "kl_per_weight")[1.0]
    assert point == contrasts.Point(metrics.Interval(1.0, 0.5, 1.5), [0.5, 1.5])
    assert contrasts.scaled({1.0: point}, 2.0)[1.0] == contrasts.Point(metrics.Interval(2.0, 1.0, 3.0), [1.0, 3.0])
    point = contrasts.curve(by_temperature, "nll")[1.0]
    assert point.values == pytest.approx([metrics.nll(run.logits["test"], LABELS) for run in runs])
    assert point.interval.low < point.interval.value < point.interval.high
    assert point.interval.value == pytest.approx(np.mean(point.values))
