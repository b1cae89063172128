"""What is written is read bit for bit; what is damaged is refused in one line that names the file and what to do."""

import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scenarios import recorded
from scipy.special import log_softmax

from radio_bnn import files
from radio_bnn.config import ANNEALED_RATES, Config, run_id
from radio_bnn.data.folds import N_FOLDS, TEST, VALIDATION, committed, committed_names, divide
from radio_bnn.data.galaxies import Galaxies
from radio_bnn.data.mirabest import F_BATCHES
from radio_bnn.data.simulate import first_of_each, scaled_counts
from radio_bnn.evaluation import metrics
from radio_bnn.evaluation.predictive import UNCERTAINTIES, energy_score, softmax
from radio_bnn.evaluation.resampling import summarise
from radio_bnn.files import CHECKOUT
from radio_bnn.paper import experiments
from radio_bnn.runs import outstanding, protocols, records, sealed
from radio_bnn.runs.records import SCORED, Record, Run, packed, unpacked

BOOK = CHECKOUT / "book" / "results"
CONFIG = Config.preview(data="simulated", simulated_galaxies=100, samples=4)
IDENTITY = run_id(CONFIG)
RUN, OTHER = recorded(CONFIG), recorded(replace(CONFIG, seed=7))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty book and an empty cache."""
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path / "book"))
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_what_is_written_is_read_bit_for_bit(tmp_path):
    records.write(RUN, tmp_path)
    found = records.read(tmp_path, IDENTITY)
    assert found.config == CONFIG and found.content == RUN.content and found.kind == "run"
    for name, values in RUN.arrays.items():
        assert found.arrays[name].dtype == values.dtype
        np.testing.assert_array_equal(found.arrays[name], values)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{IDENTITY}.json", f"{IDENTITY}.npz"]
    assert found.metric("nll").value == pytest.approx(metrics.nll(found.logits["test"], found.labels["test"]), rel=0.01)


def test_other_kinds_lie_in_folders_of_their_name_and_need_no_arrays(tmp_path):
    class Taste(Record):
        kind = "taste"

    records.write(Taste(CONFIG, {"sweet": True}), tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")] == [f"taste/{IDENTITY}.json"]
    assert records.read(tmp_path, IDENTITY, Taste).content == {"sweet": True}


def test_the_book_comes_before_the_cache(world):
    assert records.find(CONFIG) is None and not records.at_hand(CONFIG, "run")
    records.write(recorded(CONFIG, seconds=1.0), records.cached_folder())
    assert records.find(CONFIG).content["provenance"]["wall_seconds"] == 1.0
    records.write(recorded(CONFIG, seconds=2.0), records.committed_folder())
    assert records.find(CONFIG).content["provenance"]["wall_seconds"] == 2.0
    assert records.find(CONFIG, Run, [records.cached_folder()]).content["provenance"]["wall_seconds"] == 1.0


@pytest.mark.parametrize("last_good_move", [0, 1])
def test_an_interrupted_write_leaves_no_record(tmp_path, monkeypatch, last_good_move):
    moves, replace_file = [], files.os.replace

    def full_disk(source, target):
        if len(moves) == last_good_move:
            raise OSError("no space left")
        moves.append(target)
        replace_file(source, target)

    monkeypatch.setattr(files.os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        records.write(RUN, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"][:last_good_move]


NEWER = Run(CONFIG, recorded(CONFIG, seconds=7.0).content, RUN.arrays | {"energy_test": RUN.arrays["energy_test"] + 1})


def killed_after(moves: int, monkeypatch) -> None:
    """Let the next write end after so many of its files have taken their places."""
    done, move = [], os.replace

    def replace_file(source, target):
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(target)
        move(source, target)

    monkeypatch.setattr(os, "replace", replace_file)


def is_one_of(found: Run, *known: Run) -> bool:
    """Whether content and arrays are those of one and the same."""
    same = [all(np.array_equal(found.arrays[name], a) for name, a in run.arrays.items()) for run in known]
    return any(s and found.content == run.content for s, run in zip(same, known, strict=True))


@pytest.mark.parametrize("kills", list(product(range(3), repeat=2)), ids=str)
def test_writers_killed_while_they_replace_a_record_leave_the_old_one_or_the_new(tmp_path, monkeypatch, kills):
    records.write(RUN, tmp_path)
    for moves, run in zip(kills, (NEWER, RUN), strict=True):
        before, said = records.read(tmp_path, IDENTITY), (tmp_path / f"{IDENTITY}.json").read_bytes()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            killed_after(moves, patch)
            records.write(run, tmp_path)
        decided = (tmp_path / f"{IDENTITY}.json").read_bytes() != said
        assert is_one_of(records.read(tmp_path, IDENTITY), run if decided else before)
    records.write(NEWER, tmp_path)
    assert is_one_of(records.read(tmp_path, IDENTITY), NEWER)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{IDENTITY}.json", f"{IDENTITY}.npz"]


@pytest.mark.parametrize("moment", range(4))
def test_a_reader_gets_the_old_record_or_the_new_whenever_it_is_replaced(tmp_path, monkeypatch, moment):
    """Before the reader opens its first, second, ... file another process replaces the record, once."""
    records.write(RUN, tmp_path)
    opened, bytes_of_file = [], sealed.read_bytes

    def opening(path, most):
        opened.append(path)
        if len(opened) == moment + 1:
            records.write(NEWER, tmp_path)
        return bytes_of_file(path, most)

    monkeypatch.setattr(sealed, "read_bytes", opening)
    assert is_one_of(records.read(tmp_path, IDENTITY), RUN, NEWER)


def test_two_writers_and_a_reader_never_make_a_mixture(tmp_path):
    records.write(RUN, tmp_path)
    with ThreadPoolExecutor(2) as pool:
        writers = [
            pool.submit(lambda run=run: [records.write(run, tmp_path) for _ in range(15)]) for run in (RUN, NEWER)
        ]
        while not all(writer.done() for writer in writers):
            assert is_one_of(records.read(tmp_path, IDENTITY), RUN, NEWER)
        assert [writer.exception() for writer in writers] == [None, None]
    assert is_one_of(records.read(tmp_path, IDENTITY), RUN, NEWER)


def test_what_could_not_be_read_is_not_written(tmp_path):
    hot = RUN.arrays | {"difference_test": np.full_like(RUN.arrays["difference_test"], np.inf)}
    with pytest.raises(ValueError, match="difference_test is not finite"):
        records.write(Run(CONFIG, RUN.content, hot), tmp_path)
    with pytest.raises(KeyError, match="history"):
        records.write(Run(CONFIG, {k: v for k, v in RUN.content.items() if k != "history"}, RUN.arrays), tmp_path)
    with pytest.raises(ValueError, match="JSON would have .* bytes, more than"):
        records.write(Run(CONFIG, RUN.content | {"note": "x" * sealed.LARGEST_JSON}, RUN.arrays), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_not_stored_is_refused_by_name():
    with pytest.raises(ValueError, match="metric='taste' is not stored: choose one of error_percent"):
        RUN.metric("taste")
    with pytest.raises(ValueError, match="set='train' is not stored: choose one of validation, test"):
        RUN.scores("train")


def unseal(path: Path) -> str:
    """Make it a record as they were before; what it said."""
    values = json.loads(path.read_text())
    del values["sha256"]
    path.write_text(json.dumps(values, indent=1) + "\n")
    return path.read_text()


def test_a_record_of_before_is_sealed_by_one_command_that_changes_nothing_else(world, capsys):
    folder = records.committed_folder()
    for run in (RUN, OTHER):
        records.write(run, folder)
    path, damaged = folder / f"{IDENTITY}.json", folder / f"{OTHER.identity}.json"
    sealed, before = path.read_text(), unseal(path)
    unseal(damaged)
    bytes_of(".npz", flipped)(damaged)
    (folder / "null.json").write_text("null")
    command = f"python -m radio_bnn.runs.records {folder}"
    with pytest.raises(ValueError, match=rf"{path.name} in .* does not say the sha256 .*; `{command}` adds it$"):
        records.read(folder, IDENTITY)
    assert records.main([str(folder)]) == 0
    assert capsys.readouterr().out == f"1 records sealed in {folder}\n"
    assert path.read_text() == sealed and before.removesuffix("\n}\n") in sealed
    assert records.read(folder, IDENTITY).content == RUN.content
    with pytest.raises(ValueError, match=f"{damaged.name} in .*npz is not the file that was written with it"):
        records.read(folder, OTHER.identity)
    assert records.seal(folder) == [] and records.main([]) == 0


def test_every_committed_record_is_sealed():
    whole = [path for path in [*BOOK.glob("*.json"), *BOOK.glob("*/*.json")] if path.stem != "first_edition"]
    lacking = [path.stem for path in whole if "sha256" not in json.loads(path.read_text())]
    assert lacking == [], "bring them over: python -m radio_bnn.runs.records book/results"


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_what_is_no_file_keeps_nobody_waiting(world, suffix):
    folder = records.committed_folder()
    records.write(RUN, folder)
    (folder / f"{IDENTITY}{suffix}").unlink()
    os.mkfifo(folder / f"{IDENTITY}{suffix}")
    with pytest.raises(ValueError, match=f"{IDENTITY}.json in .* cannot be read: .*{suffix} is no file"):
        records.read(folder, IDENTITY)
    assert outstanding.expected_seconds([CONFIG]) == {".json": None, ".npz": 10.0}[suffix]


# What is kept of logits


def drawn(samples: int = 30, galaxies: int = 40, *, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits in float64 whose differences are float16 numbers, each sample with an offset of its own, and labels."""
    rng = np.random.default_rng(4)
    difference = rng.normal(0, spread, (samples, galaxies)).astype(np.float16).astype(float)
    offset = np.round(rng.normal(0, 2, (samples, galaxies)), 3)
    return np.stack([difference + offset, offset], -1), rng.integers(2, size=galaxies)


@pytest.mark.parametrize("spread", [0.01, 3.0, 300.0])
def test_what_is_kept_has_the_probabilities_and_every_score_of_the_logits(spread):
    logits, labels = drawn(spread=spread)
    again = unpacked(*packed(logits))
    assert again.dtype == np.float64 and again.shape == logits.shape
    np.testing.assert_allclose(softmax(again), softmax(logits), rtol=1e-11, atol=1e-300)
    for name, metric in metrics.METRICS.items():
        assert metric(again, labels) == pytest.approx(metric(logits, labels), rel=1e-9, abs=1e-12), name
    for name, uncertainty in UNCERTAINTIES.items():
        if name != "energy_score":
            np.testing.assert_allclose(uncertainty.of(again), uncertainty.of(logits), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(energy_score(again), energy_score(logits), rtol=2**-11)


@pytest.mark.parametrize("spread", [0.01, 3.0, 300.0])
def test_logits_of_any_precision_keep_their_scores_to_the_rounding_of_float16(spread):
    """A difference that is rounded by 2^-11 of itself moves no log-probability by more than that."""
    logits, rng = drawn(spread=spread)[0], np.random.default_rng(0)
    logits = logits + rng.normal(0, 0.1 * spread, logits.shape)
    again, largest = unpacked(*packed(logits.astype(np.float32))), np.abs(np.diff(logits, axis=-1)).max()
    assert np.abs(softmax(again) - softmax(logits)).max() <= min(1, 2**-11 * largest)
    assert (np.abs(np.diff(again) - np.diff(logits)) <= 2**-11 * np.abs(np.diff(logits)) + 1e-5).all()
    np.testing.assert_allclose(energy_score(again), energy_score(logits), rtol=2**-11 + 1e-6)


def test_logits_beyond_float16_are_kept_as_certain_as_can_be():
    logits = np.array([[[1e5, -1e5], [-2e5, 0.0], [3.0, 1.0]]])
    difference, energy = packed(logits)
    assert difference.tolist() == [[65504.0, -65504.0, 2.0]] and np.isfinite(energy).all()
    again = unpacked(difference, energy)
    np.testing.assert_array_equal(log_softmax(again, axis=-1).round()[0, :2], [[0.0, -65504.0], [-65504.0, 0.0]])
    for repeated, kept in zip(packed(again), (difference, energy), strict=True):
        np.testing.assert_array_equal(repeated, kept)


@pytest.mark.parametrize("spread", [1e-7, 0.01, 3.0, 300.0, 1e4])
def test_what_is_kept_of_what_was_kept_are_the_same_bits(spread):
    difference, energy = packed(drawn(spread=spread)[0])
    for again, kept in zip(packed(unpacked(difference, energy)), (difference, energy), strict=True):
        assert again.dtype == kept.dtype == np.float16
        np.testing.assert_array_equal(again, kept)


def test_a_run_gives_logits_labels_and_galaxies_by_set():
    for name in SCORED:
        n = len(RUN.labels[name])
        assert RUN.logits[name].shape == (4, n, 2) and RUN.galaxies[name].shape == (n,)
        np.testing.assert_array_equal(RUN.logits_of(name), RUN.logits[name])
        np.testing.assert_array_equal(packed(RUN.logits[name])[0], RUN.arrays[f"difference_{name}"])
        assert metrics.nll(RUN.logits[name], RUN.labels[name]) >= 0
    places = np.concatenate(list(RUN.galaxies.values()))
    assert len(set(places)) == len(places) and places.max() < CONFIG.simulated_galaxies


def test_a_posterior_has_the_identity_of_the_training_however_many_samples_are_stored(world):
    few = replace(CONFIG, samples=9)
    assert records.identity(few, "posterior") == records.identity(CONFIG, "posterior") == run_id(CONFIG.trained)
    assert len({records.identity(c, kind) for c in (few, CONFIG) for kind in ("run", "objective")}) == 2
    made = {"provenance": {}, "history": RUN.content["history"]}
    arrays = {"w": np.ones(3, np.float16), "second_moment.w": np.full(3, -8, np.float16)}
    records.write(records.Posterior(CONFIG.trained, made, arrays), records.cached_folder())
    assert records.at_hand(few, "posterior") and not records.at_hand(few, "run")
    found = records.find(few, records.Posterior)
    assert (found.config, found.identity) == (CONFIG.trained, run_id(CONFIG.trained))
    assert list(found.parameters) == list(found.second_moment) == ["w"]
    assert found.second_moment["w"][0] == -8 and found.parameters["w"][0] == 1


# Damage

Change = Callable[[dict, dict], None]


def edited(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Damage of the JSON alone."""

    def damage(path: Path) -> None:
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return damage


def forged(change: Change) -> Callable[[Path], None]:
    """Damage of JSON and arrays by somebody who also keeps digest and declarations right."""

    def damage(path: Path) -> None:
        values, archived = json.loads(path.read_text()), path.with_suffix(".npz")
        with np.load(archived) as archive:
            arrays = dict(archive)
        change(values, arrays)
        np.savez_compressed(archived, **arrays)
        declare(path, values, {n: {"shape": list(a.shape), "dtype": a.dtype.name} for n, a in arrays.items()})

    return damage


def declare(path: Path, values: dict, entries: dict) -> None:
    digest = records.hashlib.sha256(path.with_suffix(".npz").read_bytes()).hexdigest()
    path.write_text(json.dumps(values | {"arrays": {"entries": entries, "sha256": digest}}))


def zipped(shape: tuple[int, ...], content: bytes, *, honest: bool) -> Callable[[Path], None]:
    """One array replaced by a header that says ``shape`` and by ``content``; declared as well if ``honest``."""

    def damage(path: Path) -> None:
        values, header = json.loads(path.read_text()), io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f2", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(path.with_suffix(".npz")) as old:
            members = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path.with_suffix(".npz"), "w", zipfile.ZIP_DEFLATED) as new:
            for name, data in (members | {"difference_test.npy": header.getvalue() + content}).items():
                new.writestr(name, data)
        entries = values["arrays"]["entries"]
        declare(path, values, entries | ({"difference_test": {"shape": shape, "dtype": "float16"}} if honest else {}))

    return damage


def recompressed(method: int) -> Callable[[Path], None]:
    """The arrays packed by another method of ZIP, and declared so: some unpack as much as they like at once."""

    def damage(path: Path) -> None:
        with zipfile.ZipFile(path.with_suffix(".npz")) as old:
            members = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path.with_suffix(".npz"), "w", method) as new:
            for name, data in members.items():
                new.writestr(name, data)
        values = json.loads(path.read_text())
        declare(path, values, values["arrays"]["entries"])

    return damage


def bytes_of(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.with_suffix(name).write_bytes(change(path.with_suffix(name).read_bytes()))


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def half_the_samples(values: dict, arrays: dict) -> None:
    arrays |= {name: a[:2] for name, a in arrays.items() if name.startswith("difference")}


def one_set_fewer_samples(values: dict, arrays: dict) -> None:
    arrays["difference_hybrid"] = arrays["difference_hybrid"][:3]


def not_a_number(values: dict, arrays: dict) -> None:
    arrays["difference_test"][0, 0] = np.nan


def seventh_class(values: dict, arrays: dict) -> None:
    arrays["labels_test"][0] = 7


def other_galaxies(values: dict, arrays: dict) -> None:
    arrays["labels_test"] = 1 - arrays["labels_test"]
    arrays["labels_uncertain"][:] = 0


def more_validation_galaxies(values: dict, arrays: dict) -> None:
    for what in records.ARRAYS:
        name, axis = f"{what}_validation", 1 if what == "difference" else 0
        arrays[name] = np.concatenate([arrays[name], arrays[name].take([0], axis)], axis)
    arrays["galaxy_validation"][-1] = 999


def twice_the_same(values: dict, arrays: dict) -> None:
    arrays["galaxy_test"][1] = arrays["galaxy_test"][0]


def one_energy_fewer(values: dict, arrays: dict) -> None:
    arrays["energy_test"] = arrays["energy_test"][1:]


def renamed_array(values: dict, arrays: dict) -> None:
    arrays["difference_train"] = arrays.pop("difference_test")


def arrays_of_another(path: Path) -> None:
    records.write(OTHER, path.parent)
    path.with_name(f"{OTHER.identity}.npz").replace(path.with_suffix(".npz"))


DAMAGE = {
    "no arrays": (lambda path: path.with_suffix(".npz").unlink(), "No such file"),
    "truncated arrays": (bytes_of(".npz", lambda data: data[:-100]), "sha256 differs"),
    "a flipped bit": (bytes_of(".npz", flipped), "sha256 differs"),
    "the arrays of another run": (arrays_of_another, "sha256 differs"),
    "half the samples": (forged(half_the_samples), r"shape \(2, .*expected \(4, "),
    "fewer samples of one set": (forged(one_set_fewer_samples), r"difference_hybrid has shape \(3, "),
    "not a number": (forged(not_a_number), "difference_test is not finite"),
    "label 7": (forged(seventh_class), "labels of test hold 7"),
    "a set is missing": (forged(lambda v, a: a.pop("difference_hybrid")), "it lacks difference_hybrid"),
    "another set": (forged(renamed_array), "it lacks difference_test"),
    "wrong type of differences": (
        forged(lambda v, a: a.update(difference_test=a["difference_test"].astype("f4"))), "of float32"),
    "wrong type of places": (forged(lambda v, a: a.update(galaxy_test=a["galaxy_test"].astype("u4"))), "of uint32"),
    "no places": (forged(lambda v, a: a.pop("galaxy_test")), "it lacks galaxy_test"),
    "a galaxy twice": (forged(twice_the_same), "galaxy_test names a galaxy twice"),
    "an energy fewer": (forged(one_energy_fewer), "energy_test has shape"),
    "wrong type of labels": (forged(lambda v, a: a.update(labels_test=a["labels_test"].astype("i8"))), "of int64"),
    "text for numbers": (forged(lambda v, a: a.update(labels_test=a["labels_test"].astype("U1"))), "declared as 'str"),
    "galaxies of another data set": (forged(other_galaxies), r"labels of uncertain count .* its data set"),
    "too many galaxies": (forged(more_validation_galaxies), "labels of validation count"),
    "arrays not declared": (edited(lambda v: v.update(arrays={"entries": {}})), "it lacks difference_validation"),
    "a declared shape of 1e12": (
        edited(lambda v: v["arrays"]["entries"]["difference_test"].update(shape=[10**12])), "would take 2000"),
    "a header of 1e12": (zipped((10**12,), b"", honest=False), "unpacks to .* bytes, expected 2000"),
    "header and declaration of 1e12": (zipped((10**12,), b"", honest=True), "would take 2000"),
    "a zip bomb": (zipped((4, 8), bytes(10**8), honest=False), "unpacks to"),
    "a bomb that zlib does not pack": (recompressed(zipfile.ZIP_BZIP2), "is compressed by method 12"),
    "a negative shape": (
        edited(lambda v: v["arrays"]["entries"]["energy_test"].update(shape=[-1])), r"energy_test is declared with"),
    "endless JSON": (lambda path: path.write_bytes(b" " * (sealed.LARGEST_JSON + 1)), "has more than"),
    "a metric that was edited": (
        edited(lambda v: v["metrics"]["test"]["nll"].update(value=0.1)), "does not say what was written"),
    "a time that was edited": (
        edited(lambda v: v["provenance"].update(wall_seconds=1.0)), "does not say what was written"),
    "something that was added": (edited(lambda v: v.update(note="checked by hand")), "does not say what was written"),
    "schema 1": (edited(lambda v: v.update(schema=1)), "schema 1 is not 2"),
    "no schema": (edited(lambda v: v.pop("schema")), "it lacks 'schema'"),
    "null": (lambda path: path.write_text("null"), "got NoneType"),
    "a list": (lambda path: path.write_text("[1, 2]"), "got list"),
    "deep nesting": (lambda path: path.write_text("[" * 100_000), "recursion"),
    "binary": (lambda path: path.write_bytes(bytes(range(128, 256))), "decode"),
    "half the JSON": (bytes_of(".json", lambda data: data[:500]), "cannot be read"),
    "empty": (lambda path: path.write_text(""), "cannot be read"),
    "another kind": (edited(lambda v: v.update(kind="pruning")), "kind 'pruning', expected 'run'"),
    "another seed": (edited(lambda v: v["config"].update(seed=9)), "never edited or renamed"),
    "another identity": (edited(lambda v: v.update(run_id="0" * 12)), "never edited or renamed"),
    "an unknown setting": (edited(lambda v: v["config"].update(colour="red")), "unknown setting 'colour'"),
    "no config": (edited(lambda v: v.update(config=None)), "cannot be read"),
    "simulated for real": (edited(lambda v: v["provenance"].update(data="mirabest")), "its data are 'mirabest'"),
    "no provenance": (edited(lambda v: v.pop("provenance")), "it lacks 'provenance'"),
    "a set without metrics": (edited(lambda v: v["metrics"].pop("hybrid")), "it lacks 'hybrid'"),
    "a metric is missing": (edited(lambda v: v["metrics"]["test"].pop("nll")), "metrics of test lack nll"),
    "an infinite metric": (
        edited(lambda v: v["metrics"]["test"]["nll"].update(value=float("inf"))), "nll of test is not finite"),
    "half a metric": (edited(lambda v: v["metrics"]["test"]["nll"].pop("low")), "low"),
    "nothing reached": (edited(lambda v: v.pop("reached")), "it lacks 'reached'"),
    "half of what was reached": (edited(lambda v: v["reached"].pop("nll")), "it lacks nll"),
    "an infinite objective": (
        edited(lambda v: v["reached"].update(objective=float("inf"))), "what it reached is not finite"),
    "a history is missing": (edited(lambda v: v["history"].pop("mean_rho")), "it lacks mean_rho"),
    "a ragged history": (edited(lambda v: v["history"]["epoch"].pop()), "differ in length"),
    "a broken history": (edited(lambda v: v["history"].update(epoch=[1, float("nan")])), "history is not finite"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_error_that_names_the_file_and_what_to_do(tmp_path, damage):
    records.write(RUN, tmp_path)
    make, said = DAMAGE[damage]
    make(tmp_path / f"{IDENTITY}.json")
    tracemalloc.start()
    with pytest.raises(ValueError, match=said) as caught:
        records.read(tmp_path, IDENTITY)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{IDENTITY}.json in {tmp_path} cannot be read: ") and "\n" not in message
    assert message.endswith(f"delete {IDENTITY}.json and {IDENTITY}.npz there and run it again")
    assert peak < 2e7, "memory was taken before the check"


def test_a_record_of_the_future_is_not_to_be_deleted(tmp_path):
    records.write(RUN, tmp_path)
    edited(lambda values: values.update(schema=99))(tmp_path / f"{IDENTITY}.json")
    with pytest.raises(ValueError, match=f"{IDENTITY}.json in .* schema 99 is of a later version.*; update radio_bnn$"):
        records.read(tmp_path, IDENTITY)


def test_the_galaxies_of_mirabest_are_known_by_its_checksum():
    config, sha256 = Config.preview(), F_BATCHES.checksum.partition(":")[2]
    expected = {"validation": (145,), "test": (49, 55), "uncertain": (25, 24), "hybrid": (17, 13)}
    assert records.galaxies_of(config, sha256) == expected
    assert records.galaxies_of(config, "of another archive") == {}
    short = recorded(replace(config, samples=2))
    with pytest.raises(ValueError, match=r"labels of hybrid count \(30, 0\), those of its data set \(17, 13\)"):
        Run(short.config, short.content, short.arrays | {"labels_hybrid": np.zeros(30, np.uint8)}).check()


def test_a_config_has_no_more_galaxies_than_a_record_has_places_for():
    places = 1 + np.iinfo(np.uint16).max
    assert replace(CONFIG, simulated_galaxies=places).simulated_galaxies == places
    with pytest.raises(ValueError, match="simulated_galaxies=65537 must be"):
        replace(CONFIG, simulated_galaxies=places + 1)


def test_the_galaxies_of_a_fold_are_those_of_the_committed_table():
    sha256 = F_BATCHES.checksum.partition(":")[2]
    known = [records.galaxies_of(Config.preview(fold=fold), sha256) for fold in range(N_FOLDS)]
    assert known[0] == {"validation": (69, 76), "test": (49, 55), "uncertain": (191, 195), "hybrid": (19, 15)}
    assert known[4] == {"validation": (69, 76), "test": (50, 54), "uncertain": (190, 195), "hybrid": (19, 15)}
    assert [fold for fold in range(N_FOLDS) if known.index(known[fold]) != fold] == [5, 6, 7]
    assert records.galaxies_of(Config.preview(fold=4), "of another archive") == {}


@pytest.mark.parametrize("size", [40, 100, 1256])
@pytest.mark.parametrize("fold", [0, 1, 7])
def test_the_galaxies_of_a_simulated_fold_follow_from_the_class_counts_in_whatever_order(size, fold):
    counts = scaled_counts(size)
    code = np.random.default_rng(size).permutation(np.repeat(list(counts), [sum(pair) for pair in counts.values()]))
    in_test = first_of_each(code, {c: test for c, (_, test) in counts.items()})
    drawn = Galaxies(np.zeros((size, 1, 1), np.uint8), code, in_test, *[np.zeros(size)] * 5)
    sets = divide(drawn, source="simulated", sha256="", data_seed=0, fold=fold)
    known = records.galaxies_of(Config.preview(data="simulated", simulated_galaxies=size, fold=fold), "")
    assert known == {name: tuple(np.bincount(sets[name].labels, minlength=2)) for name in SCORED}


@pytest.mark.parametrize("other", [None, 1, 3])
def test_a_run_of_one_fold_does_not_pass_for_that_of_another(other):
    config = Config.preview(fold=4, samples=2)
    run, foreign = recorded(config), recorded(replace(config, fold=other))
    run.check()
    with pytest.raises(ValueError, match="labels of .* count .*, those of its data set"):
        Run(config, run.content, foreign.arrays).check()


# What is missing, and how long it takes


def test_what_is_foreign_in_the_folder_stops_nobody(world):
    folder = records.committed_folder()
    records.write(RUN, folder)
    (folder / "null.json").write_text("null")
    (folder / "list.json").write_text("[{}]")
    (folder / "binary.json").write_bytes(b"\xff\xfe\x00")
    (folder / "0123456789ab.json").write_text('{"schema": 99}')
    (folder / "abcdefabcdef.json").write_text("{")
    (folder / "no.json").mkdir()
    assert records.find(CONFIG).content == RUN.content
    assert outstanding.expected_seconds([replace(CONFIG, seed=5)]) == 10.0
    assert outstanding.missing([(CONFIG, "run")], folder) == []
    edited(lambda values: values["provenance"].update(wall_seconds=1e9))(folder / f"{IDENTITY}.json")
    records.write(OTHER, records.cached_folder())
    (records.cached_folder() / f"{OTHER.identity}.json").write_text("[]")
    assert outstanding.expected_seconds([CONFIG, OTHER.config]) is None


def test_expected_seconds_adds_what_the_records_took_and_what_new_runs_should(world):
    assert outstanding.expected_seconds([CONFIG]) is None
    records.write(RUN, records.committed_folder())
    longer = replace(CONFIG, epochs=3 * CONFIG.epochs, objective="pac2", seed=9)
    orbit = replace(CONFIG, likelihood="orbit_logits", estimator="shared")
    assert outstanding.expected_seconds([longer]) == pytest.approx(60.0)
    assert outstanding.expected_seconds([orbit]) == pytest.approx(80.0)
    assert outstanding.expected_seconds([CONFIG, longer]) == pytest.approx(70.0)
    assert outstanding.expected_seconds([replace(longer, precision="bf16")]) is None
    labelled = replace(CONFIG, train_on="labelled", fold=1)
    assert outstanding.expected_seconds([labelled]) == pytest.approx(10 * outstanding.TRAINED_ON["labelled"])


def test_work_counts_as_many_galaxies_as_the_folds_train_on():
    names = committed_names()
    code = np.array([int(name[:3]) for name in names])
    nowhere = [np.full(len(code), np.nan)] * 4
    galaxies = Galaxies(np.zeros((len(code), 1, 1), np.uint8), code, np.zeros(len(code), bool), names, *nowhere)

    def trained_on(fold, kind):
        return len(divide(galaxies, source="mirabest", sha256="", data_seed=0, fold=fold, train_on=kind)["train"])

    for kind, share in outstanding.TRAINED_ON.items():
        found = np.mean([trained_on(fold, kind) / trained_on(fold, "confident") for fold in range(8)])
        assert found == pytest.approx(share, rel=0.03), kind


def test_a_run_is_trained_if_its_record_or_the_posterior_of_another_is_missing(world):
    folder, other = records.committed_folder(), OTHER.config
    wanted = [(CONFIG, "run"), (other, "run"), (other, "pruning"), (CONFIG, "run")]
    assert outstanding.missing(wanted, folder) == wanted[:3]
    assert outstanding.untrained(wanted) == [CONFIG, other]
    records.write(OTHER, folder)
    assert outstanding.missing(wanted, folder) == [wanted[0], wanted[2]]
    assert outstanding.untrained([wanted[2]]) == [other]
    made = {"provenance": {}, "history": OTHER.content["history"]}
    records.write(records.Posterior(other, made, {"w": np.zeros(3, np.float16)}), records.cached_folder())
    assert outstanding.untrained([wanted[2]]) == []


def test_a_training_that_is_wanted_with_other_numbers_of_samples_is_done_once(world):
    few, many = CONFIG, replace(CONFIG, samples=9)
    assert outstanding.untrained([(few, "objective"), (many, "run"), (many, "posterior")]) == [many]
    assert outstanding.untrained([(few, "objective"), (many, "pruning")]) == [few]
    assert outstanding.untrained([(few, "run"), (many, "run")]) == [few, many]
    assert len(outstanding.missing([(few, "posterior"), (many, "posterior")], records.cached_folder())) == 1


def annealed() -> dict[str, Config]:
    """One run of every kind that the chapters' protocol trains, by what it is."""
    found = {"the headline": experiments.headline([3])[0], "another T": experiments.run(2, temperature=0.3)}
    found |= {f"upward {t:g}": config for t, config in experiments.upward(1).items()}
    found |= {f"downward {t:g}": config for t, config in experiments.downward(1).items()}
    found |= {prior: group[0] for prior, group in experiments.priors([1]).items()}
    for groups in (experiments.orbit([1]), experiments.baselines([1]), experiments.matched([1])):
        found |= {title: group[0] for title, group in groups.items()}
    for title, path in (experiments.objectives([1]) | experiments.augmentations([1])).items():
        found[title] = path[max(path)][0]
    found["the control"] = experiments.controls([1])[0.1][0]
    found["in float32"] = experiments.in_float32([1])[0]
    return found


@pytest.mark.parametrize(
    ("config", "name"),
    [(config, "annealed") for config in annealed().values()]
    + [
        (Config.published(temperature=0.1, seed=4), "published"),
        (Config.published(method="map", prior="laplace", prior_scale=0.2), "published"),
        (Config.published_2021(as_released=("summed_mixture",)), "published_2021"),
        (Config.preview(prior="laplace", temperature=1.0, seed=3, fold=2), "preview"),
        (Config.preview(likelihood="orbit_probs"), "preview"),
        (Config.converged(samples=3, precision="bf16"), "converged"),
        (Config.preview(epochs=99), "custom"),
        (Config.preview(path=(0.1,)), "custom"),
        (Config.converged(estimator="shared"), "custom"),
        (Config.annealed(learning_rate=7e-3), "custom"),
        (experiments.longer([1])[0], "longer"),
        (experiments.noisy([1])[1.0][0], "noisy"),
    ],
    ids=[*annealed(), *map(str, range(12))],
)
def test_protocols_are_recognised_whatever_varies_within_them(config, name):
    assert protocols.protocol(config)["name"] == name


def test_the_digest_of_a_protocol_says_what_it_sets_and_nothing_that_may_vary():
    digests, found = protocols.digests(), protocols.protocol(experiments.run())
    assert found == {"name": "annealed", "digest": digests["annealed vi gaussian"]}
    for changes in ({"seed": 9}, {"fold": 5}, {"temperature": 1.0, "path": (0.01, 0.1)}, {"samples": 3}):
        assert protocols.protocol(replace(experiments.run(), **changes)) == found
    assert protocols.protocol(Config.published(seed=3, fold=4, temperature=1.0))["digest"] == digests["published"]
    longer, faster = experiments.longer([0])[0], Config.annealed(learning_rate=7e-3)
    assert len({protocols.protocol(c)["digest"] for c in (longer, faster, experiments.run())}) == 3


@pytest.mark.parametrize("key", ANNEALED_RATES, ids=str)
def test_a_rate_changes_the_digest_of_its_own_protocol_alone(key, monkeypatch):
    before, (means, rho) = protocols.digests(), ANNEALED_RATES[key]
    monkeypatch.setitem(ANNEALED_RATES, key, (means / 2, rho))
    after = protocols.digests()
    changed = [title for title in before if after[title] != before[title]]
    assert list(after) == list(before)
    title = f"{key[0]} {key[1]}" + ("" if key[2] is None else f" {key[2]:.4g}")
    noisy = ["noisy"] if key == ("vi", "gaussian", None) else []  # which has no other prior
    assert changed == [*noisy, f"annealed {title}", f"longer {title}"]


def test_records_know_no_torch():
    code = "import sys, radio_bnn.runs.records, radio_bnn.paper.experiments; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_nothing_is_missing_of_a_training_that_diverged_nor_of_one_that_starts_from_it(tmp_path):
    first = Config.annealed(samples=50)
    later = replace(first, temperature=1.0, path=(0.01, 0.1))
    wanted = [(first, "run"), (later, "run"), (replace(first, samples=7), "pruning"), (replace(first, seed=1), "run")]
    assert outstanding.missing(wanted, tmp_path) == wanted
    records.write(records.Diverged(first.trained, {"reason": "the loss is not finite in epoch 3"}), tmp_path)
    assert outstanding.missing(wanted, tmp_path) == wanted[3:]
    assert records.ended(later, tmp_path) and not records.ended(wanted[3][0], tmp_path)
    assert records.read(tmp_path, run_id(first.trained), records.Diverged).content["reason"].endswith("epoch 3")


@pytest.mark.parametrize("reason", ["", 3, None])
def test_a_training_that_diverged_says_when(reason, tmp_path):
    with pytest.raises(ValueError, match="must say in which epoch"):
        records.write(records.Diverged(Config(), {"reason": reason}), tmp_path)
    with pytest.raises(ValueError, match="it holds a, which does not belong there"):
        records.write(records.Diverged(Config(), {"reason": "x"}, {"a": np.zeros(1)}), tmp_path)
    assert not list(tmp_path.iterdir())


COMMITTED = [path for path in sorted(BOOK.glob("*.json")) if json.loads(path.read_text()).get("kind") == "run"]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_committed_records_are_whole_and_their_metrics_recompute(path):
    stored = records.read(path.parent, path.stem)
    assert stored.content["protocol"] == protocols.protocol(stored.config)
    for name in SCORED if path in COMMITTED[:8] else ("test",):
        scores, labels = stored.scores(name), None if name == "hybrid" else stored.labels[name]
        logits = stored.logits_of(name)
        again = {m: metrics.METRICS[m](logits, labels) for m in scores if m in metrics.METRICS}
        assert again == pytest.approx({m: scores[m]["value"] for m in again}, rel=1e-6, abs=1e-9)
    if stored.config.fold is not None and stored.config.data == "mirabest":
        for name, role in {"test": TEST, "validation": VALIDATION}.items():
            expected = np.flatnonzero(committed(committed_names()).role[:, stored.config.fold] == role)
            np.testing.assert_array_equal(np.sort(stored.galaxies[name]), expected)


@pytest.mark.parametrize("path", COMMITTED[:2], ids=lambda p: p.stem)
def test_intervals_and_nulls_of_committed_records_recompute(path):
    stored = records.read(path.parent, path.stem)
    again = summarise(stored.logits_of("test"), stored.labels["test"])
    assert {k: tuple(v.values()) for k, v in again.items()} == {
        k: pytest.approx(tuple(v.values()), rel=1e-6, abs=1e-9) for k, v in stored.scores("test").items()
    }
