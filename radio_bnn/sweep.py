"""Many runs as one command: named queues, worker processes or a dask cluster, safe to kill at any point."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from radio_bnn import store
from radio_bnn.config import Config, run_id
from radio_bnn.contrasts import FIRST_SEED, config_of
from radio_bnn.priors import PRIORS
from radio_bnn.progress import bar


def priors() -> list[Config]:
    """Every prior once, as the priors chapter shows them."""
    return [Config.preview(prior=name) for name in PRIORS]


TEMPERATURES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 1e-4)
FEW_TEMPERATURES = (1.0, 0.1, 0.01, 0.001)


def chapters(n_seeds: int = 3) -> list[Config]:
    """Every run that the chapters read, most wanted first.

    Of the first seed all but the orbit likelihood, eight times as long as the others; of the other seeds what the
    claims need; the orbit likelihood of all seeds; the rest. Seeds as published (122 + i, 14 + i).
    """
    seeds = [FIRST_SEED + i for i in range(n_seeds)]
    wanted = [config_of(seeds[0], **changes) for changes in _shown()]
    wanted += [config_of(seed, **changes) for seed in seeds[1:] for changes in _claimed()]
    wanted += [config_of(seed, likelihood="orbit_logits", temperature=t) for seed in seeds for t in (0.01, 1.0)]
    wanted += [config_of(seed, **changes) for seed in seeds[1:] for changes in _shown()]
    return list(dict.fromkeys(wanted))


def _shown() -> list[dict]:
    baseline = Config.converged().temperature
    runs = [{"prior": name} for name in PRIORS] + [{"method": "ml"}, {"method": "dropout"}]
    runs += [{"temperature": t} for t in TEMPERATURES if t != baseline]
    runs += [{"objective": o, "temperature": t} for o in ("pac2", "pac2_t") for t in FEW_TEMPERATURES]
    runs += [{"augmentation": a, "temperature": t} for a in ("rotation", "d4") for t in FEW_TEMPERATURES]
    return runs


def _claimed() -> list[dict]:
    ends = [{"temperature": t} for t in (0.01, 1.0)]
    return [*ends, {"prior": "laplace_mixture"}, *({"objective": "pac2", **end} for end in ends)]


def precision() -> list[Config]:
    """Paired seeds in bfloat16 and in float32, to see what the former changes."""
    seeds = [FIRST_SEED + i for i in range(3)]
    return [config_of(seed, precision=p) for seed in seeds for p in ("bf16", "float32")]


QUEUES: dict[str, Callable[[], list[Config]]] = {"priors": priors, "chapters": chapters, "precision": precision}


def queue(name: str) -> list[Config]:
    """The runs of a named queue, most wanted first. Raises ValueError for an unknown name."""
    if name not in QUEUES:
        raise ValueError(f"queue={name!r} is not known: choose one of {', '.join(QUEUES)}")
    return QUEUES[name]()


def missing(configs: Sequence[Config], folder: Path) -> list[Config]:
    """The runs that ``folder`` does not hold yet, each once, in order."""
    wanted = {run_id(config): config for config in configs}
    return [config for identity, config in wanted.items() if not (folder / f"{identity}.json").exists()]


def run_queue(
    configs: Sequence[Config], folder: Path, *, workers: int = 1, scheduler: str | None = None, progress: bool = True
) -> list[Config]:
    """Execute what ``folder`` lacks of ``configs`` and write each record there as soon as it is done.

    ``workers`` processes on this machine, or the workers of a running dask ``scheduler`` (its address). Every run uses
    one thread. A worker keeps its checkpoints and finished runs in its own cache, so what was killed continues at the
    next call. Returns the runs that were written. Raises RuntimeError, naming the runs, after all others are done, if
    some failed.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    todo, written, failed = missing(configs, folder), [], {}
    finished = _on_dask(todo, scheduler) if scheduler else _on_processes(todo, workers)
    with bar(total=len(todo), desc="runs", unit="run", show=progress) as shown:
        for config, result in finished:
            if isinstance(result, Exception):
                failed[run_id(config)] = result
            else:
                store.write(result, folder)
                written.append(config)
            shown.update()
    if failed:
        reasons = "; ".join(f"{identity}: {type(e).__name__}: {e}" for identity, e in failed.items())
        raise RuntimeError(f"{len(failed)} of {len(todo)} runs failed, the others are stored: {reasons}")
    return written


def execute(values: dict) -> store.Run:
    """What a worker does: the run of ``Config.from_dict(values)``, from its cache or trained, on one CPU thread."""
    return store.load_or_run(Config.from_dict(values), device="cpu", progress=False)


Outcome = tuple[Config, store.Run | Exception]


def _on_processes(todo: list[Config], workers: int) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(todo)) or 1, mp_context=context) as pool:
        futures = {pool.submit(execute, config.to_dict()): config for config in todo}
        for future in as_completed(futures):
            error = future.exception()
            yield futures[future], error if error is not None else future.result()


def _on_dask(todo: list[Config], scheduler: str) -> Iterator[Outcome]:
    from dask.distributed import Client
    from dask.distributed import as_completed as completed

    with Client(scheduler) as client:
        futures = {
            client.submit(execute, config.to_dict(), key=run_id(config), priority=-place): config
            for place, config in enumerate(todo)
        }
        for future in completed(list(futures)):
            error = future.exception()
            yield futures[future], error if error is not None else future.result()
