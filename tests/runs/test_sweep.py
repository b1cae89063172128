"""Queues through processes and through a real dask cluster give the same records, whatever is killed on the way."""

import errno
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from radio_bnn.config import Config, run_id
from radio_bnn.data import mirabest
from radio_bnn.files import NoRoomError
from radio_bnn.paper import protocol
from radio_bnn.paper.protocol import Objective
from radio_bnn.pool import WorkerKilledError
from radio_bnn.runs import records, sweep
from radio_bnn.runs.records import Diverged, Posterior, Run

SHORT = Config.preview(data="simulated", simulated_galaxies=100, epochs=1, samples=2)
QUEUE = [(replace(SHORT, seed=seed), "run") for seed in range(4)]
REAL = [(Config.preview(epochs=1, samples=2, seed=seed), "run") for seed in range(2)]
MEASURES = {"objective": protocol.measure}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path / "nothing"))
    return tmp_path / "cache"


def runs(folder) -> dict[str, Run]:
    return {path.stem: records.read(folder, path.stem) for path in sorted(folder.glob("*.json"))}


def ids(queue) -> set[str]:
    return {run_id(config) for config, _ in queue}


def same(a: Run, b: Run) -> bool:
    arrays = all(np.array_equal(b.arrays[name], values) for name, values in a.arrays.items())
    return arrays and a.config == b.config and a.content["metrics"] == b.content["metrics"]


def test_processes_and_a_cluster_write_the_same_records(cache, tmp_path, monkeypatch):
    """Short runs on MiraBest, or on simulated galaxies where it is absent."""
    queue = REAL if mirabest.locate() is not None else QUEUE
    sweep.run_queue(queue, tmp_path / "processes", workers=2, progress=False)
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache of the cluster"))
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        sweep.run_queue(queue, tmp_path / "dask", scheduler=cluster.scheduler_address, progress=False)
    by_process, by_dask = runs(tmp_path / "processes"), runs(tmp_path / "dask")
    assert by_process.keys() == by_dask.keys() == ids(queue)
    assert all(same(by_process[k], by_dask[k]) for k in by_process)


def test_a_killed_worker_loses_no_run_and_stores_none_twice(cache, tmp_path, monkeypatch):
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        victims = [worker.pid for worker in cluster.workers.values()]
        written = []
        original = records.write

        def write(run, folder):
            original(run, folder)
            written.append(run.identity)
            if len(written) == 1:
                os.kill(victims[0], signal.SIGKILL)

        monkeypatch.setattr(records, "write", write)
        sweep.run_queue(QUEUE, tmp_path / "out", scheduler=cluster.scheduler_address, progress=False)
    assert sorted(written) == sorted(ids(QUEUE))
    assert runs(tmp_path / "out").keys() == set(written)


def test_what_is_stored_is_not_run_again(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "_on_processes", here)
    first = sweep.run_queue(QUEUE[:2], tmp_path / "out", progress=False)
    assert first == QUEUE[:2]
    stamps = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert sweep.run_queue([*QUEUE[:2], QUEUE[1]], tmp_path / "out", progress=False) == []
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == stamps


def test_a_training_that_diverges_is_stored_ends_its_path_and_is_not_tried_again(cache, tmp_path):
    bad, out = replace(SHORT, learning_rate=1e30, estimator="shared", epochs=2), tmp_path / "out"
    warmer = replace(bad, temperature=0.1, path=(bad.temperature,))
    wanted = [(warmer, "run"), (bad, "run"), (SHORT, "run"), (bad, "objective")]
    made = sweep.run_queue(wanted, out, MEASURES, workers=2, progress=False)
    assert set(made) == {(SHORT, "run"), (bad.trained, "diverged")}
    assert list(runs(out)) == [run_id(SHORT)]
    found = records.read(out, run_id(bad.trained), Diverged)
    assert "not finite in epoch" in found.content["reason"] and found.content["provenance"]["wall_seconds"] >= 0
    assert sweep.run_queue(wanted, out, MEASURES, progress=False) == []
    assert not list((cache / "results" / "unfinished").glob("*.pt"))


def test_an_earlier_stage_that_diverges_outside_the_chain_is_a_failure(cache, monkeypatch):
    stage = replace(SHORT, temperature=0.1, path=(SHORT.temperature,))

    def diverge(config, folder, **options):
        raise FloatingPointError("the loss is not finite in epoch 1")

    monkeypatch.setattr(sweep, "execute", diverge)
    with pytest.raises(FloatingPointError, match="not finite"):
        sweep.train([(stage.to_dict(), False)])


def test_a_run_is_trained_once_for_all_that_is_measured_on_it(cache, tmp_path, monkeypatch):
    out, (other, _) = tmp_path / "out", QUEUE[0]
    wanted = [(SHORT, "run"), (SHORT, "objective"), (other, "objective")]
    monkeypatch.setattr(sweep, "_on_processes", here)
    assert sweep.run_queue(wanted, out, MEASURES, progress=False) == wanted
    assert list(runs(out)) == [run_id(SHORT)], "the run that nobody reads is not stored"
    assert all(records.at_hand(config, "posterior") for config in (SHORT, other))
    first = records.read(out, run_id(other), Objective)
    (out / "objective" / f"{run_id(other)}.json").unlink()
    monkeypatch.setattr(sweep, "train", lambda *a: pytest.fail("trained again"))
    assert sweep.run_queue(wanted, out, MEASURES, progress=False) == [wanted[2]]
    again = records.read(out, run_id(other), Objective)
    assert again.content["measured"] == first.content["measured"]


def posteriors(folder) -> list[str]:
    return [path.stem for path in sorted((folder / "posterior").glob("*.json"))]


def test_a_run_and_its_posterior_are_one_training(cache, tmp_path, monkeypatch):
    out, wanted, trained = tmp_path / "out", [(SHORT, "posterior"), (SHORT, "run")], []
    original = sweep.train
    monkeypatch.setattr(sweep, "_on_processes", here)
    monkeypatch.setattr(sweep, "train", lambda chain: trained.extend(chain) or original(chain))
    made = sweep.run_queue(wanted, out, progress=False)
    assert {(records.identity(config, kind), kind) for config, kind in made} == {
        (records.identity(config, kind), kind) for config, kind in wanted
    }
    assert trained == [(SHORT.to_dict(), True)]
    assert list(runs(out)) == [run_id(SHORT)] and posteriors(out) == [run_id(SHORT.trained)]
    assert records.read(out, run_id(SHORT.trained), Posterior).config == SHORT.trained
    assert sweep.run_queue(wanted, out, progress=False) == []


def here(jobs, workers):
    """The jobs in this process."""
    for job in jobs:
        yield job, job.function(*job.arguments)


def test_a_posterior_at_hand_is_copied_where_it_is_wanted(cache, tmp_path, monkeypatch):
    sweep.train([(SHORT.to_dict(), True)])
    monkeypatch.setattr(sweep, "train", lambda *a: pytest.fail("trained again"))
    monkeypatch.setattr(sweep, "_on_processes", here)
    sweep.run_queue([(SHORT, "posterior")], tmp_path / "out", progress=False)
    name = run_id(SHORT.trained)
    for suffix in (".json", ".npz"):
        path = (tmp_path / "out" / "posterior" / name).with_suffix(suffix)
        original = (records.cached_folder() / "posterior" / name).with_suffix(suffix)
        if suffix == ".json":
            assert records.read(tmp_path / "out", name, Posterior).config == SHORT.trained
        else:
            with np.load(path) as copy, np.load(original) as kept:
                assert all(np.array_equal(copy[key], kept[key]) for key in kept.files)


def test_what_is_measured_of_few_samples_is_kept_although_the_posterior_says_many(cache, tmp_path, monkeypatch):
    """A run and a measurement of the same training that name other numbers of samples are trained once."""
    out, many, trained, original = tmp_path / "out", replace(SHORT, samples=7), [], sweep.train
    monkeypatch.setattr(sweep, "_on_processes", here)
    monkeypatch.setattr(sweep, "train", lambda chain: trained.extend(chain) or original(chain))
    wanted = [(SHORT, "objective"), (many, "run")]
    made = sweep.run_queue(wanted, out, MEASURES, progress=False)
    assert sorted(made, key=str) == sorted(wanted, key=str) and trained == [(many.to_dict(), True)]
    assert records.read(out, run_id(SHORT), Objective).config == SHORT
    assert sweep.run_queue(wanted, out, MEASURES, progress=False) == []


def test_what_killed_sweeps_left_half_written_is_removed_before_the_next(cache, tmp_path, monkeypatch):
    folders, hour = [tmp_path / "out", records.cached_folder() / "posterior"], 3600
    for folder in folders:
        folder.mkdir(parents=True)
        for name, age in {"old.json.1.partial": hour + 60, "new.json.2.partial": hour - 60}.items():
            (folder / name).write_text("{")
            os.utime(folder / name, (time.time() - age,) * 2)
    monkeypatch.setattr(sweep, "_on_processes", here)
    sweep.run_queue([], tmp_path / "out", progress=False)
    assert all((folder / "old.json.1.partial").exists() for folder in folders), "nothing is to be done"
    sweep.run_queue([(SHORT, "run")], tmp_path / "out", progress=False)
    for folder in folders:
        assert [path.name for path in folder.glob("*.partial")] == ["new.json.2.partial"]


def untouched(*a):
    pytest.fail("a run was started")


@pytest.mark.parametrize("place", ["a file", "a file/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_written_is_found_before_the_first_run(cache, tmp_path, monkeypatch, place):
    (tmp_path / "a file").touch()
    monkeypatch.setattr(sweep, "_on_processes", untouched)
    with pytest.raises(OSError, match=r"cannot be written \(.*\): name another folder for the records$"):
        sweep.run_queue([(SHORT, "run")], tmp_path / place, progress=False)
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / place))
    with pytest.raises(OSError, match=r"cannot be written \(.*\): set RADIO_BNN_CACHE to a folder that can$"):
        sweep.run_queue([(SHORT, "run")], tmp_path / "out", progress=False)


def test_an_interrupt_keeps_what_is_finished_and_the_next_call_makes_the_rest(world, monkeypatch):
    """The third run is finished in the cache of its worker, and was not yet stored."""
    trained, original = [], sweep.execute

    def interrupted(jobs, workers):
        yield jobs[0], jobs[0].function(*jobs[0].arguments)
        jobs[2].function(*jobs[2].arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "execute", lambda c, *a, **k: trained.append(c.seed) or original(c, *a, **k))
    monkeypatch.setattr(sweep, "_on_processes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep.run_queue(QUEUE, world / "out", progress=False)
    assert list(runs(world / "out")) == [run_id(QUEUE[0][0])] and trained == [0, 2]
    monkeypatch.setattr(sweep, "_on_processes", here)
    assert len(sweep.run_queue(QUEUE, world / "out", progress=False)) == 3
    assert runs(world / "out").keys() == ids(QUEUE) and sorted(trained) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "problem",
    [OSError(errno.ENOSPC, "No space left on device"), NoRoomError("no room for the checkpoint")],
    ids=["a record", "a checkpoint"],
)
def test_a_full_disk_ends_a_sweep_at_once_in_one_line(world, monkeypatch, problem):
    """What a hundred runs would each find out after hours."""

    def full(jobs, workers):
        yield jobs[0], jobs[0].function(*jobs[0].arguments)
        yield jobs[1], problem
        pytest.fail("and goes on")

    monkeypatch.setattr(sweep, "_on_processes", full)
    with pytest.raises(NoRoomError, match=r"^no room .*; 1 records stored: make room, the same call continues$"):
        sweep.run_queue(QUEUE, world / "out", progress=False)
    assert list(runs(world / "out")) == [run_id(QUEUE[0][0])]


def test_many_runs_that_fail_alike_are_one_reason(world, monkeypatch):
    def dead(jobs, workers):
        yield from [(job, WorkerKilledError("its worker died 2 times")) for job in jobs]

    monkeypatch.setattr(sweep, "_on_processes", dead)
    with pytest.raises(RuntimeError) as found:
        sweep.run_queue([(replace(SHORT, seed=seed), "run") for seed in range(60)], world / "out", progress=False)
    assert str(found.value).startswith("60 of 60 failed, the others are stored: ")
    assert str(found.value).endswith(" and 57 more: WorkerKilledError: its worker died 2 times")


def test_changed_code_is_refused_before_anything_is_trained(cache, tmp_path, monkeypatch):
    def refuse(folder):
        raise ValueError(f"{folder.name} is guarded")

    monkeypatch.setattr(sweep, "check_unchanged", refuse)
    monkeypatch.setattr(sweep, "_on_processes", lambda *a: pytest.fail("a run was started"))
    with pytest.raises(ValueError, match="out is guarded"):
        sweep.run_queue([(SHORT, "run")], tmp_path / "out", progress=False)
    assert sweep.run_queue([], tmp_path / "out", progress=False) == []


def test_a_posterior_of_a_worker_elsewhere_is_kept_here(cache, tmp_path):
    made = sweep.train([(SHORT.to_dict(), True)])
    for path in (records.cached_folder() / "posterior").iterdir():
        path.unlink()
    assert sweep._store(made, [(SHORT, "objective")], tmp_path / "out") == []
    assert records.find(SHORT, Posterior) is not None and not (tmp_path / "out").exists()


def test_what_nothing_measures_is_refused(cache, tmp_path):
    with pytest.raises(
        ValueError, match="nothing makes records of kind pruning: choose from run, posterior, objective"
    ):
        sweep.run_queue([(SHORT, "pruning")], tmp_path, MEASURES)


def test_missing_data_are_found_once_before_the_first_run(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("RADIO_BNN_DATA", raising=False)
    monkeypatch.setattr(sweep, "_on_processes", lambda *a: pytest.fail("a run was started"))
    with pytest.raises(FileNotFoundError, match="MiraBest could not be had"):
        sweep.run_queue([*QUEUE, *REAL], tmp_path / "out", progress=False)
    assert sweep.run_queue([], tmp_path / "out", progress=False) == []


def test_no_worker_is_refused():
    with pytest.raises(ValueError, match="workers=0"):
        sweep.run_queue(QUEUE, records.cached_folder(), workers=0)
