"""The posterior predictive: logits of many samples over many images, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from radio_bnn.inference.likelihood import LIKELIHOODS, Likelihood
from radio_bnn.inference.method import Problem, Scope, autocast, sampled
from radio_bnn.model.inputs import network_input
from radio_bnn.model.sparse import Windows
from radio_bnn.progress import bar

# As many galaxies as keep every layer's output in the cache.
BATCH_SIZE = 26


def predict(
    model: nn.Module,
    images: np.ndarray | Tensor | Windows,
    *,
    samples: int = 200,
    generator: torch.Generator,
    scope: Scope = sampled,
    likelihood: Likelihood = LIKELIHOODS["categorical"],
    batch_size: int = BATCH_SIZE,
    precision: str = "float32",
    progress: bool = False,
) -> np.ndarray:
    """Logits f(x; w_s) of S = ``samples`` posterior samples w_s over N images.

    images (N, H, W) uint8, or prepared network input -> (S, N, C) float32 (float64 for a float64 network). ``scope`` is
    that of the inference method. A sample serves all images; ``batch_size`` bounds memory and does not change the
    numbers beyond rounding. ``precision`` "bf16" runs the forwards in bfloat16. The orbit likelihoods average over
    the eight views of D4 within each sample, at eight times the cost; "orbit_probs" gives log mean probabilities in
    place of logits.
    """
    if samples < 1 or batch_size < 1:
        raise ValueError(f"samples={samples} and batch_size={batch_size} must be at least 1")
    parameter = next(model.parameters())
    if isinstance(images, np.ndarray):
        images = network_input(images, dtype=parameter.dtype, device=parameter.device)
    chunks = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    logits = []
    with torch.inference_mode():
        for sample in bar(range(samples), desc="predict", unit="draw", leave=False, show=progress):
            with scope(model, generator, sample), autocast(precision, device=parameter.device.type):
                logits.append(torch.cat([likelihood.forward(model, x) for x in chunks]))
    return torch.stack(logits).to(parameter.dtype).cpu().numpy()


def predict_as_trained(
    problem: Problem,
    model: nn.Module,
    images: np.ndarray | Tensor | Windows,
    *,
    samples: int,
    generator: torch.Generator,
    precision: str = "float32",
    progress: bool = False,
) -> np.ndarray:
    """``predict`` with the scope and the likelihood of ``problem``: at most ``samples``, all where there are fewer.

    (S, N, C); a point estimate has one sample, an ensemble one per member.
    """
    distinct = problem.config.distinct_samples
    return predict(
        model,
        images,
        samples=samples if distinct is None else min(samples, distinct),
        generator=generator,
        scope=problem.method.scope,
        likelihood=problem.likelihood,
        precision=precision,
        progress=progress,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """What is kept is computed on one CPU thread, so that it can be repeated."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
