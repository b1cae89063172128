"""Time one training step of 50 images: the plain implementation against the engine, interleaved in one process.

Prints one JSON line per thread count, the largest last.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from peer import PeerLeNet, train_step
from timing import by_threads, galaxies, interleaved, options, peak_memory_mb, report

from radio_bnn.config import Config
from radio_bnn.inference.method import Batch
from radio_bnn.inference.train import start
from radio_bnn.model.inputs import normalise, training_view

BATCH = torch.arange(50)
PLAIN_CNN = "ml"  # the method of a network with one value per weight
RATIOS = {
    "ratio_fp32": ("peer", "fp32"),
    "ratio_bf16": ("peer", "bf16"),
    "bayesian_over_plain": ("fp32", "plain_cnn"),
}


def engine_step(config: Config, images, labels):
    """A call that makes one step of the engine on the first 50 images."""
    training = start(config, device="cpu")
    view = training_view(config.augmentation, images, generator=training.streams["view"])
    state, step = training.state, training.state.problem.method.step
    return lambda: step(state, Batch(view(BATCH), labels[BATCH], len(labels)))


def peer_step(images, labels):
    """A call that makes one step of the plain implementation."""
    torch.manual_seed(0)
    model, x = PeerLeNet(), normalise(images)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return lambda: train_step(model, optimizer, x[BATCH], labels[BATCH], 0.01 / 12)


def main() -> None:
    rounds = options(__doc__, rounds=20).rounds
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
        "plain_cnn": engine_step(replace(config, method=PLAIN_CNN), images, labels),
    }
    variants = {"peer": peer_step(images, labels), **engine}
    for threads, times in by_threads(variants, rounds=rounds):
        report("train_step", threads, times, RATIOS, peak_memory_mb=memory, data=source)


if __name__ == "__main__":
    main()
