"""Classify galaxies, however many: read, judged and kept a few at a time, by one process or several."""

from __future__ import annotations

import hashlib
import json
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from glob import glob
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import radio_bnn
from radio_bnn.evaluation.predictive import check_count, check_fraction
from radio_bnn.progress import bar
from radio_bnn.sky import posteriors as stored
from radio_bnn.sky.judgement import ALPHA, judge
from radio_bnn.sky.part import Part, part
from radio_bnn.sky.posteriors import Ensemble
from radio_bnn.sky.report import write_report
from radio_bnn.sky.sources import Source, Sources, sources
from radio_bnn.sky.table import Row, as_table, check_format, check_writable, write

if TYPE_CHECKING:
    from astropy.table import QTable

AT_ONCE = 64  # galaxies that are read and judged together, for each process
CREDIT = "FIRST survey: Becker, White & Helfand 1995; MiraBest: Porter & Scaife 2023"


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
    _check(output, report, overwrite=overwrite, workers=workers, alpha=alpha)
    ensemble, found = stored.read(posteriors), sources(inputs, **reading)
    call = Call(found, str(posteriors), "orbit" if orbit else "upright", alpha, _device(device))
    digest = _digest(call, ensemble.sha256, [inputs, sorted(reading), *(reading[name] for name in sorted(reading))])
    with part(output, digest, multiple=AT_ONCE, afresh=overwrite) as finished:
        _finish(finished, call, workers, progress)
        table = as_table(finished.rows, _about(call, ensemble))
        if report is not None:
            write_report(report, finished.rows, found, table.meta)
        if output is not None:
            write(table, output)
    return table


def _check(output: Path | None, report: Path | None, *, overwrite: bool, workers: int, alpha: float) -> None:
    check_count("workers", workers)
    check_fraction("alpha", alpha)
    if output is not None:
        check_format(output)
    check_writable([path for path in (output, report) if path is not None], overwrite=overwrite)


def _finish(finished: Part, call: Call, workers: int, progress: bool) -> None:
    """Add the rows that are still missing."""
    n, done = len(call.sources), len(finished.rows)
    chunks = [range(i, min(i + AT_ONCE, n)) for i in range(done, n, AT_ONCE)]
    with bar(total=n, initial=done, desc="classify", unit="galaxy", show=progress) as shown:
        for rows in _in_order(call, chunks, workers):
            finished.add(rows)
            shown.update(len(rows))


@dataclass(frozen=True)
class Call:
    """What is read and how it is judged; goes to other processes."""

    sources: Sources
    posteriors: str
    view: str
    alpha: float
    device: str


class Work:
    """What one process does: read some of the sources, judge them, and give their rows."""

    def __init__(self, call: Call) -> None:
        self.call, self.ensemble = call, stored.read(call.posteriors)

    def __call__(self, indices: Sequence[int]) -> list[Row]:
        read = [self.call.sources[i] for i in indices]
        usable = [source for source in read if source.image is not None]
        judged: Iterator = iter(())
        if usable:
            call, images = self.call, np.stack([source.image for source in usable])
            judged = iter(judge(self.ensemble, images, view=call.view, alpha=call.alpha, device=call.device))
        return [_row(source, None if source.image is None else asdict(next(judged))) for source in read]


def _row(source: Source, judgement: dict[str, Any] | None) -> Row:
    flags, place = list(source.flags), {"name": source.name, "ra": float(source.ra), "dec": float(source.dec)}
    if judgement is None:
        return place | {"flags": " ".join(flags), "message": source.message or "it could not be used"}
    if judgement.pop("unlike_training"):
        flags.append("unlike_training")
    return place | judgement | {"flags": " ".join(flags), "message": source.message}


# Processes


def _in_order(call: Call, chunks: Sequence[range], workers: int) -> Iterator[list[Row]]:
    """The rows of each chunk, in order; a few chunks ahead at most."""
    if workers == 1 or len(chunks) < 2:
        work = Work(call) if chunks else None
        yield from (work(chunk) for chunk in chunks)
        return
    ahead, waiting = deque(), deque(chunks)
    with ProcessPoolExecutor(min(workers, len(chunks)), get_context("spawn"), _start, (call,)) as pool:
        try:
            while waiting or ahead:
                while waiting and len(ahead) < 2 * workers:
                    ahead.append(pool.submit(_work, waiting.popleft()))
                yield ahead.popleft().result()
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a process ended before its work was done, killed or out of memory: with an output, finished rows are "
                "kept, and the same command goes on from there"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_WORK: list[Work] = []


def _start(call: Call) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process answers for all
    _WORK[:] = [Work(call)]


def _work(chunk: range) -> list[Row]:
    return _WORK[0](chunk)


# What was done


def _device(device: str) -> str:
    from radio_bnn.inference.train import device_name

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


def _digest(call: Call, sha256: str, inputs: Sequence[Any]) -> str:
    """Of inputs and settings: names of the sources, sizes and times of files, contents of arrays and tables."""
    settings = [call.view, call.alpha, call.device, sha256, radio_bnn.__version__]
    return hashlib.sha256(json.dumps([settings, _stamp(inputs), list(call.sources.names)]).encode()).hexdigest()


def _stamp(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value)).hexdigest()]
    if isinstance(value, str | Path):
        return [str(value), [_of_file(path) for path in _files(str(value))]]
    if isinstance(value, list | tuple):
        return [_stamp(x) for x in value]
    if hasattr(value, "colnames"):
        return [[name, str(np.asarray(value[name]).tolist())] for name in value.colnames]
    return str(value)


def _files(value: str) -> list[Path]:
    """The files that a name stands for: itself, those in a folder, those of a pattern, or none."""
    path = Path(value)
    if path.is_dir():
        return sorted(path.iterdir())
    return [path] if path.exists() else [Path(found) for found in sorted(glob(value))]


def _of_file(path: Path) -> list[Any]:
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]
