"""Images that the network was not made for: turned, rescaled, noisier, empty, or of another kind of source."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import rotate, zoom

from radio_bnn.data import simulate
from radio_bnn.data.cutouts import N_SIGMA, circular_mask, preprocess

NOISE = 12.0  # standard deviation that is added, of the brightest pixel's 255
POINT_FLUX = 30.0  # mJy

Shift = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def turned(images: np.ndarray, rng: np.random.Generator, *, degrees: float = 45.0) -> np.ndarray:
    """Images (N, H, W) uint8 turned counter-clockwise about their centre, bilinear, empty corners 0."""
    return _whole(np.stack([rotate(image.astype(float), degrees, reshape=False, order=1) for image in images]))


def rescaled(images: np.ndarray, rng: np.random.Generator, *, pixel: float) -> np.ndarray:
    """Images (N, H, W) uint8 as if a pixel were ``pixel`` times as wide: below 1 galaxies grow, above they shrink.

    Bilinear; what no longer fits is cut off, what is missing is 0.
    """
    found = np.zeros(images.shape)
    for image, out in zip(images, found, strict=True):
        other = zoom(image.astype(float), 1 / pixel, order=1)
        side = min(len(other), len(out))
        here, there = ((len(x) - side) // 2 for x in (out, other))
        out[here : here + side, here : here + side] = other[there : there + side, there : there + side]
    return _whole(found)


def noisier(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images (N, H, W) uint8 with normal noise as wide as the beam, clipped and rescaled as every image is."""
    noise = np.stack([simulate.draw_noise(rng) for _ in images])
    middle = (noise.shape[1] - images.shape[1]) // 2
    noise = noise[:, middle : middle + images.shape[1], middle : middle + images.shape[2]]
    seen = images + NOISE * noise / noise.std()
    kept = np.where((seen > N_SIGMA * NOISE) & circular_mask(), seen, 0.0)
    return _whole(255 * kept / np.maximum(kept.max(axis=(1, 2), keepdims=True), 1.0))


def empty(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many fields without a galaxy at the centre, (N, 150, 150) uint8; simulated."""
    return np.stack([preprocess(draw_empty(rng)) for _ in images])


def points(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many unresolved sources at the centre of such a field, (N, 150, 150) uint8; simulated."""
    return np.stack([preprocess(draw_point(rng)) for _ in images])


def draw_empty(rng: np.random.Generator) -> np.ndarray:
    """A cutout (300, 300) in mJy/beam of noise and unrelated sources, float32."""
    return _seen(simulate.draw_field(rng), rng)


def draw_point(rng: np.random.Generator) -> np.ndarray:
    """The same with an unresolved source of POINT_FLUX at its centre."""
    source = np.array([[0.0, 0.0, POINT_FLUX, 0.0]])
    return _seen(np.vstack([source, simulate.draw_field(rng)]), rng)


def _seen(components: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sky = simulate.render(components) if len(components) else 0.0
    return (sky + simulate.draw_noise(rng)).astype(np.float32)


def _whole(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


SHIFTS: dict[str, Shift] = {
    "turned by 45°": turned,
    "pixels of 1.5 times the width": lambda images, rng: rescaled(images, rng, pixel=1.5),
    "pixels of 2/3 of the width": lambda images, rng: rescaled(images, rng, pixel=2 / 3),
    "more noise": noisier,
    "empty fields (simulated)": empty,
    "point sources (simulated)": points,
}
"""Shifts by title: of images (N, 150, 150) uint8 as many others, drawn from a generator."""
