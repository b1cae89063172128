"""What the two benchmarks share: interleaved timing, the data, the hardware line."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from radio_bnn.data import load
from radio_bnn.store import processor


def interleaved(variants: dict[str, Callable[[], object]], *, rounds: int, warmup: int = 2) -> dict[str, list[float]]:
    """Milliseconds of each variant, called in turn ``rounds`` times after ``warmup`` uncounted ones."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for counted in [False] * warmup + [True] * rounds:
        for name, call in variants.items():
            started = time.perf_counter()
            call()
            if counted:
                times[name].append(1e3 * (time.perf_counter() - started))
    return times


def ratio(times: dict[str, list[float]], peer: str, variant: str) -> float:
    """Median over rounds of peer time / variant time, so that drift of the machine cancels."""
    return round(statistics.median(a / b for a, b in zip(times[peer], times[variant], strict=True)), 2)


def medians(times: dict[str, list[float]]) -> dict[str, float]:
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
