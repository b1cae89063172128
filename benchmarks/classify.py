"""Time `radio-bnn classify` on FITS cutouts, reading and writing counted, against a plain network with the same reader.

The cutouts are simulated, written into a scratch folder. The peer makes as many passes over each image as the package's
networks make draws, on the first ``--peer`` galaxies; its time is scaled to all. One JSON line per number of cores:
galaxies per second of both; seconds per 1,000 galaxies by what is done; what eight times as many draws cost and change;
peak memory for ``--many`` galaxies; seconds to the first answer and of `--help`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from peer import PeerLeNet, predict_batched
from timing import Times, by_threads, options, report

from radio_bnn.data.simulate import draw_cutout
from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.model.inputs import normalise
from radio_bnn.model.layers import draw_weights
from radio_bnn.paper.own_galaxies import write_cutout
from radio_bnn.seeds import generator
from radio_bnn.sky import posteriors
from radio_bnn.sky.judgement import judge, predictions
from radio_bnn.sky.posteriors import Ensemble
from radio_bnn.sky.sources import sources
from radio_bnn.sky.stream import AT_ONCE, classify
from radio_bnn.sky.table import as_table, write

RATIOS = {"ratio": ("peer", "classify")}
MANY_DRAWS = 200
MEMORY = """
import resource, sys
from radio_bnn import classify
classify((sys.argv[3:] * int(sys.argv[1]))[: int(sys.argv[1])], output=sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def main() -> None:
    asked = options(__doc__, galaxies=1000, peer=100, many=10_000, rounds=3)
    ensemble = posteriors.read()
    passes = len(ensemble.networks) * ensemble.draws
    with tempfile.TemporaryDirectory() as folder:
        files, output = written(Path(folder), asked.galaxies), Path(folder) / "out.ecsv"
        of_peer = files[: asked.peer]

        def ours() -> None:
            table = classify(files, output=output, overwrite=True, workers=torch.get_num_threads())
            if (table["label"] == "").any():
                raise ValueError(f"not all of the galaxies were classified: {set(table['message'])}")

        once = where_time_goes(files, output) | more_draws(ensemble, files) | start(files, output, asked.rounds)
        once["memory_mb"] = memory(files, output, asked.many)
        variants = {"peer": lambda: peer(of_peer, passes), "classify": ours}
        for cores, times in by_threads(variants, rounds=asked.rounds, warmup=0):
            times["peer"] = [each * len(files) / len(of_peer) for each in times["peer"]]
            rates = {"galaxies_per_second": rate(times, "classify", len(files))}
            rates["peer_galaxies_per_second"] = rate(times, "peer", len(files))
            sizes = {"galaxies": len(files), "peer_galaxies": len(of_peer), "many": asked.many, "passes": passes}
            report("classify", cores, times, RATIOS, **sizes, **rates, **once)


def rate(times: Times, name: str, galaxies: int) -> float:
    return round(1000 * galaxies / median(times[name]), 2)


def written(folder: Path, n: int) -> list[str]:
    """Paths of n FITS cutouts of simulated galaxies, half of them FRI, half FRII."""
    paths = [folder / f"{i:05d}.fits" for i in range(n)]
    for i, path in enumerate(paths):
        write_cutout(draw_cutout((100, 200)[i % 2], seed=i), path)
    return [str(path) for path in paths]


def peer(files: Sequence[str], passes: int) -> torch.Tensor:
    """The plain network on the images of the same reader, all passes over fifty images before the next fifty."""
    found, model = sources(list(files)), PeerLeNet()
    batches = (found[i : i + 50] for i in range(0, len(found), 50))
    read = (np.stack([source.image for source in batch]) for batch in batches)
    return torch.cat([predict_batched(model, normalise(x), passes).softmax(-1).mean(0) for x in read])


def where_time_goes(files: Sequence[str], output: Path) -> dict[str, float]:
    """Seconds of one process per 1,000 galaxies, of as many as are judged together: what reads, draws, judges, writes.

    Writing is the table of all, as it is written in the end.
    """
    found, ensemble = sources(list(files[:AT_ONCE])), posteriors.read()
    images, read = timed(lambda: np.stack([source.image for source in found]))
    _, draw = timed(lambda: drawn(ensemble))
    _, judged = timed(lambda: judge(ensemble, images))
    rows = [{"name": str(i), "p_fri": 0.5, "flags": "", "message": ""} for i in range(1000)]
    _, wrote = timed(lambda: write(as_table(rows, {}), output))
    n = len(found) / 1000
    parts = {"read_s": read / n, "draw_s": draw / n, "judge_s": (judged - draw) / n, "write_s": wrote}
    return {name: round(value, 2) for name, value in parts.items()}


def drawn(ensemble: Ensemble) -> None:
    """All weights that one set of galaxies needs."""
    for k, network in enumerate(ensemble.networks):
        noise = generator(k, "classify")
        for _ in range(ensemble.draws):
            draw_weights(network.posterior, noise)


def more_draws(ensemble: Ensemble, files: Sequence[str]) -> dict[str, float]:
    """What 200 draws of each network, others than the package's own, cost and how far they change P(FRI)."""
    images = np.stack([source.image for source in sources(list(files[:AT_ONCE]))])

    def p(draws: int, first: int) -> tuple[np.ndarray, float]:
        each, took = timed(
            lambda: [
                predictive_mean(predictions(network.posterior, images, number=k, draws=draws)[0][first:])[:, 0]
                for k, network in enumerate(ensemble.networks)
            ]
        )
        return np.mean(each, axis=0), took

    (few, few_s), (many, both_s) = p(ensemble.draws, 0), p(ensemble.draws + MANY_DRAWS, ensemble.draws)
    n, change = len(images) / 1000, abs(few - many)
    found = {"few_draws_s": few_s / n, "many_draws_s": (both_s - few_s) / n}
    found = {name: round(value, 2) for name, value in found.items()}
    of = {"draws_change_median": 0.5, "draws_change_q95": 0.95}
    return found | {name: round(float(np.quantile(change, q)), 5) for name, q in of.items()}


def start(files: Sequence[str], output: Path, rounds: int) -> dict[str, float]:
    """Seconds, by the clock, of the command on one galaxy and of its help; each a process of its own."""
    calls = {"first_answer_s": ["classify", files[0], "-o", str(output), "--overwrite"], "help_s": ["--help"]}
    return {name: round(median(command(arguments) for _ in range(rounds)), 2) for name, arguments in calls.items()}


def command(arguments: Sequence[str]) -> float:
    """Seconds that `radio-bnn` takes."""
    call = [sys.executable, "-m", "radio_bnn.cli", *arguments]
    return timed(lambda: subprocess.run(call, check=True, stdout=subprocess.DEVNULL))[1]


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and the seconds it takes."""
    started = time.perf_counter()
    found = call()
    return found, time.perf_counter() - started


def memory(files: Sequence[str], output: Path, many: int) -> int:
    """Peak MB of a process that classifies ``many`` galaxies, the same files again and again."""
    call = [sys.executable, "-c", MEMORY, str(many), str(output.with_name("many.ecsv")), *files]
    return int(subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()
