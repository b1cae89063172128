"""A few signals in the gate, as many as one likes by `make kill`; and the harness sees what it is there to see."""

import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

import kill
import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


@pytest.mark.parametrize(("name", "signals"), [("fit", 2), ("records", 3)])
def test_after_signals_at_random_moments_the_rerun_leaves_the_same_bytes(tmp_path, name, signals):
    counts = kill.torture(name, signals, random.Random(0), tmp_path)
    assert counts["signals"] == signals
    assert {key: counts[key] for key in kill.BAD} == dict.fromkeys(kill.BAD, 0), kill.report(name, counts)


def careless(folder: Path) -> None:
    """Writes in place, says a traceback, leaves a process and a partial file, and is not the same twice."""
    times = folder / "times"
    times.write_text(times.read_text() + "x" if times.exists() else "x")
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "times").write_text(times.read_text())
    (folder / "out" / "a.partial").touch()
    (folder / "half.ipynb").write_text(json.dumps({"nothing": 1}))
    print("Traceback (most recent call last):", flush=True)


def test_what_is_lost_torn_said_or_left_is_counted(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(kill.VICTIMS, "careless", kill.Victim(careless, 1, forked=True))
    monkeypatch.setattr(kill, "strike", lambda *a: None)
    monkeypatch.setattr(kill, "wait", first_look(kill.wait))
    counts = kill.torture("careless", 1, random.Random(0), tmp_path)
    assert counts["signals"] == 1
    assert counts["lost"] == 1, "one run more than undisturbed"
    assert counts["torn"] == counts["tracebacks"] == 3 and counts["litter"] == 1 and counts["orphans"] == 0


def first_look(wait):
    """A wait whose second call, the first that may strike, says that the process still runs."""
    calls = []

    def waits(pid: int, seconds: float):
        calls.append(seconds)
        return None if len(calls) == 2 else wait(pid, 60)

    return waits


def test_processes_that_are_left_are_found_by_session_and_by_mark(tmp_path, monkeypatch):
    before = os.environ.get(kill.MARK)
    assert before is None
    ready, done = os.pipe(), os.pipe()
    if (pid := os.fork()) == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(ready[1], str(os.getpid()).encode())
            os.read(done[0], 1)
        os._exit(0)
    child = int(os.read(ready[0], 20))
    os.waitpid(pid, 0)
    assert list(kill.processes_of(pid, tmp_path)) == [child]
    os.kill(child, signal.SIGKILL)
    for end in (*ready, *done):
        os.close(end)


def test_a_torn_file_is_told_from_a_whole_one(tmp_path):
    from radio_bnn.inference import checkpoint

    checkpoint.write(tmp_path / "a.pt", {"epoch": 1})
    (tmp_path / "b.ipynb").write_text('{"cells": []}')
    assert kill.whole(tmp_path / "a.pt") and kill.whole(tmp_path / "b.ipynb")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-1])
    assert not kill.whole(tmp_path / "a.pt")
    assert kill.report("x", Counter(signals=2, SIGINT=2, lost=1)).startswith("x: 2 signals (2 SIGINT): 1 lost, 0 torn")
