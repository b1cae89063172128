"""Finished rows survive a kill at any byte, and belong to one call."""

import json

import pytest

from radio_bnn.sky.part import part, part_of

ROWS = [{"name": f"galaxy_{i}", "p": 0.1 * i, "nothing": float("nan")} for i in range(7)]


def stopped(output, rows, digest="a", multiple=2):
    """A call that is stopped after it has finished ``rows``."""
    with pytest.raises(KeyboardInterrupt), part(output, digest, multiple=multiple) as found:
        found.add(rows)
        raise KeyboardInterrupt


def kept(output, digest="a", multiple=2, **options):
    with pytest.raises(KeyboardInterrupt), part(output, digest, multiple=multiple, **options) as found:
        rows = list(found.rows)
        raise KeyboardInterrupt
    return rows


def test_rows_come_back_until_the_call_is_done(tmp_path):
    output = tmp_path / "out.ecsv"
    stopped(output, ROWS[:4])
    with part(output, "a", multiple=2) as found:
        assert json.dumps(found.rows) == json.dumps(ROWS[:4])
        found.add(ROWS[4:])
        assert len(found.rows) == 7 and part_of(output).exists()
    assert not part_of(output).exists()


def test_a_kill_at_any_byte_loses_unfinished_lines_alone(tmp_path):
    output = tmp_path / "out.ecsv"
    stopped(output, ROWS[:3])
    content = part_of(output).read_bytes()
    for length in range(len(content) + 1):
        part_of(output).write_bytes(content[:length])
        whole = max(content[:length].count(b"\n") - 1, 0)
        assert len(kept(output)) == whole // 2 * 2
        lines = part_of(output).read_bytes().splitlines()
        assert len(lines) == 1 + whole // 2 * 2 and json.loads(lines[0]) == {"digest": "a"}


def test_rows_of_another_call_are_refused_or_dropped(tmp_path):
    output = tmp_path / "out.ecsv"
    stopped(output, ROWS[:4])
    with (
        pytest.raises(ValueError, match="other inputs or settings: delete it, or start afresh"),
        part(output, "b", multiple=2),
    ):
        pass
    assert len(kept(output)) == 4
    assert len(kept(output, afresh=True)) == 4
    assert kept(output, "b", afresh=True) == []
    assert kept(output, "b") == []


def test_a_full_disk_is_one_line_and_keeps_what_was_finished(tmp_path):
    """A limit on the size of files stands for the disk; the write ends half way through a line."""
    resource = pytest.importorskip("resource")
    output, before = tmp_path / "out.ecsv", resource.getrlimit(resource.RLIMIT_FSIZE)
    with (
        pytest.raises(OSError, match="4 finished rows are kept, the same command goes on"),
        part(output, "a", multiple=2) as found,
    ):
        found.add(ROWS[:4])
        resource.setrlimit(resource.RLIMIT_FSIZE, (part_of(output).stat().st_size + 20, before[1]))
        try:
            found.add(ROWS[4:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert json.dumps(kept(output)) == json.dumps(ROWS[:4])


def test_without_an_output_rows_are_kept_in_memory():
    with part(None, "a", multiple=2) as found:
        found.add(ROWS)
        assert found.rows == ROWS
