"""Chains put together by fold, and what makes one trust them."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import LEARNT, path, run_of

from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.paper import contrasts, experiments, sampling
from radio_bnn.runs.records import TEMPERATURES


def chain(config, *, reads: float = 1.0, shift: float = 0.0, seed: int = 0, draws: int = 24):
    """A chain of independent draws; its thermometers read ``reads`` times T, its logits lie ``shift`` apart."""
    run = run_of(config, **LEARNT)
    rng = np.random.default_rng([seed, config.seed])
    for name in ("validation", "test", "uncertain", "hybrid"):
        n = run.arrays[f"difference_{name}"].shape[1]
        run.arrays[f"difference_{name}"] = (shift + rng.normal(0, 1, (draws, n))).astype(np.float16)
    values = [reads * config.temperature] * config.cycles
    read = {t: {"fc1.weight": values, "fc3.bias": values} for t in ("kinetic", "configurational")}
    return replace(run, content=run.content | {TEMPERATURES: read})


def chains_of(fold: int = 0, temperature: float = 1.0, **changes):
    [configs] = experiments.chains([fold])[temperature]
    return [chain(config, **changes) for config in configs]


def test_all_draws_of_all_chains_count_alike():
    chains = chains_of()
    whole = sampling.together(chains)
    assert whole.logits_of("test").shape[0] == 4 * 24
    mean = np.mean([predictive_mean(run.logits_of("test")) for run in chains], axis=0)
    np.testing.assert_allclose(predictive_mean(whole.logits_of("test")), mean, atol=1e-6)
    assert sampling.together([*chains[:3], None]) is None and sampling.together([]) is None


def test_chains_that_agree_are_told_from_chains_that_do_not():
    good = sampling.trust(chains_of())
    assert good.agree > 80 and 60 < good.draws < 250
    assert (good.kinetic, good.configurational, good.off) == (pytest.approx(1), pytest.approx(1), 0)
    apart = sampling.trust([chain(r.config, shift=3.0 * k) for k, r in enumerate(chains_of())])
    assert apart.agree < 5 and apart.draws < 20


def test_a_chain_out_of_equilibrium_is_counted_and_weights_count_by_their_number():
    hot = sampling.trust([*chains_of()[:3], chain(chains_of()[3].config, reads=2.0)])
    assert (hot.off, hot.readings) == (4, 16)
    odd = chains_of()
    for run in odd:
        run.content[TEMPERATURES]["configurational"]["fc3.bias"] = [50.0, 50.0]
    assert sampling.trust(odd).configurational == pytest.approx(1 + 49 * 2 / (188160 + 2), rel=1e-6)


def test_tables_say_what_was_not_run_and_on_how_many_folds_a_number_stands(store):
    path(store, {t: dict(LEARNT) for t in experiments.SAMPLED_AT}, folds=[0, 1])
    for fold in (0, 1):
        for run in chains_of(fold):
            store[run.identity, "run"] = run
    found = sampling.stored()
    assert list(found) == list(experiments.SAMPLED_AT)
    variational = contrasts.along(experiments.paths(experiments.FEW))
    scores = sampling.score_table(sampling.posteriors(found), variational).splitlines()[2:]
    trusted = sampling.trust_table(sampling.trusted(found)).splitlines()[2:]
    for rows in (scores, trusted):
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
        assert [c[0] for c in cells] == ["0.01", "0.1", "1"] and [c[-1] for c in cells] == ["0", "0", "2"]
        assert {cell for row in cells[:2] for cell in row[1:-1]} == {"not run"}
    assert sampling.agreeing(sampling.trusted(found)[0.1]) == "not run"
    assert " to " in sampling.agreeing(sampling.trusted(found)[1.0])
    assert sampling.contrast(sampling.posteriors(found), 1.0, variational[0.1]).startswith("+")
    assert sampling.contrast(sampling.posteriors(found), 0.1, variational[0.1]) is None


def test_the_answer_follows_the_contrast(store):
    path(store, {1.0: {**LEARNT, "evidence_for_truth": 0.0}, 0.1: dict(LEARNT)}, folds=experiments.FEW)
    assert sampling.spoken({}, {}, best=0.1)["answer"] == "No chain is stored on all its starts."
    q = contrasts.along(experiments.paths(experiments.FEW))
    better = {1.0: contrasts.stored(experiments.paths(experiments.FEW)[0.1])}
    said = sampling.spoken(better, q, best=0.1)
    assert "predicts where the fitted Gaussian" in said["answer"] and said["n_hot"] == 3
    assert said["minus_best"].startswith("+0.000")
    worse = sampling.spoken({1.0: q[1.0]}, {1.0: better[1.0], 0.1: better[1.0]}, best=0.1)
    assert "predicts worse" in worse["answer"] and worse["vi_hot"] == said["chains_hot"]
    both = sampling.spoken({1.0: q[1.0], 0.1: better[1.0]}, q, best=0.1)["answer"]
    assert "told apart" in both and "Cooling the chains to T = 0.1 helps: their NLL changes by -" in both
    assert "harms" in sampling.spoken({1.0: better[1.0], 0.1: q[1.0]}, q, best=0.1)["answer"]
    assert "told apart" in sampling.spoken({1.0: q[1.0]}, q, best=0.1)["answer"]
    first = sampling.finding(sampling.spoken({**better, 0.1: better[1.0]}, q, best=0.1), best=0.1).text
    assert first.startswith(
        "**The sampled posterior predicts where the fitted Gaussian, at the same temperature, does not**"
    )
    assert first.endswith("nats.") and "3 folds" in first and first.count("Cooling the chains") == 1
    assert sampling.finding(sampling.spoken({}, {}, best=0.1), best=0.1) is None
