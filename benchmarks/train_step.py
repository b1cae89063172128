"""Time one training step of 50 images: the plain implementation against the engine, interleaved in one process.

Prints a line per thread count and, last, one JSON line with the ratios at the largest.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import torch
from peer import PeerLeNet, train_step
from radio_bnn.augment import training_view
from timing import galaxies, hardware, interleaved, medians, peak_memory_mb, ratio

from radio_bnn.config import Config
from radio_bnn.data.galaxies import normalise
from radio_bnn.train import start, step

BATCH = torch.arange(50)


def engine_step(config: Config, images, labels):
    """A call that makes one step of the engine on the first 50 images."""
    state = start(config, device="cpu")
    view = training_view(config.augmentation, images, generator=state.streams["view"])
    return lambda: step(state, view, BATCH, labels, config)


def peer_step(images, labels):
    """A call that makes one step of the plain implementation."""
    torch.manual_seed(0)
    model, x = PeerLeNet(), normalise(images)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return lambda: train_step(model, optimizer, x[BATCH], labels[BATCH], 0.01 / 12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    images, labels, _, source = galaxies()
    labels = torch.as_tensor(labels)
    config = Config.preview()
    engine = {"fp32": engine_step(config, images, labels)}
    torch.set_num_threads(1)
    interleaved(engine, rounds=3)
    memory = peak_memory_mb()
    engine |= {
        "bf16": engine_step(replace(config, precision="bf16"), images, labels),
        "d4_fp32": engine_step(replace(config, augmentation="d4"), images, labels),
        "plain_cnn": engine_step(replace(config, method="map"), images, labels),
    }
    variants = {"peer": peer_step(images, labels), **engine}
    for threads in sorted({1, torch.multiprocessing.cpu_count()}):
        torch.set_num_threads(threads)
        times = interleaved(variants, rounds=options.rounds)
        result = {
            "benchmark": "train_step",
            "threads": threads,
            "ratio_fp32": ratio(times, "peer", "fp32"),
            "ratio_bf16": ratio(times, "peer", "bf16"),
            "bayesian_over_plain": ratio(times, "fp32", "plain_cnn"),
            "peak_memory_mb": memory,
            "median_ms": medians(times),
            "data": source,
            "hardware": hardware(),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
