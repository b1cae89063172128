"""Images as the network takes them: normalised, sparse where that pays, in random views or in all views of D4."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from radio_bnn.model.sparse import Windows, prepare, turn

View = Callable[[Tensor], Tensor | Windows]
D4 = range(8)
PIXEL_MEAN = 0.0031
PIXEL_STD = 0.0350


def normalise(images: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
    """Pixels as the network sees them: (images / 255 - 0.0031) / 0.0350.

    images (N, H, W) uint8 -> (N, 1, H, W).
    """
    pixels = torch.as_tensor(np.ascontiguousarray(images)).to(dtype)
    return ((pixels / 255 - PIXEL_MEAN) / PIXEL_STD).unsqueeze(1)


def network_input(images: np.ndarray, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor | Windows:
    """Images (N, H, W) uint8 as the network takes them: sparse windows on a CPU, a dense tensor on a GPU."""
    x = normalise(images, dtype).to(device)
    background = normalise(np.zeros((1, 1, 1), np.uint8), dtype).item()
    return prepare(x, background) if x.device.type == "cpu" else x


def training_view(
    name: str,
    images: np.ndarray,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> View:
    """A function from image indices (B,) to the network input of a minibatch, drawing from ``generator``.

    "none": the images; "d4": one random element of the dihedral group per minibatch, exact on the pixel grid;
    "rotation": a random angle per image, bilinear on [0, 1] pixels, background 0. In both the likelihood is
    unchanged.
    """
    if name == "rotation":
        return lambda index: network_input(rotated(images[index.cpu().numpy()], generator), dtype=dtype, device=device)
    inputs = network_input(images, dtype=dtype, device=device)
    if name == "none":
        return lambda index: inputs[index]
    return lambda index: d4_element(inputs[index], int(torch.randint(len(D4), (), generator=generator)))


def d4_element(x: Tensor | Windows, element: int) -> Tensor | Windows:
    """Element 0..7 of D4 applied to every image: ``element`` % 4 right angles, after a flip if ``element`` >= 4."""
    turns, flip = element % 4, element >= 4
    return x.transformed(turns, flip) if isinstance(x, Windows) else turn(x, turns, flip)


def orbit(x: Tensor | Windows) -> list[Tensor | Windows]:
    """The eight views g_k x of every image, k = 0..7; the first is the image itself."""
    return [d4_element(x, element) for element in D4]


def rotated(images: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Images (N, H, W) in [0, 255], each turned by its own uniform angle; bilinear, empty corners 0; float32."""
    angle = 2 * math.pi * torch.rand(len(images), generator=generator)
    return rotate(images, angle.numpy())


def rotate(images: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Images (N, H, W) turned by ``angle`` (N,) radians counter-clockwise as displayed; bilinear; float32."""
    x = torch.as_tensor(np.ascontiguousarray(images), dtype=torch.float32).unsqueeze(1)
    c, s = torch.as_tensor(np.cos(angle)).float(), torch.as_tensor(np.sin(angle)).float()
    zero = torch.zeros_like(c)
    theta = torch.stack([torch.stack([c, -s, zero], -1), torch.stack([s, c, zero], -1)], 1)
    grid = F.affine_grid(theta, x.shape, align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0].numpy()
