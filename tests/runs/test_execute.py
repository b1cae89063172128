import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scenarios import catalogue

from radio_bnn import files
from radio_bnn.config import HISTORY, N_FOLDS, Config, run_id
from radio_bnn.data.folds import committed_names
from radio_bnn.evaluation import metrics
from radio_bnn.inference import checkpoint, train
from radio_bnn.inference.reached import whole_objective
from radio_bnn.inference.resolve import METHODS, resolve
from radio_bnn.model.layers import posterior as weights
from radio_bnn.runs import execute, outstanding, protocols, records
from radio_bnn.runs.records import SCORED, Posterior, Run
from radio_bnn.seeds import generator

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
        assert second.arrays[f"difference_{name}"].dtype == np.float16
    files = sorted(p.name for p in (world / "cache" / "results").iterdir() if p.is_file())
    assert files == [f"{run_id(CONFIG)}.json", f"{run_id(CONFIG)}.npz"]


def test_a_fold_is_trained_and_stored_on_its_own_galaxies(world, monkeypatch):
    plain, fold = run(), run(replace(CONFIG, fold=5))
    assert records.find(replace(CONFIG, fold=5, data_seed=99)).content == fold.content
    assert len(fold.labels["uncertain"]) > len(plain.labels["uncertain"])
    monkeypatch.undo()
    found = execute.load_data(replace(CONFIG, fold=5))
    assert (found.fold, found["test"].name.size) == (5, len(fold.labels["test"]))


def test_the_metrics_of_a_record_are_those_of_its_logits_as_stored(world):
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


def test_a_chain_is_stored_with_all_its_draws_and_what_its_thermometers_read(world):
    config = Config.sampled(data="simulated", simulated_galaxies=100, epochs=2, members=2, learning_rate=1e-3)
    found = run(config)
    assert found.logits["test"].shape[0] == 2
    read = found.content[records.TEMPERATURES]
    assert set(read) == {"kinetic", "configurational"} and len(read["kinetic"]) == 14
    assert all(value > 0 for values in read["kinetic"].values() for value in values)
    assert np.isfinite(found.content["reached"]["complexity"])
    broken = replace(found, content=found.content | {records.TEMPERATURES: {**read, "kinetic": {"fc3.weight": [1.0]}}})
    with pytest.raises(ValueError, match=r"kinetic of fc3.weight is \[1.0\], expected 2 finite numbers"):
        broken.check()


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
    assert content["protocol"] == protocols.protocol(CONFIG) and content["protocol"]["name"] == "custom"
    assert tuple(content["history"]) == HISTORY


def test_a_table_says_beforehand_how_long_training_takes(world, capsys, monkeypatch):
    assert [r.config for r in execute.load_or_run_all([CONFIG], device="cpu")] == [CONFIG]
    assert capsys.readouterr().out == "Training 1 runs on simulated: minutes to hours each, on one core.\n"
    execute.load_or_run_all([CONFIG])
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(outstanding, "expected_seconds", lambda configs: 600.0)
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
    assert posterior.content["protocol"] == kept.content["protocol"] and posterior.config == CONFIG.trained
    found, expected = execute.network(posterior).state_dict(), trained[0].model.state_dict()
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-7)
    moments = trained[0].second_moment
    assert list(posterior.second_moment) == list(moments) == list(weights(trained[0].model))
    for name, value in moments.items():
        logs = np.log2(np.maximum(value.numpy().astype(float), 2.0**-120))
        np.testing.assert_allclose(posterior.second_moment[name], logs, atol=2**-5)
    assert not list(world.rglob("*partial*"))


def test_a_posterior_that_is_broken_or_of_another_network_is_refused(world):
    execute.execute(CONFIG, records.cached_folder(), device="cpu", progress=False, keep_posterior=True)
    posterior = records.find(CONFIG, Posterior)
    name = posterior.identity
    other = replace(CONFIG, method="map")
    with pytest.raises(ValueError, match=rf"posterior {run_id(other)} is no network of its config"):
        execute.network(Posterior(other, posterior.content, posterior.arrays))
    wide = posterior.parameters | {"conv1.bias": np.zeros(6)}
    with pytest.raises(ValueError, match=r"conv1.bias has shape \(6,\) of float64"):
        records.write(Posterior(CONFIG, posterior.content, wide), world)
    (records.cached_folder() / "posterior" / f"{name}.npz").write_bytes(b"PK broken")
    with pytest.raises(ValueError, match=f"{name}.json in .*posterior cannot be read.*run it again"):
        records.find(CONFIG, Posterior)


def test_a_posterior_serves_every_number_of_samples(world, monkeypatch):
    run(keep_posterior=True)
    few, posterior = replace(CONFIG, samples=3), records.find(CONFIG, Posterior)
    assert records.find(few, Posterior).content == posterior.content and records.find(few) is None
    other = run(few, keep_posterior=True)
    assert len(list((records.cached_folder() / "posterior").glob("*.npz"))) == 1
    assert len(list(records.cached_folder().glob("*.npz"))) == 2
    for name in SCORED:
        np.testing.assert_array_equal(other.arrays[f"difference_{name}"], run().arrays[f"difference_{name}"][:3])
    again = records.find(CONFIG, Posterior)
    assert all(np.array_equal(again.arrays[name], values) for name, values in posterior.arrays.items())


# Which galaxies


def test_the_places_of_the_galaxies_are_those_of_the_sorted_names_each_once(world):
    config = replace(CONFIG, fold=2)
    stored, sets = run(config), catalogue(config)
    names = np.sort(sets.galaxies.name)
    for name in SCORED:
        np.testing.assert_array_equal(names[stored.galaxies[name]], sets[name].name)
        np.testing.assert_array_equal(stored.labels[name], sets[name].labels)
    places = np.concatenate([stored.galaxies[name] for name in SCORED])
    assert len(set(places.tolist())) == len(places)


def test_on_mirabest_every_confident_galaxy_is_judged_once_over_the_folds(mirabest_archive):
    names, judged = committed_names(), []
    confident = [i for i, name in enumerate(names) if name[0] in "12" and name[1] == "0"]
    for fold in range(N_FOLDS):
        splits = execute.load_data(Config.preview(fold=fold))
        arrays = execute.made_arrays({name: np.zeros((1, len(splits[name]), 2)) for name in SCORED}, splits)
        for name in SCORED:
            np.testing.assert_array_equal(names[arrays[f"galaxy_{name}"]], splits[name].name)
            np.testing.assert_array_equal(arrays[f"labels_{name}"], splits[name].labels)
        assert not set(splits["train"].name) & set(names[arrays["galaxy_test"]])
        judged += arrays["galaxy_test"].tolist()
    assert sorted(judged) == confident and len(judged) == 833


# What training reached


MANY = {"ensemble": {"members": 2}, "sgmcmc": {"members": 2, "cycles": 1}, "hmc": {"members": 3}}


@pytest.mark.parametrize(
    "changes", [{"precision": "bf16"}, *({"method": name} | MANY.get(name, {}) for name in METHODS)], ids=str
)
def test_a_record_says_what_the_trained_network_reached(world, monkeypatch, changes):
    config, trained, fit = replace(CONFIG, temperature=0.3, **changes), [], execute.fit
    monkeypatch.setattr(execute, "fit", lambda *a, **k: trained.append(fit(*a, **k)) or trained[-1])
    found, train = run(config).content["reached"], catalogue(config)["train"]
    noise = generator(config.seed, "objective")
    with execute.one_thread():
        terms = whole_objective(resolve(config), trained[0].model, train.images, train.labels, generator=noise)
    assert found == dict(zip(records.REACHED, (*map(float, terms), len(train)), strict=True))
    assert found["objective"] == pytest.approx(found["nll"] + 0.3 * found["complexity"])
    assert (found["complexity"] == 0) == (changes.get("method") in ("ml", "dropout"))


# How long it took


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = SimpleNamespace(time=1000.0)
    fake = SimpleNamespace(perf_counter=lambda: now.time)
    monkeypatch.setattr(train, "time", fake)
    monkeypatch.setattr(execute, "time", fake)
    return now


def test_the_seconds_of_interrupted_parts_add_up(world, clock, monkeypatch):
    """10 epochs of 60 s, then two that are lost, then the last 4 and 7 s of predictions."""
    config, epoch, predict = replace(CONFIG, epochs=14, samples=2), train._epoch, execute.predict_sets

    def slow(training, *rest):
        clock.time += 60
        if training.epoch == stop_at:
            raise KeyboardInterrupt
        return epoch(training, *rest)

    def predicted(*a, **k):
        clock.time += 7
        return predict(*a, **k)

    monkeypatch.setattr(train, "_epoch", slow)
    monkeypatch.setattr(execute, "predict_sets", predicted)
    stop_at = 12
    with pytest.raises(KeyboardInterrupt):
        run(config)
    stop_at = None
    clock.time += 1e6  # nobody trains at night
    assert run(config).content["provenance"]["wall_seconds"] == 10 * 60 + 4 * 60 + 7
    assert run(config, recompute=True).content["provenance"]["wall_seconds"] == 14 * 60 + 7


def test_an_interrupted_training_continues_for_another_number_of_samples(world, monkeypatch):
    epochs, epoch = [], train._epoch

    def watched(training, *rest):
        if training.epoch == 11 and len(epochs) == 11:
            raise KeyboardInterrupt
        epochs.append(training.epoch)
        return epoch(training, *rest)

    monkeypatch.setattr(train, "_epoch", watched)
    with pytest.raises(KeyboardInterrupt):
        run(replace(CONFIG, epochs=12))
    monkeypatch.setattr(
        train, "_epoch", lambda training, *rest: epochs.append(training.epoch) or epoch(training, *rest)
    )
    few = run(replace(CONFIG, epochs=12, samples=2))
    assert epochs == [*range(11), 10, 11]
    whole = run(replace(CONFIG, epochs=12))
    np.testing.assert_array_equal(few.arrays["difference_test"], whole.arrays["difference_test"][:2])


@pytest.mark.parametrize("how", ["other code", "a flipped bit"])
def test_a_finished_checkpoint_that_is_stale_or_damaged_is_no_measurement(world, monkeypatch, capsys, how):
    """The training was done and its record not yet written; then the code changed, or a bit of the disk."""
    epochs, epoch, predict = [], train._epoch, execute.predict_sets
    monkeypatch.setattr(train, "_epoch", lambda t, *rest: epochs.append(t.epoch) or epoch(t, *rest))
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(execute, "predict_sets", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.setattr(execute, "predict_sets", predict)
    [kept] = (world / "cache" / "results" / "unfinished").iterdir()
    if how == "other code":
        monkeypatch.setattr(checkpoint, "CODE", "another objective")
    else:
        flipped = bytearray(kept.read_bytes())
        flipped[len(flipped) // 2] ^= 1
        kept.write_bytes(flipped)
    run()
    assert epochs == [0, 0] and not kept.exists()
    says = {"other code": "belongs to another code", "a flipped bit": "cannot be read (damaged: its sha256 differs)"}
    line = f"checkpoint {kept.name} {says[how]}: it is deleted, and the training starts again\n"
    assert capsys.readouterr().err == line


def interrupted(*a, **k):
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["RADIO_BNN_CACHE", "folder"])
def test_a_place_that_cannot_be_written_is_found_before_the_training(world, monkeypatch, place):
    (world / "file").touch()
    monkeypatch.setattr(execute, "fit", lambda *a, **k: pytest.fail("trained"))
    folder = world / "file" / "out" if place == "folder" else world / "out"
    if place != "folder":
        monkeypatch.setenv(place, str(world / "file" / "cache"))
    with pytest.raises(OSError, match=r"cannot be written \(Not a directory\): "):
        execute.execute(CONFIG, folder, device="cpu", progress=False)


def test_the_seconds_of_the_runs_of_a_path_are_not_those_of_its_last(world, clock, monkeypatch):
    epoch = train._epoch

    def slow(training, *rest):
        clock.time += 60
        return epoch(training, *rest)

    monkeypatch.setattr(train, "_epoch", slow)
    config = replace(CONFIG, temperature=0.1, path=(0.01,))
    assert run(config).content["provenance"]["wall_seconds"] == 60
    assert records.find(config.previous).content["provenance"]["wall_seconds"] == 60


# What git says


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a tracked file and a tracked record, which is where the package seems to lie."""
    place = tmp_path / "checkout"
    (place / "book" / "results").mkdir(parents=True)
    (place / "code.py").write_text("1")
    (place / "pyproject.toml").write_text('[project]\nname = "radio-bnn"\n')
    (place / "book" / "results" / "old.json").write_text("{}")
    git(place, "init", "-q")
    commit_all(place)
    monkeypatch.setattr(execute, "CHECKOUT", place)
    execute._commit.cache_clear()
    yield place
    execute._commit.cache_clear()


def git(place: Path, *arguments: str) -> str:
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    ask = ["git", "-C", str(place), *who, *arguments]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()


def commit_all(place: Path) -> None:
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "all")


@pytest.mark.parametrize("how", ["changed", "staged", "deleted"])
def test_a_committed_record_is_not_made_by_code_that_is_not_committed(checkout, how):
    results = checkout / "book" / "results"
    execute.check_unchanged(results)
    (checkout / "code.py").write_text("2")
    if how == "staged":
        git(checkout, "add", ".")
    if how == "deleted":
        (checkout / "code.py").unlink()
    with pytest.raises(ValueError, match=r"^code\.py has changed since the last commit.*commit first, or.*--out$"):
        execute.check_unchanged(results)
    execute.check_unchanged(checkout / "elsewhere")
    execute.check_unchanged(checkout)
    if how != "deleted":
        commit_all(checkout)
        execute.check_unchanged(results)


def test_the_folder_is_known_by_whatever_way_it_is_named(checkout, monkeypatch):
    (checkout / "code.py").write_text("2")
    monkeypatch.chdir(checkout / "book")
    (checkout / "link").symlink_to("book/results")
    for name in (Path("results"), checkout / "code" / ".." / "book" / "results", checkout / "link"):
        with pytest.raises(ValueError, match="code.py has changed"):
            execute.check_unchanged(name)


def test_records_are_no_change(checkout):
    results = checkout / "book" / "results"
    (results / "new.json").write_text("{}")
    (results / "old.json").write_text("[]")
    (checkout / "notes.txt").write_text("untracked")
    execute.check_unchanged(results)


def test_without_a_repository_nothing_is_refused(checkout):
    (checkout / "code.py").write_text("2")
    (checkout / ".git").rename(checkout / "no repository")
    execute.check_unchanged(checkout / "book" / "results")
    assert execute._commit() == "unknown"


def test_the_commit_is_that_of_the_checkout_and_not_of_what_lies_around_it(checkout, monkeypatch):
    assert execute._commit() == git(checkout, "rev-parse", "--short=12", "HEAD")
    execute._commit.cache_clear()
    (checkout / "code.py").write_text("2")
    assert execute._commit().endswith("-dirty")
    execute._commit.cache_clear()
    (checkout / "site-packages").mkdir()
    monkeypatch.setattr(execute, "CHECKOUT", checkout / "site-packages")
    assert execute._commit() == "unknown"


def test_the_commit_is_not_that_of_a_hook_or_of_another_project(checkout, monkeypatch, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert execute._commit() == execute._git("rev-parse", "--short=12", "HEAD") != ""
    execute._commit.cache_clear()
    (checkout / "vendored").mkdir()
    (checkout / ".git").rename(checkout / "vendored" / ".git")
    monkeypatch.setattr(execute, "CHECKOUT", checkout / "vendored")
    assert execute._commit() == "unknown"


@pytest.mark.parametrize(
    ("origin", "commit"),
    [
        ('{"url": "git", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef0123"}}', "0123456789ab"),
        ('{"url": "file:///a/wheel.whl", "archive_info": {}}', ""),
        ("{", ""),
        (None, ""),
    ],
)  # fmt: skip
def test_an_installed_package_names_the_commit_that_pip_built_it_from(monkeypatch, origin, commit):
    class Installed:
        def read_text(self, name):
            return origin if name == "direct_url.json" else None

        def locate_file(self, name):
            return Path(execute.radio_bnn.__file__).parent

    monkeypatch.setattr(execute, "distribution", lambda name: Installed())
    assert execute._installed_commit() == commit
    monkeypatch.setattr(Installed, "locate_file", lambda self, name: Path("elsewhere"))
    assert execute._installed_commit() == ""


def test_an_empty_set_such_as_the_hybrids_of_a_voted_population_has_no_metrics():
    assert execute.score("hybrid", np.zeros((2, 0, 2)), np.zeros(0, int)) == {}
