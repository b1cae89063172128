"""Time the posterior predictive, many samples over the test galaxies: two plain implementations against the engine.

Peers: batched (a loop over samples, images in batches of 50) and singly (one image and one sample at a time, timed on
fewer samples and scaled). Prints one JSON line per thread count, the largest last.
"""

from __future__ import annotations

from peer import PeerLeNet, predict_batched, predict_singly
from timing import by_threads, galaxies, options, report

from radio_bnn.config import Config
from radio_bnn.inference.predict import predict
from radio_bnn.inference.vi import network
from radio_bnn.model.inputs import normalise
from radio_bnn.seeds import generator

SINGLY_SHARE = 20
RATIOS = {
    "ratio_fp32": ("peer_batched", "fp32"),
    "ratio_bf16": ("peer_batched", "bf16"),
    "ratio_single_fp32": ("peer_singly", "fp32"),
    "ratio_single_bf16": ("peer_singly", "bf16"),
}


def main() -> None:
    asked = options(__doc__, samples=40, rounds=5)
    _, _, images, source = galaxies()
    model, peer, x = network(Config.preview(), generator(0, "init")), PeerLeNet(), normalise(images)

    def engine(precision: str):
        noise = generator(0, "predict")
        return lambda: predict(model, images, samples=asked.samples, generator=noise, precision=precision)

    few = max(1, asked.samples // SINGLY_SHARE)
    variants = {
        "peer_batched": lambda: predict_batched(peer, x, asked.samples),
        "peer_singly": lambda: predict_singly(peer, x, few),
        "fp32": engine("float32"),
        "bf16": engine("bf16"),
    }
    for threads, times in by_threads(variants, rounds=asked.rounds, warmup=1):
        times["peer_singly"] = [t * asked.samples / few for t in times["peer_singly"]]
        report("predict", threads, times, RATIOS, samples=asked.samples, galaxies=len(images), data=source)


if __name__ == "__main__":
    main()
