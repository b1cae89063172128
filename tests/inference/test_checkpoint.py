"""A checkpoint that is not what was written, or not of this training, is refused; none is half written."""

import errno
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenarios import splits

from radio_bnn import files
from radio_bnn.config import Config
from radio_bnn.files import NoRoomError
from radio_bnn.inference import checkpoint
from radio_bnn.inference.checkpoint import CheckpointError

CPU = torch.device("cpu")
SPLITS = splits()
CONFIG = Config.preview(data="simulated", epochs=4)
OF = {"config": {"seed": 0}, "code": "c", "data": "d"}


@pytest.fixture
def path(tmp_path) -> Path:
    """A checkpoint with a vector of a thousand weights."""
    checkpoint.write(tmp_path / "run.pt", {"weights": torch.arange(1000.0), "epoch": 3, **OF})
    return tmp_path / "run.pt"


def test_what_is_written_is_read_and_torch_reads_it_too(path):
    for content in (checkpoint.read(path, of=OF, device=CPU), torch.load(path, weights_only=True)):
        assert torch.equal(content["weights"], torch.arange(1000.0)) and content["epoch"] == 3


def test_every_flipped_bit_is_found(path):
    written, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for place in [*rng.integers(0, len(written), 200), len(written) - 1]:
        written[place] ^= 1 << int(rng.integers(8))
        assert not checkpoint.is_whole(bytes(written))
        path.write_bytes(written)
        with pytest.raises(CheckpointError, match=r"^checkpoint run.pt cannot be read \(damaged.*: delete it to start"):
            checkpoint.read(path, of=OF, device=CPU)
        written = bytearray(rewritten(path))


def rewritten(path: Path) -> bytes:
    checkpoint.write(path, {"weights": torch.arange(1000.0), "epoch": 3, **OF})
    return path.read_bytes()


@pytest.mark.parametrize("length", [0, 1, 71, 72, 73, 100, -1])
def test_a_part_is_no_checkpoint(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(path, of=OF, device=CPU)


class Bomb:
    """A pickle that runs code where it may."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("content", [pickle.dumps(Bomb()), pickle.dumps([1]), b"", b"PK\x03\x04"], ids=str)
def test_no_code_runs_from_a_checkpoint_that_somebody_else_has_sealed(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.pt").write_bytes(content + checkpoint._seal(content))
    with pytest.raises(CheckpointError, match=r"^checkpoint run.pt cannot be read \(\w+\)"):
        checkpoint.read(tmp_path / "run.pt", of=OF, device=CPU)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("what", OF)
def test_a_checkpoint_of_something_else_is_named(path, what):
    with pytest.raises(CheckpointError, match=f"^checkpoint run.pt belongs to another {what}: delete it"):
        checkpoint.read(path, of=OF | {what: "other"}, device=CPU)
    with pytest.raises(CheckpointError, match="belongs to another start"):
        checkpoint.read(path, of=OF | {"start": "s"}, device=CPU)


def test_a_training_is_of_its_config_code_data_and_start():
    whole = checkpoint.subject(CONFIG, SPLITS)
    assert whole == checkpoint.subject(replace(CONFIG, samples=7), SPLITS), "how many are drawn of it is no matter"

    def differing(other) -> list[str]:
        return [name for name in whole if other[name] != whole[name]]

    assert differing(checkpoint.subject(replace(CONFIG, seed=1), SPLITS)) == ["config"]
    assert differing(checkpoint.subject(CONFIG, splits(1))) == ["data"]
    assert differing(checkpoint.subject(CONFIG, SPLITS, {"w": torch.ones(2)})) == ["start"]
    swapped = replace(SPLITS, sets=SPLITS.sets | {"train": SPLITS["validation"], "validation": SPLITS["train"]})
    assert differing(checkpoint.subject(CONFIG, swapped)) == ["data"]


@pytest.mark.parametrize("changed", ["config.py", "model/layers.py", "inference/deep/er.py", None])
def test_the_digest_of_the_code_is_that_of_all_that_trains(tmp_path, changed):
    for name in ("config.py", "model/layers.py", "inference/objective.py", "paper/claims.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"# {name}")
    before = checkpoint.code_digest(tmp_path)
    changed_file = tmp_path / (changed or "paper/claims.py")
    changed_file.parent.mkdir(exist_ok=True)
    changed_file.write_text("another objective")
    assert (checkpoint.code_digest(tmp_path) == before) == (changed is None)


def test_a_full_disk_says_so_and_leaves_the_checkpoint_before(path, monkeypatch):
    before = path.read_bytes()

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.Path, "write_bytes", full)
    with pytest.raises(
        NoRoomError, match=r"^no room for the checkpoint of 0.0 MB in .* \(No space left on device\): make"
    ):
        checkpoint.write(path, {"epoch": 4})
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
