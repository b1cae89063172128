"""What the benchmarks share: their options, the data, interleaved timing, the line of JSON that they print."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from radio_bnn.data import load
from radio_bnn.runs.execute import processor

Times = dict[str, list[float]]
Variants = Mapping[str, Callable[[], object]]


def options(description: str | None, **defaults: int) -> argparse.Namespace:
    """The command line: one whole number, ``--name``, for each of the ``defaults``."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def by_threads(variants: Variants, *, rounds: int, warmup: int = 2) -> Iterator[tuple[int, Times]]:
    """:func:`interleaved` with one thread, then with one per core: (threads, times)."""
    for threads in sorted({1, torch.multiprocessing.cpu_count()}):
        torch.set_num_threads(threads)
        yield threads, interleaved(variants, rounds=rounds, warmup=warmup)


def interleaved(variants: Variants, *, rounds: int, warmup: int = 2) -> Times:
    """Milliseconds of each variant, called in turn ``rounds`` times after ``warmup`` uncounted ones."""
    times: Times = {name: [] for name in variants}
    for counted in [False] * warmup + [True] * rounds:
        for name, call in variants.items():
            started = time.perf_counter()
            call()
            if counted:
                times[name].append(1e3 * (time.perf_counter() - started))
    return times


def report(benchmark: str, threads: int, times: Times, ratios: Mapping[str, tuple[str, str]], **more: object) -> None:
    """Print a line of JSON: the ``ratios`` {key: (peer, variant)}, the medians, the machine, and ``more``."""
    line = {
        "benchmark": benchmark,
        "threads": threads,
        **{key: ratio(times, *pair) for key, pair in ratios.items()},
        "peak_memory_mb": peak_memory_mb(),
        "median_ms": medians(times),
        "hardware": hardware(),
    }
    print(json.dumps(line | more), flush=True)


def ratio(times: Times, peer: str, variant: str) -> float:
    """Median over rounds of peer time / variant time, so that drift of the machine cancels."""
    return round(statistics.median(a / b for a, b in zip(times[peer], times[variant], strict=True)), 2)


def medians(times: Times) -> dict[str, float]:
    """Median milliseconds per variant."""
    return {name: round(statistics.median(values), 2) for name, values in times.items()}


def galaxies() -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Training images and labels, test images, and the name of the data set (simulated where MiraBest is absent)."""
    splits = load("auto")
    return splits["train"].images, splits["train"].labels, splits["test"].images, splits.source


def hardware() -> dict[str, object]:
    """Processor, cores and versions."""
    return {"processor": processor(), "cores": torch.multiprocessing.cpu_count(), "torch": torch.__version__}


def peak_memory_mb() -> int:
    """Peak resident memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
