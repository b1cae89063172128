"""Time `radio-bnn classify` on FITS cutouts, reading and writing counted, against a plain network with the same reader.

The cutouts are simulated galaxies in noise, written into a scratch folder. The peer makes as many passes over each
image as the package's networks make draws. One JSON line per number of cores: galaxies per second of both, where the
time of the package goes, peak memory for ``--many`` galaxies, seconds to the first answer and of `--help`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from peer import PeerLeNet, predict_batched
from timing import by_threads, options, report

from radio_bnn.data.simulate import simulate
from radio_bnn.model.inputs import normalise
from radio_bnn.sky import posteriors
from radio_bnn.sky.judgement import judge
from radio_bnn.sky.sources import sources
from radio_bnn.sky.stream import AT_ONCE, classify

RATIOS = {"ratio": ("peer", "classify")}
MEMORY = """
import resource, sys
from radio_bnn import classify
classify(sys.argv[3:] * int(sys.argv[1]), output=sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def main() -> None:
    asked = options(__doc__, galaxies=1000, many=10_000, rounds=3)
    ensemble = posteriors.read()
    passes = len(ensemble.networks) * ensemble.draws
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder), asked.galaxies)
        output = Path(folder) / "out.ecsv"

        def ours() -> None:
            classify(files, output=output, overwrite=True, workers=torch.get_num_threads())

        start = {"first_answer_s": seconds(["classify", files[0], "-o", output, "--overwrite"], asked.rounds)}
        start |= {"help_s": seconds(["--help"], asked.rounds), "memory_mb": memory(files, output, asked.many)}
        parts = where_time_goes(files)
        for cores, times in by_threads(
            {"peer": lambda: peer(files, passes), "classify": ours}, rounds=asked.rounds, warmup=0
        ):
            rate = {name: round(1000 * len(files) / median(each), 2) for name, each in times.items()}
            shown = {"galaxies_per_second": rate, "seconds_per_1000": parts, **start}
            report("classify", cores, times, RATIOS, galaxies=len(files), many=asked.many, passes=passes, **shown)


def written(folder: Path, n: int) -> list[str]:
    """Paths of n FITS cutouts of simulated galaxies in noise, 300 x 300."""
    from astropy.io import fits

    images, rng, paths = simulate(seed=0).images, np.random.default_rng(0), []
    for i in range(n):
        raw = rng.normal(0, 1, (300, 300)).astype(np.float32)
        raw[75:225, 75:225] += images[i % len(images)]
        paths.append(folder / f"{i:05d}.fits")
        fits.PrimaryHDU(raw, fits.Header({"CDELT2": 1.8 / 3600})).writeto(paths[-1])
    return [str(path) for path in paths]


def peer(files: Sequence[str], passes: int) -> torch.Tensor:
    """The plain network on the images of the same reader, all passes over fifty images before the next fifty."""
    found, model = sources(list(files)), PeerLeNet()
    batches = (range(i, min(i + 50, len(found))) for i in range(0, len(found), 50))
    read = (np.stack([found[i].image for i in batch]) for batch in batches)
    return torch.cat([predict_batched(model, normalise(x), passes).softmax(-1).mean(0) for x in read])


def where_time_goes(files: Sequence[str]) -> dict[str, float]:
    """Seconds of one process per 1,000 galaxies, measured on the first ones: reading, and judging what was read."""
    found = sources(list(files[:AT_ONCE]))
    started = time.perf_counter()
    images = np.stack([found[i].image for i in range(len(found))])
    read = time.perf_counter() - started
    ensemble = posteriors.read()
    started = time.perf_counter()
    judge(ensemble, images)
    judged = time.perf_counter() - started
    return {name: round(1000 * x / len(found), 2) for name, x in {"read": read, "judge": judged}.items()}


def seconds(arguments: Sequence[object], rounds: int) -> float:
    """Median wall time of `radio-bnn` with these arguments, a process of its own."""
    command = [sys.executable, "-m", "radio_bnn.cli", *map(str, arguments)]
    return round(
        median(timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(rounds)), 2
    )


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def memory(files: Sequence[str], output: Path, many: int) -> int:
    """Peak MB of a process that classifies ``many`` galaxies, the same files again and again."""
    part = list(files[: min(len(files), many)])
    command = [sys.executable, "-c", MEMORY, str(many // len(part)), str(output.with_name("many.ecsv")), *part]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
