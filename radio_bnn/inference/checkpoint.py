"""Checkpoints of a training: written whole, digested, and continued only by the code and on the data that made them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import radio_bnn
from radio_bnn.config import Config
from radio_bnn.data.galaxies import Splits
from radio_bnn.files import NoRoomError, no_room, replacing
from radio_bnn.inference.likelihood import targets

SOURCES = ("config.py", "seeds.py", "data/**/*.py", "model/**/*.py", "evaluation/**/*.py", "inference/**/*.py")
SEAL = b"\nsha256:"


class CheckpointError(ValueError):
    """A checkpoint that must not be continued, and the ``reason``: damaged, or of another code, config or data."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason}: delete it to start again, or use another path"


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the checkpoint in one step: what torch saves, then the sha256 of those bytes.

    Raises NoRoomError, which says what to do, where the disk is full; the checkpoint before stays.
    """
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    saved = buffer.getvalue()
    try:
        with replacing(path) as partial:
            partial.write_bytes(saved + _seal(saved))
    except OSError as problem:
        if not no_room(problem):
            raise
        raise NoRoomError(
            f"no room for the checkpoint of {len(saved) / 2**20:.1f} MB in {path.parent} ({problem.strerror}): make "
            "room, or set RADIO_BNN_CACHE to a folder with more; the training then continues from the checkpoint before"
        ) from problem


def read(path: Path, *, of: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The content of a checkpoint, on ``device``. Raises CheckpointError unless it is whole and ``of`` what is asked.

    The digest is looked at first: neither zip's nor torch's reader notices a flipped bit in a tensor.
    """
    written = path.read_bytes()
    if not is_whole(written):
        raise CheckpointError(f"checkpoint {path.name} cannot be read (damaged: its sha256 differs)")
    try:
        content = dict(torch.load(io.BytesIO(written), weights_only=True, map_location=device))
    except Exception as problem:  # whatever a file provokes that somebody else has sealed
        raise CheckpointError(f"checkpoint {path.name} cannot be read ({type(problem).__name__})") from problem
    for what, value in of.items():
        if content.get(what) != value:
            raise CheckpointError(f"checkpoint {path.name} belongs to another {what}")
    return content


def is_whole(written: bytes) -> bool:
    """Whether the bytes of a checkpoint are those that were written: they end with the sha256 of those before."""
    saved = written[: -len(_seal(b""))]
    return written == saved + _seal(saved)


def _seal(saved: bytes) -> bytes:
    return SEAL + hashlib.sha256(saved).hexdigest().encode() + b"\n"


def subject(config: Config, splits: Splits, start_from: Mapping[str, torch.Tensor] | None = None) -> dict[str, Any]:
    """What a training is of, and a checkpoint must be to be continued: config, code, torch, data and start."""
    named = {"config": config.trained.to_dict(), "code": CODE, "torch version": str(torch.__version__)}
    data = {name: (splits[name].images, targets(config.likelihood, splits[name])) for name in ("train", "validation")}
    arrays = [array for pair in data.values() for array in pair]
    start = [value.detach().cpu().numpy() for _, value in sorted((start_from or {}).items())]
    return named | {"data": _digest(arrays), "start": _digest(start)}


def _digest(arrays: list[np.ndarray]) -> str:
    """sha256 of arrays: their shapes, types and bytes, in order."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.shape} {array.dtype.str} ".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def code_digest(package: Path) -> str:
    """sha256 of the source of all that trains: the names and the content of the files SOURCES of a package."""
    found = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in package.glob(pattern)):
        content = path.read_bytes()
        found.update(f"{path.relative_to(package).as_posix()} {len(content)} ".encode())
        found.update(content)
    return found.hexdigest()


CODE = code_digest(Path(radio_bnn.__file__).parent)  # at import: what is edited later is not what runs
