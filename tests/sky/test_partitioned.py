"""A folder of Parquet files has the rows of one table, whoever makes it and whatever is killed on the way."""

import os
import pickle
import signal

import numpy as np
import pytest
from astropy.table import QTable

import radio_bnn
from radio_bnn import cli, pool
from radio_bnn.sky import partitioned
from radio_bnn.sky.partitioned import CALL, Counts, classify_into
from radio_bnn.sky.sources import sources
from radio_bnn.sky.stream import Call, rows_of


def here(jobs, workers):
    """The jobs in this process, which a test may watch."""
    for job in jobs:
        yield job, job.function(*job.arguments)


@pytest.fixture
def at_home(monkeypatch):
    monkeypatch.setattr(partitioned.pool, "results", here)


@pytest.fixture
def whole(cutouts, bundle) -> QTable:
    return radio_bnn.classify(cutouts, posteriors=bundle)


def same(folder, whole: QTable) -> bool:
    """Whether all files of a folder hold the rows of a table, one after the other."""
    from pyarrow import dataset

    found = dataset.dataset(folder, format="parquet").to_table().to_pydict()
    return list(found) == whole.colnames and all(
        np.array_equal(found[name], np.asarray(whole[name]), equal_nan=whole[name].dtype.kind == "f") for name in found
    )


def parts(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def test_processes_and_a_cluster_that_loses_a_worker_give_the_rows_of_one_table(tmp_path, cutouts, bundle, whole):
    from dask.distributed import LocalCluster

    options = {"posteriors": bundle, "size": 2}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        victims, write = [worker.pid for worker in cluster.workers.values()], partitioned.write

        def kill(table, path):
            write(table, path)
            if len(victims) == 2:
                os.kill(victims.pop(), signal.SIGKILL)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(partitioned, "write", kill)
            where = cluster.scheduler_address
            assert classify_into(tmp_path / "a.parquet", cutouts, scheduler=where, **options) == Counts(3, 2)
    assert len(victims) == 1
    assert classify_into(tmp_path / "b.parquet", cutouts, workers=2, **options) == Counts(3, 2)
    assert same(tmp_path / "a.parquet", whole) and same(tmp_path / "b.parquet", whole)
    assert parts(tmp_path / "a.parquet") == parts(tmp_path / "b.parquet")
    assert list(parts(tmp_path / "a.parquet")) == [f"part-0000{k}.parquet" for k in range(3)]
    assert sorted(p.name for p in (tmp_path / "a.parquet").iterdir()) == [CALL, *parts(tmp_path / "a.parquet")]


def test_only_what_is_not_there_whole_is_made(tmp_path, cutouts, bundle, at_home, monkeypatch):
    folder, made = tmp_path / "a.parquet", []
    classify_into(folder, cutouts, posteriors=bundle, size=1)
    before = parts(folder)
    (folder / "part-00001.parquet").unlink()
    (folder / "part-00003.parquet").write_bytes(before["part-00003.parquet"][:-1])
    monkeypatch.setattr(partitioned, "rows_of", lambda *a: made.append(a[1].names) or rows_of(*a))
    for _ in range(2):
        assert classify_into(folder, cutouts, posteriors=bundle, size=1) == Counts(3, 2)
    assert made == [("galaxy_1",), ("galaxy_3",)] and parts(folder) == before


def test_an_interrupted_call_keeps_its_files_and_is_continued(tmp_path, cutouts, bundle, monkeypatch, whole):
    folder = tmp_path / "a.parquet"

    def interrupted(jobs, workers):
        yield from (pair for pair, _ in zip(here(jobs, workers), range(2), strict=False))
        raise KeyboardInterrupt

    monkeypatch.setattr(partitioned.pool, "results", interrupted)
    with pytest.raises(KeyboardInterrupt):
        classify_into(folder, cutouts, posteriors=bundle, size=1)
    assert len(parts(folder)) == 2
    monkeypatch.setattr(partitioned.pool, "results", here)
    classify_into(folder, cutouts, posteriors=bundle, size=1)
    assert same(folder, whole)


def test_files_of_another_call_are_refused_or_replaced_and_those_of_others_are_never_touched(
    tmp_path, cutouts, bundle, at_home, whole
):
    folder, other = tmp_path / "a.parquet", tmp_path / "other.parquet"
    classify_into(folder, cutouts[:1], posteriors=bundle, size=1)
    with pytest.raises(ValueError, match="other inputs or settings: choose another name, or replace them"):
        classify_into(folder, cutouts, posteriors=bundle, size=2)
    classify_into(folder, cutouts, posteriors=bundle, size=2, overwrite=True)
    assert same(folder, whole)
    for path in folder.glob("part-*"):
        path.unlink()
    assert classify_into(folder, cutouts[:1], posteriors=bundle, size=1) == Counts(1, 0)
    other.mkdir()
    (other / "part-00000.parquet").write_text("precious")
    with pytest.raises(FileExistsError, match="other.parquet holds something else: choose another name"):
        classify_into(other, cutouts, posteriors=bundle, overwrite=True)
    assert [path.read_text() for path in other.iterdir()] == ["precious"]


def test_what_was_left_half_written_is_removed(tmp_path, cutouts, bundle, at_home):
    folder = tmp_path / "a.parquet"
    classify_into(folder, cutouts, posteriors=bundle)
    (folder / "part-00000.parquet.x.1.0123456789abcdef.partial").touch()
    os.utime(folder / "part-00000.parquet.x.1.0123456789abcdef.partial", (0, 0))
    classify_into(folder, cutouts, posteriors=bundle)
    assert sorted(path.name for path in folder.iterdir()) == [CALL, "part-00000.parquet"]


def test_a_part_is_read_and_judged_by_a_process_in_another_folder(tmp_path, cutouts, bundle, monkeypatch):
    """As the worker of a cluster, where the networks lie elsewhere too."""
    sha256 = radio_bnn.sky.posteriors.read(bundle).sha256
    monkeypatch.chdir(tmp_path)
    found = sources([f"cutouts/{path.name}" for path in cutouts] + ["cutouts/none.fits"])
    call = Call(str(bundle), sha256, "upright", 0.1, "cpu")
    expected = rows_of(call, found)
    assert expected[5]["message"] == "cutouts/none.fits: no such file; expected a FITS or PNG cutout"
    monkeypatch.chdir("/")
    monkeypatch.setattr(radio_bnn.sky.stream.stored, "FILE", bundle)
    elsewhere = Call("/nowhere/posteriors.npz", sha256, "upright", 0.1, "auto")
    received = [pickle.loads(pickle.dumps(found[part])) for part in (slice(0, 4), slice(4, 6))]
    assert str([*rows_of(elsewhere, received[0]), *rows_of(elsewhere, received[1])]) == str(expected)
    with pytest.raises(ValueError, match="other networks than the call: install the same radio_bnn on all computers"):
        rows_of(Call(str(bundle), "0" * 64, "upright", 0.1, "cpu"), found)


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (pool.WorkerKilledError("its worker died"), r"given up \(WorkerKilledError: its worker died\); finished files"),
        (ValueError("other networks"), "^other networks$"),
    ],
)
def test_what_a_worker_raises_is_one_line(tmp_path, cutouts, bundle, monkeypatch, problem, says):
    monkeypatch.setattr(partitioned.pool, "results", lambda jobs, workers: ((job, problem) for job in jobs))
    with pytest.raises((ValueError, OSError), match=says):
        classify_into(tmp_path / "a.parquet", cutouts, posteriors=bundle)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["-o", "out.ecsv", "--scheduler", "tcp://127.0.0.1:1"],
            "out.ecsv: a folder of Parquet files ends in .parquet",
        ),
        (["-o", "out/"], "out: a folder of Parquet files ends in .parquet"),
        (["-o", "no/out.parquet/"], "no is no folder: make it first"),
        (["-o", "there.parquet/"], "there.parquet is a file: choose the name of a folder"),
        (["-o", "out.parquet/", "--report", "out.html"], "a folder of Parquet files has none"),
        (["-o", "out.parquet/", "--workers", "0"], "workers is 0; expected a whole number of at least 1"),
    ],
)
def test_a_bad_call_is_one_line(tmp_path, cutouts, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.parquet").touch()
    assert cli.main(["classify", str(cutouts[0]), *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("radio-bnn: error: ") and says in err and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cutouts", "there.parquet"]


def test_the_command_says_how_many(tmp_path, cutouts, bundle, at_home, monkeypatch, capsys):
    monkeypatch.setitem(classify_into.__kwdefaults__, "posteriors", bundle)
    assert cli.main(["classify", *map(str, cutouts), "-o", f"{tmp_path}/a.parquet/"]) == 3
    assert capsys.readouterr().out == f"{tmp_path}/a.parquet/: 3 classified, 2 not: see `message`\n"
    assert cli.main(["classify", str(cutouts[0]), "-o", f"{tmp_path}/b.parquet/"]) == 0
