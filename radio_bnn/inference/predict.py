"""The posterior predictive: logits of many samples over many images, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from radio_bnn.inference.likelihood import LIKELIHOODS, Likelihood
from radio_bnn.inference.method import Problem, Scope, Shared, autocast, sampled
from radio_bnn.model.inputs import network_input
from radio_bnn.model.sparse import Windows
from radio_bnn.progress import bar

# As many galaxies as keep every layer's output in the cache.
BATCH_SIZE = 26
# As many as are prepared at once: drawing the weights again for each block costs a percent of its forwards.
BLOCK = 50 * BATCH_SIZE


def predict(
    model: nn.Module,
    images: np.ndarray | Tensor | Windows,
    *,
    samples: int = 200,
    generator: torch.Generator,
    scope: Scope = sampled,
    shared: Shared | None = None,
    likelihood: Likelihood = LIKELIHOODS["categorical"],
    batch_size: int = BATCH_SIZE,
    threads: int = 1,
    precision: str = "float32",
    progress: bool = False,
) -> np.ndarray:
    """Logits f(x; w_s) of S = ``samples`` posterior samples w_s over N images.

    images (N, H, W) uint8, or prepared network input -> (S, N, C) float32 (float64 for a float64 network). ``scope`` is
    that of the inference method, which draws when it is entered; ``shared`` is what it computes once for all samples,
    where the likelihood looks at each image in one view. A sample serves all images; ``batch_size`` does not change the
    numbers beyond rounding. BLOCK images at most are prepared at once, and each block replays the draws. ``threads``
    wait for each other in every layer: more than one pays on an idle machine alone. ``precision`` "bf16" runs the
    forwards in bfloat16. The orbit likelihoods average over the eight views of D4 within each sample, at eight times
    the cost; "orbit_probs" gives log mean probabilities in place of logits.
    """
    if samples < 1 or batch_size < 1 or threads < 1:
        raise ValueError(f"samples={samples}, batch_size={batch_size} and threads={threads} must be at least 1")
    parameter, per_block = next(model.parameters()), max(1, BLOCK // batch_size) * batch_size
    starts, first, blocks = range(0, max(1, len(images)), per_block), generator.get_state(), []
    shown = bar(total=samples * len(starts), desc="predict", unit="draw", leave=False, show=progress)
    with shown, on_threads(threads), torch.inference_mode():
        for start in starts:
            generator.set_state(first)
            with autocast(precision, device=parameter.device.type):
                chunks, logits = _chunks(images[start : start + per_block], batch_size, model, shared), []
            for sample in range(samples):
                with scope(model, generator, sample), autocast(precision, device=parameter.device.type):
                    logits.append(torch.cat([likelihood.forward(model, x) for x in chunks]))
                shown.update()
            blocks.append(torch.stack(logits).to(parameter.dtype).cpu().numpy())
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def _chunks(
    images: np.ndarray | Tensor | Windows, batch_size: int, model: nn.Module, shared: Shared | None
) -> list[Tensor | Windows]:
    """Network input in batches, at least one, or what is ``shared`` of it; images as they are are prepared first."""
    if isinstance(images, np.ndarray):
        like = next(model.parameters())
        images = network_input(images, dtype=like.dtype, device=like.device)
    chunks = [images[i : i + batch_size] for i in range(0, max(1, len(images)), batch_size)]
    return chunks if shared is None else [shared(model, x) for x in chunks]


@contextmanager
def on_threads(threads: int) -> Iterator[None]:
    """What is computed in the scope is computed on so many threads of the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    """``predict`` as the method and the likelihood of ``problem`` do: at most ``samples``, all where there are fewer.

    (S, N, C); a point estimate has one sample, an ensemble one per member.
    """
    distinct = problem.config.distinct_samples
    return predict(
        model,
        images,
        samples=samples if distinct is None else min(samples, distinct),
        generator=generator,
        scope=problem.method.scope,
        shared=problem.method.shared,
        likelihood=problem.likelihood,
        precision=precision,
        progress=progress,
    )
