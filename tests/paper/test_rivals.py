"""Every method has its row, run or not; what predicts together counts together, in scores and in costs."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import LEARNT, run_of

from radio_bnn.config import run_id
from radio_bnn.evaluation.conformal import conformal_sets
from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.paper import evidence, experiments, literature, readings, rivals
from radio_bnn.paper.experiments import FOUR, VARIATIONAL


def put(store, title, *, folds=3, seconds=10.0, evidence_for_truth=2.0):
    for group in experiments.rivals(range(folds))[title]:
        for config in group:
            run = run_of(config, **LEARNT | {"evidence_for_truth": evidence_for_truth})
            run = replace(run, content=run.content | {"provenance": {"wall_seconds": seconds}})
            store[run_id(config), "run"] = run


def test_every_method_has_a_row_before_anything_is_run(store):
    runs = rivals.stored(3)
    assert {"natural gradient", "deep ensemble", VARIATIONAL, FOUR, "chains, T = 1"} < set(runs)
    found = readings.alone(runs, rivals.NAMES)
    minus = rivals.against(runs)
    lines = rivals.table(found, minus, rivals.NAMES, rivals.costs(3)).splitlines()[2:]
    assert len(lines) == len(runs) and all(line.count("not run") == len(rivals.NAMES) + 3 for line in lines)
    assert VARIATIONAL not in minus and len(minus) == len(runs) - 1
    assert rivals.spoken(minus) == {"n_rivals": f"0 of {len(minus)}", "better": "none", "worse": "none"}
    printed = literature.beside(rivals.as_printed(runs))
    assert printed.count("here, 0 folds") == len(rivals.PRINTED_AS)


def test_networks_that_predict_together_are_averaged_and_cost_their_sum(store):
    put(store, FOUR)  # its first is the variational network
    put(store, "dropout", evidence_for_truth=0.5)
    runs, costs = rivals.stored(3), rivals.costs(3)
    alone = [store[run_id(config), "run"] for config in experiments.rivals([0])[FOUR][0]]
    mean = np.mean([predictive_mean(run.logits_of("test")) for run in alone], axis=0)
    np.testing.assert_allclose(predictive_mean(runs[FOUR][0].logits_of("test")), mean, atol=1e-6)
    stages = 1 + len(alone[0].config.path)
    epochs = alone[0].config.epochs
    assert stages == 3 and costs[VARIATIONAL] == (epochs * stages, 10.0 * stages, None)
    assert costs[FOUR] == (4 * epochs * stages, 40.0 * stages, None)
    assert costs["dropout"][:2] == (epochs, 10) and costs["deep ensemble"] == (None, None, None)
    put(store, "deep ensemble")  # one training of networks side by side
    (ensemble,) = experiments.rivals([0])["deep ensemble"][0]
    assert rivals.costs(3)["deep ensemble"].passes == epochs * ensemble.members > epochs
    minus = rivals.against(runs)
    assert minus["dropout"]["nll"].interval.low > 0 and minus["deep ensemble"]["nll"] is None
    rows = rivals.table(readings.alone(runs, rivals.SCORES), minus, rivals.SCORES).splitlines()[2:]
    ours, other = rows[0], next(row for row in rows if row.startswith("| dropout"))
    assert "<br>" not in ours and other.count("<br>*") == len(rivals.SCORES)
    assert f"{minus['dropout']['nll'].interval:+.3f}".replace(", ", ",\u00a0") in other
    said = rivals.spoken(minus)
    assert said["worse"].startswith("dropout (+") and said["n_rivals"] == f"2 of {len(minus)}"
    put(store, FOUR, folds=2)
    del store[run_id(experiments.rivals([2])[FOUR][0][3]), "run"]
    assert [run is None for run in rivals.stored(3)[FOUR]] == [False, False, True]


def test_the_size_of_conformal_sets_is_their_mean_and_falls_with_evidence():
    sharp, blunt = ([run_of(experiments.run(k), evidence_for_truth=e) for k in range(3)] for e in (4.0, 0.5))
    found = readings.set_size(blunt)
    by_hand = [
        conformal_sets(evidence.calibrating(run), run.logits_of("test"), alpha=0.1).sum(axis=1).mean() for run in blunt
    ]
    assert found.by_fold == pytest.approx(by_hand) and 1.2 < found.value < 2
    assert readings.set_size(sharp).value < found.value
