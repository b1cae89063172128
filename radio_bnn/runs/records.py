"""Records of runs: one JSON and one compressed file of arrays each, written whole, checked when read, never edited."""

from __future__ import annotations

import hashlib
import io
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from scipy.special import log_softmax

from radio_bnn.config import HISTORY, THERMOMETERS, Config, run_id
from radio_bnn.data.folds import committed_names, divide
from radio_bnn.data.galaxies import COUNTS, Galaxies
from radio_bnn.data.mirabest import F_BATCHES, cache_folder
from radio_bnn.data.simulate import scaled_counts
from radio_bnn.evaluation.metrics import METRICS
from radio_bnn.evaluation.predictive import energy_score
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.files import CHECKOUT, absolute, is_checkout, named_place, replacing
from radio_bnn.runs import sealed

SCHEMA = 2
SCORED = ("validation", "test", "uncertain", "hybrid")
ATTEMPTS = 100  # to read a record that others replace again and again
REACHED = ("objective", "nll", "complexity", "galaxies")
SECOND_MOMENT = "second_moment."
TEMPERATURES = "temperatures"


@dataclass(frozen=True, eq=False)
class Record:
    """What is kept of one kind about the run of ``config``: JSON-able ``content`` and ``arrays`` by name.

    A kind is a subclass with its name, which is also its folder's, and with a ``check`` of its own.
    """

    kind: ClassVar[str]
    config: Config
    content: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """The name of the record's files: the identity of its run."""
        return identity(self.config, self.kind)

    def check(self) -> None:
        """Raise ValueError, or KeyError for what it lacks, unless content and arrays are those of this kind."""


AnyRecord = TypeVar("AnyRecord", bound=Record)


class Run(Record):
    """A trained network's predictions: metrics, history and provenance, and what the metrics are made of.

    Arrays, for the sets SCORED: difference_<set> (S, N) float16, logits of FRI minus of FRII; energy_<set> (N,)
    float16, the energy score; labels_<set> (N,) uint8 with 0 FRI, 1 FRII (hybrid: 0 confident, 1 uncertain);
    galaxy_<set> (N,) uint16, the place of each galaxy among the names of its data set in ascending order.
    ``content["reached"]``: the objective on the training galaxies, its NLL and complexity, see ``whole_objective``, and
    how many galaxies these are.
    """

    kind = "run"

    @property
    def logits(self) -> dict[str, np.ndarray]:
        """Logits with the stored differences and energies, {set: (S, N, 2) float64}: equal in every score."""
        return {name: self.logits_of(name) for name in SCORED}

    def logits_of(self, scored: str) -> np.ndarray:
        """``logits`` of one set alone, (S, N, 2). Raises KeyError for an unknown set."""
        return unpacked(self.arrays[f"difference_{scored}"], self.arrays[f"energy_{scored}"])

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """The labels by set, {set: (N,) uint8}."""
        return {name: self.arrays[f"labels_{name}"] for name in SCORED}

    @property
    def galaxies(self) -> dict[str, np.ndarray]:
        """Which galaxies they are, by set, {set: (N,) uint16}."""
        return {name: self.arrays[f"galaxy_{name}"] for name in SCORED}

    def scores(self, scored: str = "test") -> dict[str, dict[str, float]]:
        """All stored metrics of one set: {name: {"value", "low", "high"}}. Raises ValueError for an unknown set."""
        return _chosen("set", scored, self.content["metrics"])

    def metric(self, name: str, scored: str = "test") -> Interval:
        """The stored metric with its 95 % interval over galaxies. Raises ValueError for one that is not stored."""
        return Interval(**_chosen("metric", name, self.scores(scored)))

    def check(self) -> None:
        """Raise ValueError or KeyError unless arrays, galaxies, metrics, history and provenance are those of a run."""
        expect_names(self.arrays, [f"{what}_{name}" for name in SCORED for what in ARRAYS])
        check_galaxies(self, self.labels)
        for name, labels in self.labels.items():
            n, arrays = len(labels), self.arrays
            expect(f"difference_{name}", arrays[f"difference_{name}"], (samples_of(self.config), n), np.float16)
            expect(f"energy_{name}", arrays[f"energy_{name}"], (n,), np.float16)
            expect(f"galaxy_{name}", arrays[f"galaxy_{name}"], (n,), np.uint16)
            if len(np.unique(arrays[f"galaxy_{name}"])) != n:
                raise ValueError(f"galaxy_{name} names a galaxy twice")
            _check_metrics(name, self.content["metrics"][name], labels)
        _check_history(self.content["history"])
        check_reached(self.content["reached"])
        if self.config.method == "sgmcmc":
            _check_temperatures(self.content[TEMPERATURES], self.config.cycles)
        if not self.content["selected_epoch"] >= 1 or not self.content["provenance"]["wall_seconds"] >= 0:
            raise ValueError("selected_epoch must be at least 1 and wall_seconds at least 0")


ARRAYS = ("difference", "energy", "labels", "galaxy")


def packed(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is kept of logits (S, N, 2): differences (S, N) and energy scores (N,), both float16.

    What lies beyond the range of float16, 65504, is kept as its end: a draw is as certain there as it can be.
    """
    kept = logits[..., 0] - logits[..., 1], energy_score(logits)
    largest = float(np.finfo(np.float16).max)
    difference, energy = (np.clip(values, -largest, largest).astype(np.float16) for values in kept)
    return difference, energy


def unpacked(difference: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Logits (S, N, 2), float64, with these differences (S, N), each galaxy's with its energy score (N,).

    Probabilities and energy are those of the logits that were packed; the offset of a single sample is lost.
    """
    logits = np.stack([difference, np.zeros_like(difference)], axis=-1).astype(np.float64)
    return log_softmax(logits, axis=-1) - energy.astype(np.float64)[:, None]


class Posterior(Record):
    """A trained network: its parameters by name and the ``history`` of its training.

    Arrays: the parameters, float16, and second_moment.<weights>, float16, log2 of Adam's running second moment of each
    mean. Its identity is that of the training, however many samples are stored of its predictions.
    """

    kind = "posterior"

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters of the network by name."""
        return {name: values for name, values in self.arrays.items() if not name.startswith(SECOND_MOMENT)}

    @property
    def second_moment(self) -> dict[str, np.ndarray]:
        """log2 of Adam's second moment of the means by name of the weights, as ``posterior`` names them."""
        return {
            name.removeprefix(SECOND_MOMENT): values
            for name, values in self.arrays.items()
            if name.startswith(SECOND_MOMENT)
        }

    def check(self) -> None:
        """Raise ValueError or KeyError unless all arrays are float16 and the history is whole."""
        for name, values in self.arrays.items():
            expect(name, values, values.shape, np.float16)
        _check_history(self.content["history"])


class Diverged(Record):
    """A training that ended because its loss was no longer finite: ``content["reason"]`` says when.

    Like a posterior's, its identity is that of the training.
    """

    kind = "diverged"

    def check(self) -> None:
        """Raise ValueError or KeyError unless it says when and has no arrays."""
        if not isinstance(self.content["reason"], str) or not self.content["reason"]:
            raise ValueError(f"reason={self.content['reason']!r} must say in which epoch the training ended")
        expect_names(self.arrays, ())


def identity(config: Config, kind: str) -> str:
    """The name of the files of a record of this kind: of what is of a training that of the training, else the run's."""
    return run_id(config.trained if kind in (Posterior.kind, Diverged.kind) else config)


def ended(config: Config, folder: Path) -> bool:
    """Whether ``folder`` says that the training of ``config`` diverged, or one that it starts from."""
    stage: Config | None = config
    while stage is not None:
        if path_of(folder, Diverged.kind, identity(stage, Diverged.kind)).exists():
            return True
        stage = stage.previous
    return False


# Where


def committed_folder() -> Path:
    """The folder of the book's records: ``RADIO_BNN_RESULTS``, or ``book/results`` of this checkout.

    Where the package is installed without one: a folder of its own among the user's data.
    """
    if named := named_place("RADIO_BNN_RESULTS"):
        return named
    if is_checkout(CHECKOUT):
        return CHECKOUT / "book" / "results"
    from platformdirs import user_data_path

    return absolute(user_data_path("radio_bnn"), of="the folder of the user's data") / "results"


def cached_folder() -> Path:
    """The folder of the user's own records, inside the cache."""
    return cache_folder() / "results"


def path_of(folder: Path, kind: str, name: str) -> Path:
    """The JSON of a record: runs lie in the folder itself, other kinds each in a folder of their name."""
    return (folder if kind == Run.kind else folder / kind) / f"{name}.json"


def at_hand(config: Config, kind: str) -> bool:
    """Whether the book or the user's cache holds a record of this kind."""
    return any(
        path_of(folder, kind, identity(config, kind)).exists() for folder in (committed_folder(), cached_folder())
    )


# Read and write


def find(config: Config, kind: type[AnyRecord] = Run, folders: Sequence[Path] | None = None) -> AnyRecord | None:
    """The record of ``config`` in the first of ``folders`` that has it, by default the book's, then the user's."""
    for folder in folders or (committed_folder(), cached_folder()):
        name = identity(config, kind.kind)
        if path_of(folder, kind.kind, name).exists():
            return read(folder, name, kind)
    return None


def read(folder: Path, name: str, kind: type[AnyRecord] = Run) -> AnyRecord:
    """The record ``name`` in ``folder``, checked: sizes and digests before any array, then shapes and values.

    While somebody replaces it, the old record or the new one. Raises ValueError, naming the file and what to do, for
    whatever is wrong with it.
    """
    path = path_of(folder, kind.kind, name)
    try:
        return _settled(path, kind)
    except Exception as problem:  # whatever a damaged or foreign file provokes
        said = f"it lacks {problem}" if isinstance(problem, KeyError) else " ".join(str(problem)[:1000].split())
        cure = f"delete {name}.json and {name}.npz there and run it again"
        if isinstance(problem, _OtherVersionError):
            cure = problem.cure
        raise ValueError(
            f"{path.name} in {path.parent} cannot be read: {said[:400] or type(problem).__name__}; {cure}"
        ) from problem


def write(record: Record, folder: Path) -> None:
    """Write ``<identity>.npz`` and ``<identity>.json``, whole: the JSON holds the digests of both, and comes last.

    Arrays that replace others wait beside them until the new JSON, which decides whose they are, is in its place:
    killed at any point, it leaves the old record or the new one. Raises ValueError or KeyError, before anything is
    written, for what ``read`` would refuse.
    """
    sealed.check_finite(record.arrays)
    record.check()
    entries = sealed.entries_of(record.arrays)
    sealed.check_size(entries)
    path = path_of(folder, record.kind, record.identity)
    values = {"schema": SCHEMA, "kind": record.kind, "run_id": record.identity, "config": record.config.to_dict()}
    values |= {**record.content, "arrays": {"entries": entries}}
    packed = io.BytesIO()
    if record.arrays:
        np.savez_compressed(packed, **record.arrays)
        values["arrays"]["sha256"] = hashlib.sha256(packed.getbuffer()).hexdigest()
    text = sealed.text_of(values)
    with sealed.alone(path.parent):
        sealed.finish(path)
        arrays = sealed.waiting(path) if path.exists() else path.with_suffix(".npz")
        with replacing(path) as partial:
            partial.write_text(text)
            if record.arrays:
                with replacing(arrays) as beside:
                    beside.write_bytes(packed.getbuffer())
        if record.arrays:
            os.replace(arrays, path.with_suffix(".npz"))


def seal(folder: Path) -> list[Path]:
    """Add to the JSON of every record in ``folder``, of whatever kind, the digest that it lacks; return those.

    Records had none before November 2026. Nothing else of them changes, and what is no whole record stays as it is.
    """
    lacking = [path for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]) if _lacks_a_seal(path)]
    for path in lacking:
        with sealed.alone(path.parent), replacing(path) as partial:
            partial.write_text(sealed.text_of(sealed.parsed(path)))
    return lacking


def _lacks_a_seal(path: Path) -> bool:
    try:
        values = sealed.parsed(path)
        _, content = claimed(path, values, values["kind"])
        sealed.arrays_of(path, content["arrays"])
    except Exception:  # whatever a damaged or foreign file provokes; `read` says so to whoever asks for it
        return False
    return "sha256" not in values


class _OtherVersionError(ValueError):
    """A record of another version of this package, and what to do about it."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem)
        self.cure = cure


def _settled(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """A record, read again if its JSON was replaced while it was read."""
    for _ in range(ATTEMPTS):
        before = _version(path)
        try:
            return _whole(path, kind)
        except Exception:
            if _version(path) == before:
                raise
    raise ValueError(f"it was replaced {ATTEMPTS} times while it was read")


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _whole(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    values = sealed.parsed(path)
    config, content = claimed(path, values, kind.kind)
    record = kind(config, content, sealed.arrays_of(path, content.pop("arrays")))
    record.check()
    check_seal(path, values)
    return record


def claimed(path: Path, values: Mapping[str, Any], kind: str) -> tuple[Config, dict[str, Any]]:
    """Config and content of a JSON that claims to be a record of this kind."""
    content = dict(values)
    schema, _ = content.pop("schema"), content.pop("sha256", None)
    if not isinstance(schema, int) or schema < SCHEMA:
        raise ValueError(f"schema {schema!r} is not {SCHEMA}, which this version reads")
    if schema > SCHEMA:
        raise _OtherVersionError(
            f"schema {schema} is of a later version than {SCHEMA}, which this one reads", "update radio_bnn"
        )
    found, name, config = content.pop("kind"), content.pop("run_id"), Config.from_dict(content.pop("config"))
    if found != kind:
        raise ValueError(f"it is a record of kind {found!r}, expected {kind!r}")
    if not path.stem == name == identity(config, kind):
        raise ValueError(f"it holds the config of run {identity(config, kind)}: a record is never edited or renamed")
    return config, content


def check_seal(path: Path, values: Mapping[str, Any]) -> None:
    """Raise ValueError unless a JSON says what it said when it was written."""
    if "sha256" not in values:
        raise _OtherVersionError(
            "it does not say the sha256 of what it says, as earlier versions did not",
            f"`python -m radio_bnn.runs.records {path.parent}` adds it",
        )
    if values["sha256"] != sealed.seal_of(values):
        raise ValueError("it does not say what was written: the sha256 of its content differs")


# Check


def expect(name: str, values: np.ndarray, shape: Sequence[int], dtype: type) -> None:
    """Raise ValueError unless an array has this shape and type."""
    if values.shape != tuple(shape) or values.dtype != dtype:
        raise ValueError(
            f"{name} has shape {values.shape} of {values.dtype}, expected {tuple(shape)} of {np.dtype(dtype)}"
        )


def expect_names(found: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise ValueError unless a mapping has exactly these names."""
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    if foreign := [name for name in found if name not in names]:
        raise ValueError(f"it holds {', '.join(map(str, foreign))}, which does not belong there")


def samples_of(config: Config) -> int:
    """How many posterior samples a run stores."""
    return config.distinct_samples or config.samples


def check_galaxies(record: Record, labels: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError or KeyError unless ``labels`` {set: (N,)} count as the data of the record's checksum do."""
    source = record.content["provenance"]
    if source["data"] != record.config.data:
        raise ValueError(f"its data are {source['data']!r}, those of its config {record.config.data!r}")
    known = galaxies_of(record.config, source["data_sha256"])
    for name, values in labels.items():
        expect(f"the labels of {name}", values, (len(values),), np.uint8)
        if len(values) and values.max() > 1:
            raise ValueError(f"the labels of {name} hold {values.max()}, expected 0 or 1")
        counts = tuple(np.bincount(values, minlength=2).tolist())
        if name in known and known[name] not in (counts, (len(values),)):
            raise ValueError(f"the labels of {name} count {counts}, those of its data set {known[name]}")


def galaxies_of(config: Config, sha256: str) -> dict[str, tuple[int, ...]]:
    """How many galaxies of label 0 and of label 1 each scored set has, {set: (n0, n1)}.

    Without a fold, validation has (n0 + n1,): which ones it gets is a matter of their order. A fold is stratified, so
    that its counts follow from the class counts; of MiraBest they are those of the committed table, where folds 0, 6
    and 7, and 2 and 5, count alike.
    Empty for a data set whose class counts are not known: an unpublished archive of MiraBest, or galaxies as they come.
    """
    if config.population == "voted":
        return {}
    if config.data == "simulated":
        return _galaxies_in(config.simulated_galaxies, config.fold, config.train_on)
    return _galaxies_in(None, config.fold, config.train_on) if f"sha256:{sha256}" == F_BATCHES.checksum else {}


@cache
def _galaxies_in(simulated: int | None, fold: int | None, train_on: str) -> dict[str, tuple[int, ...]]:
    """Those of a catalogue without pixels and places; None: MiraBest's, whose table is in the order of COUNTS."""
    counts = COUNTS if simulated is None else scaled_counts(simulated)
    code = np.repeat(list(counts), [sum(pair) for pair in counts.values()])
    in_test = np.concatenate([np.arange(train + test) >= train for train, test in counts.values()])
    source, name = ("mirabest", committed_names()) if simulated is None else ("simulated", code.astype(str))
    galaxies = Galaxies(np.zeros((len(code), 1, 1), np.uint8), code, in_test, name, *[np.full(len(code), np.nan)] * 4)
    sets = divide(galaxies, source=source, sha256="", data_seed=0, fold=fold, train_on=train_on)
    found = {name: tuple(np.bincount(sets[name].labels, minlength=2).tolist()) for name in SCORED}
    return found if fold is not None else found | {"validation": (len(sets["validation"]),)}


def _check_metrics(name: str, scores: Mapping[str, Any], labels: np.ndarray) -> None:
    """Every metric that these galaxies have: those of a single class are not defined on the other alone."""
    labelled = name != "hybrid"
    if len(labels) and (not labelled or len(set(labels.tolist())) == 2):
        wanted = [metric for metric, m in METRICS.items() if labelled or not m.needs_labels]
        if missing := [metric for metric in wanted if metric not in scores]:
            raise ValueError(f"the metrics of {name} lack {', '.join(missing)}")
    for metric, score in scores.items():
        if not all(math.isfinite(x) for x in Interval(**score)):
            raise ValueError(f"{metric} of {name} is not finite: {score}")


def _check_history(history: Mapping[str, Any]) -> None:
    expect_names(history, HISTORY)
    if len({len(values) for values in history.values()}) != 1 or not history["epoch"]:
        raise ValueError("the columns of its history differ in length, or are empty")
    if not all(math.isfinite(x) for values in history.values() for x in values):
        raise ValueError("its history is not finite")


def _check_temperatures(read: Mapping[str, Mapping[str, Sequence[float]]], cycles: int) -> None:
    """Raise ValueError unless both thermometers have a finite number for every tensor in every cycle."""
    expect_names(read, THERMOMETERS)
    for thermometer, tensors in read.items():
        for name, values in tensors.items():
            if len(values) != cycles or not np.isfinite(values).all():
                raise ValueError(f"{thermometer} of {name} is {values!r}, expected {cycles} finite numbers")


def check_reached(reached: Mapping[str, Any]) -> None:
    """Raise ValueError unless what a training has reached is whole and finite."""
    expect_names(reached, REACHED)
    if not all(math.isfinite(value) for value in reached.values()):
        raise ValueError(f"what it reached is not finite: {reached}")


def _chosen(what: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ValueError(f"{what}={name!r} is not stored: choose one of {', '.join(known)}")
    return known[name]


def main(folders: Sequence[str] | None = None) -> int:
    """Seal the records in ``folders``, by default those of the book and of the user, and count them by folder."""
    for folder in map(Path, folders or (committed_folder(), cached_folder())):
        print(f"{len(seal(folder))} records sealed in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
