"""The posterior predictive: logits of many draws over many images, in bounded memory."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from radio_bnn.augment import network_input, orbit_forward
from radio_bnn.layers import one_draw
from radio_bnn.progress import bar
from radio_bnn.sparse import Windows

# As many galaxies as keep every layer's output in the cache.
BATCH_SIZE = 26


def predict(
    model: nn.Module,
    images: np.ndarray | Tensor | Windows,
    *,
    samples: int = 200,
    generator: torch.Generator,
    batch_size: int = BATCH_SIZE,
    precision: str = "float32",
    orbit: str = "none",
    progress: bool = False,
) -> np.ndarray:
    """Logits f(x; w_s) of S = ``samples`` draws w_s ~ q over N images.

    images (N, H, W) uint8, or prepared network input -> (S, N, C) float32 (float64 for a float64 network). A draw
    serves all images; ``batch_size`` bounds memory and does not change the numbers beyond rounding. ``precision``
    "bf16" runs the forwards in bfloat16. ``orbit`` "logits" or "probs" averages over the eight views of D4 within each
    draw, at eight times the cost; "probs" gives log mean probabilities in place of logits.
    """
    if samples < 1 or batch_size < 1:
        raise ValueError(f"samples={samples} and batch_size={batch_size} must be at least 1")
    parameter = next(model.parameters())
    if isinstance(images, np.ndarray):
        images = network_input(images, dtype=parameter.dtype, device=parameter.device)
    chunks = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    logits = []
    with torch.inference_mode():
        for _ in bar(range(samples), desc="predict", unit="draw", leave=False, show=progress):
            with one_draw(model, generator), autocast(precision, device=parameter.device.type):
                logits.append(torch.cat([orbit_forward(model, x, orbit) for x in chunks]))
    return torch.stack(logits).to(parameter.dtype).cpu().numpy()


def autocast(precision: str, *, device: str) -> AbstractContextManager:
    """The context in which a forward runs at ``precision``: bfloat16 autocast for "bf16", else nothing."""
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()
