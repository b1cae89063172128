from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from scenarios import catalogue

from radio_bnn.config import Config, run_id
from radio_bnn.evaluation import metrics
from radio_bnn.evaluation.resampling import contrast
from radio_bnn.inference.prune import IMPORTANCE
from radio_bnn.inference.resolve import resolve
from radio_bnn.paper import pruning
from radio_bnn.paper.claims import CLAIMS
from radio_bnn.paper.pruning import FRACTIONS, Pruning
from radio_bnn.runs import execute, records
from radio_bnn.runs.records import Posterior
from radio_bnn.seeds import generator

CONFIG = Config.preview(data="simulated", simulated_galaxies=100, epochs=1, batch_size=8, samples=5)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Toy galaxies, an empty book, an empty cache; one posterior is made in it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("world")
        patch.setattr(execute, "load_data", catalogue)
        patch.setenv("RADIO_BNN_RESULTS", str(folder / "book"))
        patch.setenv("RADIO_BNN_CACHE", str(folder / "cache"))
        execute.execute(CONFIG, records.cached_folder(), device="cpu", progress=False, keep_posterior=True)
        yield folder


@pytest.fixture(scope="module")
def posterior(world) -> Posterior:
    return records.find(CONFIG, Posterior)


@pytest.fixture(scope="module")
def made(posterior) -> Pruning:
    assert pruning.stored([CONFIG]) == []
    records.write(pruning.measure(posterior), records.committed_folder())
    [found] = pruning.stored([replace(CONFIG, seed=9), CONFIG])
    return found


def test_a_record_is_whole(world, made):
    assert sorted(p.name for p in (world / "book" / "pruning").iterdir()) == [
        f"{run_id(CONFIG)}.json",
        f"{run_id(CONFIG)}.npz",
    ]
    assert set(made.logits) == set(IMPORTANCE)
    n = len(catalogue(CONFIG)["test"])
    for logits in made.logits.values():
        assert logits.shape == (len(FRACTIONS), pruning.SAMPLES, n, 2) and logits.dtype == np.float16
        np.testing.assert_array_equal(logits[0], made.logits["snr"][0])
    assert sum(counts.sum() for name, counts in made.counts.items() if name.startswith("fc")) == 198_408
    assert {"commit", "torch", "device", "data_sha256"} <= made.content["provenance"].keys()


def test_a_posterior_gives_the_same_record_again(posterior, made):
    again = pruning.measure(posterior)
    for ranking, logits in made.logits.items():
        np.testing.assert_array_equal(again.logits[ranking], logits)


def test_unpruned_predictions_are_those_of_the_stored_run(made):
    """Same draws; the posterior was rounded to float16 in between."""
    run = records.find(CONFIG).logits["test"].astype(float)
    np.testing.assert_allclose(made.at("snr", 0.0)[: len(run)].astype(float), run, atol=0.02 * np.abs(run).max())


DAMAGE = {
    "other fractions": (
        lambda content, arrays: content.update(fractions=[0.0, 0.5]),
        r"its fractions are \[0.0, 0.5\]",
    ),
    "a ranking less": (lambda content, arrays: arrays.pop("logits_fisher"), "it lacks logits_fisher"),
    "fewer samples": (lambda content, arrays: content.update(samples=99), r"logits_snr has shape .*expected \(11, 99"),
    "other galaxies": (lambda content, arrays: arrays["labels"].fill(1), "labels of test count"),
    "no savings": (lambda content, arrays: content["savings"][1].pop("dense_ms"), "it lacks dense_ms"),
    "savings elsewhere": (lambda content, arrays: content["savings"].pop(), "its savings"),
    "other bins": (lambda content, arrays: arrays.update({"counts_fc1.weight": np.zeros(3, np.uint32)}), "counts_fc1"),
    "no agreement": (lambda content, arrays: content["agreement_with_snr"].clear(), "it lacks fisher"),
    "no regimes": (lambda content, arrays: content["regimes"]["fc1.weight"].clear(), "it lacks likelihood"),
    "no provenance": (lambda content, arrays: content.pop("provenance"), "provenance"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_whole_is_refused(made, damage):
    content, arrays = deepcopy(made.content), {name: values.copy() for name, values in made.arrays.items()}
    change, said = DAMAGE[damage]
    change(content, arrays)
    with pytest.raises((ValueError, KeyError), match=said):
        Pruning(CONFIG, content, arrays).check()


def test_a_record_of_another_config_is_refused(world, made, tmp_path):
    for path in (world / "book" / "pruning").iterdir():
        target = tmp_path / "pruning" / f"0123456789ab{path.suffix}"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="0123456789ab.json in .*never edited or renamed"):
        records.read(tmp_path, "0123456789ab", Pruning)


def test_a_network_without_posterior_is_refused(posterior):
    config = replace(CONFIG, method="ml")
    weights = resolve(config).method.network(config, generator(0, "init")).state_dict()
    arrays = {name: value.numpy().astype(np.float16) for name, value in weights.items()}
    with pytest.raises(ValueError, match="method='ml' has no posterior to prune"):
        pruning.measure(Posterior(config, posterior.content, arrays))


def record(seed: int, shift: float = 0.0) -> Pruning:
    """A record whose logits drift by ``shift`` per fraction."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 12).astype(np.uint8)
    base = rng.normal(0, 1, (4, 24, 2))
    drift = np.arange(len(FRACTIONS))[:, None, None, None] * shift * (np.arange(2) == 0)
    logits = {name: (base + drift).astype(np.float16) for name in IMPORTANCE}
    counts = {"conv1.weight": np.ones(5, int), "fc1.weight": np.arange(5), "fc2.weight": np.full(5, 3)}
    regimes = {"fc1.weight": {"likelihood": 0.25 * seed, "between": 0.5, "prior": 0.5 - 0.25 * seed}}
    arrays = {f"logits_{name}": values for name, values in logits.items()}
    arrays |= {f"counts_{name}": values for name, values in counts.items()} | {"labels": labels}
    return Pruning(CONFIG, {"regimes": regimes, "tensors": list(counts)}, arrays)


def test_differences_are_those_of_the_contrast():
    seeds = [record(0, 0.3), record(1, 0.3)]
    terms = [(sign, [r.at("snr", fraction) for r in seeds]) for sign, fraction in ((1.0, 0.3), (-1.0, 0.0))]
    found = pruning.difference(seeds, "nll", ("snr", 0.3))
    assert found == (contrast("nll", terms, seeds[0].labels), 2)
    assert pruning.difference(seeds, "nll", ("snr", 0.6), ("fisher", 0.6)).interval == (0, 0, 0)
    assert pruning.difference([], "nll", ("snr", 0.3)) == (None, 0)


def test_the_contrast_between_the_classes_is_the_difference_of_their_changes():
    one = record(0, 0.3)
    labels = one.labels
    change = metrics.classwise_uce(one.at("snr", 0.3), labels) - metrics.classwise_uce(one.at("snr", 0.0), labels)
    found = pruning.difference([one], "uce_fri_minus_frii_percent", ("snr", 0.3)).interval
    assert found.value == pytest.approx(change[0] - change[1])
    assert "FRI minus FRII" in CLAIMS["C5"].contrast
    by_class = pruning.class_changes([one], "snr")
    assert [by_class[name][0, 3] for name in ("FRI", "FRII")] == pytest.approx(change.tolist())


def test_records_of_other_galaxies_are_not_paired():
    one = record(1)
    other = Pruning(CONFIG, one.content, one.arrays | {"labels": one.arrays["labels"][::-1]})
    with pytest.raises(ValueError, match="different galaxies"):
        pruning.difference([record(0), other], "nll", ("snr", 0.3))


def test_what_is_not_stored_is_refused_by_name():
    with pytest.raises(ValueError, match=r"fraction=0.35 is not stored: choose one of 0, 0.1"):
        record(0).at("snr", 0.35)
    with pytest.raises(ValueError, match="ranking='taste'"):
        record(0).at("taste", 0.3)
    with pytest.raises(ValueError, match="ranking='taste'"):
        pruning.class_changes([], "taste")
    with pytest.raises(ValueError, match="fraction=2"):
        pruning.differences_table([], 2)


def test_changes_counts_and_regimes_of_several_seeds_and_of_none():
    seeds = [record(0, 0.1), record(1, 0.1)]
    changes = pruning.changes(seeds, "nll", ["snr", "random"])
    assert list(changes) == ["signal-to-noise", "random"]
    assert changes["random"].shape == (2, len(FRACTIONS)) and (changes["random"][:, 0] == 0).all()
    labels = seeds[1].labels
    first, third = (metrics.nll(seeds[1].logits["random"][i], labels) for i in (0, 2))
    assert changes["random"][1, 2] == third - first
    counts = pruning.counts_by_layer(seeds)
    assert list(counts) == ["all", "fc1", "fc2"]
    np.testing.assert_array_equal(counts["all"], counts["fc1"] + counts["fc2"])
    assert pruning.mean_regimes(seeds) == {"fc1": {"likelihood": 0.125, "between": 0.5, "prior": 0.375}}
    nothing = [pruning.changes([], "nll", ["snr"]), pruning.counts_by_layer([])]
    assert nothing + [pruning.mean_regimes([]), pruning.class_changes([], "snr")] == [{}] * 4
    assert pruning.unpruned([], "nll") == "not run"
    assert pruning.savings_table([]) == pruning.differences_table([], 0.3) == "Not run."


def test_the_savings_are_measured_at_every_fraction(made):
    rows = made.content["savings"]
    assert [row["fraction"] for row in rows] == list(pruning.SAVED_AT)
    assert all(row[k] > 0 for row in rows for k in row if k != "fraction")
    assert [row["sparse_bytes"] for row in rows] == sorted([row["sparse_bytes"] for row in rows], reverse=True)
    assert pruning.savings_table([made]).count("\n") == 1 + len(rows)


COMMITTED = sorted((records.committed_folder() / "pruning").glob("*.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_pruning_records_are_whole(path):
    assert records.read(path.parents[1], path.stem, Pruning).config.data == "mirabest"
