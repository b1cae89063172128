from dataclasses import replace

import numpy as np
import pytest
import torch

from radio_bnn import files
from radio_bnn.config import HISTORY, Config, run_id
from radio_bnn.evaluation import metrics
from radio_bnn.runs import execute, records
from radio_bnn.runs.records import Posterior, Run

CONFIG = Config.preview(data="simulated", simulated_galaxies=100, epochs=1, batch_size=8, samples=5)


def run(config: Config = CONFIG, **options) -> Run:
    return execute.load_or_run(config, progress=False, device="cpu", **options)


def test_a_run_is_trained_once_and_read_afterwards(world, monkeypatch):
    first = run()
    monkeypatch.setattr(execute, "fit", lambda *a, **k: pytest.fail("trained again"))
    second = run()
    assert second.content == first.content
    for name in records.SCORED:
        np.testing.assert_array_equal(second.logits[name], first.logits[name])
        assert second.logits[name].dtype == np.float16
    files = sorted(p.name for p in (world / "cache" / "results").iterdir() if p.is_file())
    assert files == [f"{run_id(CONFIG)}.json", f"{run_id(CONFIG)}.npz"]


def test_a_fold_is_trained_and_stored_on_its_own_galaxies(world, monkeypatch):
    plain, fold = run(), run(replace(CONFIG, fold=5))
    assert records.find(replace(CONFIG, fold=5, data_seed=99)).content == fold.content
    assert len(fold.labels["uncertain"]) > len(plain.labels["uncertain"])
    monkeypatch.undo()
    found = execute.load_data(replace(CONFIG, fold=5))
    assert (found.fold, found["test"].name.size) == (5, len(fold.labels["test"]))


def test_the_metrics_of_a_record_are_those_of_its_float16_logits(world):
    stored = run()
    assert stored.metric("nll").value == metrics.nll(stored.logits["test"], stored.labels["test"])
    assert stored.metric("error_percent").value == metrics.error(stored.logits["test"], stored.labels["test"])
    assert "error_percent" not in stored.scores("hybrid")
    assert "predictive_entropy" in stored.scores("hybrid")


def test_two_executions_agree_and_recompute_trains_again(world):
    first, second = run(), run(recompute=True)
    for name in records.SCORED:
        np.testing.assert_array_equal(first.logits[name], second.logits[name])
    assert first.content["metrics"] == second.content["metrics"]
    assert first.content["history"] == second.content["history"]


def test_a_committed_record_comes_before_the_cache(world):
    stored = execute.execute(CONFIG, world / "book", device="cpu", progress=False)
    assert run().content == stored.content
    assert not (world / "cache" / "results" / f"{run_id(CONFIG)}.json").exists()


def test_an_interrupted_write_is_no_run(world, monkeypatch):
    replace_file = files.os.replace

    def full_disk(source, target):
        if target.suffix == ".json":
            raise OSError("no space left")
        replace_file(source, target)

    monkeypatch.setattr(files.os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        run()
    assert records.find(CONFIG) is None


def test_a_record_says_where_it_comes_from(world):
    content = run().content
    assert content["provenance"]["data"] == "simulated" and content["provenance"]["data_sha256"] == "toy"
    names = {"version", "commit", "torch", "device", "precision", "threads", "wall_seconds"}
    assert names <= content["provenance"].keys()
    assert content["protocol"] == "custom"
    assert tuple(content["history"]) == HISTORY


def test_a_table_says_beforehand_how_long_training_takes(world, capsys, monkeypatch):
    assert [r.config for r in execute.load_or_run_all([CONFIG], device="cpu")] == [CONFIG]
    assert capsys.readouterr().out == "Training 1 runs on simulated: minutes to hours each, on one core.\n"
    execute.load_or_run_all([CONFIG])
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(records, "expected_seconds", lambda configs: 600.0)
    execute.load_or_run_all([CONFIG], recompute=True, device="cpu")
    assert "about 10 min on one core" in capsys.readouterr().out


def test_mirabest_is_never_replaced_by_simulated_galaxies(monkeypatch, tmp_path):
    monkeypatch.delenv("RADIO_BNN_DATA", raising=False)
    monkeypatch.setenv("RADIO_BNN_OFFLINE", "1")
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="MiraBest"):
        execute.load_data(Config.preview())
    with pytest.raises(FileNotFoundError, match="MiraBest"):
        execute.find_data(["simulated", "mirabest"])
    execute.find_data(["simulated"])


def test_a_kept_posterior_is_the_trained_network(world, monkeypatch):
    trained, fit = [], execute.fit
    monkeypatch.setattr(execute, "fit", lambda *a, **k: trained.append(fit(*a, **k)) or trained[-1])
    kept = execute.execute(CONFIG, records.cached_folder(), device="cpu", progress=False, keep_posterior=True)
    posterior = records.find(CONFIG, Posterior)
    assert records.find(CONFIG).content == kept.content
    assert posterior.content["history"] == kept.content["history"]
    found, expected = execute.network(posterior).state_dict(), trained[0].model.state_dict()
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-7)
    assert not list(world.rglob("*partial*"))


def test_a_posterior_that_is_broken_or_of_another_network_is_refused(world):
    execute.execute(CONFIG, records.cached_folder(), device="cpu", progress=False, keep_posterior=True)
    posterior, name = records.find(CONFIG, Posterior), run_id(CONFIG)
    other = replace(CONFIG, method="map")
    with pytest.raises(ValueError, match=rf"posterior {run_id(other)} is no network of its config"):
        execute.network(Posterior(other, posterior.content, posterior.arrays))
    wide = posterior.arrays | {"conv1.bias": np.zeros(6)}
    with pytest.raises(ValueError, match=r"conv1.bias has shape \(6,\) of float64"):
        records.write(Posterior(CONFIG, posterior.content, wide), world)
    (records.cached_folder() / "posterior" / f"{name}.npz").write_bytes(b"PK broken")
    with pytest.raises(ValueError, match=f"{name}.json in .*posterior cannot be read.*run it again"):
        records.find(CONFIG, Posterior)
