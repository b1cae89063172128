"""Independent streams of random numbers from one seed."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def generator(seed: int, stream: str, *, epoch: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch Generator for one purpose: streams of one seed do not overlap, and adding one changes no other.

    ``stream`` names the purpose ("init", "noise", "order", "view", "validate", "stale", "predict").
    """
    key = np.random.SeedSequence([seed, zlib.crc32(stream.encode()), epoch]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(key >> 1))
