"""Records of runs: one JSON and one compressed file of arrays each, written whole, checked when read, never edited."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, ClassVar, TypeVar

import numpy as np
from scipy.special import log_softmax

from radio_bnn.config import ANNEALED_RATES, HISTORY, ORBITS, THERMOMETERS, Config, run_id
from radio_bnn.data.folds import committed_names, divide
from radio_bnn.data.galaxies import COUNTS, Galaxies
from radio_bnn.data.mirabest import F_BATCHES, cache_folder
from radio_bnn.data.simulate import scaled_counts
from radio_bnn.evaluation.metrics import METRICS
from radio_bnn.evaluation.predictive import energy_score
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.files import CHECKOUT, named_place, replacing

SCHEMA = 2
SCORED = ("validation", "test", "uncertain", "hybrid")
MIRABEST_GALAXIES = Config().simulated_galaxies
LARGEST = 2**28  # bytes that the arrays of one record may take in memory
DTYPES = ("float16", "float32", "float64", "int64", "uint8", "uint16", "uint32")
PROTOCOLS = ("published", "released", "published_2021", "preview", "converged", "annealed", "longer", "sampled")
# What may vary within a protocol; every other field belongs to its recipe.
VARIED = set(
    [
        "data",
        "data_seed",
        "fold",
        "simulated_galaxies",
        "seed",
        "method",
        "prior",
        "prior_scale",
        "temperature",
        "members",
        "likelihood",
        "labellers",
        "train_on",
        "population",
        "objective",
        "augmentation",
        "samples",
        "precision",
        "as_released",
    ]
)
# Settings that came after the first records: at their default they leave the digest of a recipe as it was.
LATER = ("cycles", "momentum", "covariance", "labellers", "train_on", "population")
# What may vary within one protocol alone.
VARIED_IN = {"annealed": {"path", "estimator"}, "longer": {"path", "estimator"}}
BY_PRIOR = ("annealed", "longer")  # protocols with learning rates of their own for each method and prior
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


def identity(config: Config, kind: str) -> str:
    """The name of the files of a record of this kind: of a posterior that of the training, else that of the run."""
    return run_id(config.trained if kind == Posterior.kind else config)


# Where


def committed_folder() -> Path:
    """The folder of the book's records: ``RADIO_BNN_RESULTS``, or ``book/results`` of this checkout."""
    if named := named_place("RADIO_BNN_RESULTS"):
        return named
    return CHECKOUT / "book" / "results"


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
    """The record ``name`` in ``folder``, checked: digest and headers before any array, then shapes and values.

    Raises ValueError, naming the file and what to do, for whatever is wrong with it.
    """
    path = path_of(folder, kind.kind, name)
    try:
        config, content = _opened(path, kind.kind)
        record = kind(config, content, _arrays(path.with_suffix(".npz"), content.pop("arrays")))
        record.check()
    except Exception as problem:  # whatever a damaged or foreign file provokes
        said = f"it lacks {problem}" if isinstance(problem, KeyError) else " ".join(str(problem).split())
        cure = f"delete {name}.json and {name}.npz there and run it again"
        if isinstance(problem, _NewerError):
            cure = "update radio_bnn"
        raise ValueError(
            f"{path.name} in {path.parent} cannot be read: {said or type(problem).__name__}; {cure}"
        ) from problem
    return record


def write(record: Record, folder: Path) -> None:
    """Write ``<identity>.npz``, then ``<identity>.json``, each atomically: a record that exists is whole.

    Raises ValueError or KeyError, before anything is written, for what ``read`` would refuse.
    """
    _check_finite(record.arrays)
    record.check()
    path = path_of(folder, record.kind, record.identity)
    values = {"schema": SCHEMA, "kind": record.kind, "run_id": record.identity, "config": record.config.to_dict()}
    values |= {**record.content, "arrays": {"entries": _entries(record.arrays)}}
    with replacing(path) as text, replacing(path.with_suffix(".npz")) if record.arrays else nullcontext() as packed:
        if packed is not None:  # it takes its place before the JSON does
            with packed.open("wb") as file:
                np.savez_compressed(file, **record.arrays)
            values["arrays"]["sha256"] = hashlib.sha256(packed.read_bytes()).hexdigest()
        text.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")


class _NewerError(ValueError):
    """A record of a later version of this package."""


def _opened(path: Path, kind: str) -> tuple[Config, dict[str, Any]]:
    """Config and content of a JSON that claims to be a record of this kind."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object with a schema, got {type(values).__name__}")
    schema = values.pop("schema")
    if not isinstance(schema, int) or schema < SCHEMA:
        raise ValueError(f"schema {schema!r} is not {SCHEMA}, which this version reads")
    if schema > SCHEMA:
        raise _NewerError(f"schema {schema} is of a later version than {SCHEMA}, which this one reads")
    found, name, config = values.pop("kind"), values.pop("run_id"), Config.from_dict(values.pop("config"))
    if found != kind:
        raise ValueError(f"it is a record of kind {found!r}, expected {kind!r}")
    if not path.stem == name == identity(config, kind):
        raise ValueError(f"it holds the config of run {identity(config, kind)}: a record is never edited or renamed")
    return config, values


def _arrays(path: Path, declared: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of an npz whose digest and headers are as declared, which is checked before memory is taken."""
    if not declared["entries"]:
        return {}
    size = sum(math.prod(e["shape"]) * _itemsize(name, e["dtype"]) for name, e in declared["entries"].items())
    if size > LARGEST:
        raise ValueError(f"its arrays would take {size} bytes, more than the {LARGEST} that a record may take")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != declared["sha256"]:
            raise ValueError(f"{path.name} is not the file that was written with it: its sha256 differs")
        headers = _headers(file)
        if headers != declared["entries"]:
            raise ValueError(f"{path.name} does not hold the arrays that are declared: {headers}")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in headers}
    _check_finite(arrays)
    return arrays


def _entries(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    return {name: {"shape": list(values.shape), "dtype": values.dtype.name} for name, values in arrays.items()}


def _itemsize(name: str, dtype: str) -> int:
    if dtype not in DTYPES:
        raise ValueError(f"{name} is declared as {dtype!r}, expected one of {', '.join(DTYPES)}")
    return np.dtype(dtype).itemsize


def _headers(file: BinaryIO) -> dict[str, dict[str, Any]]:
    """What an npz says of its arrays, as ``_entries`` does; nothing but headers is unpacked."""
    found = {}
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            with archive.open(member) as opened:
                np.lib.format.read_magic(opened)
                shape, _, dtype = np.lib.format.read_array_header_1_0(opened)
                size = opened.tell() + math.prod(shape) * dtype.itemsize
            if member.file_size != size:
                raise ValueError(f"{member.filename} unpacks to {member.file_size} bytes, expected {size}")
            found[member.filename.removesuffix(".npy")] = {"shape": list(shape), "dtype": dtype.name}
    return found


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
    if not labelled or len(set(labels.tolist())) == 2:
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


def _check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite")


def _chosen(what: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ValueError(f"{what}={name!r} is not stored: choose one of {', '.join(known)}")
    return known[name]


# What is missing, and how long it takes


def missing(wanted: Sequence[tuple[Config, str]], folder: Path) -> list[tuple[Config, str]]:
    """What ``folder`` does not hold of the records ``wanted``, pairs (config, kind): in order, each once."""
    items = {(identity(config, kind), kind): (config, kind) for config, kind in wanted}
    return [item for (name, kind), item in items.items() if not path_of(folder, kind, name).exists()]


def untrained(lacking: Sequence[tuple[Config, str]]) -> list[Config]:
    """The runs that must be trained for the records ``lacking``, pairs (config, kind), each once.

    A record of another kind than "run" is measured on the posterior of the training, so it needs that, however many
    samples a run stores of it.
    """
    predicted = {run_id(c.trained) for c, kind in lacking if kind == Run.kind}
    runs = {}
    for c, kind in lacking:
        if kind == Run.kind or not (run_id(c.trained) in predicted or at_hand(c, Posterior.kind)):
            runs.setdefault(run_id(c if kind == Run.kind else c.trained), c)
    return list(runs.values())


def expected_seconds(configs: Sequence[Config]) -> float | None:
    """How long training ``configs`` takes, one after the other: as their records took, or as like ones did per galaxy.

    A run that is not stored counts as its work, galaxies x epochs x forwards per step, times the median time per work
    of the book's records in its precision. None if there is no such record.
    """
    rates: dict[str, list[float]] = {}
    for config, seconds in _times(committed_folder()):
        rates.setdefault(config.precision, []).append(seconds / work(config))
    seconds = []
    for config in configs:
        if (run := find(config)) is not None:
            seconds.append(run.content["provenance"]["wall_seconds"])
        elif config.precision in rates:
            seconds.append(median(rates[config.precision]) * work(config))
        else:
            return None
    return sum(seconds)


def _times(folder: Path) -> Iterator[tuple[Config, float]]:
    """Config and wall time in seconds of every run in ``folder``; what is no record of a run is passed over."""
    for path in sorted(folder.glob("*.json")):
        try:
            config, content = _opened(path, Run.kind)
            seconds = float(content["provenance"]["wall_seconds"])
        except Exception:  # whatever a damaged or foreign file provokes; `read` says so to whoever asks for it
            continue
        yield config, seconds


def work(config: Config) -> float:
    """What training costs, in galaxies x epochs x forwards per step x networks."""
    galaxies = MIRABEST_GALAXIES if config.data == "mirabest" else config.simulated_galaxies
    forwards = (1 if config.objective == "elbo" else 2) * (8 if config.likelihood in ORBITS else 1)
    networks = config.members if config.method == "ensemble" else 1
    return galaxies * config.epochs * forwards * networks


def protocol(config: Config) -> dict[str, str]:
    """The protocol that ``config`` follows: its name, or "custom", and the digest of its recipe, of all it may set."""
    for name in PROTOCOLS:
        recipe = _recipe(config, name)
        if recipe == _recipe(_reference(name, config), name):
            return {"name": name, "digest": _digest(recipe)}
    return {"name": "custom", "digest": _digest(_recipe(config, "custom"))}


def protocol_digests() -> dict[str, str]:
    """Sixteen hexadecimal digits of the recipe of every protocol, of those BY_PRIOR for each method and prior.

    {"published": digest, ..., "annealed vi laplace": digest, ...}
    """
    found = {name: _digest(_recipe(getattr(Config, name)(), name)) for name in PROTOCOLS if name not in BY_PRIOR}
    for name in BY_PRIOR:
        for method, prior, scale in ANNEALED_RATES:
            config = getattr(Config, name)(method=method, prior=prior, prior_scale=scale)
            title = f"{name} {method} {prior}" + ("" if scale is None else f" {scale:.4g}")
            found[title] = _digest(_recipe(config, name))
    return found


def _reference(name: str, config: Config) -> Config:
    same = ("method", "prior", "prior_scale") if name in BY_PRIOR else ()
    likelihood = ("likelihood", "train_on", "fold")
    return getattr(Config, name)(**{field: getattr(config, field) for field in (*likelihood, *same)})


def _recipe(config: Config, name: str) -> dict[str, Any]:
    free, default = VARIED | VARIED_IN.get(name, set()), Config()
    new = {name for name in LATER if getattr(config, name) == getattr(default, name)}
    return {k: v for k, v in config.to_dict().items() if k not in free | new}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
