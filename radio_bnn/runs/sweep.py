"""Many records as one command: worker processes or a dask cluster, safe to kill at any point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from radio_bnn import pool
from radio_bnn.config import Config, run_id
from radio_bnn.files import NoRoomError, check_writable, no_room, remove_abandoned
from radio_bnn.pool import Job
from radio_bnn.progress import bar
from radio_bnn.runs import outstanding, records
from radio_bnn.runs.execute import check_unchanged, execute, find_data
from radio_bnn.runs.records import Diverged, Posterior, Record, Run, cached_folder

Item = tuple[Config, str]
Measure = Callable[[Posterior], Record]


def run_queue(
    wanted: Sequence[Item],
    folder: Path,
    measures: Mapping[str, Measure] | None = None,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: bool = True,
) -> list[Item]:
    """Make what ``folder`` lacks of the records ``wanted``, pairs (config, kind), and return what was made.

    A run is trained if its record is missing, or if a record of another kind is and its posterior is nowhere;
    ``measures[kind]`` makes that record of the posterior, which stays in the user's cache. ``workers`` processes on
    this machine, or the workers of a running dask ``scheduler`` (its address); a job uses one thread. A record is
    written as soon as it is made, and a worker keeps checkpoints and finished runs in its own cache: what was killed
    continues at the next call. A process that is killed is replaced and its job tried once more; an interrupt ends
    them all. A training that diverges ends its path: that is stored, returned as a pair (config, "diverged"), and not
    tried again. Raises, before the first run, ValueError for a kind that nothing measures, OSError for a folder that
    cannot be written, whatever ``find_data`` raises; NoRoomError at once when a disk is full; RuntimeError, naming
    them, after all others are done, if some failed.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    lacking, measures = outstanding.missing(wanted, folder), {Posterior.kind: kept, **(measures or {})}
    if not lacking:
        return []
    _prepare(lacking, folder, measures, scheduler)
    written, failed = [], {}
    try:
        for what, jobs_of in {"runs": _trainings, "measurements": _measurements}.items():
            jobs = jobs_of(outstanding.missing(lacking, folder), measures)
            with closing(_results(jobs, what, workers, scheduler, show=progress)) as results:
                _collect(results, lacking, folder, written, failed)
    finally:
        _clean(folder, older_than=math.inf)  # what the workers left that were ended here
    if failed:
        raise RuntimeError(_summary(failed, len(written)))
    return written


def _collect(
    results: Iterator[tuple[Job, Any]],
    lacking: Sequence[Item],
    folder: Path,
    written: list[Item],
    failed: dict[str, Exception],
) -> None:
    """Store what comes, and note what was stored and what failed; end at once where a disk is full."""
    try:
        for job, result in results:
            if isinstance(result, Exception):
                failed[job.name] = _unless_full(result)
            else:
                written += _store(result, lacking, folder)
    except OSError as problem:
        if not no_room(problem):
            raise
        said = str(problem) if isinstance(problem, NoRoomError) else f"no room in {folder} or {cached_folder()}"
        raise NoRoomError(f"{said}; {len(written)} records stored: make room, the same call continues") from problem


def _unless_full(problem: Exception) -> Exception:
    """The error of a job, raised if every other one would end in it as well, after hours: a full disk."""
    if no_room(problem):
        raise problem
    return problem


def _summary(failed: Mapping[str, Exception], stored: int) -> str:
    """What failed in one line, by reason: some hundred runs may fail for the same one."""
    reasons: dict[str, list[str]] = {}
    for name, problem in failed.items():
        reasons.setdefault(" ".join(f"{type(problem).__name__}: {problem}".split()), []).append(name)
    said = [
        f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}: {reason}"
        for reason, names in reasons.items()
    ]
    return f"{len(failed)} of {len(failed) + stored} failed, the others are stored: {'; '.join(said)}"


def _prepare(lacking: Sequence[Item], folder: Path, measures: Mapping[str, Measure], scheduler: str | None) -> None:
    """Refuse what cannot be made or kept before anything is, and remove what killed sweeps have left half written."""
    if unknown := {kind for _, kind in lacking} - {Run.kind, *measures}:
        known = ", ".join([Run.kind, *measures])
        raise ValueError(f"nothing makes records of kind {', '.join(sorted(unknown))}: choose from {known}")
    check_unchanged(folder)
    check_writable(folder, of="name another folder for the records")
    check_writable(cached_folder(), of="set RADIO_BNN_CACHE to a folder that can")
    _clean(folder)
    _find_data(sorted({config.data for config, _ in lacking}), scheduler)


def _clean(folder: Path, **options: float) -> None:
    for each in (folder, cached_folder()):
        remove_abandoned(each, **options)


# What the workers do


def train(chain: Sequence[tuple[dict[str, Any], bool]]) -> list[Record]:
    """The runs of a chain, pairs (values of the Config, whether to keep its posterior), and their posteriors.

    Each is taken from the worker's cache, or trained on one thread; later ones may start where earlier ones ended. One
    that diverges is the last, and that it did is all that there is of it.
    """
    made = []
    for values, keep_posterior in chain:
        config, kinds = Config.from_dict(values), (Run, Posterior) if keep_posterior else (Run,)
        if any(records.find(config, kind, [cached_folder()]) is None for kind in kinds):
            try:
                execute(config, cached_folder(), keep_posterior=keep_posterior, device="cpu", progress=False)
            except FloatingPointError:
                if (ended := records.find(config, Diverged, [cached_folder()])) is None:
                    raise  # an earlier stage, which the chain does not hold
                return [*made, ended]
        made += [records.find(config, kind, [cached_folder()]) for kind in kinds]
    return made


def measured(measure: Measure, posterior: Posterior) -> list[Record]:
    """What ``measure`` makes of a posterior."""
    return [measure(posterior)]


def kept(posterior: Posterior) -> Posterior:
    """The posterior itself, where it is a record that is wanted."""
    return replace(posterior, config=posterior.config.trained)


def _trainings(lacking: Sequence[Item], measures: Mapping[str, Measure]) -> list[Job]:
    """One for every temperature path with what is missing on it, in order: one worker walks it."""
    todo, chains = outstanding.untrained(lacking), {}
    keep = {run_id(config.trained) for config, kind in lacking if kind != Run.kind}
    keep |= {run_id(config.previous.trained) for config in todo if config.previous}
    for config in todo:
        chains.setdefault(run_id(config.origin.trained), []).append(config)
    ordered = [sorted(chain, key=lambda config: len(config.path)) for chain in chains.values()]
    return [
        Job(", ".join(map(run_id, chain)), train, ([(c.to_dict(), run_id(c.trained) in keep) for c in chain],))
        for chain in ordered
    ]


def _measurements(lacking: Sequence[Item], measures: Mapping[str, Measure]) -> list[Job]:
    """Those whose posterior is there by now; without it the training has failed, and was named.

    A measure gets it with the config that is wanted, which says how many samples: the posterior's own does not.
    """
    found = [(config, kind, records.find(config, Posterior)) for config, kind in lacking if kind in measures]
    return [
        Job(f"{kind} of {run_id(config)}", measured, (measures[kind], replace(posterior, config=config)))
        for config, kind, posterior in found
        if posterior is not None
    ]


def _store(made: Sequence[Record], lacking: Sequence[Item], folder: Path) -> list[Item]:
    """Write what was lacking into ``folder``, and what diverged, and a posterior into the cache; return the former."""
    wanted, written = {(records.identity(config, kind), kind) for config, kind in lacking}, []
    for record in made:
        if (record.identity, record.kind) in wanted or record.kind == Diverged.kind:
            records.write(record, folder)
            written.append((record.config, record.kind))
        if record.kind == Posterior.kind and not records.at_hand(record.config, record.kind):
            records.write(record, cached_folder())
    return written


# Where they do it


def _find_data(sources: Sequence[str], scheduler: str | None) -> None:
    """Ask once, where the work will be done."""
    if scheduler is None:
        return find_data(sources)
    [(_, problem)] = pool.on_dask([Job("data", find_data, (sources,))], scheduler)
    if problem is not None:
        raise problem


def _results(
    jobs: Sequence[Job], what: str, workers: int, scheduler: str | None, *, show: bool
) -> Iterator[tuple[Job, Any]]:
    """Every job with what it returned or raised, as they are done, behind a progress bar."""
    if jobs:
        done = pool.on_dask(jobs, scheduler) if scheduler else _on_processes(jobs, workers)
        with closing(done):
            yield from bar(done, total=len(jobs), desc=what, show=show)


def _on_processes(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Any]]:
    return pool.results(jobs, workers)
