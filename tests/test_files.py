import errno
import os
import subprocess
import sys
import time

import pytest

from radio_bnn import files
from radio_bnn.files import (
    CHECKOUT,
    NoRoomError,
    absolute,
    check_writable,
    is_checkout,
    named_place,
    no_room,
    remove_abandoned,
    replacing,
)


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


# Names of partial files


def test_a_partial_file_has_a_name_that_nobody_guesses_and_says_who_writes_it(tmp_path):
    with replacing(tmp_path / "a.json") as first, replacing(tmp_path / "a.json") as second:
        assert first != second and first.exists() and second.exists()
        for partial in (first, second):
            found = files.PARTIAL.search(partial.name)
            assert (found["host"], int(found["pid"])) == (files.HOST, os.getpid())
            partial.write_text("whole")


def test_a_link_in_the_place_of_a_partial_file_is_not_followed(tmp_path, monkeypatch):
    """Somebody who guesses the name all the same gets an error, not a file of the user's overwritten."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 2 * n)
    (tmp_path / "mine").write_text("a thesis")
    link = tmp_path / f"a.json.{files.HOST}.{os.getpid()}.{'0' * 16}.partial"
    link.symlink_to(tmp_path / "mine")
    with pytest.raises(FileExistsError), replacing(tmp_path / "a.json") as partial:
        partial.write_text("overwritten")
    assert (tmp_path / "mine").read_text() == "a thesis" and link.is_symlink()


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "mine").write_text("a thesis")
    (tmp_path / "a.json").symlink_to(tmp_path / "mine")
    with replacing(tmp_path / "a.json") as partial:
        partial.write_text("whole")
    assert (tmp_path / "mine").read_text() == "a thesis"
    assert (tmp_path / "a.json").read_text() == "whole" and not (tmp_path / "a.json").is_symlink()


def test_what_a_process_left_half_written_is_removed_as_soon_as_it_has_ended(tmp_path):
    write = "import os, sys; from pathlib import Path; from radio_bnn.files import replacing\n"
    write += "with replacing(Path(sys.argv[1])) as p: p.write_text('hal'); os._exit(9)"
    subprocess.run([sys.executable, "-c", write, str(tmp_path / "a.json")], check=False)
    [left] = tmp_path.iterdir()
    elsewhere = tmp_path / left.name.replace(f".{files.HOST}.", ".another-machine.")
    elsewhere.touch()
    mine = tmp_path / left.name.replace(f".{files.PARTIAL.search(left.name)['pid']}.", f".{os.getpid()}.")
    mine.touch()
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([elsewhere, mine])


# Folders that a user names


def test_a_place_means_the_same_wherever_a_process_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for named, found in {"a/b": "a/b", "~/c": "home/c", str(tmp_path / "d"): "d"}.items():
        monkeypatch.setenv("RADIO_BNN_RESULTS", named)
        assert named_place("RADIO_BNN_RESULTS") == tmp_path / found
    monkeypatch.setenv("RADIO_BNN_RESULTS", "")
    assert named_place("RADIO_BNN_RESULTS") is None
    with pytest.raises(ValueError, match="^--out=~nosuchuser/a: there is no such home folder on this machine"):
        absolute(files.Path("~nosuchuser/a"), of="--out")


@pytest.mark.parametrize("where", ["a file", "a file/below", "/proc/no such place"])
def test_a_folder_that_cannot_be_written_is_found_beforehand(tmp_path, where):
    (tmp_path / "a file").touch()
    with pytest.raises(OSError, match=r"cannot be written \(.+\): name another$"):
        check_writable(tmp_path / where, of="name another")
    check_writable(tmp_path / "new" / "folder", of="")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_a_disk_without_room_is_told_apart(tmp_path, monkeypatch):
    assert no_room(OSError(errno.ENOSPC, "full")) and no_room(NoRoomError("full"))
    assert not no_room(OSError(errno.ENOENT, "gone")) and not no_room(ValueError())

    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", full)
    with pytest.raises(NoRoomError, match=r"cannot be written \(No space left on device\): x"):
        check_writable(tmp_path, of="x")


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
