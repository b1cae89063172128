"""Curated ladders are read over T / S and as their labellers score; simulated ones stay apart from MiraBest."""

import numpy as np
import pytest
from synthetic import LEARNT, STUCK, fill, path

from radio_bnn.data import simulate
from radio_bnn.evaluation.metrics import nll
from radio_bnn.evaluation.predictive import softmax
from radio_bnn.paper import causes, curation, experiments


def test_labellers_are_scored_by_what_all_of_them_say_or_by_one(store):
    fill(store, experiments.curated()[2][1.0], **LEARNT)
    all_of_them, one = (curation.likelihoods(by_all=by)["2 labellers"] for by in (True, False))
    assert all_of_them[1] == one[1] == 2
    p = softmax(one[0][1.0][0].logits_of("test"))
    np.testing.assert_allclose(
        softmax(all_of_them[0][1.0][0].logits_of("test")), p**2 / (p**2).sum(-1, keepdims=True), atol=1e-3
    )


def test_curves_lie_at_the_temperature_of_one_labeller(store):
    for s, ladder in experiments.curated().items():
        fill(store, ladder[float(s)], **LEARNT)  # T / S = 1
    path(store, {1.0: dict(LEARNT)}, folds=experiments.FEW)
    found = curation.curves(curation.plain() | curation.likelihoods())
    for s in experiments.LABELLERS:
        curve = found[f"{s} labellers"]
        assert sorted(curve) == pytest.approx(sorted(experiments.SHARED_OUT))
        assert curve[1.0] is not None and all(point is None for t, point in curve.items() if t != 1.0)
    run = curation.plain()[curation.PLAIN][0][1.0][0]
    assert found[curation.PLAIN][1.0].values[0] == pytest.approx(nll(run.logits_of("test"), run.labels["test"]))
    assert set(found[curation.PLAIN]) == set(experiments.LADDER)


def test_every_world_says_what_one_loses_at_one_or_that_it_was_not_run(store):
    """The toy records have the galaxies of MiraBest, which nothing here looks at."""
    assert set(curation.worlds()) == set(experiments.WORLDS)
    silent = {title: causes.read(*found) for title, found in curation.worlds().items()}
    assert curation.spoken(silent, "lost") == {f"lost_{k}": "not run" for k in (1, 2, 3, 4)}
    ladder = experiments.controlled()["ten, curated"]
    for t, configs in ladder.items():
        fill(store, configs, **(STUCK if t == 1.0 else LEARNT))
    found = {title: causes.read(*of) for title, of in curation.worlds().items()}
    said = curation.spoken(found, "lost")
    assert (
        list(found)[2] == "ten, curated"
        and said["lost_3"].startswith("+")
        and said["lost_3"].endswith("nats")
        and said["lost_1"] == "not run"
    )
    assert found["ten, curated"].guesses == 3


def test_what_ten_agree_on_is_more_certain_than_what_comes():
    drawn = {s: simulate.voted(60, labellers=s, seed=1) for s in (1, 10)}
    one, ten = (row.split("|") for row in curation.kept_table(drawn).splitlines()[2:])
    assert float(one[2]) == 100 and one[3].strip() == one[4].strip()
    assert float(ten[2]) < 100 and float(ten[4]) > float(ten[3])
