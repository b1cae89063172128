"""Does a stored run repeat? Trained again it has equal bits on the same processor model and PyTorch.

Elsewhere rounding grows, step by step, into another draw of the same kind; how far another seed is gives the scale.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from radio_bnn.config import Config
from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.runs import records
from radio_bnn.runs.execute import provenance, start_of, train_and_predict
from radio_bnn.runs.records import SCORED, Run, cached_folder, committed_folder, packed, unpacked

Kept = tuple[np.ndarray, np.ndarray]
PLACE = ("device", "torch", "commit")


class Repeat(NamedTuple):
    """A run and its repetition: ``equal`` bits in all scored sets, and mean |P(FRII) - P(FRII)'| of the test galaxies.

    ``difference`` from the record, ``between_seeds`` from a training with another seed, both 0..1; ``there`` and
    ``here`` say where the record and the repetition were made.
    """

    run: Run
    equal: bool
    difference: float
    between_seeds: float
    there: dict[str, str]
    here: dict[str, str]

    def __str__(self) -> str:
        said = "equal bits" if self.equal else f"P(FRII) differs by {self.difference:.2g} on average"
        where = [", ".join(f"{name} {place[name]}" for name in PLACE) for place in (self.there, self.here)]
        scale = f"another seed differs by {self.between_seeds:.2g}"
        return f"run {self.run.identity}: {said}; {scale}\nstored: {where[0]}\nhere:   {where[1]}"


def stored(identity: str) -> Run:
    """The run called ``identity`` in the book's or the user's records. Raises ValueError if there is none."""
    for folder in (committed_folder(), cached_folder()):
        if records.path_of(folder, Run.kind, identity).exists():
            return records.read(folder, identity)
    raise ValueError(f"no run {identity!r} is stored in {committed_folder()} or {cached_folder()}: name a file there")


def beside(config: Config) -> Config:
    """The same run with a seed next to its own."""
    return replace(config, seed=abs(config.seed - 1))


def verify(run: Run, *, device: str = "auto", progress: bool = True) -> Repeat:
    """Train the config of ``run`` again, and with another seed, and compare the predictions.

    Takes twice as long as the run, and stores nothing but the runs of its path.
    """
    again, here = _predicted(run.config, device=device, progress=progress)
    other, _ = _predicted(beside(run.config), device=device, progress=progress)
    kept = {name: (run.arrays[f"difference_{name}"], run.arrays[f"energy_{name}"]) for name in SCORED}
    return Repeat(
        run,
        all(np.array_equal(a, b) for name in SCORED for a, b in zip(again[name], kept[name], strict=True)),
        _distance(unpacked(*again["test"]), run.logits["test"]),
        _distance(unpacked(*other["test"]), run.logits["test"]),
        run.content["provenance"],
        here,
    )


def _predicted(config: Config, *, device: str, progress: bool) -> tuple[dict[str, Kept], dict[str, str]]:
    """What a record would keep of the logits of each set, and where it was made."""
    before = start_of(config, device=device, progress=progress)
    _, _, logits = train_and_predict(config, device=device, before=before, progress=progress)
    return {name: packed(values) for name, values in logits.items()}, provenance(config, device=device, seconds=0.0)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean |P(FRII) - P(FRII)'| of averaged predictives; logits (S, N, 2), S may differ."""
    return float(np.abs(predictive_mean(a)[:, 1] - predictive_mean(b)[:, 1]).mean())
