"""Queues through processes and through a real dask cluster give the same records, whatever is killed on the way."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from radio_bnn import store, sweep
from radio_bnn.cli import main
from radio_bnn.config import Config, run_id
from radio_bnn.data import mirabest

SHORT = Config.preview(data="simulated", simulated_galaxies=100, epochs=1, samples=2)
QUEUE = [replace(SHORT, seed=seed) for seed in range(4)]
REAL = [Config.preview(epochs=1, samples=2, seed=seed) for seed in range(12)]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path / "nothing"))
    return tmp_path / "cache"


def records(folder) -> dict:
    return {path.stem: store.read(folder, path.stem) for path in sorted(folder.glob("*.json"))}


def same(a: store.Run, b: store.Run) -> bool:
    logits = all(np.array_equal(a.logits[name], b.logits[name]) for name in store.SCORED)
    return logits and a.config == b.config and a.record["metrics"] == b.record["metrics"]


def test_processes_and_a_cluster_write_the_same_records(cache, tmp_path, monkeypatch):
    """Twelve short runs on MiraBest, or four on simulated galaxies where it is absent."""
    queue = REAL if mirabest.locate() is not None else QUEUE
    sweep.run_queue(queue, tmp_path / "processes", workers=2, progress=False)
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache of the cluster"))
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        sweep.run_queue(queue, tmp_path / "dask", scheduler=cluster.scheduler_address, progress=False)
    by_process, by_dask = records(tmp_path / "processes"), records(tmp_path / "dask")
    assert by_process.keys() == by_dask.keys() == {run_id(c) for c in queue}
    assert all(same(by_process[k], by_dask[k]) for k in by_process)


def test_a_killed_worker_loses_no_run_and_stores_none_twice(cache, tmp_path, monkeypatch):
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        victims = [worker.pid for worker in cluster.workers.values()]
        written = []
        original = store.write

        def write(run, folder):
            original(run, folder)
            written.append(run.record["run_id"])
            if len(written) == 1:
                os.kill(victims[0], signal.SIGKILL)

        monkeypatch.setattr(store, "write", write)
        sweep.run_queue(QUEUE, tmp_path / "out", scheduler=cluster.scheduler_address, progress=False)
    assert sorted(written) == sorted(run_id(c) for c in QUEUE)
    assert records(tmp_path / "out").keys() == set(written)


def test_what_is_stored_is_not_run_again(cache, tmp_path):
    first = sweep.run_queue(QUEUE[:2], tmp_path / "out", progress=False)
    assert first == QUEUE[:2]
    stamps = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert sweep.run_queue([*QUEUE[:2], QUEUE[1]], tmp_path / "out", progress=False) == []
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == stamps


def test_a_failing_run_is_named_and_the_others_are_stored(cache, tmp_path):
    bad = replace(SHORT, learning_rate=1e30, estimator="shared", epochs=2)
    with pytest.raises(RuntimeError, match=rf"1 of 2 runs failed.*{run_id(bad)}.*not finite"):
        sweep.run_queue([bad, SHORT], tmp_path / "out", progress=False)
    assert list(records(tmp_path / "out")) == [run_id(SHORT)]


def test_every_queue_holds_usable_runs():
    for name in sweep.QUEUES:
        configs = sweep.queue(name)
        assert configs and len({run_id(c) for c in configs}) == len(configs)
    with pytest.raises(ValueError, match="queue='nope'.*priors"):
        sweep.queue("nope")
    assert main(["sweep", "nope"]) == 1


def test_no_worker_is_refused():
    with pytest.raises(ValueError, match="workers=0"):
        sweep.run_queue(QUEUE, store.cached_folder(), workers=0)
