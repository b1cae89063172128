"""More galaxies than one table holds: a folder of Parquet files, made one by one by processes or a dask cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from radio_bnn import pool
from radio_bnn.evaluation.predictive import check_count
from radio_bnn.files import check_writable, remove_abandoned, replacing
from radio_bnn.progress import bar
from radio_bnn.sky import posteriors as stored
from radio_bnn.sky.judgement import ALPHA
from radio_bnn.sky.sources import Sources
from radio_bnn.sky.stream import Call, Request, request, rows_of, usable_device
from radio_bnn.sky.table import Row, as_table, check_format, write

PART = 4096  # galaxies: minutes of a core, so that a thousand of them ask their scheduler a few times a second
CALL = "_call.json"  # readers of such folders leave out what begins with this letter


class Counts(NamedTuple):
    """How many sources were classified, and how many could not be used."""

    classified: int
    unused: int


class _File(NamedTuple):
    """One of the files, and which of the sources are in it."""

    path: Path
    part: slice

    def is_whole(self) -> bool:
        """Whether it is there with all its rows."""
        from pyarrow import parquet

        try:
            return parquet.read_metadata(self.path).num_rows == self.part.stop - self.part.start
        except (OSError, ValueError):
            return False


def classify_into(
    output: str | Path,
    inputs: Any = None,
    *,
    overwrite: bool = False,
    orbit: bool = False,
    alpha: float = ALPHA,
    device: str = "auto",
    workers: int = 1,
    scheduler: str | None = None,
    size: int = PART,
    posteriors: str | Path = stored.FILE,
    progress: bool = False,
    **reading: Any,
) -> Counts:
    """The rows of ``classify`` in a folder of Parquet files, ``size`` galaxies each; says how many were classified.

    By ``workers`` processes, or by the workers of a running dask ``scheduler`` (its address), which must have this
    package and find the inputs under the same names. A file is written here, whole, as soon as its galaxies are judged;
    names and positions of all sources are held, and the rows of a file for each worker. A killed call goes on where it
    was. Raises ValueError or OSError, before anything is read, for what cannot be done, also for a folder with other
    content; files of another call are replaced if ``overwrite``.
    """
    folder = Path(output)
    _check(folder, workers, size)
    device = device if scheduler else usable_device(device)
    asked = request(inputs, reading, orbit=orbit, alpha=alpha, device=device, posteriors=posteriors)
    _open(folder, {"digest": asked.digest, "size": size, "sources": len(asked.found)}, overwrite)
    files = _files(folder, len(asked.found), size)
    _fill(files, asked, workers, scheduler, progress)
    return _counts(files)


def _check(folder: Path, workers: int, size: int) -> None:
    check_count("workers", workers)
    check_count("size", size)
    if folder.suffix.lower() != ".parquet":
        raise ValueError(f"{folder}: a folder of Parquet files ends in .parquet")
    check_format(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: choose the name of a folder")
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"{folder.parent} is no folder: make it first, or choose another")


def _open(folder: Path, stated: dict[str, Any], overwrite: bool) -> None:
    """Make the folder this call's, without files of another one, and without halves of files."""
    found = _stated(folder)
    if found is None and folder.is_dir() and any(path.suffix != ".partial" for path in folder.iterdir()):
        raise FileExistsError(f"{folder} holds something else: choose another name")
    others = [] if found in (None, stated) else sorted(folder.glob("part-*.parquet"))
    if others and not overwrite:
        raise ValueError(
            f"{folder} holds galaxies of a call with other inputs or settings: choose another name, or replace them "
            "with --overwrite"
        )
    for path in others:
        path.unlink()
    check_writable(folder, of="choose another name")
    remove_abandoned(folder)
    with replacing(folder / CALL) as partial:
        partial.write_text(json.dumps(stated))


def _stated(folder: Path) -> Any:
    """What the call says of itself whose files a folder holds, None if it holds none."""
    try:
        return json.loads((folder / CALL).read_text())
    except (OSError, ValueError):
        return None


def _files(folder: Path, n: int, size: int) -> list[_File]:
    starts = range(0, n, size)
    digits = max(len(str(len(starts) - 1)), 5)
    return [_File(folder / f"part-{k:0{digits}d}.parquet", slice(i, min(i + size, n))) for k, i in enumerate(starts)]


def _fill(files: Sequence[_File], asked: Request, workers: int, scheduler: str | None, progress: bool) -> None:
    """Write the files that are not there."""
    lacking = [k for k, file in enumerate(files) if not file.is_whole()]
    n, missing = len(asked.found), sum(files[k].part.stop - files[k].part.start for k in lacking)
    jobs = _jobs(asked, ((k, files[k].part) for k in lacking))
    made = pool.on_dask(jobs, scheduler) if scheduler else pool.results(jobs, workers)
    with closing(made), bar(total=n, initial=n - missing, desc="classify", unit="galaxy", show=progress) as shown:
        for _, result in made:
            if isinstance(result, Exception):
                raise _in_one_line(result)
            k, rows = result
            write(as_table(rows, asked.about), files[k].path)
            shown.update(len(rows))


def _jobs(asked: Request, parts: Iterator[tuple[int, slice]]) -> Iterator[pool.Job]:
    return (pool.Job(f"{asked.digest}-{k}", numbered, (k, asked.call, asked.found[part])) for k, part in parts)


def numbered(k: int, call: Call, found: Sources) -> tuple[int, list[Row]]:
    """The rows of the k-th file; what a worker does."""
    return k, rows_of(call, found)


def _in_one_line(problem: Exception) -> Exception:
    if isinstance(problem, ValueError | OSError):
        return problem
    said = " ".join(f"{type(problem).__name__}: {problem}".split())
    return ChildProcessError(
        f"a file of galaxies was given up ({said}); finished files are kept, and the same command goes on from there"
    )


def _counts(files: Sequence[_File]) -> Counts:
    from pyarrow import compute, parquet

    labels = (parquet.ParquetFile(file.path).read(columns=["label"])["label"] for file in files)
    unused = sum(compute.sum(compute.equal(label, "")).as_py() for label in labels)
    return Counts(files[-1].part.stop - unused, unused)
