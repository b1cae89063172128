from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from scenarios import catalogue

from radio_bnn.config import Config, run_id
from radio_bnn.evaluation import crossval, metrics
from radio_bnn.inference import prune
from radio_bnn.inference.prune import IMPORTANCE, OPTIONAL, TITLES
from radio_bnn.inference.resolve import resolve
from radio_bnn.paper import pruning
from radio_bnn.paper.pruning import FRACTIONS, Pruning
from radio_bnn.runs import execute, records
from radio_bnn.runs.records import Posterior
from radio_bnn.seeds import generator

CONFIG = Config.preview(data="simulated", simulated_galaxies=60, fold=1, epochs=12, batch_size=8, samples=5)


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
    return replace(records.find(CONFIG, Posterior), config=CONFIG)


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
    assert made.rankings == list(made.logits) == list(IMPORTANCE)
    run, n = records.find(CONFIG), len(catalogue(CONFIG)["test"])
    for ranking, logits in made.logits.items():
        assert logits.shape == (len(FRACTIONS), pruning.SAMPLES, n, 2) and made.at(ranking, 0.999).shape == (50, n, 2)
        np.testing.assert_array_equal(made.at(ranking, 0.0), made.at("snr", 0.0))
        assert (logits[1:] != logits[0]).any()
    np.testing.assert_array_equal(made.labels, run.labels["test"])
    np.testing.assert_array_equal(made.galaxies, run.galaxies["test"])
    assert pruning.test_share([made]) == n / len(catalogue(CONFIG)["train"])
    assert sum(counts.sum() for name, counts in made.counts.items() if name.startswith("fc")) == 198_408
    assert {"commit", "torch", "device", "data_sha256"} <= made.content["provenance"].keys()


def test_a_posterior_gives_the_same_record_again_and_a_file_holds_it_bit_for_bit(posterior, made):
    again = pruning.measure(posterior)
    assert list(again.arrays) == list(made.arrays)
    for name, values in made.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values)
        assert again.arrays[name].dtype == values.dtype


def test_a_posterior_without_second_moment_lacks_the_released_ranking_alone(posterior, made):
    older = pruning.measure(replace(posterior, arrays=posterior.parameters))
    older.check()
    assert [name for name in IMPORTANCE if name not in older.rankings] == list(OPTIONAL)
    for ranking in older.rankings:
        np.testing.assert_array_equal(older.arrays[f"difference_{ranking}"], made.arrays[f"difference_{ranking}"])
    with pytest.raises(ValueError, match="ranking='released_fisher' is not stored of .*second moment"):
        older.at("released_fisher", 0.3)
    assert list(pruning.changes([made, older], "nll", ["snr", "released_fisher"])) == ["signal-to-noise"]
    assert TITLES["released_fisher"] in pruning.changes([made], "nll", ["released_fisher"])


def test_the_released_ranking_is_the_order_of_what_the_posterior_holds(posterior):
    """Here that of the signal-to-noise, put in the place of the second moment."""
    model = execute.network(posterior)
    logs = {n: np.log2(ratio.numpy() + 1e-9) for n, ratio in prune.signal_to_noise(prune.frozen(model)).items()}
    arrays = posterior.parameters | {f"{records.SECOND_MOMENT}{n}": x.astype(np.float16) for n, x in logs.items()}
    rankings = pruning._rankings(replace(posterior, arrays=arrays), model, catalogue(CONFIG))
    assert pruning.agreement(rankings, "snr")["released_fisher"] > 0.999


def test_random_pruning_of_what_has_learnt_is_worse_than_pruning_by_signal_to_noise(made):
    by_chance, by_snr = (
        np.mean([metrics.nll(made.at(ranking, fraction), made.labels) for fraction in FRACTIONS[2:9]])
        for ranking in ("random", "snr")
    )
    assert by_chance > by_snr + 0.3
    assert metrics.nll(made.at("snr", 0.0), made.labels) < 0.5


def test_unpruned_predictions_are_those_of_the_stored_run(made):
    """Same draws; the posterior was rounded to float16 in between."""
    run = records.find(CONFIG).arrays["difference_test"].astype(float)
    np.testing.assert_allclose(made.arrays["difference_snr"][0, : len(run)], run, atol=0.02 * np.abs(run).max())


DAMAGE = {
    "other fractions": (
        lambda content, arrays: content.update(fractions=[0.0, 0.5]),
        r"its fractions are \[0.0, 0.5\]",
    ),
    "a ranking less": (lambda content, arrays: arrays.pop("difference_fisher"), "it lacks difference_fisher"),
    "a ranking unsaid": (lambda content, arrays: content["rankings"].remove("fisher"), "its rankings are"),
    "an optional ranking unsaid": (
        lambda content, arrays: content["rankings"].remove("released_fisher"),
        "it holds difference_released_fisher",
    ),
    "fewer samples": (lambda content, arrays: content.update(samples=99), r"difference_snr .*expected \(17, 99"),
    "other galaxies": (lambda content, arrays: arrays["labels"].fill(1), "labels of test count"),
    "a galaxy twice": (lambda content, arrays: arrays["galaxy"].fill(1), "names a galaxy twice"),
    "places of another type": (lambda content, arrays: arrays.update(galaxy=arrays["galaxy"].astype(int)), "uint16"),
    "no training galaxies": (lambda content, arrays: content["fisher"].update(galaxies=0), "fisher.galaxies"),
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


def record(fold: int, shift: float = 0.0, seed: int = 0, n: int = 24) -> Pruning:
    """A record whose logits drift by ``shift`` per fraction."""
    rng = np.random.default_rng([fold, seed])
    labels = np.repeat([0, 1], n // 2).astype(np.uint8)
    drift = np.arange(len(FRACTIONS))[:, None, None] * shift
    difference = (rng.normal(0, 1, (4, n)) + drift).astype(np.float16)
    counts = {"conv1.weight": np.ones(5, int), "fc1.weight": np.arange(5), "fc2.weight": np.full(5, 3)}
    regimes = {"fc1.weight": {"likelihood": 0.25 * fold, "between": 0.5, "prior": 0.5 - 0.25 * fold}}
    arrays = {f"difference_{name}": difference for name in IMPORTANCE}
    arrays |= {f"counts_{name}": values for name, values in counts.items()}
    arrays |= {"labels": labels, "galaxy": np.arange(n * fold, n * (fold + 1)).astype(np.uint16)}
    content = {"rankings": list(IMPORTANCE), "regimes": regimes, "tensors": list(counts), "fisher": {"galaxies": 2 * n}}
    return Pruning(replace(CONFIG, fold=fold, seed=seed), content, arrays)


FOLDS = [record(0, 0.3), record(1, 0.3), record(2, -0.2)]


def difference(records, statistic, a, b=("snr", 0.0)):
    """The estimate of a statistic at ``a`` minus at ``b``, each (ranking, fraction)."""
    return pruning.compared(records, ("a", *a), ("b", *b)).estimate(pruning.STATISTICS[statistic], a=1.0, b=-1.0)


def test_a_difference_is_that_of_the_galaxies_of_all_folds():
    found = difference(FOLDS, "nll", ("snr", 0.3))
    terms = [(sign, [[r.at("snr", fraction)] for r in FOLDS]) for sign, fraction in ((1.0, 0.3), (-1.0, 0.0))]
    expected = crossval.pooled("nll", terms, [r.labels for r in FOLDS], test_share=0.5)
    assert found.interval() == expected.interval() and found.corrected_interval() == expected.corrected_interval()
    nll = [np.concatenate([r.at("snr", fraction) for r in FOLDS], axis=1) for fraction in (0.3, 0.0)]
    after, before = (metrics.nll(x, np.concatenate([r.labels for r in FOLDS])) for x in nll)
    assert found.value == pytest.approx(after - before)
    assert difference(FOLDS, "nll", ("snr", 0.6), ("fisher", 0.6)).interval() == (0, 0, 0)


def test_the_contrast_between_the_classes_is_the_difference_of_their_changes():
    one = record(0, 0.3)
    labels = one.labels
    change = metrics.classwise_uce(one.at("snr", 0.3), labels) - metrics.classwise_uce(one.at("snr", 0.0), labels)
    found = difference([one], "uce_fri_minus_frii_percent", ("snr", 0.3))
    assert found.value == pytest.approx(change[0] - change[1])
    by_class = pruning.class_changes([one], "snr")
    assert [by_class[name][0, 3] for name in ("FRI", "FRII")] == pytest.approx(change.tolist())


def test_the_rise_of_every_galaxy_is_that_of_its_own_score():
    rises = pruning.nll_rises(FOLDS, "fisher")
    assert [x.shape for x in rises] == [(len(FRACTIONS), 24)] * 3 and all((x[0] == 0).all() for x in rises)
    for rise, one in zip(rises, FOLDS, strict=True):
        before, after = (metrics.nll(one.at("fisher", f)[:, [7]], one.labels[[7]]) for f in (0.0, 0.7))
        assert rise[FRACTIONS.index(0.7), 7] == pytest.approx(after - before)
    change = pruning.pooled_changes(FOLDS, "nll", ["fisher"])["Fisher saliency"]
    np.testing.assert_allclose(np.concatenate(rises, axis=1).mean(axis=1), change, atol=1e-12)


def test_repeats_of_a_fold_stand_beside_each_other_and_are_averaged():
    again = record(1, 0.1, seed=5)
    many = [FOLDS[0], FOLDS[1], again]
    by_fold = pruning.logits_by_fold(many, "snr", 0.3)
    assert [len(repeats) for repeats in by_fold] == [1, 2] and len(pruning.labels_by_fold(many)) == 2
    np.testing.assert_array_equal(by_fold[1][1], again.at("snr", 0.3))
    rises = pruning.nll_rises([FOLDS[1], again], "snr")
    single = [pruning.nll_rises([r], "snr")[0] for r in (FOLDS[1], again)]
    np.testing.assert_allclose(rises, [(single[0] + single[1]) / 2])
    pooled, each = (f([FOLDS[1], again], "nll", ["snr"])["signal-to-noise"] for f in PER_RECORD)
    np.testing.assert_allclose(pooled, each.mean(axis=0))


PER_RECORD = (pruning.pooled_changes, pruning.changes)


def test_repeats_of_a_fold_on_other_galaxies_are_not_paired():
    other = record(1, seed=5)
    other.arrays["galaxy"] = other.arrays["galaxy"][::-1]
    with pytest.raises(ValueError, match="fold 1 score different galaxies"):
        pruning.logits_by_fold([FOLDS[1], other], "snr", 0.3)


def test_what_is_not_stored_is_refused_by_name():
    with pytest.raises(ValueError, match=r"fraction=0.35 is not stored: choose one of 0, 0.1, .*0.999"):
        record(0).at("snr", 0.35)
    with pytest.raises(ValueError, match="ranking='taste'"):
        record(0).at("taste", 0.3)
    with pytest.raises(ValueError, match="ranking='taste'"):
        pruning.class_changes([], "taste")
    with pytest.raises(ValueError, match="fraction=2"):
        pruning.differences_table([], 2)


def test_changes_counts_and_regimes_of_several_folds_and_of_none():
    folds = [record(0, 0.1), record(1, 0.1)]
    changes = pruning.changes(folds, "nll", ["snr", "random"])
    assert list(changes) == ["signal-to-noise", "random"]
    assert changes["random"].shape == (2, len(FRACTIONS)) and (changes["random"][:, 0] == 0).all()
    first, third = (metrics.nll(folds[1].at("random", f), folds[1].labels) for f in (0.0, 0.2))
    assert changes["random"][1, 2] == third - first
    counts = pruning.counts_by_layer(folds)
    assert list(counts) == ["all", "fc1", "fc2"]
    np.testing.assert_array_equal(counts["all"], counts["fc1"] + counts["fc2"])
    assert pruning.mean_regimes(folds) == {"fc1": {"likelihood": 0.125, "between": 0.5, "prior": 0.375}}
    nothing = [pruning.changes([], "nll", ["snr"]), pruning.counts_by_layer([])]
    assert nothing + [pruning.mean_regimes([]), pruning.class_changes([], "snr")] == [{}] * 4
    assert pruning.pooled_changes([], "nll", ["snr"]) == {} and pruning.unpruned([], "nll") == "not run"
    assert pruning.savings_table([]) == pruning.differences_table([], 0.3) == "Not run."


def test_the_table_has_a_row_for_every_ranking_and_the_folds_are_pooled_in_words():
    lines = pruning.differences_table(FOLDS, 0.3).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == list(TITLES.values())
    assert f"{difference(FOLDS, 'nll', ('snr', 0.3)).interval():+.3f}".replace(" ", "\u00a0") in lines[2]
    both = np.concatenate([r.at("snr", 0.0) for r in FOLDS], axis=1)
    value = metrics.nll(both, np.concatenate([r.labels for r in FOLDS]))
    assert pruning.unpruned(FOLDS, "nll").startswith(f"{value:.3g} (")


def test_the_rises_are_those_of_the_paired_contrast_at_every_share():
    *_, row = pruning.rises_table(FOLDS, (0.1, 0.3), ("snr", "random")).splitlines()
    expected = [difference(FOLDS, "nll", (name, 0.3)).interval() for name in ("snr", "random")]
    assert row.replace("\u00a0", " ") == "| 30 | " + " | ".join(f"{found:+.3f}" for found in expected) + " |"
    assert len(pruning.rises_table([]).splitlines()) == 2


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
