import numpy as np
import pytest
from scenarios import recorded

from radio_bnn.config import HISTORY
from radio_bnn.evaluation import metrics
from radio_bnn.evaluation.resampling import Interval, contrast
from radio_bnn.paper import contrasts, experiments
from radio_bnn.runs import records
from radio_bnn.runs.records import SCORED, Run

LABELS = np.arange(30) % 2


def logits(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    signal = 2 * (np.arange(30) % 2) - 1
    return np.stack([-signal, signal], -1) + rng.normal(size=(5, 30, 2))


def store_run(folder, i: int, **changes) -> Run:
    config = experiments.run(122 + i, samples=5, **changes)
    seed = i + 100 * (config.temperature < 1)
    sets = {name: (logits(seed + 1000 * (name == "uncertain")), LABELS) for name in SCORED}
    made = recorded(config, sets)
    run = Run(config, made.content | {"history": dict.fromkeys(HISTORY, [9.0, 0.5 + i])}, made.arrays)
    records.write(run, folder)
    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path))
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_contrast_stands_on_the_seeds_that_every_group_has(folder):
    kept = [store_run(folder, 0, temperature=t) for t in (1.0, 0.01)]
    store_run(folder, 1, temperature=1.0)
    terms = contrasts.stored_terms(experiments.warm_minus_cold(3, samples=5))
    (_, warm), (_, cold) = terms
    assert [run is None for run in warm + cold] == [False, False, True, False, True, True]
    found = contrasts.of_runs("nll", [(1.0, warm), (-1.0, cold)])
    by_hand = [(sign, [run.logits["test"]]) for sign, run in zip((1.0, -1.0), kept, strict=True)]
    assert found.runs == 1
    assert found.interval == pytest.approx(contrast("nll", by_hand, LABELS))
    assert f"{found:+.2f}" == f"{found.interval:+.2f}"
    assert contrasts.of_runs("nll", terms + [(-factor, runs) for factor, runs in terms]).interval == (0, 0, 0)


def test_two_sets_of_galaxies_are_told_apart_on_the_runs_that_exist(folder):
    kept = [store_run(folder, i) for i in (0, 2)]
    auroc, runs = metrics.auroc_of("mutual_information"), contrasts.stored(experiments.repeats(3, samples=5))
    found = contrasts.of_runs(auroc, [(1.0, runs)], scored=("test", "uncertain"))
    both = [np.concatenate([run.logits["test"], run.logits["uncertain"]], axis=1) for run in kept]
    member = np.repeat([0, 1], 30)
    assert found == (pytest.approx(contrast(auroc, [(1.0, both)], member, strata=member)), 2)
    value = contrasts.of_runs(auroc, [(1.0, runs)], scored=("uncertain", "test")).interval.value
    assert value == pytest.approx(1 - found.interval.value)


def test_runs_that_cannot_be_contrasted_are_refused(folder):
    run = store_run(folder, 0)
    with pytest.raises(ValueError, match="statistic is 'wrong'.*nll"):
        contrasts.of_runs("wrong", [(1, [None])])
    with pytest.raises(ValueError, match=r"scored='test': metrics.auroc_of takes two sets"):
        contrasts.of_runs(metrics.auroc_of("energy_score"), [(1, [run])])
    with pytest.raises(ValueError, match=r"scored=\('test', 'hybrid'\): .*any other statistic one"):
        contrasts.of_runs("nll", [(1, [run])], scored=("test", "hybrid"))
    other = Run(run.config, run.content, run.arrays | {"labels_test": 1 - LABELS})
    with pytest.raises(ValueError, match="different galaxies"):
        contrasts.of_runs("nll", [(1, [run]), (-1, [other])])


def test_what_was_not_run_is_said(folder):
    nothing = contrasts.of_runs("nll", [(1.0, contrasts.stored(experiments.repeats(2, temperature=1.0)))])
    assert nothing == contrasts.Contrast(None, 0)
    assert f"{nothing:+.2f}" == "not run"
    assert contrasts.scaled({1.0: None}, 2.0) == {1.0: None}
    runs = contrasts.along(experiments.ladder([1.0, 0.1], 2))
    assert contrasts.curve(runs, "nll") == {0.1: None, 1.0: None}


def test_a_curve_takes_metrics_with_intervals_and_histories_with_the_range_of_seeds(folder):
    runs = [store_run(folder, i, temperature=1.0) for i in range(2)]
    by_temperature = contrasts.along(experiments.ladder([1.0], 3, samples=5))
    point = contrasts.curve(by_temperature, "kl_per_weight")[1.0]
    assert point == contrasts.Point(Interval(1.0, 0.5, 1.5), [0.5, 1.5])
    assert contrasts.scaled({1.0: point}, 2.0)[1.0] == contrasts.Point(Interval(2.0, 1.0, 3.0), [1.0, 3.0])
    point = contrasts.curve(by_temperature, "nll")[1.0]
    assert point.values == pytest.approx([metrics.nll(run.logits["test"], LABELS) for run in runs])
    assert point.interval.low < point.interval.value < point.interval.high
    assert point.interval.value == pytest.approx(np.mean(point.values))
