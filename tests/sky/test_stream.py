"""From files to a file: nothing stops at a bad one, nothing is done twice, and the way does not change the numbers."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import QTable, Table
from processes import alive, children_of, until
from scenarios import galaxies

import radio_bnn
from radio_bnn import cli, pool
from radio_bnn.sky import stream
from radio_bnn.sky.part import Part, part_of


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    """Chunks of two galaxies, so that five are several."""
    monkeypatch.setattr(stream, "AT_ONCE", 2)


@pytest.fixture
def command(monkeypatch, bundle, capsys):
    """`radio-bnn classify` with the toy networks: (exit status, stdout, what stderr says below the bar)."""
    monkeypatch.setattr(stream.stored, "FILE", bundle)
    monkeypatch.setitem(stream.classify.__kwdefaults__, "posteriors", bundle)

    def run(*arguments):
        status = cli.main(["classify", *map(str, arguments)])
        out, err = capsys.readouterr()
        said = [line for line in err.splitlines() if line and not line.startswith("classify: ")]
        return status, out, "".join(f"{line}\n" for line in said)

    return run


def test_one_bad_file_stops_no_other(tmp_path, cutouts, command):
    status, out, _ = command(*cutouts, "-o", tmp_path / "out.ecsv")
    assert status == 3 and out == f"{tmp_path / 'out.ecsv'}: 3 classified, 2 not: see `message`\n"
    found = QTable.read(tmp_path / "out.ecsv")
    assert [str(name) for name in found["name"]] == [path.stem for path in cutouts]
    used = np.array([True, False, True, False, True])
    assert (np.isfinite(found["p_fri"]) == used).all() and (np.isfinite(found["unlikeness"]) == used).all()
    np.testing.assert_allclose((found["p_fri"] + found["p_frii"])[used], 1)
    assert set(found["label"][used]) <= {"FRI", "FRII", "ask", "none"}
    assert "not a complete FITS image" in found["message"][1] and "no signal" in found["message"][3]
    assert found["flags"][3] == "no_signal" and found.meta["alpha"] == 0.1 and "80%" in found.meta["labels"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cutouts", "out.ecsv"]


def test_all_good_is_status_0(tmp_path, cutouts, command):
    assert command(cutouts[0], "-o", tmp_path / "out.csv")[0] == 0


def test_the_function_gives_what_the_command_writes(tmp_path, cutouts, command, bundle):
    command(*cutouts, "-o", tmp_path / "out.ecsv")
    table = radio_bnn.classify(cutouts, posteriors=bundle)
    read = QTable.read(tmp_path / "out.ecsv")
    for name in table.colnames:
        np.testing.assert_array_equal(np.ma.filled(read[name], ""), table[name])


def test_arrays_are_classified_as_they_are(bundle):
    images = galaxies(0).images[:3]
    assert len(radio_bnn.classify(images, posteriors=bundle)) == 3


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, cutouts, command, monkeypatch):
    whole, other = tmp_path / "whole.ecsv", tmp_path / "other.ecsv"
    command(*cutouts, "-o", whole)
    work, done = stream.rows_of, []

    def interrupted(call, found):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(found.names)
        return work(call, found)

    monkeypatch.setattr(stream, "rows_of", interrupted)
    status, _, err = command(*cutouts, "-o", other)
    assert status == 130 and not other.exists()
    assert err == "radio-bnn: stopped by SIGINT: nothing is half written, and the same call makes what is missing\n"
    assert part_of(other).read_bytes().count(b"\n") == 1 + 4
    done.clear()
    assert command(*cutouts, "-o", other)[0] == 3
    assert done == [("galaxy_4",)] and other.read_bytes() == whole.read_bytes()


def test_processes_and_chunks_change_no_byte(tmp_path, cutouts, command, monkeypatch):
    one, two, long = (tmp_path / f"{name}.ecsv" for name in ("one", "two", "long"))
    command(*cutouts, "-o", one)
    command(*cutouts, "-o", two, "--workers", 2)
    monkeypatch.setattr(stream, "AT_ONCE", 64)
    command(*cutouts, "-o", long)
    assert one.read_bytes() == two.read_bytes() == long.read_bytes()


def test_rows_of_other_inputs_are_not_taken_over(tmp_path, cutouts, command):
    output = tmp_path / "out.ecsv"
    part_of(output).write_text('{"digest": "another"}\n{"name": "foreign"}\n')
    status, _, err = command(cutouts[0], "-o", output)
    assert status == 1 and "holds finished rows of a call with other inputs or settings" in err
    assert command(cutouts[0], "-o", output, "--overwrite")[0] == 0
    assert list(QTable.read(output)["name"]) == ["galaxy_0"]


def digest_of(inputs, names=("a",), **changes):
    call = stream.Call(**{"posteriors": "p", "sha256": "s", "view": "upright", "alpha": 0.1, **changes})
    return stream._digest(call, names, [inputs])


def test_the_digest_tells_inputs_and_settings_apart(cutouts):
    files, folder = [str(path) for path in cutouts], str(cutouts[0].parent)
    inputs = [files, files[:2], folder, f"{folder}/*.fits", np.zeros(3), np.ones(3), Table({"ra": [1.0, 2.0]})]
    inputs += [Table({"ra": [1.0, 2.5]}), 2.0, None]
    found = [digest_of(x, device="cpu") for x in inputs]
    assert found == [digest_of(x, device="cpu") for x in inputs]
    found += [digest_of(files, **{"device": "cpu", **change}) for change in ({"alpha": 0.2}, {"view": "orbit"})]
    found += [digest_of(files, device="cuda"), digest_of(files, ("b",), device="cpu")]
    os.utime(cutouts[0], (1, 1))
    found += [digest_of(x, device="cpu") for x in inputs[:4]]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "out.txt"], "a table ends in .ecsv"),
        (["-o", "no/out.ecsv"], "no is no folder: make it first"),
        (["-o", "out.ecsv", "--report", "no/out.html"], "no is no folder"),
        (["-o", "out.ecsv", "--alpha", "1.5"], "alpha is 1.5; expected a number between 0 and 1"),
        (["-o", "out.ecsv", "--workers", "0"], "workers is 0; expected a whole number of at least 1"),
        (["-o", "out.ecsv", "--device", "cuda"], "PyTorch sees no CUDA GPU"),
        (["-o", "there.ecsv"], "there.ecsv exists: overwrite it with --overwrite"),
    ],
)
def test_a_bad_call_is_one_line_and_status_1(tmp_path, cutouts, command, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.ecsv").write_text("precious")
    status, out, err = command(cutouts[0], *arguments)
    assert (status, out) == (1, "") and says in err and err.count("\n") == 1
    assert err.startswith("radio-bnn: error: ") and (tmp_path / "there.ecsv").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cutouts", "there.ecsv"]


def test_nothing_to_classify_and_tampered_networks_are_one_line(tmp_path, cutouts, command, bundle, monkeypatch):
    assert command("-o", tmp_path / "out.ecsv")[0] == 1
    copy = shutil.copy(bundle, tmp_path / "posteriors.npz")
    stated = json.loads(bundle.with_suffix(".json").read_text())
    (tmp_path / "posteriors.json").write_text(json.dumps(stated | {"sha256": "0" * 64}))
    monkeypatch.setitem(stream.classify.__kwdefaults__, "posteriors", copy)
    status, _, err = command(cutouts[0], "-o", tmp_path / "out.ecsv")
    assert status == 1 and "its digest differs. Install radio_bnn again" in err and err.count("\n") == 1


def test_a_worker_that_is_killed_changes_no_byte(tmp_path, cutouts, command, monkeypatch):
    """All workers, when the first rows are there: with the chunks that they were about to do."""
    command(*cutouts, "-o", tmp_path / "whole.ecsv")
    monkeypatch.setattr(stream, "AT_ONCE", 1)
    add, victims = Part.add, []

    def kill(self, rows):
        add(self, rows)
        if not victims:
            victims.extend(child.pid for child in multiprocessing.active_children())
            for pid in victims:
                os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(Part, "add", kill)
    command(*cutouts, "-o", tmp_path / "other.ecsv", "--workers", 2)
    assert len(victims) == 2 and not multiprocessing.active_children()
    assert (tmp_path / "other.ecsv").read_bytes() == (tmp_path / "whole.ecsv").read_bytes()


def test_a_chunk_whose_worker_dies_twice_is_one_line_and_rows_are_kept(tmp_path, cutouts, command, monkeypatch):
    def in_order(jobs, workers, ahead):
        yield next(jobs).function(*next(jobs).arguments)
        raise pool.WorkerKilledError("its worker died 2 times (by SIGKILL)")

    monkeypatch.setattr(stream.pool, "in_order", in_order)
    status, _, err = command(*cutouts, "-o", tmp_path / "out.ecsv", "--workers", 2)
    said = "radio-bnn: error: a chunk of galaxies was given up: its worker died 2 times (by SIGKILL); with an output, "
    assert status == 1 and err == said + "finished rows are kept, and the same command goes on from there\n"
    assert part_of(tmp_path / "out.ecsv").read_bytes().count(b"\n") == 1 + 2


PARENT = """
import sys
from radio_bnn.sky import stream
if __name__ == "__main__":
    stream.AT_ONCE = 1
    stream.classify(sys.argv[4:], posteriors=sys.argv[1], output=sys.argv[2], workers=int(sys.argv[3]))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_call_leaves_no_process_and_resumes_byte_for_byte(tmp_path, cutouts, bundle, workers):
    many = [str(shutil.copy(cutouts[i % 5], tmp_path / f"{i:02d}.fits")) for i in range(24)]
    (tmp_path / "parent.py").write_text(PARENT)
    whole, other = tmp_path / "whole.ecsv", tmp_path / "other.ecsv"
    call = [sys.executable, str(tmp_path / "parent.py"), str(bundle), str(other), str(workers)]
    with subprocess.Popen([*call, *many]) as parent:
        until(lambda: part_of(other).exists() and part_of(other).read_bytes().count(b"\n") > 4)
        children = children_of(parent.pid)
        parent.kill()
    assert (len(children) >= 2) is (workers == 2)
    until(lambda: not any(map(alive, children)))
    assert not other.exists() and part_of(other).exists()
    radio_bnn.classify(many, posteriors=bundle, output=other)
    radio_bnn.classify(many, posteriors=bundle, output=whole)
    assert other.read_bytes() == whole.read_bytes() and not part_of(other).exists()
