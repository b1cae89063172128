"""Small worlds that several tests share."""

from types import SimpleNamespace

import numpy as np
import torch

from radio_bnn.config import Config
from radio_bnn.data.galaxies import Galaxies, split
from radio_bnn.inputs import normalise
from radio_bnn.metrics import Interval
from radio_bnn.resolve import resolve
from radio_bnn.seeds import generator

BACKGROUND = normalise(np.zeros((1, 1, 1), np.uint8), torch.float64).item()


def images(n: int, *, seed: int = 0, side: int = 150, signal: float = 0.02) -> np.ndarray:
    """n uint8 images whose pixels are background but for a share ``signal``."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 256, (n, side, side))
    return (pixels * (rng.random((n, side, side)) < signal)).astype(np.uint8)


def galaxies(seed: int = 0) -> Galaxies:
    """40 galaxies that any network can tell apart: FRI are bright in the middle, FRII at two ends."""
    rng = np.random.default_rng(seed)
    code = np.repeat([100, 200, 110, 210, 300, 310], [14, 14, 3, 3, 3, 3])
    pixels = images(len(code), seed=seed, signal=0.002)
    for image, c in zip(pixels, code, strict=True):
        y, x = rng.integers(70, 80, 2)
        for shift in (0,) if c // 100 == 1 else (-20, 20):
            image[y - 3 : y + 4, x + shift - 3 : x + shift + 4] = 255
    zeros = np.zeros(len(code))
    names = np.array([f"toy_{i}" for i in range(len(code))])
    in_test = np.arange(len(code)) % 4 == 0
    return Galaxies(pixels, code, in_test & (code < 300), names, zeros, zeros, zeros, zeros)


def splits(seed: int = 0):
    """The five sets of the toy galaxies."""
    return split(galaxies(seed), source="simulated", sha256="toy", data_seed=0, reason="a test")


def network(seed: int = 0, **changes):
    """An initialised float64 network."""
    config = Config.preview(precision="float64", **changes)
    return resolve(config).method.network(config, generator(seed, "init"))


def closeness(a: torch.Tensor, b: torch.Tensor) -> float:
    """max |a - b| / max |b|, the measure of performance.md for equality."""
    return float((a.detach() - b.detach()).abs().max() / b.detach().abs().max())


def gradients(loss: torch.Tensor, parameters) -> torch.Tensor:
    """The gradient of ``loss`` with respect to all ``parameters`` as one vector."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


def contrast(value: float, low: float, high: float, *, runs: int = 3) -> SimpleNamespace:
    """A contrast as ``claims.judge`` reads it."""
    return SimpleNamespace(interval=Interval(value, low, high), runs=runs)
