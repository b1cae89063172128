"""Readers of the other files: settings, parameters, notebooks, the table of the folds, cutouts, checkpoints."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
import numpy as np
import scenarios
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from radio_bnn.config import Config, canonical, run_id
from radio_bnn.data import folds
from radio_bnn.data.cutouts import read_cutout
from radio_bnn.inference.train import fit
from radio_bnn.model import lenet
from radio_bnn.paper import chapters, claims, scoreboard

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def write_config(folder: Path) -> Path:
    """A Config with every field away from its default."""
    path = folder / "config.json"
    config = Config.annealed(fold=3, prior="laplace", prior_scale=0.1, path=[0.01, 0.1], as_released=["kl_per_batch"])
    path.write_text(json.dumps(config.to_dict(), indent=1))
    return path


def read_config(path: Path) -> Config:
    """A Config, which then survives JSON; a TypeError of one line is as good as a ValueError here."""
    try:
        config = Config.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except RecursionError as error:  # of Python's own reader of JSON, before there is anything to judge
        raise ValueError("JSON that nests too deeply") from error
    except TypeError as error:
        assert any(word in str(error) for word in (" must be ", " is made of ")), f"not chosen words: {error}"
        raise ValueError(str(error)) from error
    assert Config.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False))) == config
    assert run_id(config) == run_id(canonical(config))
    return config


PARAMETERS = "\n".join(
    [
        "seed: int = 3",
        "scale: float = 0.5",
        "name: str = 'a'",
        "quick: bool = True",
        "grid: list[float] = [1.0]",
        "more: dict = {}",
    ]
)
TYPES = {"seed": "int", "scale": "float", "name": "str", "quick": "bool", "grid": "list[float]", "more": "dict"}


def write_parameters(folder: Path) -> Path:
    """Parameters of two chapters."""
    path = folder / "parameters.yml"
    path.write_text(
        "# two chapters\npriors: {seed: 4, scale: 2, name: laplace}\npruning:\n  quick: false\n  grid:\n  - 0.5\n"
        "  - 1.0e-2\n  more:\n    a: [1, two, 3.5]\n    b: null\n"
    )
    return path


def read_parameters(path: Path) -> dict[str, Any]:
    """The parameters of each chapter as it would see them; they survive JSON, so a cell can be given them."""
    content = chapters.read_parameters(path)
    chapters.refuse_unknown(content, {"priors": 0, "pruning": 0}, "chapter in the parameters")
    for chapter, values in content.items():
        chapters.refuse_unknown(values, TYPES, f"parameter of {chapter}")
        fitted = {name: chapters.fit(f"{chapter}: {name}", value, TYPES[name]) for name, value in values.items()}
        json.dumps(fitted, allow_nan=False).encode()
    return content


def write_notebook(folder: Path) -> Path:
    """A small chapter with a figure, a table and an error among its outputs."""
    outputs = [
        new_output("stream", name="stdout", text="3\n"),
        new_output("display_data", data={"text/plain": ["a", "b"]}, metadata={}),
        new_output("execute_result", data={"text/plain": "1"}, metadata={}, execution_count=2),
        new_output("error", ename="ValueError", evalue="no", traceback=["no"]),
    ]
    cells = [
        new_markdown_cell("# A chapter", id="title"),
        new_code_cell(PARAMETERS, id="parameters", metadata={"tags": ["parameters"]}),
        new_code_cell("1 + 1", id="sum", outputs=outputs),
    ]
    path = folder / "chapter.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)
    return path


def read_notebook(path: Path) -> dict[str, Any]:
    """What is asked of a chapter before anything runs."""
    chapters.refuse_without_mirabest(path)
    return chapters.check(path, {})


def write_verdicts(folder: Path) -> Path:
    """A book with one claim cell."""
    claim = next(iter(claims.CLAIMS))
    values = {"claim": claim, "verdict": claims.REPRODUCED, "why": "", "numbers": {}, "parts": {}, "folds": 8}
    names = claims.Verdict.__dataclass_fields__
    record = json.dumps({name: value for name, value in values.items() if name in names})
    output = new_output("display_data", data={claims.MIME: record, "text/plain": "yes"}, metadata={})
    path = folder / "chapter.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("claim", id="claim", outputs=[output])], metadata=KERNEL), path)
    return folder


def read_verdicts(folder: Path) -> object:
    """The verdicts that the scoreboard is made of."""
    return scoreboard.collect(folder), scoreboard.released(folder)


def write_folds(folder: Path) -> Path:
    """The committed table."""
    path = folder / "folds.csv"
    path.write_bytes(folds.TABLE.read_bytes())
    return path


def read_folds(path: Path) -> object:
    """The table, which must be the committed one."""
    caches = (folds._rows, folds.catalogue)
    with mock.patch.object(folds, "TABLE", path):
        for each in caches:
            each.cache_clear()
        try:
            read = folds.catalogue(), folds.committed(folds.committed_names())
        finally:
            for each in caches:
                each.cache_clear()
    for known, found in zip(_folds(), read, strict=True):
        for a, b in zip(known, found, strict=True):
            assert np.array_equal(a, b), "another table was believed"
    return read


@cache
def _folds() -> tuple[folds.Catalogue, folds.Folds]:
    return folds.catalogue(), folds.committed(folds.committed_names())


def cutout(name: str) -> Callable[[Path], Path]:
    """A function that writes a galaxy of two spots on noise as a file of this kind of name."""

    def write(folder: Path) -> Path:
        from astropy.io import fits
        from PIL import Image

        rng = np.random.default_rng(0)
        sky = rng.normal(0, 2, (300, 300))
        sky[140:160, 100:110] += 200
        sky[140:160, 190:200] += 150
        path = folder / name
        if name.endswith("png"):
            Image.fromarray(np.clip(sky, 0, 255)[75:225, 75:225].astype(np.uint8)).save(path)
            return path
        plain = folder / "plain.fits"
        hdu = fits.PrimaryHDU(sky.astype(np.int16), fits.Header({"CDELT1": -1.8 / 3600, "CDELT2": 1.8 / 3600}))
        hdu.writeto(plain)
        path.write_bytes(plain.read_bytes() if name == "cutout.fits" else gzip.compress(plain.read_bytes(), 1, mtime=0))
        plain.unlink()
        return path

    return write


def image(path: Path) -> np.ndarray:
    """A cutout as the network's input."""
    found = read_cutout(path)
    assert found.shape == (150, 150) and found.dtype == np.uint8 and found.max() > found.min()
    return found


TINY = Config.preview(data="simulated", method="map", epochs=1, batch_size=50, schedule="constant")


@contextmanager
def tiny_network() -> Iterator[None]:
    """A network of few weights, so that a checkpoint is small."""
    with mock.patch.multiple(lenet, CHANNELS=(1, 1, 1, 1), HIDDEN=(2, 2), FLAT=49):
        yield


@cache
def _splits():
    return scenarios.splits()


def write_checkpoint(folder: Path) -> Path:
    """The checkpoint of a training at its end."""
    path = folder / "checkpoint.pt"
    with tiny_network():
        fit(TINY, _splits(), device="cpu", checkpoint=path, checkpoint_every=1, progress=False)
    return path


@cache
def _weights() -> dict[str, torch.Tensor]:
    with tiny_network():
        return fit(TINY, _splits(), device="cpu", progress=False).model.state_dict()


def read_checkpoint(path: Path) -> object:
    """The training continued, which must end where the uninterrupted one does."""
    with tiny_network():
        found = fit(TINY, _splits(), device="cpu", checkpoint=path, progress=False)
    for name, values in _weights().items():
        assert torch.equal(values, found.model.state_dict()[name]), f"other values of {name} were believed"
    return found


READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "config": (write_config, read_config),
    "parameters": (write_parameters, read_parameters),
    "notebook": (write_notebook, read_notebook),
    "verdicts": (write_verdicts, read_verdicts),
    "folds": (write_folds, read_folds),
    **{f"cutout_{name.replace('.', '_')}": (cutout(f"cutout.{name}"), image) for name in ("fits", "fits.gz", "png")},
}
READERS["checkpoint"] = (write_checkpoint, read_checkpoint)
