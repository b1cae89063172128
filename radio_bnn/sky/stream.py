"""Classify galaxies, however many: read, judged and kept a few at a time, by one process or several."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import lru_cache
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import radio_bnn
from radio_bnn import pool
from radio_bnn.evaluation.predictive import check_count, check_fraction
from radio_bnn.inference.train import device_name
from radio_bnn.progress import bar
from radio_bnn.sky import posteriors as stored
from radio_bnn.sky.judgement import ALPHA, judge
from radio_bnn.sky.part import Part, part
from radio_bnn.sky.posteriors import Ensemble
from radio_bnn.sky.report import write_report
from radio_bnn.sky.sources import Source, Sources, sources
from radio_bnn.sky.table import Row, as_table, check_format, check_outputs, write

if TYPE_CHECKING:
    from astropy.table import QTable

AT_ONCE = 64  # galaxies that are read and judged together
CREDIT = "FIRST survey: Becker, White & Helfand 1995; MiraBest: Porter & Scaife 2023"
HOW = ("cache", "timeout")  # what is read does not depend on it


def classify(
    inputs: Any = None,
    *,
    output: str | Path | None = None,
    report: str | Path | None = None,
    overwrite: bool = False,
    orbit: bool = False,
    alpha: float = ALPHA,
    device: str = "auto",
    workers: int = 1,
    posteriors: str | Path = stored.FILE,
    progress: bool = False,
    **reading: Any,
) -> QTable:
    """FRI or FRII? A table of probabilities and their uncertainty, one row for each of the sources, in their order.

    ``inputs`` and ``reading`` (``image``, ``catalogue``, ``positions``, ...) are those of ``sources``: arrays, files,
    folders, a table. A source that cannot be used has a ``message`` and no numbers; it stops no other.
    ``label`` is the conformal set at level ``alpha``: it holds the true class of a galaxy like MiraBest's confident
    ones with a probability of at least 1 - 2 ``alpha``. ``orbit`` averages over the eight views of D4, at eight times
    the cost.

    ``output`` (.ecsv, .fits, .csv, .vot, .parquet) is written whole in the end; finished rows are kept beside it, so
    that a killed call goes on where it was, and ends with the same file byte for byte. ``report`` is a page to look at.
    ``workers`` > 1 needs a program that may be imported: ``if __name__ == "__main__":``.
    Raises ValueError or OSError, before anything is read, for what cannot be done.
    """
    output, report = (None if path is None else Path(path) for path in (output, report))
    _check(output, report, overwrite=overwrite, workers=workers)
    asked = request(inputs, reading, orbit=orbit, alpha=alpha, device=usable_device(device), posteriors=posteriors)
    with part(output, asked.digest, multiple=AT_ONCE, afresh=overwrite) as finished:
        _finish(finished, asked, workers, progress)
        table = as_table(finished.rows, asked.about)
        if report is not None:
            write_report(report, finished.rows, asked.found, table.meta)
        if output is not None:
            write(table, output)
    return table


def _check(output: Path | None, report: Path | None, *, overwrite: bool, workers: int) -> None:
    check_count("workers", workers)
    if output is not None:
        check_format(output)
    check_outputs([path for path in (output, report) if path is not None], overwrite=overwrite)


def _finish(finished: Part, asked: Request, workers: int, progress: bool) -> None:
    """Add the rows that are still missing."""
    n, done = len(asked.found), len(finished.rows)
    starts = range(done, n, AT_ONCE)
    chunks = (asked.found[i : i + AT_ONCE] for i in starts)
    made = _by_processes(asked.call, chunks, workers) if min(workers, len(starts)) > 1 else _here(asked.call, chunks)
    with closing(made), bar(total=n, initial=done, desc="classify", unit="galaxy", show=progress) as shown:
        for rows in made:
            finished.add(rows)
            shown.update(len(rows))


def _here(call: Call, chunks: Iterator[Sources]) -> Iterator[list[Row]]:
    yield from (rows_of(call, chunk) for chunk in chunks)


def _by_processes(call: Call, chunks: Iterator[Sources], workers: int) -> Iterator[list[Row]]:
    """The rows of each chunk, in order; of a few chunks ahead at most."""
    jobs = (pool.Job(chunk.names[0], rows_of, (call, chunk)) for chunk in chunks)
    try:
        yield from pool.in_order(jobs, workers, ahead=2 * workers)
    except pool.WorkerKilledError as error:
        raise ChildProcessError(
            f"a chunk of galaxies was given up: {error}; with an output, finished rows are kept, and the same command "
            "goes on from there"
        ) from error


# What is asked for


@dataclass(frozen=True)
class Call:
    """How galaxies are judged, by the networks of which file and digest; goes to other processes."""

    posteriors: str
    sha256: str
    view: str
    alpha: float
    device: str


@dataclass(frozen=True)
class Request:
    """The sources, how they are judged, what a table says about it, and a digest of all that its rows depend on."""

    found: Sources
    call: Call
    about: Mapping[str, Any]
    digest: str


def request(
    inputs: Any, reading: Mapping[str, Any], *, orbit: bool, alpha: float, device: str, posteriors: str | Path
) -> Request:
    """What ``classify`` is asked for, checked; no pixels are read yet. Raises ValueError or OSError."""
    check_fraction("alpha", alpha)
    ensemble, found = stored.read(posteriors), sources(inputs, **reading)
    path = str(Path(posteriors).absolute())
    call = Call(path, ensemble.sha256, "orbit" if orbit else "upright", alpha, device)
    given = [inputs, *(x for name in sorted(reading) if name not in HOW for x in (name, reading[name]))]
    return Request(found, call, _about(call, ensemble), _digest(call, found.names, given))


# What a process does


def rows_of(call: Call, found: Sources) -> list[Row]:
    """Read sources, judge them, and give their rows, AT_ONCE at a time."""
    parts = (found[i : i + AT_ONCE] for i in range(0, len(found), AT_ONCE))
    return [row for part in parts for row in _judged(call, part)]


def _judged(call: Call, found: Sources) -> list[Row]:
    read = list(found)
    usable = [source for source in read if source.image is not None]
    judged: Iterator = iter(())
    if usable:
        ensemble, images = _networks(call.posteriors, call.sha256), np.stack([source.image for source in usable])
        judged = iter(judge(ensemble, images, view=call.view, alpha=call.alpha, device=usable_device(call.device)))
    return [_row(source, None if source.image is None else asdict(next(judged))) for source in read]


@lru_cache(maxsize=1)
def _networks(path: str, sha256: str) -> Ensemble:
    """Those of a file, or where it is not, as on the computers of a cluster, those of the package that is there."""
    found = stored.read(path if Path(path).exists() else stored.FILE)
    if found.sha256 != sha256:
        raise ValueError("a process has other networks than the call: install the same radio_bnn on all computers")
    return found


def _row(source: Source, judgement: dict[str, Any] | None) -> Row:
    flags, place = list(source.flags), {"name": source.name, "ra": float(source.ra), "dec": float(source.dec)}
    if judgement is None:
        return place | {"flags": " ".join(flags), "message": source.message or "it could not be used"}
    if judgement.pop("unlike_training"):
        flags.append("unlike_training")
    return place | judgement | {"flags": " ".join(flags), "message": source.message}


# What was done


def usable_device(device: str) -> str:
    """ "cpu" or "cuda"; "auto" is CUDA where there is one. Raises ValueError for CUDA that is not there."""
    try:
        return device_name(device)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _about(call: Call, ensemble: Ensemble) -> dict[str, Any]:
    return {
        "version": f"radio_bnn {radio_bnn.__version__}",
        "networks": f"{len(ensemble.networks)} x {ensemble.draws} draws, posteriors {ensemble.sha256[:12]}",
        "view": call.view,
        "alpha": call.alpha,
        "labels": f"hold the class of a galaxy like MiraBest's confident ones in at least {1 - 2 * call.alpha:.0%}",
        "credit": CREDIT,
    }


def _digest(call: Call, names: Sequence[str], given: Sequence[Any]) -> str:
    """Of inputs and settings: names of the sources, sizes and times of files, contents of arrays and tables."""
    digest = hashlib.sha256()
    settings = [call.view, call.alpha, call.device, call.sha256, radio_bnn.__version__]
    for stamp in ([settings], _stamps(list(given)), names):
        for line in stamp:
            digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def _stamps(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray):
        yield [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value)).hexdigest()]
    elif isinstance(value, str | Path):
        yield str(value)
        yield from map(_of_file, _files(str(value)))
    elif isinstance(value, list | tuple):
        yield len(value)
        for one in value:
            yield from _stamps(one)
    elif hasattr(value, "colnames"):
        yield from ([name, str(np.asarray(value[name]).tolist())] for name in value.colnames)
    else:
        yield str(value)


def _files(value: str) -> list[Path]:
    """The files that a name stands for: itself, those in a folder, those of a pattern, or none."""
    path = Path(value)
    if path.is_dir():
        return sorted(path.iterdir())
    return [path] if path.exists() else [Path(found) for found in sorted(glob(value))]


def _of_file(path: Path) -> list[Any]:
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]
