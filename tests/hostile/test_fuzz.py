"""The gate's share of `make fuzz`, and that the fuzzing sees what it is there to see."""

import sys
from pathlib import Path
from random import Random

import fuzz
import mutate
import pytest

CASES = 1000
EMPTY_ZIP = b"PK\5\6" + bytes(18)
# Readers that end otherwise than by reading or refusing, each with what the fuzzing must call it.
PLANTED = """
import os, signal
from pathlib import Path

def write(folder):
    (folder / "file").write_bytes(b"valid")
    return folder / "file"

def unless_valid(otherwise):
    def read(path):
        if path.read_bytes() != b"valid":
            otherwise()
    return read

def fail(error):
    raise error

def forever():
    try:
        while True:
            pass
    except Exception:
        pass

READERS = {
    "fine": (write, unless_valid(lambda: fail(ValueError("one line")))),
    "TypeError": (write, unless_valid(lambda: fail(TypeError("no")))),
    "not one line": (write, unless_valid(lambda: fail(ValueError("two\\nlines")))),
    "wrong": (write, unless_valid(lambda: fail(AssertionError("another was believed")))),
    "slow": (write, unless_valid(forever)),
    "MemoryError": (write, unless_valid(lambda: bytearray(2**33))),
    "dead": (write, unless_valid(lambda: os.kill(os.getpid(), signal.SIGKILL))),
}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and time are those of Linux")
def test_every_reader_reads_or_refuses_what_is_damaged(capsys):
    names = list(fuzz.readers())
    counts, failures = fuzz.run(names, CASES)
    with capsys.disabled():
        print("\n" + fuzz.table(counts))
    assert {name: kinds.total() for name, kinds in counts.items()} == dict.fromkeys(names, CASES)
    assert not failures, "\n".join(fuzz.said(failure, 0) for failure in failures[:20])
    for name, kinds in counts.items():  # some readers pass over whatever is damaged
        assert kinds["refused"] > CASES / 10 or kinds["read"] == CASES, f"{name}: damage that nobody notices"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and time are those of Linux")
def test_every_other_end_is_called_by_its_name(tmp_path):
    (tmp_path / "fuzz_planted.py").write_text(PLANTED)
    names = ["fine", "TypeError", "not one line", "wrong", "slow", "MemoryError", "dead"]
    counts, failures = fuzz.run(names, 2, workers=1, folder=tmp_path)  # some damage changes nothing
    assert {f.kind for f in failures if f.reader != f.kind} == set()
    assert {f.reader for f in failures} == set(names[1:])
    assert counts["fine"].keys() <= {"read", "refused"} and counts["fine"].total() == 2
    assert "--reader wrong --seed 0 --case" in fuzz.said(next(f for f in failures if f.kind == "wrong"), 0)


def test_a_case_is_the_same_whenever_it_is_repeated(tmp_path):
    def write(folder: Path) -> Path:
        (folder / "file.json").write_text('{"a": [1, 2, {"b": null}], "c": "text"}')
        return folder / "file.json"

    target, seen = fuzz.Target("a", (write, Path.read_bytes), tmp_path), {}
    for _ in range(2):
        for case in range(200):
            target.damage(0, case)
            content = target.path.read_bytes()
            assert seen.setdefault(case, content) == content
            target.repair()
    assert len(set(seen.values())) > 100
    target.damage(1, 5)
    assert target.path.read_bytes() != seen[5]
    (tmp_path / "a" / "left.partial").touch()
    target.repair()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file.json"]


def test_every_damage_takes_any_content():
    ways = [*mutate.PLAIN, mutate.replace, mutate.edit_text, mutate.edit_json, *mutate.INSIDE.values()]
    for way in ways:
        for content in (b"", b"x", b"{}", b"PK\3\4", b"\x1f\x8b", b"\x89PNG\r\n\x1a\n", b'{"a": 1}', EMPTY_ZIP):
            for case in range(20):
                assert isinstance(way(content, Random(case)), bytes)


def test_two_readers_of_one_name_are_refused(tmp_path):
    for name in ("fuzz_a.py", "fuzz_b.py"):
        (tmp_path / name).write_text("READERS = {'one': (print, print)}")
    with pytest.raises(ValueError, match="reader 'one' exists already"):
        fuzz.readers(tmp_path)
