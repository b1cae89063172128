"""Pruning goes as far as it may, records become networks, and the committed file is what its page says."""

import dataclasses

import numpy as np
import pytest
import torch
from scenarios import images, recorded

from radio_bnn.config import Config
from radio_bnn.data.folds import catalogue
from radio_bnn.data.mirabest import F_BATCHES
from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.files import CHECKOUT
from radio_bnn.inference import prune
from radio_bnn.inference.predict import predict
from radio_bnn.inference.vi import network
from radio_bnn.model.layers import load_posterior, posterior
from radio_bnn.paper import bundle, model_card
from radio_bnn.runs import execute, records
from radio_bnn.runs.records import SCORED, Posterior, Run
from radio_bnn.seeds import generator
from radio_bnn.sky import posteriors

BASE = Config.annealed(data="simulated", simulated_galaxies=60, samples=3)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bundle, "MANY", 4)
    monkeypatch.setattr(bundle, "DRAWS", 2)
    monkeypatch.setattr(bundle, "FRACTIONS", (0.0, 0.3, 0.95))


def trained(seed=0):
    """A network whose every draw differs much, so that some pruning is not seen."""
    model = network(BASE, generator(seed, "init"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_rho"):
                parameter.fill_(-2.0)
    return model


def test_as_much_is_pruned_as_nobody_misses(quick):
    model, x = trained(), images(6)
    q, facts, logits = bundle.compress(model, x, seed=1)
    snr = prune.signal_to_noise(prune.frozen(model))

    def p(fraction, stream):
        pruned = load_posterior(trained(), prune.prune(posterior(model), snr, fraction))
        return predictive_mean(predict(pruned, x, samples=4, generator=generator(1, stream)))[:, 0]

    between = np.quantile(np.abs(p(0.0, "first draws") - p(0.0, "second draws")), [0.5, 0.95])
    below = {
        f: (np.quantile(np.abs(p(f, "first draws") - p(0.0, "first draws")), [0.5, 0.95]) < between).all()
        for f in bundle.FRACTIONS
    }
    assert facts["fraction"] == max(f for f in bundle.FRACTIONS if below[f])
    np.testing.assert_allclose(list(facts["change_by_draws"].values()), between, rtol=1e-2)
    removed = [int((~prune.kept(q[name])).sum()) for name in prune.fully_connected(q)]
    assert sum(removed) == round(facts["fraction"] * 198_408) and logits.shape == (4, 6, 2)


def test_records_become_an_ensemble(quick, tmp_path, monkeypatch):
    configs = [dataclasses.replace(BASE, fold=fold, seed=fold) for fold in (0, 1)]
    made = []
    for config in configs:
        arrays = {k: v.numpy().astype(np.float16) for k, v in trained(config.seed).state_dict().items()}
        splits, rng = execute.load_data(config), np.random.default_rng(config.seed)
        logits = {name: rng.normal(size=(3, len(splits[name]), 2)) for name in SCORED}
        content = recorded(config).content
        content["provenance"]["commit"] = "c0ffee"
        run = Run(config, content, execute.made_arrays(logits, splits))
        made.append((run, Posterior(config.trained, {}, arrays)))
    by_fold = {run.config.fold: pair for pair in made for run in pair[:1]}
    monkeypatch.setattr(bundle, "_records", lambda config: by_fold[config.fold])
    ensemble = bundle.build(configs)
    posteriors.write(ensemble, tmp_path / "posteriors.npz")
    found = posteriors.read(tmp_path / "posteriors.npz")
    assert found.draws == 2 and found.facts["what"]["temperature"] == BASE.temperature
    assert [r["run"] for r in found.facts["provenance"]["records"]] == [run.identity for run, _ in made]
    for network_, (run, _) in zip(found.networks, made, strict=True):
        np.testing.assert_array_equal(network_.galaxy, run.galaxies["test"])
        np.testing.assert_array_equal(network_.labels, run.labels["test"])
    assert found.facts["never_trained_on"]["uncertain"]["galaxies"] > 0
    for table in model_card.TABLES.values():
        assert table(found).startswith("| ")


@pytest.mark.parametrize("temperature", ["0.01", "0.5"])
def test_what_is_not_at_hand_is_one_line(temperature, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path))
    monkeypatch.setattr(records, "cache_folder", lambda: tmp_path)
    assert bundle.main(["--temperature", temperature, "--out", str(tmp_path / "x.npz")]) == 1
    says = "there is no run record of" if temperature == "0.01" else "temperature=0.5 is not in the plan"
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1 and not (tmp_path / "x.npz").exists()


@pytest.fixture(scope="module")
def committed():
    return posteriors.read()


def test_the_committed_networks_keep_their_promises(committed):
    """Size, and what the compact form changes; each confident galaxy is held out once."""
    assert posteriors.FILE.stat().st_size < 2.5e6
    for facts in committed.facts["compression"]:
        for which, change in facts["change_by_pruning"].items():
            assert change < facts["change_by_draws"][which]
    held_out, table = np.concatenate([n.galaxy for n in committed.networks]), catalogue()
    assert sorted(held_out) == np.flatnonzero(table.judged).tolist()
    for fold, network_ in enumerate(committed.networks):
        assert (table.fold[network_.galaxy] == fold).all()
        np.testing.assert_array_equal(table.code[network_.galaxy] // 100 - 1, network_.labels)


def test_the_committed_networks_come_from_stored_runs(committed):
    source, what = committed.facts["provenance"], committed.facts["what"]
    assert f"sha256:{source['data_sha256']}" == F_BATCHES.checksum
    group = bundle.group(what["temperature"])
    for k, (config, named) in enumerate(zip(group, source["records"], strict=True)):
        run, posterior_ = bundle._records(config)
        assert (run.identity, posterior_.identity) == (named["run"], named["posterior"])
        network_, given = committed.networks[k], posterior_.parameters
        for name, (mean, _) in network_.posterior.items():
            layer, part = name.split(".")
            whole = given[f"{layer}.{part}_mean"].astype(np.float32)
            left = prune.kept(network_.posterior[name]).numpy()
            np.testing.assert_array_equal(mean.numpy()[left], whole[left])


def test_the_model_card_says_what_the_file_says(committed):
    page = (CHECKOUT / "book" / "model_card.md").read_text()
    for name, table in model_card.TABLES.items():
        shown = (CHECKOUT / "book" / "_generated" / f"model_card_{name}.md").read_text()
        assert shown == table(committed) + "\n", "python -m radio_bnn.paper.model_card"
        assert f"{{include}} _generated/model_card_{name}.md" in page
