"""Pruning a posterior: rank its weights by importance, and remove the least important ones."""

from __future__ import annotations

import torch
from torch import Tensor

from radio_bnn.layers import Normal

REMOVED_SCALE = 1e-10

Posterior = dict[str, Normal]


def fully_connected(q: Posterior) -> list[str]:
    """The names of the fully-connected weights, the only ones that the paper prunes (no biases, no convolutions)."""
    return [name for name in q if name.startswith("fc") and name.endswith("weight")]


def signal_to_noise(q: Posterior) -> dict[str, Tensor]:
    """|mean| / scale of every weight, by name; shown in dB as 10 log10 (Blundell et al. 2015)."""
    return {name: mean.abs() / scale for name, (mean, scale) in q.items()}


def prune(q: Posterior, importance: dict[str, Tensor], fraction: float, *, names: list[str] | None = None) -> Posterior:
    """A new posterior without the least important ``fraction`` (0..1) of the weights in ``names``.

    Removed weights get mean 0 and a vanishing scale, as in the paper; nothing is trained again. The ranking is over all
    ``names`` together (default: the fully-connected weights). Raises ValueError for a fraction outside 0..1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction={fraction} must lie between 0 and 1")
    names = fully_connected(q) if names is None else names
    ranked = torch.cat([importance[name].flatten() for name in names])
    removed = torch.zeros(len(ranked), dtype=torch.bool, device=ranked.device)
    removed[ranked.argsort(stable=True)[: round(fraction * len(ranked))]] = True
    pruned, start = dict(q), 0
    for name in names:
        mean, scale = q[name]
        gone = removed[start : start + mean.numel()].view_as(mean)
        pruned[name] = Normal(mean.masked_fill(gone, 0.0), scale.masked_fill(gone, REMOVED_SCALE))
        start += mean.numel()
    return pruned
