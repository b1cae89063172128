import os
import time

import pytest

from radio_bnn.files import CHECKOUT, is_checkout, remove_abandoned, replacing


def test_a_file_is_replaced_when_the_scope_ends(tmp_path):
    path = tmp_path / "new" / "a.json"
    with replacing(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("hal")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_left_is_removed_when_nobody_writes_it_any_more(tmp_path):
    ages = {"a.json.1.partial": 3700, "b.npz.2.partial": 3500, "deep/er/c.pt.3.partial": 1e6, "old.json": 1e6}
    for name, age in ages.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        os.utime(path, (time.time() - age,) * 2)
    (tmp_path / "vanishes.partial").symlink_to("what another process has removed")
    remove_abandoned(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert left == {"b.npz.2.partial", "old.json", "vanishes.partial"}
    remove_abandoned(tmp_path, older_than=60)
    assert not (tmp_path / "b.npz.2.partial").exists() and (tmp_path / "old.json").exists()
    remove_abandoned(tmp_path / "nowhere")


def test_a_file_that_is_being_written_is_not_removed(tmp_path):
    with replacing(tmp_path / "a.json") as partial:
        partial.write_text("whole")
        remove_abandoned(tmp_path)
    assert (tmp_path / "a.json").read_text() == "whole"


def test_a_checkout_is_known_by_its_project(tmp_path):
    assert is_checkout(CHECKOUT)
    for name, text in {
        "none": None,
        "other": '[project]\nname = "other"',
        "broken": "[",
        "list": "project = 3",
    }.items():
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "pyproject.toml").write_text(text)
        assert not is_checkout(tmp_path / name)
