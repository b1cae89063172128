import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scenarios import splits

from radio_bnn import metrics, store
from radio_bnn.config import Config, run_id

CONFIG = Config.preview(data="simulated", epochs=1, batch_size=8, samples=5)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Toy galaxies, an empty book and an empty cache."""
    monkeypatch.setattr(store, "load_data", lambda config: splits())
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path / "book"))
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(config: Config = CONFIG, **options) -> store.Run:
    return store.load_or_run(config, progress=False, device="cpu", **options)


def test_a_run_is_trained_once_and_read_afterwards(world, monkeypatch):
    first = run()
    monkeypatch.setattr(store, "fit", lambda *a, **k: pytest.fail("trained again"))
    second = run()
    assert second.record == first.record
    for name in store.SCORED:
        np.testing.assert_array_equal(second.logits[name], first.logits[name])
        assert second.logits[name].dtype == np.float16
    files = sorted(p.name for p in (world / "cache" / "results").iterdir() if p.is_file())
    assert files == [f"{run_id(CONFIG)}.json", f"{run_id(CONFIG)}.npz"]


def test_the_metrics_of_a_record_are_those_of_its_float16_logits(world):
    stored = run()
    assert stored.metric("nll").value == metrics.nll(stored.logits["test"], stored.labels["test"])
    assert stored.metric("error_percent").value == metrics.error(stored.logits["test"], stored.labels["test"])
    assert "error_percent" not in stored.record["metrics"]["hybrid"]
    assert "predictive_entropy" in stored.record["metrics"]["hybrid"]


def test_two_executions_agree_and_recompute_trains_again(world):
    first, second = run(), run(recompute=True)
    for name in store.SCORED:
        np.testing.assert_array_equal(first.logits[name], second.logits[name])
    assert first.record["metrics"] == second.record["metrics"]
    assert first.record["history"] == second.record["history"]


def test_a_committed_record_comes_before_the_cache(world):
    stored = store.execute(CONFIG, world / "book", device="cpu", progress=False)
    assert store.find(CONFIG).record == stored.record
    assert not (world / "cache" / "results" / f"{run_id(CONFIG)}.json").exists()


@pytest.mark.parametrize("last_good_move", [0, 1])
def test_an_interrupted_write_leaves_no_record(world, monkeypatch, last_good_move):
    moves, replace_file = [], store.os.replace

    def full_disk(source, target):
        if ".pt" not in str(target):
            if len(moves) == last_good_move:
                raise OSError("no space left")
            moves.append(target)
        replace_file(source, target)

    monkeypatch.setattr(store.os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        run()
    assert len(moves) == last_good_move
    assert store.find(CONFIG) is None


def test_records_are_not_edited_or_renamed(world):
    stored = run()
    folder = world / "cache" / "results"
    edited = stored.record | {"config": replace(CONFIG, seed=7).to_dict()}
    (folder / f"{run_id(CONFIG)}.json").write_text(json.dumps(edited))
    with pytest.raises(ValueError, match="never edited or renamed"):
        store.find(CONFIG)
    (folder / f"{run_id(CONFIG)}.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read.*delete both"):
        store.find(CONFIG)
    (folder / f"{run_id(CONFIG)}.json").write_text(json.dumps(stored.record))
    arrays = folder / f"{run_id(CONFIG)}.npz"
    arrays.write_bytes(arrays.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read.*delete both"):
        store.find(CONFIG)


def test_a_record_says_where_it_comes_from(world):
    provenance = run().record["provenance"]
    assert provenance["data"] == "simulated" and provenance["data_sha256"] == "toy"
    assert {"version", "commit", "torch", "device", "precision", "threads", "wall_seconds"} <= provenance.keys()


def test_protocols_are_recognised_whatever_varies_within_them():
    assert store.protocol(Config.preview(prior="laplace", temperature=1.0, seed=3)) == "preview"
    assert store.protocol(Config.published(temperature=0.1)) == "published"
    assert store.protocol(Config.preview(epochs=99)) == "custom"


def test_expected_seconds_adds_the_stored_wall_times(world):
    other = replace(CONFIG, seed=5)
    assert store.expected_seconds([CONFIG]) is None
    runs = [run(CONFIG), run(other)]
    total = sum(r.record["provenance"]["wall_seconds"] for r in runs)
    assert store.expected_seconds([CONFIG, other]) == total


def test_expected_seconds_of_a_new_run_follow_its_work(world):
    stored = store.execute(CONFIG, world / "book", device="cpu", progress=False)
    seconds = stored.record["provenance"]["wall_seconds"]
    longer = replace(CONFIG, epochs=3, objective="pac2", seed=9)
    assert store.expected_seconds([longer]) == pytest.approx(6 * seconds)
    assert store.expected_seconds([replace(CONFIG, augmentation="orbit_logits", estimator="shared")]) == 8 * seconds
    assert store.expected_seconds([CONFIG, longer]) == pytest.approx(7 * seconds)
    assert store.expected_seconds([replace(longer, precision="bf16")]) is None


def test_a_table_says_beforehand_how_long_training_takes(world, capsys, monkeypatch):
    assert [r.config for r in store.load_or_run_all([CONFIG], device="cpu")] == [CONFIG]
    assert capsys.readouterr().out == "Training 1 runs on simulated: minutes to hours each, on one core.\n"
    store.load_or_run_all([CONFIG])
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(store, "expected_seconds", lambda configs: 600.0)
    store.load_or_run_all([CONFIG], recompute=True, device="cpu")
    assert "about 10 min on one core" in capsys.readouterr().out


def test_mirabest_is_never_replaced_by_simulated_galaxies(monkeypatch, tmp_path):
    monkeypatch.delenv("RADIO_BNN_DATA", raising=False)
    monkeypatch.setenv("RADIO_BNN_OFFLINE", "1")
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path))
    with pytest.raises(Exception, match="MiraBest"):
        store.load_data(Config.preview())


def test_a_kept_posterior_is_the_trained_network(world, monkeypatch):
    trained, fit = [], store.fit
    monkeypatch.setattr(store, "fit", lambda *a, **k: trained.append(fit(*a, **k)) or trained[-1])
    assert store.posterior_of(CONFIG) is None
    kept = store.execute(CONFIG, store.cached_folder(), device="cpu", progress=False, keep_posterior=True)
    assert store.find(CONFIG).record == kept.record
    found, expected = store.posterior_of(CONFIG).state_dict(), trained[0].model.state_dict()
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-7)
    assert not list(store.cached_folder().glob("*partial*"))


def test_a_posterior_that_is_broken_or_renamed_is_refused(world):
    store.execute(CONFIG, store.cached_folder(), device="cpu", progress=False, keep_posterior=True)
    path = store.cached_folder() / f"{run_id(CONFIG)}.posterior.npz"
    other = replace(CONFIG, seed=9)
    path.rename(path.with_name(f"{run_id(other)}.posterior.npz"))
    with pytest.raises(ValueError, match="holds another config"):
        store.posterior_of(other)
    path.write_bytes(b"PK broken")
    with pytest.raises(ValueError, match="cannot be read.*train again"):
        store.posterior_of(CONFIG)


COMMITTED = sorted(p for p in store.committed_folder().glob("*.json") if p.with_suffix(".npz").exists())


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_committed_records_are_whole_and_their_metrics_recompute(path):
    stored = store.read(path.parent, path.stem)
    assert stored.record["run_id"] == path.stem
    assert stored.record["protocol"] == store.protocol(stored.config)
    for name in store.SCORED:
        again = store.score(name, stored.logits[name], stored.labels[name])
        assert {k: v["value"] for k, v in again.items()} == pytest.approx(
            {k: v["value"] for k, v in stored.record["metrics"][name].items()}, rel=1e-6, abs=1e-9
        )
