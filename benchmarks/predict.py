"""Time the posterior predictive, many samples over the test galaxies: two plain implementations against the engine.

Peers: batched (a loop over samples, images in batches of 50) and singly (one image and one sample at a time, timed on
fewer samples and scaled). Prints one JSON line per thread count, the largest last.
"""

from __future__ import annotations

import argparse
import json

import torch
from peer import PeerLeNet, predict_batched, predict_singly
from radio_bnn.models import build
from timing import galaxies, hardware, interleaved, medians, peak_memory_mb, ratio

from radio_bnn.config import Config
from radio_bnn.data.galaxies import normalise
from radio_bnn.predict import predict
from radio_bnn.seeds import generator

SINGLY_SHARE = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    _, _, images, source = galaxies()
    model, peer, x = build(Config.preview(), generator(0, "init")), PeerLeNet(), normalise(images)

    def engine(precision: str):
        noise = generator(0, "predict")
        return lambda: predict(model, images, samples=options.samples, generator=noise, precision=precision)

    few = max(1, options.samples // SINGLY_SHARE)
    variants = {
        "peer_batched": lambda: predict_batched(peer, x, options.samples),
        "peer_singly": lambda: predict_singly(peer, x, few),
        "fp32": engine("float32"),
        "bf16": engine("bf16"),
    }
    for threads in sorted({1, torch.multiprocessing.cpu_count()}):
        torch.set_num_threads(threads)
        times = interleaved(variants, rounds=options.rounds, warmup=1)
        times["peer_singly"] = [t * options.samples / few for t in times["peer_singly"]]
        result = {
            "benchmark": "predict",
            "threads": threads,
            "samples": options.samples,
            "galaxies": len(images),
            "ratio_fp32": ratio(times, "peer_batched", "fp32"),
            "ratio_bf16": ratio(times, "peer_batched", "bf16"),
            "ratio_single_fp32": ratio(times, "peer_singly", "fp32"),
            "ratio_single_bf16": ratio(times, "peer_singly", "bf16"),
            "peak_memory_mb": peak_memory_mb(),
            "median_ms": medians(times),
            "data": source,
            "hardware": hardware(),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
