import json
from dataclasses import replace

import numpy as np
import pytest
from scenarios import splits

from radio_bnn import metrics, prune_records, store
from radio_bnn.claims import CLAIMS
from radio_bnn.cli import main
from radio_bnn.config import Config, run_id
from radio_bnn.prune import IMPORTANCE
from radio_bnn.prune_records import FRACTIONS, Pruning
from radio_bnn.resampling import contrast

CONFIG = Config.preview(data="simulated", epochs=1, batch_size=8, samples=5)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Toy galaxies, an empty book, an empty cache; one record is made in it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("world")
        patch.setattr(store, "load_data", lambda config: splits())
        patch.setenv("RADIO_BNN_RESULTS", str(folder / "book"))
        patch.setenv("RADIO_BNN_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def made(world) -> Pruning:
    assert prune_records.find(CONFIG) is None
    assert prune_records.run([CONFIG], world / "book" / "pruning", progress=False) == [CONFIG]
    return prune_records.find(CONFIG)


def test_a_record_is_made_once_and_is_whole(world, made, monkeypatch):
    monkeypatch.setattr(store, "execute", lambda *a, **k: pytest.fail("trained again"))
    assert prune_records.run([CONFIG], world / "book" / "pruning", progress=False) == []
    assert sorted(p.name for p in (world / "book" / "pruning").iterdir()) == [
        f"{run_id(CONFIG)}.json",
        f"{run_id(CONFIG)}.npz",
    ]
    assert set(made.logits) == set(IMPORTANCE)
    n = len(splits()["test"])
    for logits in made.logits.values():
        assert logits.shape == (len(FRACTIONS), prune_records.SAMPLES, n, 2) and logits.dtype == np.float16
        np.testing.assert_array_equal(logits[0], made.logits["snr"][0])
    assert sum(counts.sum() for name, counts in made.counts.items() if name.startswith("fc")) == 198_408
    assert {"commit", "torch", "device", "data_sha256"} <= made.record["provenance"].keys()


def test_a_lost_record_is_made_again_from_the_kept_posterior_and_is_the_same(world, made, monkeypatch):
    monkeypatch.setattr(store, "execute", lambda *a, **k: pytest.fail("trained again"))
    prune_records.run([CONFIG], world / "again", progress=False)
    again = prune_records.read(world / "again", run_id(CONFIG))
    for ranking, logits in made.logits.items():
        np.testing.assert_array_equal(again.logits[ranking], logits)


def test_unpruned_predictions_are_those_of_the_stored_run(made):
    """Same draws; the posterior was rounded to float16 in between."""
    run = store.find(CONFIG).logits["test"].astype(float)
    np.testing.assert_allclose(made.at("snr", 0.0)[: len(run)].astype(float), run, atol=0.02 * np.abs(run).max())


def test_a_record_of_another_config_is_refused(world, made, tmp_path):
    for path in (world / "book" / "pruning").iterdir():
        (tmp_path / f"0123456789ab{path.suffix}").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="another config"):
        prune_records.read(tmp_path, "0123456789ab")
    (tmp_path / "0123456789ab.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read.*delete both"):
        prune_records.read(tmp_path, "0123456789ab")


def test_a_network_without_posterior_is_refused(world):
    with pytest.raises(ValueError, match="method='map'"):
        prune_records.measure(replace(CONFIG, method="map"))
    with pytest.raises(FileNotFoundError, match="no posterior of run"):
        prune_records.measure(replace(CONFIG, seed=77))


def record(seed: int, shift: float = 0.0) -> Pruning:
    """A record whose logits drift by ``shift`` per fraction."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 12).astype(np.uint8)
    base = rng.normal(0, 1, (4, 24, 2))
    drift = np.arange(len(FRACTIONS))[:, None, None, None] * shift * (np.arange(2) == 0)
    logits = {name: (base + drift).astype(np.float16) for name in IMPORTANCE}
    counts = {"conv1.weight": np.ones(5, int), "fc1.weight": np.arange(5), "fc2.weight": np.full(5, 3)}
    regimes = {"fc1.weight": {"likelihood": 0.25 * seed, "between": 0.5, "prior": 0.5 - 0.25 * seed}}
    return Pruning(CONFIG, {"regimes": regimes}, logits, labels, counts)


def test_differences_are_paired_contrasts():
    records = [record(0, 0.3), record(1, 0.3)]
    terms = [(sign, [r.at("snr", fraction) for r in records]) for sign, fraction in ((1, 0.3), (-1, 0.0))]
    found = prune_records.difference(records, "nll", ("snr", 0.3))
    assert found == (contrast("nll", terms, records[0].labels), 2)
    assert prune_records.difference(records, "nll", ("snr", 0.6), ("fisher", 0.6)).interval == (0, 0, 0)
    assert prune_records.difference([], "nll", ("snr", 0.3)) == (None, 0)


def test_the_contrast_between_the_classes_is_the_difference_of_their_changes():
    one = record(0, 0.3)
    labels = one.labels.astype(int)
    change = metrics.classwise_uce(one.at("snr", 0.3), labels) - metrics.classwise_uce(one.at("snr", 0.0), labels)
    found = prune_records.difference([one], "uce_fri_minus_frii_percent", ("snr", 0.3)).interval
    assert found.value == pytest.approx(change[0] - change[1])
    assert "FRI minus FRII" in CLAIMS["C5"].contrast
    by_class = prune_records.class_changes([one], "snr")
    assert [by_class[name][0, 3] for name in ("FRI", "FRII")] == pytest.approx(change.tolist())


def test_records_of_other_galaxies_are_not_paired():
    other = replace(record(1), labels=record(1).labels[::-1])
    with pytest.raises(ValueError, match="different galaxies"):
        prune_records.difference([record(0), other], "nll", ("snr", 0.3))


def test_what_is_not_stored_is_refused_by_name():
    with pytest.raises(ValueError, match=r"fraction=0.35 is not stored: choose one of 0, 0.1"):
        record(0).at("snr", 0.35)
    with pytest.raises(ValueError, match="ranking='taste'"):
        record(0).at("taste", 0.3)
    with pytest.raises(ValueError, match="ranking='taste'"):
        prune_records.class_changes([], "taste")
    with pytest.raises(ValueError, match="fraction=2"):
        prune_records.differences_table([], 2)
    with pytest.raises(ValueError, match="seeds=0"):
        prune_records.configs(0)


def test_changes_counts_and_regimes_of_several_seeds_and_of_none():
    records = [record(0, 0.1), record(1, 0.1)]
    changes = prune_records.changes(records, "nll", ["snr", "random"])
    assert list(changes) == ["signal-to-noise", "random"]
    assert changes["random"].shape == (2, len(FRACTIONS)) and (changes["random"][:, 0] == 0).all()
    labels = records[1].labels.astype(int)
    first, third = (metrics.nll(records[1].logits["random"][i], labels) for i in (0, 2))
    assert changes["random"][1, 2] == third - first
    counts = prune_records.counts_by_layer(records)
    assert list(counts) == ["all", "fc1", "fc2"]
    np.testing.assert_array_equal(counts["all"], counts["fc1"] + counts["fc2"])
    assert prune_records.mean_regimes(records) == {"fc1": {"likelihood": 0.125, "between": 0.5, "prior": 0.375}}
    nothing = [prune_records.changes([], "nll", ["snr"]), prune_records.counts_by_layer([])]
    assert nothing + [prune_records.mean_regimes([]), prune_records.class_changes([], "snr")] == [{}] * 4
    assert prune_records.unpruned([], "nll") == "not run"
    assert prune_records.savings_table([]) == prune_records.differences_table([], 0.3) == "Not run."


def test_the_savings_are_measured_at_every_fraction(made):
    rows = made.record["savings"]
    assert [row["fraction"] for row in rows] == list(prune_records.SAVED_AT)
    assert all(row[k] > 0 for row in rows for k in row if k != "fraction")
    assert [row["sparse_bytes"] for row in rows] == sorted([row["sparse_bytes"] for row in rows], reverse=True)
    assert prune_records.savings_table([made]).count("\n") == 1 + len(rows)


def test_the_command_makes_what_is_missing(world, made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prune_records, "configs", lambda seeds: [CONFIG] * seeds)
    assert main(["prune", "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("1 pruning records stored in ")
    assert json.loads((tmp_path / f"{run_id(CONFIG)}.json").read_text())["rankings"] == list(IMPORTANCE)


COMMITTED = sorted((store.committed_folder() / "pruning").glob("*.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_pruning_records_are_whole(path):
    found = prune_records.read(path.parent, path.stem)
    assert found.record["run_id"] == path.stem and found.config.data == "mirabest"
    assert all(np.isfinite(logits).all() for logits in found.logits.values())
